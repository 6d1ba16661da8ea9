"""Rooms: who is in them, what is said in them, and who hears of whom.

Knows the wire only as something that takes frames; nothing of HTTP, limits on rates or how messages come in.
"""

import asyncio
import itertools
import time

import msgspec

from .fanout import Group
from .messages import Gone, Person, Presence, Refusal, Said, Welcome, encode
from .wire import Wire

PRESENCE_PERIOD = 0.25
PRESENCE_MOST = 50
PEOPLE_SHOWN = 200
PEOPLE_MOST = 5000


class Member:
    """A socket in a room; ``person`` is who it joined as, None before that."""

    __slots__ = ("person", "room", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.room: Room
        self.person: Person | None = None


class Room:
    """All sockets of one name, and the changes that its people have not been told of yet."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: set[Member] = set()
        self.hearers = Group()
        self.listed = Group()
        self.people: dict[str, Person] = {}
        self._told: set[str] = set()
        self._changed: dict[str, Person] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0.0

    def enlist(self, person: Person) -> None:
        """List a person, or the new name of one who is listed."""
        if self.people.get(person.id) != person:
            self.people[person.id] = person
            self._note(person)

    def unlist(self, person: Person) -> None:
        """List a person no longer."""
        del self.people[person.id]
        self._note(person)

    def close(self) -> None:
        """Forget what has not been told: nobody is here to hear it."""
        if self._timer is not None:
            self._timer.cancel()

    def _note(self, person: Person) -> None:
        self._changed[person.id] = person
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self._next - loop.time()), self._tell)

    def _tell(self) -> None:
        """Tell the people here of all changes since the last time, in one message.

        Who came and went in between is told as gone: a welcome may have shown them to somebody.
        """
        self._timer = None
        self._next = asyncio.get_running_loop().time() + PRESENCE_PERIOD
        presence = Presence(len(self.people), [], [], [])
        for key, person in itertools.islice(self._changed.items(), PRESENCE_MOST):
            if key not in self.people:
                presence.left.append(Gone(key, person.name))
            elif key in self._told:
                presence.renamed.append(person)
            else:
                presence.joined.append(person)
        if len(self._changed) > PRESENCE_MOST:
            presence.more = len(self._changed) - PRESENCE_MOST
        self._told |= self._changed.keys()
        self._told &= self.people.keys()
        self._changed.clear()
        # At once, between what is said before and after it.
        self.hearers.flush()
        self.listed.send(encode(presence).decode())
        self.listed.flush()


class Hall:
    """All rooms that have somebody in them."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}

    def enter(self, member: Member, name: str) -> None:
        """Put a socket into a room, which is made when it is the first."""
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = Room(name)
        member.room = room
        room.members.add(member)
        room.hearers.add(member.wire)

    def exit(self, member: Member) -> None:
        """Take a socket out of its room, which goes when it was the last."""
        self.leave(member)
        member.room.members.discard(member)
        member.room.hearers.discard(member.wire)
        if not member.room.members:
            member.room.close()
            self.rooms.pop(member.room.name, None)

    def join(self, member: Member, name: str, color: str, room: str | None, ref: str | None) -> Welcome:
        """Name a socket, in its room or in another one, and welcome it.

        Raises:
            Refusal: room-full.
        """
        there = member.room if room is None else self.rooms.get(room)
        if there and member.wire.name not in there.people and len(there.people) >= PEOPLE_MOST:
            raise Refusal("room-full", f"{PEOPLE_MOST} people are in this room; try another one.", ref)
        if room is not None and there is not member.room:
            self.exit(member)
            self.enter(member, room)
        if member.person is None:
            member.room.listed.add(member.wire)
        member.person = Person(member.wire.name, name, color)
        member.room.enlist(member.person)
        people = member.room.people
        shown = list(itertools.islice(people.values(), PEOPLE_SHOWN))
        return Welcome(member.person.id, member.room.name, name, color, len(people), shown)

    def leave(self, member: Member) -> None:
        """List a socket's person no longer; it still hears what is said."""
        if member.person is not None:
            member.room.unlist(member.person)
            member.room.listed.discard(member.wire)
            member.person = None

    def say(self, member: Member, said: Said, ref: str | None = None) -> None:
        """Send a line to all in the room; one who joined signs it, and finds the ref in its own copy."""
        instead = None
        if member.person is not None:
            said.from_ = member.person.id
            said.time = int(time.time() * 1000)
            if ref is not None:
                instead = {member.wire: encode(msgspec.structs.replace(said, ref=ref)).decode()}
        member.room.hearers.send(encode(said).decode(), instead)
