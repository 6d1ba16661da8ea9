"""Fan-out: one message to all sockets of a group, framed once, and written together with what else is pending.

In front of every socket stands a proxy that spends a wake-up and four system calls on each write of ours, however small: so
what comes within a window goes out in one. Sockets are written to in slices, which under load are spread over the window: the
proxy is kept evenly busy, and nothing else here waits for long. Knows wires and bytes; nothing of what is said, or of who may hear it.
"""

import asyncio
from collections.abc import Mapping
from time import thread_time

from . import metrics
from .frames import frame_of
from .wire import PENDING_MOST, Wire

# Seconds over which a round goes at the most. With 1,000 sockets a round costs Apache 40 ms of a core, whatever it carries: from 20
# messages a second on, two cores were 75 % busy at 0.05 and 53 % at 0.07; and 99 % shall be there within 0.1.
WINDOW_MOST = 0.075
# Seconds for each socket over which a round goes at the least: what backend, proxy and client did for one took 95 microseconds of a core.
WINDOW_EACH = 0.000_15
# One who comes in costs the machine 2.5 ms of a core, and whoever hears nothing yet is worse off than who hears it a little later: a
# round goes over so many times as long as there are eights of newcomers in it, and over so many seconds at the most.
NEWCOMERS = 8
WINDOW_RUSH = 0.25
# Times as long as writing to all took of the processor, none is written to: a fifth of our time at most goes into it. The clock would
# not do: where another program has the other core, readers that a write wakes run in the midst of a round, and it looks four times
# as dear.
REST = 4
ENOUGH = 32  # messages to be joined for a socket: to wait for more of them saves little
SLICE = 100  # sockets that are written to in one turn of the loop: about a millisecond
Message = str | bytes
LATENCY = metrics.histogram("fanout_seconds", "From a message to a room until it is written to all there.")
DELIVERIES = metrics.counter("deliveries", "Messages written to sockets of rooms, once for each socket.")


class _Entry:
    """A message that some have not been sent yet, and its frame for each kind of connection."""

    __slots__ = ("came", "data", "frames")

    def __init__(self, data: Message, came: float) -> None:
        self.data = data
        self.came = came
        self.frames: dict[int, bytes] = {}

    def frame(self, kind: int) -> bytes:
        found = self.frames.get(kind)
        if found is None:
            found = self.frames[kind] = frame_of(self.data, kind)
        return found


class Group:
    """The sockets that hear the same.

    A socket hears what is sent while it is in the group, in that order, and in the order of what is written to it alone.
    Where nothing was sent for a while, all are written to at once; else round by round, each round over a window.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._kinds: dict[Wire, int] = {}
        # Messages have numbers; the log keeps those that somebody may lack, from number _base on.
        self._log: list[_Entry] = []
        self._size = 0
        self._base = 0
        self._at: dict[Wire, int] = {}  # the number of the first message that a socket lacks
        self._joined: dict[tuple[int, int], bytes] = {}
        self._left: list[Wire] = []  # of this round
        self._goal = 0  # the message that this round reaches for all
        self._pace = 0.0  # seconds for a slice
        self._window = 0.0
        self._newcomers = 0  # since the last round ended
        self._spent = 0.0
        self._rested = 0.0
        self._next = 0  # what the next slice lacks first
        self._delivered = 0
        self._handle: asyncio.Handle | None = None
        self._waits = False

    def __len__(self) -> int:
        """Count the sockets."""
        return len(self._at)

    @property
    def _end(self) -> int:
        return self._base + len(self._log)

    def add(self, wire: Wire) -> None:
        """Let an open socket hear what is sent from now on."""
        self._kinds[wire] = wire.kind
        self._at[wire] = self._end
        self._newcomers += 1
        wire.groups = (*wire.groups, self)

    def discard(self, wire: Wire) -> None:
        """Let a socket hear no more than what has been sent; nothing happens where it was not in the group."""
        if wire in self._at:
            self.deliver(wire)
            del self._at[wire], self._kinds[wire]
            wire.groups = tuple(group for group in wire.groups if group is not self)

    def send(self, data: Message, instead: Mapping[Wire, Message] | None = None) -> None:
        """Send a message to all: text to be sent as text, bytes as binary.

        Args:
            data: what all hear.
            instead: sockets that hear something else in its place, at once.
        """
        alone = [(wire, own) for wire, own in (instead or {}).items() if wire in self._at]
        for wire, _ in alone:
            self.deliver(wire)
        self._log.append(_Entry(data, self._loop.time()))
        self._size += len(data)
        self._joined.clear()
        for wire, own in alone:
            self._at[wire] = self._end
            wire.put(frame_of(own, self._kinds[wire]))
        if self._size > PENDING_MOST:
            self.flush()
        elif self._handle is None:
            self._next = self._end - 1
            rest = self._rested + self._window - self._loop.time()
            if rest > 0:
                pace = self._pace_of(len(self._at))
                self._go_on(min(rest, pace), pace)
            else:
                self._newcomers = 0  # however many: they came while nothing was said
                self._go_on(0.0, 0.0)
        elif self._waits and self._end - self._next >= ENOUGH:
            self._handle.cancel()
            self._go_on(0.0, 0.0)

    def flush(self) -> None:
        """Write to everyone what is pending."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        for wire in list(self._at):
            self.deliver(wire)
        self._left.clear()
        self._forget(self._end)
        self._rested = self._loop.time()

    def deliver(self, wire: Wire) -> None:
        """Write to one socket what is pending for it, ahead of others."""
        start = self._at[wire]
        if start < self._end:
            kind = self._kinds[wire]
            data = self._joined.get((kind, start))
            if data is None:
                data = b"".join(entry.frame(kind) for entry in self._log[start - self._base :])
                self._joined[kind, start] = data
            self._at[wire] = self._end
            self._delivered += self._end - start
            wire.put(data)

    def _pace_of(self, wires: int) -> float:
        return self._window / max(1, -(-wires // SLICE))

    def _go_on(self, wait: float, pace: float) -> None:
        self._pace = pace
        self._waits = wait > 0
        self._handle = (
            self._loop.call_later(wait, self._slice) if wait > 0 else self._loop.call_soon(self._slice)
        )

    def _slice(self) -> None:
        began, spent = self._loop.time(), thread_time()
        self._waits = False
        if not self._left:
            self._left = list(self._at)
            self._goal = self._end
            self._spent = 0.0
        for wire in self._left[-SLICE:]:
            if wire in self._at:
                self.deliver(wire)
        del self._left[-SLICE:]
        # uvloop writes at the end of the turn: what that took is seen in the next one.
        self._handle = self._loop.call_soon(self._after_slice, began, spent)

    def _after_slice(self, began: float, spent: float) -> None:
        now = self._loop.time()
        self._spent += thread_time() - spent
        pace = self._pace
        if not self._left:
            self._forget(self._goal)
            share = WINDOW_EACH * len(self._at)
            self._window = max(
                min(WINDOW_MOST, max((1 + REST) * self._spent, share)),
                min(WINDOW_RUSH, share * self._newcomers / NEWCOMERS),
            )
            self._newcomers = 0
            self._rested = now
            if not self._log:
                self._handle = None
                return
            pace = self._pace_of(len(self._at))
        following = self._left[-1] if self._left else next(iter(self._at), None)
        self._next = self._end if following is None else self._at.get(following, self._end)
        self._go_on(0.0 if self._end - self._next >= ENOUGH else pace - (now - began), pace)

    def _forget(self, number: int) -> None:
        """Let go of the messages before this one: all have them."""
        now = self._loop.time()
        for entry in self._log[: number - self._base]:
            self._size -= len(entry.data)
            LATENCY.observe(now - entry.came)
        DELIVERIES.inc(self._delivered)
        self._delivered = 0
        del self._log[: number - self._base]
        self._base = number
        self._joined.clear()
