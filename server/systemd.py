"""What systemd hands to a service and is told by it: listening sockets, readiness, status, the watchdog.

Source: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3). Where its variables are missing nothing here does anything.
Knows nothing of what is served.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

from .listen import ListenError, prepare

log = logging.getLogger("server")

FIRST = 3  # SD_LISTEN_FDS_START
PERIOD = 1.0
PATIENCE = 1.0


def take_sockets(environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Take over the listening sockets that were given to this very process, and the variables that tell of them.

    Raises:
        ListenError: where something else than listening stream sockets was given.
    """
    count, process, names = (
        environment.pop(f"LISTEN_{key}", "").strip() for key in ("FDS", "PID", "FDNAMES")
    )
    if process != str(os.getpid()) or not count.isdecimal():
        return []
    given = range(FIRST, FIRST + int(count))
    named = [*names.split(":"), *("unknown" for _ in given)]
    return [_adopt(number, name) for number, name in zip(given, named, strict=False)]


def _adopt(number: int, name: str) -> socket.socket:
    try:
        sock = socket.socket(fileno=number)
        is_listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if is_listening and sock.type == socket.SOCK_STREAM:
            sock.set_inheritable(False)
            prepare(sock)
            return sock
    except OSError:
        pass
    raise ListenError(
        f"descriptor {number} ({name}) is no listening socket; give it by ListenStream= and Accept=no"
    )


class Manager:
    """The service manager that started this process, or nobody."""

    def __init__(self, environment: MutableMapping[str, str]) -> None:
        self._socket = _connect(environment.pop("NOTIFY_SOCKET", ""))
        microseconds = environment.pop("WATCHDOG_USEC", "")
        is_meant = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        is_set = is_meant and microseconds.isdecimal() and int(microseconds) > 0
        self._half = int(microseconds) / 2_000_000 if is_set else None
        self._told = ""
        self._due = 0.0

    @classmethod
    def over(cls, sock: socket.socket, limit: float) -> "Manager":
        """Make one that tells by a socket of our own, and gives a sign of life at half of so many seconds."""
        made = cls({})
        made._socket, made._half = sock, limit / 2
        return made

    def close(self) -> None:
        """Tell nothing from now on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def tell(self, *lines: str) -> None:
        """Send assignments, as READY=1; nothing happens where nobody asked for them."""
        if self._socket is not None and lines:
            try:
                self._socket.send("\n".join(lines).encode())
            except OSError as fault:
                log.warning("systemd does not hear: %s", fault.strerror or fault)

    async def keep_told(self, status: Callable[[], str]) -> None:
        """Tell the status whenever it has changed, and at half the watchdog's time that this event loop still turns."""
        while self._socket is not None:
            self.keep_alive(status())
            await asyncio.sleep(
                PERIOD if self._half is None else min(PERIOD, max(0.0, self._due - time.monotonic()))
            )

    def keep_alive(self, status: str) -> None:
        """Tell a status that has changed, and give a sign of life where it is time for one."""
        lines = []
        if status != self._told:
            lines, self._told = [f"STATUS={status}"], status
        if self._half is not None and time.monotonic() >= self._due:
            lines.append("WATCHDOG=1")
            self._due = time.monotonic() + self._half
        self.tell(*lines)


def _connect(address: str) -> socket.socket | None:
    """Connect to systemd's datagram socket: a path, or @ and the name of an abstract one."""
    if not address:
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.settimeout(PATIENCE)
    try:
        sock.connect(f"\0{address[1:]}" if address.startswith("@") else address)
    except OSError as fault:
        sock.close()
        log.warning("NOTIFY_SOCKET %s: %s; going on without", address, fault.strerror or fault)
        return None
    return sock
