"""Ears in a room: lines are counted and timed without taking frames apart, and pings are answered all the same."""

import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.load.client import PONG, Client, frame
from bench.scenarios.paced import Timing
from bench.scenarios.room import Counting, Ears, line

MASKED_HEAD = 6  # of a client's frame of less than 126 bytes


class Pretended:
    """A connection that is told what comes, and notes what is sent."""

    def __init__(self) -> None:
        self.tag: Any = None
        self.sent: list[bytes] = []
        self.hook: Callable[[Any, bytes], None]

    def listen(self, hook: Callable[[Any, bytes], None]) -> None:
        """Take the hook."""
        self.hook = hook

    def send(self, data: bytes) -> None:
        """Note what is sent."""
        self.sent.append(data)


def listening(kind: type[Ears]) -> tuple[Ears, Pretended]:
    """Make ears with one connection."""
    connection = Pretended()
    return kind(cast("Client", SimpleNamespace(open={connection}))), connection


def said(moment: float) -> bytes:
    """Return a line as a server sends it on."""
    text = line(moment)[MASKED_HEAD:]
    return bytes((0x81, len(text))) + text


@pytest.mark.parametrize("kind", [Counting, Timing])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_lines_are_counted_in_any_pieces(kind: type[Ears], size: int) -> None:
    """Each line is counted once, however it is cut."""
    ears, connection = listening(kind)
    data = said(time.monotonic()) * 20
    for start in range(0, len(data), size):
        connection.hook(connection, data[start : start + size])
    assert ears.heard == 20
    assert connection.sent == []


@pytest.mark.parametrize("kind", [Counting, Timing])
@pytest.mark.parametrize("payload", [b"", b"\x01\x89{}"])
def test_pings_are_answered(kind: type[Ears], payload: bytes) -> None:
    """A ping between lines is answered with what it holds, and no line is taken for one, whatever its length."""
    _, connection = listening(kind)
    long = b"x" * 0x89
    lines = b"\x81\x7e\x00\x89{" + long[1:] + said(time.monotonic())
    connection.hook(connection, lines + bytes((0x89, len(payload))) + payload + lines)
    assert connection.sent == [frame(payload, PONG)]
