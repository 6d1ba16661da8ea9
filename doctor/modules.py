"""How a server's modules are loaded, as its own lines have it."""

import re

from .configuration import Configuration

_FILE = re.compile(r"(?P<folder>.*/)mod_\w+\.so")


def loading(configuration: Configuration, *names: str) -> str:
    """Return the LoadModule lines for more modules, from the folder of the others; nothing where that is not known."""
    folders = [
        match["folder"]
        for each in configuration.named("loadmodule")
        if (match := _FILE.fullmatch(each.word(1)))
    ]
    return (
        "\n".join(f"LoadModule {name}_module {folders[0]}mod_{name}.so" for name in names) if folders else ""
    )
