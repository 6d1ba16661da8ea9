"""The bus of one process: all that is kept is in its memory, and handed to the next process in a file where it is stopped.

Knows nothing of other processes.
"""

import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import msgspec

from . import VERSION, Bounds, Budget, Entry, Follower, History, Kept

log = logging.getLogger("server")

ROOMS_MOST = 10_000  # that nobody is in


class _Room:
    def __init__(self, history: History) -> None:
        self.history = history
        self.ids: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.follower: Follower | None = None


class _SavedRoom(msgspec.Struct, array_like=True):
    name: str
    epoch: str
    offset: int
    entries: list[tuple[float, str]]
    ids: list[tuple[str, int, float]]


class _Saved(msgspec.Struct):
    version: int
    rooms: list[_SavedRoom]


class MemoryBus:
    """Rooms in memory.

    Args:
        bounds: how much is kept.
        file: where a stopped process leaves what it kept to the next one; it is gone once read, so that nobody comes after it twice.
    """

    def __init__(self, bounds: Bounds | None = None, file: Path | None = None) -> None:
        self.bounds = bounds or Bounds()
        self.file = file
        self._budget = Budget(self.bounds.total)
        self._rooms: dict[str, _Room] = {}
        self._idle: OrderedDict[str, None] = OrderedDict()

    async def start(self) -> None:
        """Take over what the process before left."""
        if self.file is None:
            return
        try:
            text = self.file.read_bytes()
            self.file.unlink()
            saved = msgspec.json.decode(text, type=_Saved)
        except FileNotFoundError:
            return
        except (OSError, msgspec.DecodeError) as fault:
            log.warning("%s: %s; rooms begin anew, and clients are told", self.file, fault)
            return
        if saved.version != VERSION:
            log.warning(
                "%s: version %d, not %d; rooms begin anew, and clients are told",
                self.file, saved.version, VERSION,
            )  # fmt: skip
            return
        for each in saved.rooms:
            self._restore(each)
        log.info("took over %d rooms from %s", len(saved.rooms), self.file)

    async def stop(self) -> None:
        """Leave what is kept to the next process."""
        if self.file is None:
            return
        saved = _Saved(VERSION, [_save(name, room) for name, room in self._rooms.items()])
        beside = self.file.with_name(f"{self.file.name}.new")
        try:
            beside.unlink(missing_ok=True)
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
                out.write(msgspec.json.encode(saved))
            beside.replace(self.file)
        except OSError as fault:
            log.warning("%s: %s; the next process begins anew, and clients are told", self.file, fault)

    def follow(self, room: str, follower: Follower) -> None:
        """Let somebody hear what is said in a room from now on."""
        self._room(room).follower = follower
        self._idle.pop(room, None)

    def unfollow(self, room: str) -> None:
        """Let the room's follower hear no more; what is kept stays, as long as there is space."""
        self._rooms[room].follower = None
        self._idle[room] = None
        while len(self._idle) > ROOMS_MOST:
            name, _ = self._idle.popitem(last=False)
            self._rooms.pop(name).history.forget()

    async def history(self, room: str, epoch: str | None = None, offset: int = 0) -> History:  # noqa: ARG002  # it is always as new as can be
        """Return a room's history."""
        return self._room(room).history

    async def publish(self, room: str, data: bytes, key: str | None = None) -> Kept:
        """Keep a message; the same key twice is the same message."""
        there, now = self._room(room), time.time()
        history = there.history
        while there.ids and next(iter(there.ids.values()))[1] < now - self.bounds.ids:
            there.ids.popitem(last=False)
        if key is not None:
            if found := there.ids.get(key):
                return Kept(history.epoch, found[0], again=True)
            there.ids[key] = (history.offset + 1, now)
        entry = Entry(history.epoch, history.offset + 1, now, data)
        history.append(entry)
        if there.follower is not None:
            there.follower.heard(entry)
        return Kept(entry.epoch, entry.offset)

    def enlist(self, room: str, people: Iterable[tuple[str, bytes]]) -> None:
        """Tell nobody: there is no other process."""

    def unlist(self, room: str, key: str) -> None:
        """Tell nobody: there is no other process."""

    def state(self) -> dict[str, str | int]:
        """Say how it is."""
        return {"kind": "memory", "state": "up", "bytes": self._budget.used}

    def _room(self, name: str) -> _Room:
        found = self._rooms.get(name)
        if found is None:
            history = History(secrets.token_hex(6), 0, self.bounds, self._budget)
            found = self._rooms[name] = _Room(history)
        return found

    def _restore(self, saved: _SavedRoom) -> None:
        history = History(saved.epoch, saved.offset - len(saved.entries), self.bounds, self._budget)
        room = self._rooms[saved.name] = _Room(history)
        for kept, data in saved.entries:
            history.append(Entry(saved.epoch, history.offset + 1, kept, data.encode()))
        room.ids.update((key, (offset, kept)) for key, offset, kept in saved.ids)
        self._idle[saved.name] = None


def _save(name: str, room: _Room) -> _SavedRoom:
    history = room.history
    entries = [(entry.time, entry.data.decode()) for entry in history.entries]
    ids = [(key, *found) for key, found in room.ids.items()]
    return _SavedRoom(name, history.epoch, history.offset, entries, ids)
