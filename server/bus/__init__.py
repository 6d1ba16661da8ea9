"""Buses: where a room's messages are numbered, kept for a while, and passed to all who follow the room.

Knows rooms by name and messages as bytes; nothing of sockets, or of what is said.
"""

import itertools
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

VERSION = 1  # of what processes say to each other on a bus; those of another number share no room with us

Reason = Literal["epoch", "future", "trimmed"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of a room is kept: messages, bytes and seconds.

    ``total``: bytes of all rooms in one process. ``ids``: seconds in which the same message twice is known as one.
    """

    messages: int = 5000
    size: int = 1 << 19
    seconds: float = 3600.0
    total: int = 1 << 26
    ids: float = 600.0


class Unavailable(Exception):  # noqa: N818  # an answer, not a fault of ours
    """The bus cannot keep or tell anything now; a message may have been kept all the same, so send it again with the same id."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A message of a room: its epoch, its offset there, when it was kept (seconds since 1970), and what it is."""

    epoch: str
    offset: int
    time: float
    data: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """Where a message is kept; ``again``: it was there already."""

    epoch: str
    offset: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Rest:
    """What came after a position: the entries after ``offset``.

    ``gap`` says why others are missing, ``lost`` how many, where that is known.
    """

    epoch: str
    offset: int
    entries: list[Entry]
    gap: Reason | None = None
    lost: int | None = None


class Follower(Protocol):
    """Who hears of a room."""

    def heard(self, entry: Entry) -> None:
        """Hear the next message; they come in the order of their offsets, each once."""

    def broke(self, rest: Rest) -> None:
        """Hear that messages are missing, and at which position it goes on."""

    def others(self, people: Mapping[str, bytes | None]) -> None:
        """Hear which people of other processes are here under which id; None: no longer."""


class Budget:
    """What all histories of a process may take in bytes; beyond it the largest gives up half of its own."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.used = 0
        self.histories: set[History] = set()

    def spend(self, size: int) -> None:
        """Count bytes more, or fewer."""
        self.used += size
        while self.used > self.most:
            largest = max(self.histories, key=lambda history: history.size)
            if not largest.entries:
                return
            largest.shrink(largest.size // 2)


class History:
    """The last messages of a room, and where it stands."""

    def __init__(self, epoch: str, offset: int, bounds: Bounds, budget: Budget) -> None:
        self.epoch = epoch
        self.offset = offset
        self.size = 0
        self.entries: deque[Entry] = deque()
        self._bounds = bounds
        self._budget = budget
        budget.histories.add(self)

    def append(self, entry: Entry) -> None:
        """Keep the next message, and let go of what is beyond the bounds."""
        self.entries.append(entry)
        self.offset = entry.offset
        self.size += len(entry.data)
        self._budget.spend(len(entry.data))
        self._expire(entry.time)

    def reset(self, epoch: str, offset: int) -> None:
        """Go on elsewhere: nothing before that is kept."""
        self.shrink(0)
        self.epoch, self.offset = epoch, offset

    def shrink(self, size: int) -> None:
        """Let go of the oldest messages until so many bytes are left."""
        while self.entries and self.size > size:
            self._shift()

    def forget(self) -> None:
        """Give back what it takes: the room is followed no longer."""
        self.shrink(0)
        self._budget.histories.discard(self)

    def since(self, epoch: str, offset: int, now: float | None = None) -> Rest:
        """Find what came after a position, or say why that cannot be told."""
        self._expire(time.time() if now is None else now)
        start = self.entries[0].offset - 1 if self.entries else self.offset
        if epoch != self.epoch:
            return Rest(self.epoch, start, list(self.entries), "epoch")
        if offset > self.offset:
            return Rest(self.epoch, self.offset, [], "future")
        if offset < start:
            return Rest(self.epoch, start, list(self.entries), "trimmed", start - offset)
        rest = list(itertools.islice(reversed(self.entries), self.offset - offset))
        return Rest(self.epoch, offset, rest[::-1])

    def _expire(self, now: float) -> None:
        bounds = self._bounds
        while self.entries and (
            len(self.entries) > bounds.messages
            or self.size > bounds.size
            or self.entries[0].time < now - bounds.seconds
        ):
            self._shift()

    def _shift(self) -> None:
        size = len(self.entries.popleft().data)
        self.size -= size
        self._budget.spend(-size)


class Bus(Protocol):
    """What rooms are held together by; one for each process."""

    async def start(self) -> None:
        """Begin; one that cannot be reached begins all the same, and goes on trying."""

    async def stop(self) -> None:
        """End; what was kept stays kept."""

    def follow(self, room: str, follower: Follower) -> None:
        """Let somebody hear what is said in a room from about now on."""

    def unfollow(self, room: str) -> None:
        """Let the room's follower hear no more."""

    async def history(self, room: str, epoch: str | None = None, offset: int = 0) -> History:
        """Return a followed room's history; where a position is given, one that is as new as that, if there is any.

        Raises:
            Unavailable: it cannot be told now.
        """

    async def publish(self, room: str, data: bytes, key: str | None = None) -> Kept:
        """Keep a message of a followed room, and say so once it is kept; the same key twice is the same message.

        Raises:
            Unavailable: it was not kept, or nobody knows.
        """

    def enlist(self, room: str, people: Iterable[tuple[str, bytes]]) -> None:
        """Tell other processes of people here, each under an id."""

    def unlist(self, room: str, key: str) -> None:
        """Tell other processes that somebody is here no longer."""

    def state(self) -> dict[str, str | int]:
        """Say how it is, for those who look after it."""
