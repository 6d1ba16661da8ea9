"""Who has a port: so that `address already in use` can name the culprit."""

import contextlib
import errno
import socket
from collections.abc import Iterator
from pathlib import Path

from .errors import RunFault

_LISTEN = "0A"  # TCP_LISTEN, include/net/tcp_states.h


def require_free(port: int, option: str) -> None:
    """Make sure that nobody listens on a loopback port.

    Raises:
        RunFault: somebody does (named where the system lets us see it), or the port is not ours to bind.
    """
    for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise RunFault(
                        f"port {port} is in use{_by_whom(port)}: stop that, or choose another with {option}"
                    ) from None
                if error.errno == errno.EACCES:
                    raise RunFault(
                        f"port {port} is for root alone: choose one from 1024 on with {option}"
                    ) from None


def _by_whom(port: int) -> str:
    inodes = {f"socket:[{inode}]" for inode in _inodes(port)}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if descriptor.is_symlink() and str(descriptor.readlink()) in inodes:
                    return f" by process {process.name} ({(process / 'comm').read_text().strip()})"
    return ""


def _inodes(port: int) -> Iterator[str]:
    """Yield the inodes of sockets that listen on a port (proc(5), /proc/net/tcp)."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
