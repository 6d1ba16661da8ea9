"""What the documentation of `websockets` shows: a room by its own `broadcast`, on uvloop, nothing else."""

import sys
from importlib.metadata import version

from .base import Backend

BACKEND = Backend(
    name="stock",
    rank=1,
    version=lambda: f"websockets.broadcast of websockets {version('websockets')}, uvloop {version('uvloop')}",
    command=lambda port: [sys.executable, "-m", "bench.backends.stock_server", str(port)],
    echo="/ws/echo",
    room="/ws/room",
)
