"""Our own backend: `python -m server`, with the settings that a description gives it."""

import sys
from importlib.metadata import version

from .base import Backend

_SPARE = 1000  # sockets that are closing while the next handshakes come

BACKEND = Backend(
    name="wsfront",
    rank=0,
    version=lambda: f"websockets {version('websockets')}, uvloop {version('uvloop')}",
    command=lambda port: [
        *(sys.executable, "-m", "server", "--listen", f"127.0.0.1:{port}"),
        *("--log-level", "warning", "--exit-with-parent"),
    ],
    echo="/ws/echo",
    room="/ws/chat",
    environment=lambda _port, connections: {
        "WSFRONT_CONNECTIONS": str(connections + _SPARE),
        "WSFRONT_HISTORY_FILE": "history",
    },
    keeps=True,
    metrics="WSFRONT_METRICS",
)
