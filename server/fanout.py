"""Fan-out: one message to all sockets of a group, framed once, and written together with what else is pending.

In front of every socket stands a proxy that spends a wake-up and four system calls on each write of ours, however small: so
what comes within a window goes out in one. Knows wires and bytes; nothing of what is said, or of who may hear it.
"""

import asyncio
from collections.abc import Mapping

from .frames import frame_of
from .wire import PENDING_MOST, Wire

WINDOW_MOST = 0.05  # seconds that a message waits at the most
# After a flush a group rests, so many times as long as that took: a fifth of the time at most goes into flushes.
REST = 4
Message = str | bytes


class _Pending:
    """A message that is not sent yet, and its frame for each kind of connection."""

    __slots__ = ("data", "frames")

    def __init__(self, data: Message) -> None:
        self.data = data
        self.frames: dict[int, bytes] = {}

    def frame(self, kind: int) -> bytes:
        found = self.frames.get(kind)
        if found is None:
            found = self.frames[kind] = frame_of(self.data, kind)
        return found


class Group:
    """The sockets that hear the same.

    A socket hears what is sent while it is in the group, in that order, and in the order of what is written to it alone.
    """

    __slots__ = ("_ahead", "_free", "_handle", "_loop", "_pending", "_resting", "_size", "_wires")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._wires: dict[Wire, int] = {}
        self._pending: list[_Pending] = []
        self._size = 0
        self._ahead: dict[Wire, int] = {}
        self._handle: asyncio.Handle | None = None
        self._free = 0.0
        self._resting = False

    def __len__(self) -> int:
        """Count the sockets."""
        return len(self._wires)

    def add(self, wire: Wire) -> None:
        """Let an open socket hear what is sent from now on."""
        self._wires[wire] = wire.kind
        if self._pending:
            self._ahead[wire] = len(self._pending)
        wire.groups = (*wire.groups, self)

    def discard(self, wire: Wire) -> None:
        """Let a socket hear no more than what has been sent; nothing happens where it was not in the group."""
        if wire in self._wires:
            self.deliver(wire)
            del self._wires[wire]
            self._ahead.pop(wire, None)
            wire.groups = tuple(group for group in wire.groups if group is not self)

    def send(self, data: Message, instead: Mapping[Wire, Message] | None = None) -> None:
        """Send a message to all: text to be sent as text, bytes as binary.

        Args:
            data: what all hear.
            instead: sockets that hear something else in its place, at once.
        """
        self._pending.append(_Pending(data))
        self._size += len(data)
        for wire, own in (instead or {}).items():
            if wire in self._wires:
                self._deliver_before(wire, len(self._pending) - 1)
                self._ahead[wire] = len(self._pending)
                wire.put(frame_of(own, wire.kind))
        if self._size > PENDING_MOST:
            self.flush()
        elif self._handle is None and not self._resting:
            self._schedule()

    def flush(self) -> None:
        """Write to everyone what is pending."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if not self._pending:
            return
        began = self._loop.time()
        pending, self._pending = self._pending, []
        ahead, self._ahead = self._ahead, {}
        self._size = 0
        joined: dict[tuple[int, int], bytes] = {}
        for wire, kind in list(self._wires.items()):
            start = ahead.get(wire, 0) if ahead else 0
            data = joined.get((kind, start))
            if data is None:
                data = joined[kind, start] = b"".join(each.frame(kind) for each in pending[start:])
            if data:
                wire.put(data)
        # uvloop writes at the end of the turn: what that took is seen in the next one.
        if not self._resting:
            self._resting = True
            self._loop.call_soon(self._rest, began)

    def deliver(self, wire: Wire) -> None:
        """Write to one socket what is pending for it, ahead of all others."""
        if self._pending:
            self._deliver_before(wire, len(self._pending))

    def _deliver_before(self, wire: Wire, end: int) -> None:
        start = self._ahead.get(wire, 0)
        if start < end:
            self._ahead[wire] = end
            kind = self._wires[wire]
            wire.put(b"".join(each.frame(kind) for each in self._pending[start:end]))

    def _schedule(self) -> None:
        wait = self._free - self._loop.time()
        if wait > 0:
            self._handle = self._loop.call_later(wait, self.flush)
        else:
            self._handle = self._loop.call_soon(self.flush)

    def _rest(self, began: float) -> None:
        now = self._loop.time()
        self._free = now + min(WINDOW_MOST, REST * (now - began))
        self._resting = False
        if self._pending and self._handle is None:
            self._schedule()
