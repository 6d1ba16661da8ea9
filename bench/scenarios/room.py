"""What the fan-out scenarios share: a line of chat that carries its time, and ears that count or time such lines fast.

All bytes are searched for the lines' marks, for taking frames apart would cost the load generator more than some backends take.
"""

import re
import time
from typing import Any

from bench.load.client import PONG, Client, Connection, frame

_SIZE = 100  # bytes of a message
_MARK = re.compile(rb'"@(\d{16})')
_MARK_SIZE = 18
_PING = re.compile(
    rb"\x89([\x00-\x08])"
)  # the libraries' have four bytes at most; the byte is in no ASCII, and such lengths are no "{"
QUIET_SECONDS = 0.25
DRAIN_SECONDS = 20.0


def line(moment: float, size: int = _SIZE, filler: bytes = b"x") -> bytes:
    """Return a client's frame: a line of chat of so many bytes, with a moment of time.monotonic() in it."""
    head, tail = (
        b'{"type":"usermsg","name":"bench","message":"@%016d' % (moment * 1e6),
        b'","color":"#000000"}',
    )
    return frame(head + filler * ((size - len(head) - len(tail)) // len(filler)) + tail)


class Ears:
    """Hear all sockets of a process; subclasses say what they do with the moments heard."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.heard = 0
        self.last = time.monotonic()
        for connection in client.open:
            connection.tag = b""
            connection.listen(self._hear)

    def _hear(self, connection: Connection, data: bytes) -> None:
        _answer(connection, data)
        data = connection.tag + data
        self.last = time.monotonic()
        end = 0
        for found in _MARK.finditer(data):
            end = found.end()
            self.heard += 1
            self.note(self.last - int(found[1]) / 1e6)
        connection.tag = data[max(end, len(data) - _MARK_SIZE + 1) :]

    def note(self, seconds: float) -> None:
        """Take note of a line that took so long."""


class Counting(Ears):
    """Count lines, and nothing else."""

    def _hear(self, connection: Connection, data: bytes) -> None:
        _answer(connection, data)
        self.heard += (connection.tag + data).count(b'"@')
        connection.tag = data[-1:]
        self.last = time.monotonic()


def _answer(connection: Connection, data: bytes) -> None:
    """Answer a ping among what came: a socket that only listens is soon taken for dead."""
    if b"\x89" in data:
        for found in _PING.finditer(data):
            connection.send(frame(data[found.end() : found.end() + found[1][0]], PONG))


def work_drain(client: Client) -> dict[str, Any]:
    """Read until nothing more comes."""
    ears = Counting(client)
    deadline = time.monotonic() + DRAIN_SECONDS
    while (now := time.monotonic()) < deadline and now - ears.last < QUIET_SECONDS:
        client.turn(0.1)
    return {"quiet": now < deadline}
