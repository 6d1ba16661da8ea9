"""Somebody who follows a room on a bus and notes all that it hears.

Holds no test and no fixture.
"""

from collections.abc import Mapping

from server.bus import Bus, Entry, Rest


class Ear:
    """A follower that takes notes."""

    def __init__(self, bus: Bus, room: str = "lobby") -> None:
        self.bus = bus
        self.room = room
        self.entries: list[Entry] = []
        self.gaps: list[Rest] = []
        self.people: dict[str, bytes | None] = {}
        bus.follow(room, self)

    def heard(self, entry: Entry) -> None:
        """Note a message."""
        self.entries.append(entry)

    def broke(self, rest: Rest) -> None:
        """Note a gap."""
        self.gaps.append(rest)

    def others(self, people: Mapping[str, bytes | None]) -> None:
        """Note who is here."""
        self.people |= people

    @property
    def texts(self) -> list[bytes]:
        """What was said."""
        return [entry.data for entry in self.entries]

    async def say(self, text: str, key: str | None = None) -> tuple[int, bool]:
        """Publish a message; return its offset, and whether it was there before."""
        kept = await self.bus.publish(self.room, text.encode(), key)
        return kept.offset, kept.again
