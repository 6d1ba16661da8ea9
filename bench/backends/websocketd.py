"""websocketd: a program for each connection, as `program.py`; it has no rooms."""

import shutil
import subprocess

from bench.errors import MissingFault

from .base import Backend


def _version() -> str:
    if shutil.which("websocketd") is None:
        raise MissingFault("websocketd is not installed: on Debian type `apt-get install websocketd`")
    said = subprocess.run(["websocketd", "--version"], check=False, capture_output=True, text=True).stdout
    return f"{said.strip()}, cat"


BACKEND = Backend(
    name="websocketd",
    rank=13,
    version=_version,
    command=lambda port: ["websocketd", "--address=127.0.0.1", f"--port={port}", "--loglevel=error", "cat"],
    echo="/ws/echo",
    room="/ws/echo",
)
