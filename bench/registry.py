"""Finding what a folder holds: one module each, with one object of a given name in it."""

import importlib
import pkgutil
from types import ModuleType
from typing import Any


def members(package: ModuleType, name: str) -> dict[str, Any]:
    """Return the objects of this name in a package's modules, by their own `name`, in the order of their `rank`."""
    found = []
    for module in pkgutil.iter_modules(package.__path__):
        member = getattr(importlib.import_module(f"{package.__name__}.{module.name}"), name, None)
        if member is not None:
            found.append(member)
    return {member.name: member for member in sorted(found, key=lambda member: member.rank)}
