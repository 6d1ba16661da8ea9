"""One process's copy of a room that is kept elsewhere: what it has heard, and who is there by way of other processes.

Knows nothing of how it hears.
"""

from collections.abc import Collection, Mapping, Sequence

from . import Bounds, Budget, Entry, Follower, History, Reason, Rest


class Replica:
    """A room as this process has it; ``own`` are the people here, ``ready``: it was read once."""

    def __init__(self, room: str, follower: Follower, bounds: Bounds, budget: Budget) -> None:
        self.room = room
        self.follower = follower
        self.history = History("0", 0, bounds, budget)
        self.own: dict[str, bytes] = {}
        self.ready = False
        self._others: dict[str, dict[str, bytes]] = {}

    def enter(self, epoch: str, offset: int, entries: Sequence[Entry]) -> None:
        """Take over where the room is, and what came after all that was heard; the first time that is history, and nobody is told."""
        history = self.history
        start = entries[0].offset - 1 if entries else offset
        if not self.ready:
            history.reset(epoch, start)
            for entry in entries:
                history.append(entry)
            self.ready = True
            return
        if int(epoch) > int(history.epoch):
            self._break(epoch, start, "epoch")
        for entry in entries:
            self.take(entry)
        if epoch == history.epoch and history.offset < offset:
            self._break(epoch, offset, "trimmed", offset - history.offset)

    def take(self, entry: Entry) -> None:
        """Hear a message, which may have been heard before, or be beyond others that were not."""
        history = self.history
        if entry.epoch == history.epoch:
            if entry.offset <= history.offset:
                return
            if entry.offset > history.offset + 1:
                self._break(entry.epoch, entry.offset - 1, "trimmed", entry.offset - 1 - history.offset)
        elif int(entry.epoch) < int(history.epoch):
            return
        else:
            self._break(entry.epoch, entry.offset - 1, "epoch")
        history.append(entry)
        self.follower.heard(entry)

    def hear_of(self, process: str, people: Mapping[str, bytes | None]) -> None:
        """Hear who came and went at another process."""
        there = self._others.setdefault(process, {})
        for key, data in people.items():
            if data is None:
                there.pop(key, None)
            else:
                there[key] = data
        self.follower.others(people)

    def keep(self, processes: Collection[str]) -> None:
        """Forget the people of processes that are gone."""
        for process in self._others.keys() - processes:
            self.follower.others(dict.fromkeys(self._others.pop(process)))

    def replace(self, people: Mapping[str, Mapping[str, bytes]]) -> None:
        """Take over all the people of other processes, read at once."""
        for process in self._others.keys() | people.keys():
            now = people.get(process, {})
            gone = self._others.get(process, {}).keys() - now.keys()
            self.hear_of(process, {**dict.fromkeys(gone), **now})

    def _break(self, epoch: str, offset: int, reason: Reason, lost: int | None = None) -> None:
        self.history.reset(epoch, offset)
        self.follower.broke(Rest(epoch, offset, [], reason, lost))
