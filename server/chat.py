"""Rooms: who is in them, what is said in them, and who hears of whom.

Knows the wire only as something that takes frames; nothing of HTTP, limits on rates or how messages come in.
"""

import asyncio
import hashlib
import itertools
import time
from collections.abc import Mapping
from functools import lru_cache

import msgspec

from . import metrics
from .bus import Bus, Entry, Kept, Rest, Unavailable
from .fanout import Group
from .frames import frame_of
from .messages import (
    Ack,
    Gone,
    Missing,
    Person,
    PictureMessage,
    Presence,
    Refusal,
    Resume,
    Resumed,
    Said,
    Shown,
    UserMessage,
    Welcome,
    encode,
)
from .wire import Wire

RESUMES = metrics.counter(
    "resumes", "Clients that came back with a position, by result: hit, or the reason of a gap.", ("result",)
)
LIVE_GAPS = metrics.counter("live_gaps", "Rooms whose thread was lost while somebody was there.")
KEPT = metrics.counter(
    "messages_kept", "Messages that were kept and acknowledged; again: they had been.", ("again",)
)
NOT_KEPT = metrics.counter("messages_not_kept", "Messages that could not be kept, and were refused.")

PRESENCE_PERIOD = 0.25
PRESENCE_MOST = 50
PEOPLE_SHOWN = 200
PEOPLE_MOST = 5000
SHORT = 1024  # bytes of a line
SHORT_FRAMES = 4096
RETRY_AFTER = 1.0  # seconds until what could not be kept is worth another attempt

_person = msgspec.json.Decoder(Person)


class Member:
    """A socket in a room; ``person`` is who it joined as, None before that.

    ``client`` is who sends over any number of connections, one after the other; ``resumed``: it wants to know where it is;
    ``first`` is the id of a line that could not be kept, and has to come before any other.
    """

    __slots__ = ("client", "first", "person", "resumed", "room", "wire")

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.room: Room
        self.person: Person | None = None
        self.client = wire.name
        self.resumed = False
        self.first: str | None = None

    def key(self, name: str) -> str:
        """Make a key of a line's id that no other client can make."""
        return hashlib.sha256(f"{self.client}\n{name}".encode()).hexdigest()[:32]


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

    def heard(self, entry: Entry) -> None:
        """Pass the next line on to all who are here."""
        self.hearers.send(_line(entry))

    def broke(self, rest: Rest) -> None:
        """Tell those who keep count that lines are missing."""
        LIVE_GAPS.inc()
        frame = frame_of(encode(_missing(self.name, rest)).decode())
        for member in self.members:
            if member.resumed:
                member.wire.write(frame)

    def others(self, people: Mapping[str, bytes | None]) -> None:
        """List those who are here by way of another process, or list them no longer."""
        for key, data in people.items():
            if data is not None:
                self.enlist(_person.decode(data))
            elif key in self.people:
                self.unlist(self.people[key])

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

    def __init__(self, bus: Bus) -> None:
        self.bus = bus
        self.rooms: dict[str, Room] = {}

    def enter(self, member: Member, name: str) -> None:
        """Put a socket into a room, which is made when it is the first."""
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = Room(name)
            self.bus.follow(name, room)
        member.room = room
        member.first = None
        room.members.add(member)
        room.hearers.add(member.wire)

    def exit(self, member: Member) -> None:
        """Take a socket out of its room, which goes when it was the last."""
        self.leave(member)
        room = member.room
        room.members.discard(member)
        room.hearers.discard(member.wire)
        if not room.members:
            room.close()
            del self.rooms[room.name]
            self.bus.unfollow(room.name)

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
        person = Person(member.wire.name, name, color)
        if member.person != person:
            member.person = person
            self.bus.enlist(member.room.name, [(person.id, encode(person))])
        member.room.enlist(person)
        people = member.room.people
        shown = list(itertools.islice(people.values(), PEOPLE_SHOWN))
        return Welcome(person.id, member.room.name, name, color, len(people), shown)

    def leave(self, member: Member) -> None:
        """List a socket's person no longer; it still hears what is said."""
        if member.person is not None:
            member.room.unlist(member.person)
            member.room.listed.discard(member.wire)
            self.bus.unlist(member.room.name, member.person.id)
            member.person = None

    async def say(
        self, member: Member, said: Said | Shown, request: UserMessage | PictureMessage
    ) -> Ack | None:
        """Keep a line or a picture and send it to all in the room; one who joined signs it. A line with an id or a ref is acknowledged.

        Raises:
            Refusal: try-again.
        """
        if request.id is not None:
            said.id = request.id
        kept = await self.publish(member, said, request.id, request.ref)
        if request.id is None and request.ref is None:
            return None
        ack = Ack(kept.epoch, kept.offset)
        if request.id is not None:
            ack.id = request.id
        if request.ref is not None:
            ack.ref = request.ref
        if kept.again:
            ack.again = True
        return ack

    async def publish(self, member: Member, said: Said | Shown, name: str | None, ref: str | None) -> Kept:
        """Keep a message that may have an id, and send it to all in the room.

        Raises:
            Refusal: try-again; and for all other ids until that one has come again, so that the order stays.
        """
        if member.first not in (None, name) and name is not None:
            raise Refusal("try-again", "Send the line again that was refused first.", ref, RETRY_AFTER)
        if member.person is not None:
            said.from_ = member.person.id
            said.time = int(time.time() * 1000)
        try:
            kept = await self.bus.publish(
                member.room.name, encode(said), None if name is None else member.key(name)
            )
        except Unavailable as fault:
            NOT_KEPT.inc()
            member.first = member.first or name
            raise Refusal("try-again", str(fault), ref, RETRY_AFTER) from None
        member.first = None
        KEPT.labels("yes" if kept.again else "no").inc()
        return kept

    async def resume(self, member: Member, request: Resume) -> None:
        """Send a socket what came after its position, or say what is missing of it, ahead of all that comes from now on.

        Raises:
            Refusal: try-again.
        """
        if request.client is not None:
            member.client = request.client
        room, member.first = member.room, None
        try:
            history = await self.bus.history(room.name, request.epoch, request.offset or 0)
        except Unavailable as fault:
            raise Refusal("try-again", str(fault), request.ref, RETRY_AFTER) from None
        member.resumed = True
        if request.epoch is None or request.offset is None:
            rest = Rest(history.epoch, history.offset, [])
        else:
            rest = history.since(request.epoch, request.offset)
            RESUMES.labels(rest.gap or "hit").inc()
        answer: Resumed | Missing = (
            _missing(room.name, rest)
            if rest.gap
            else Resumed(room.name, rest.epoch, rest.offset, len(rest.entries))
        )
        if request.ref is not None:
            answer.ref = request.ref
        # Plain: compressing them anew for everyone who comes back would hold up the others.
        member.wire.write(b"".join([frame_of(encode(answer).decode()), *map(_frame, rest.entries)]))


def _frame(entry: Entry) -> bytes:
    """Frame a line that came before; a short one is kept for the others who come back with it, at a twentieth of the cost."""
    return _short_frame(entry) if len(entry.data) <= SHORT else frame_of(_line(entry))


@lru_cache(SHORT_FRAMES)
def _short_frame(entry: Entry) -> bytes:
    return frame_of(_line(entry))


def _line(entry: Entry) -> str:
    """Write an entry's offset behind its other fields."""
    return f'{entry.data[:-1].decode()},"offset":{entry.offset}}}'


def _missing(room: str, rest: Rest) -> Missing:
    missing = Missing(room, rest.epoch, rest.offset, len(rest.entries), rest.gap or "trimmed")
    if rest.lost is not None:
        missing.lost = rest.lost
    return missing
