"""Python's `socketify`, which is uWebSockets in C++: a room by its own publish and subscribe, as its documentation shows it."""

import importlib.util
import sys
from importlib.metadata import version

from bench.errors import MissingFault

from .base import Backend


def _version() -> str:
    if importlib.util.find_spec("socketify") is None:
        raise MissingFault("socketify is not installed: type `.venv/bin/pip install socketify`")
    return f"socketify {version('socketify')}, without compression"


BACKEND = Backend(
    name="socketify",
    rank=3,
    version=_version,
    command=lambda port: [sys.executable, "-m", "bench.backends.socketify_server", str(port)],
    echo="/ws/echo",
    room="/ws/room",
)
