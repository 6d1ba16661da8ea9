"""Binding the sockets to listen on, before any privilege is dropped.

Knows nothing of what is served on them.
"""

import contextlib
import errno
import os
import socket
import stat
from pathlib import Path

from .settings import Address

BACKLOG = 4096  # the kernel takes less where net.core.somaxconn is less
MODE = 0o660
STALLED_MILLISECONDS = 60_000


class ListenError(OSError):
    """An address that cannot be listened on: one line with the remedy."""


def bind(address: Address, owner: tuple[int, int] | None = None) -> socket.socket:
    """Bind and listen; a unix socket's file is made over to ``owner`` (user and group id), where given.

    Raises:
        ListenError: where that cannot be.
    """
    try:
        return _bind_unix(Path(address.path), owner) if address.path else _bind_tcp(address)
    except ListenError:
        raise
    except OSError as fault:
        why = {
            errno.EADDRINUSE: "in use by another program; stop it or choose another address with --listen",
            errno.EACCES: "not allowed for this user; choose a port above 1023 or a folder it may write to",
            errno.EADDRNOTAVAIL: "no address of this machine; choose one that `ip address` shows",
            errno.ENOENT: "its folder does not exist; make it first",
        }.get(fault.errno or 0, fault.strerror or str(fault))
        raise ListenError(f"cannot listen on {address}: {why}") from None


def release(address: Address) -> None:
    """Remove a unix socket's file, unless another server listens on it since; nothing to do for TCP."""
    if address.path:
        with contextlib.suppress(OSError):
            _remove_stale(Path(address.path))


def prepare(sock: socket.socket) -> None:
    """Set what accepted sockets inherit: a peer that is gone, or reads nothing at all, is let go after a minute."""
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STALLED_MILLISECONDS)


def name_of(sock: socket.socket) -> str:
    """Name the address that a socket is bound to."""
    name = sock.getsockname()
    return str(Address(path=name) if isinstance(name, str) else Address(*name[:2]))


def _bind_tcp(address: Address) -> socket.socket:
    family, kind, protocol, _, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        prepare(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _bind_unix(path: Path, owner: tuple[int, int] | None) -> socket.socket:
    if os.path.lexists(path):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ListenError(f"cannot listen on unix:{path}: that file is no socket; choose another path")
        if not _remove_stale(path):
            raise OSError(errno.EADDRINUSE, "in use")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(str(path))
        path.chmod(MODE)
        if owner is not None:
            os.chown(path, *owner)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _remove_stale(path: Path) -> bool:
    """Remove a socket's file that nobody listens on; tell whether it is gone."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return True
        except FileNotFoundError:
            return True
        except (TimeoutError, BlockingIOError):
            pass
    return False
