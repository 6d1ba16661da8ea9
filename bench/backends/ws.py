"""Node's `ws` from Debian: a room by the loop that its README shows."""

import json
import shutil
import subprocess
from pathlib import Path

from bench.errors import MissingFault

from .base import Backend

_PROGRAM = Path(__file__).with_name("ws.js")
_MODULES = Path("/usr/share/nodejs")
_PACKAGE = _MODULES / "ws" / "package.json"


def _version() -> str:
    if shutil.which("node") is None or not _PACKAGE.exists():
        raise MissingFault("Node's ws is not installed: on Debian type `apt-get install node-ws`")
    node = subprocess.run(["node", "--version"], check=True, capture_output=True, text=True).stdout.strip()
    return f"ws {json.loads(_PACKAGE.read_text())['version']}, Node {node}"


BACKEND = Backend(
    name="ws",
    rank=2,
    version=_version,
    command=lambda port: ["node", str(_PROGRAM), str(port)],
    echo="/ws/echo",
    room="/ws/room",
    environment=lambda _port, _connections: {"NODE_PATH": str(_MODULES)},
)
