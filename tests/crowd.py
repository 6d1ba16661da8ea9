"""Many clients of the chat in one process, each with a ledger: what it said, what it heard, and how long nobody served it.

Does what PROTOCOL.md says under "Nothing lost, nothing twice, in order", as tests/ledger.py does for one client; comes back as the page
does. Its functions are orders for the processes of bench.load; holds no test.
"""

import heapq
import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench.load.client import CLOSE, PING, PONG, Client, Connection, frame

HANDSHAKE = 20.0  # seconds until one that is not answered is given up, as the page does
SILENCE = 0.5  # seconds that are noted, where a socket stays open
CHUNKS = 500
CHUNK_MOST = 1 << 14
_MEDIUM, _LONG = 126, 127

Event = tuple[str, Any]


def pause(code: int, attempt: int) -> float:
    """Return after how many seconds the page comes back."""
    if not attempt and code in {1001, 1012}:
        return 0.3 + 1.2 * random.random()  # noqa: S311 (no secret)
    return random.random() * min(30.0, 2.0**attempt)  # noqa: S311 (no secret)


@dataclass(eq=False)
class Person:
    """One client over any number of connections, one after the other.

    Attributes:
        resumes: how many times it has asked; an answer to any but the last is none.
    left: of what was missed; -1: no answer to the resume yet, and nothing counts.
        heard: when it was last sent a line or an acknowledgement.
        unserved: since when it has been without a connection; None: it has one that works.
    waited: seconds of that by its own choice.
    story: what has happened to it since.
    """

    name: str
    client: str
    at: Connection | None = None
    position: dict[str, Any] = field(default_factory=dict)
    start: int = 0
    counted: int = 0
    resumes: int = 0
    left: int = -1
    is_current: bool = False
    rest: bytes = b""
    said: int = 0
    unacknowledged: dict[str, None] = field(default_factory=dict)
    attempt: int = 0
    opened: float = 0.0
    heard: float = 0.0
    unserved: float | None = None
    waited: float = 0.0
    story: list[tuple[float, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        """Note what happens while nobody serves it."""
        if self.unserved is not None:
            self.story.append((time.monotonic() - self.unserved, what))


class Crowd:
    """All who are in one process."""

    def __init__(self, client: Client, number: int, count: int) -> None:
        self.client = client
        self.people = [Person(f"p{number}x{each}", f"{number:08}{each:08}") for each in range(count)]
        self.log: dict[int, str] = {}
        self.conflicts = self.twice = self.missing = self.gaps = 0
        self.unserved: list[tuple[float, float, float, str]] = []
        self.silences: list[float] = []
        self.errors: list[str] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._chunks: dict[bytes, tuple[list[Event], bytes]] = {}
        for person in self.people:
            self.later(0.0, lambda person=person: self._connect(person))  # type: ignore[misc]  # bound above

    def run(self, done: Callable[[], bool]) -> None:
        """Go on until something holds; connections that came or went between two orders are seen to first."""
        self.client.on_open, self.client.on_end = self._opened, self._ended
        for person in self.people:
            at = person.at
            if at is not None and self.client.all.get(at.number) is not at:
                self._ended(at, "between two orders")
            elif at is not None and at.tag is None and at in self.client.open:
                self._opened(at)
        while not done():
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                heapq.heappop(self._due)[2]()
            self.client.turn(min(0.05, self._due[0][0] - now) if self._due else 0.05)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something after a while."""
        heapq.heappush(self._due, (time.monotonic() + seconds, next(self._count), action))

    def say(self, person: Person) -> None:
        """Say the next line; it is sent again until it is acknowledged."""
        person.said += 1
        name = f"{person.name}-{person.said}"
        person.unacknowledged[name] = None
        if person.is_current:
            self._send(person, name)

    # ------------------------------------------------------------ connections

    def _connect(self, person: Person) -> None:
        person.note("connects")
        person.at = self.client.connect()
        if person.at is None:
            self._lost(person, "")
            return
        _OWNERS[person.at] = person
        self.later(HANDSHAKE, lambda at=person.at: self._give_up(at))  # type: ignore[misc]  # bound above

    def _give_up(self, at: Connection) -> None:
        if at.tag is None and self.client.all.get(at.number) is at:
            at.end("no answer to a handshake")

    def _opened(self, at: Connection) -> None:
        person = _OWNERS[at]
        at.tag = person
        person.opened = time.monotonic()
        person.note("open")
        person.rest, person.left, person.is_current = b"", -1, False
        at.listen(lambda _, data: self._hear(person, data))
        self._resume(person)

    def _ended(self, at: Connection, reason: str) -> None:
        person = _OWNERS.pop(at, None)
        if person is not None and person.at is at:
            self._lost(person, reason)

    def _lost(self, person: Person, reason: str) -> None:
        if person.at is not None and person.at.tag is not None:
            person.unserved = person.unserved or person.heard or None
        person.note(reason)
        person.at, person.is_current = None, False
        code = int(reason.removeprefix("closed with ")) if reason.startswith("closed with ") else 1006
        waits = pause(code, person.attempt)
        person.waited += waits
        self.later(waits, lambda: self._connect(person))
        person.attempt += 1

    # ------------------------------------------------------------ what is heard

    def _hear(self, person: Person, data: bytes) -> None:
        data = person.rest + data
        found = self._chunks.get(data)
        if found is None:
            found = self._read(data)
            if len(data) < CHUNK_MOST:
                if len(self._chunks) > CHUNKS:
                    self._chunks.clear()
                self._chunks[data] = found
        events, person.rest = found
        at = person.at
        for kind, what in events:
            if person.at is not at or at is None:
                return
            if kind == "lines":
                self._take(person, what)
            elif kind == "ping":
                at.send(frame(what, PONG))
            elif kind == "close":
                at.send(frame(what, CLOSE))
                at.end(f"closed with {int.from_bytes(what[:2]) if what else 1005}")
            else:
                self._obey(person, what)

    def _read(self, data: bytes) -> tuple[list[Event], bytes]:
        """Read frames: lines one behind the other together, since almost all are the same for all."""
        events: list[Event] = []
        at = 0
        while len(data) - at >= 2:
            size, body = data[at + 1], at + 2
            if size == _MEDIUM:
                size, body = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == _LONG:
                size, body = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if body + size > len(data) or body > len(data):
                break
            opcode, payload = data[at] & 0x0F, data[body : body + size]
            at = body + size
            if opcode in {PING, CLOSE}:
                events.append(("ping" if opcode == PING else "close", payload))
                continue
            message = json.loads(payload)
            if message["type"] != "usermsg":
                events.append((message["type"], message))
                continue
            offset, name = message["offset"], message["id"]
            self.conflicts += self.log.setdefault(offset, name) != name
            if events and events[-1][0] == "lines" and events[-1][1][1] + 1 == offset:
                events[-1] = ("lines", (events[-1][1][0], offset))
            else:
                events.append(("lines", (offset, offset)))
        return events, data[at:]

    def _take(self, person: Person, lines: tuple[int, int]) -> None:
        """Enter lines into the ledger: from the first to the last offset."""
        first, last = lines
        if person.left < 0:
            return
        here = person.position["offset"]
        self.twice += max(0, min(last, here) - first + 1)
        self.missing += max(0, first - here - 1)
        person.counted += last - first + 1
        person.position["offset"] = max(here, last)
        self._served(person)
        if person.left:
            person.left = max(0, person.left - (last - first + 1))
            if not person.left:
                self._catch_up(person)

    def _served(self, person: Person) -> None:
        now = time.monotonic()
        if person.unserved is not None:
            story = ", ".join(f"{at:.2f} {what}" for at, what in person.story)
            self.unserved.append((person.unserved, now - person.unserved, person.waited, story))
            person.unserved, person.waited = None, 0.0
            person.attempt = 0
            person.story.clear()
        elif person.heard and now - person.heard > SILENCE:
            self.silences.append(now - person.heard)
        person.heard = now

    def _obey(self, person: Person, message: dict[str, Any]) -> None:
        match message["type"]:
            case "resumed" | "gap" if message.get("ref", str(person.resumes)) == str(person.resumes):
                self.gaps += message["type"] == "gap"
                person.note(f"resumed, {message['count']} left")
                if not person.position:
                    person.start = message["offset"]
                person.position = {"epoch": message["epoch"], "offset": message["offset"]}
                person.left = message["count"]
                if not person.left:
                    self._catch_up(person)
            case "ack":
                person.unacknowledged.pop(message["id"], None)
                self._served(person)
            case "error":
                is_answer = "id" not in message and message.get("ref", str(person.resumes)) == str(
                    person.resumes
                )
                if not (is_answer or person.is_current):
                    return  # of the lines sent together the first that is refused is enough
                self.errors.append(f"{message['code']}: {message['message']}")
                person.is_current = False
                at = person.at
                self.later(message.get("retry_after", 0.1), lambda: self._resume(person, at))

    def _resume(self, person: Person, at: Connection | None = None) -> None:
        if person.at is not None and at in {None, person.at}:
            person.resumes += 1
            person.left, person.is_current = -1, False
            asked = {"type": "resume", "client": person.client, "ref": str(person.resumes), **person.position}
            person.at.send(frame(json.dumps(asked).encode()))

    def _catch_up(self, person: Person) -> None:
        person.is_current = True
        for name in list(person.unacknowledged):
            self._send(person, name)

    def _send(self, person: Person, name: str) -> None:
        if person.at is not None:
            text = json.dumps({"type": "usermsg", "name": person.name, "message": name, "id": name})
            person.at.send(frame(text.encode()))


_OWNERS: dict[Connection, Person] = {}
_crowds: dict[Client, Crowd] = {}


def enter(client: Client, *, number: int, count: int) -> int:
    """Let so many people come, and wait until each knows where it is."""
    crowd = _crowds[client] = Crowd(client, number, count)
    crowd.run(lambda: all(person.is_current for person in crowd.people))
    client.trust()
    return count


def talk(client: Client, *, rate: float, seconds: float) -> float:
    """Let them speak in turn, so many lines a second; return by how many seconds the last was late."""
    crowd = _crowds[client]
    turns = itertools.cycle(crowd.people)
    began = time.monotonic()
    count = round(rate * seconds)
    late = 0.0

    def speak(number: int) -> None:
        nonlocal late, count
        late = max(late, time.monotonic() - began - number / rate)
        crowd.say(next(turns))
        count -= 1
        if count:
            crowd.later(began + (number + 1) / rate - time.monotonic(), lambda: speak(number + 1))

    crowd.later(0.0, lambda: speak(0))
    crowd.run(lambda: not count)
    return late


def settle(client: Client, *, seconds: float) -> dict[str, Any]:
    """Wait until all that was said is acknowledged, for so long at most; return how many lines that is, and who still waits."""
    crowd = _crowds[client]
    end = time.monotonic() + seconds

    def waiting() -> list[Person]:
        return [person for person in crowd.people if not person.is_current or person.unacknowledged]

    crowd.run(lambda: time.monotonic() > end or not waiting())
    return {
        "said": sum(person.said for person in crowd.people),
        "waiting": [
            f"{person.name}: {list(person.unacknowledged)}, {'connected' if person.at else 'away'}, {person.left} left, "
            f"current: {person.is_current}, resumes {person.resumes}, attempt {person.attempt}, "
            f"opened {time.monotonic() - person.opened:.1f} s ago, heard {time.monotonic() - person.heard:.1f} s ago"
            for person in waiting()
        ],
        "ended": client.ended,
        "errors": dict(Counter(crowd.errors)),
    }


def close_books(client: Client, *, offset: int, seconds: float) -> dict[str, Any]:
    """Wait until all have heard everything up to an offset, for so long at most, and return what the ledgers say."""
    crowd = _crowds[client]
    end = time.monotonic() + seconds
    crowd.run(
        lambda: time.monotonic() > end or all(person.position["offset"] >= offset for person in crowd.people)
    )
    people = crowd.people
    return {
        "log": [crowd.log.get(each) for each in range(people[0].start + 1, offset + 1)],
        "start": people[0].start,
        "behind": sum(person.position["offset"] < offset for person in people),
        "miscounted": sum(person.counted != offset - person.start for person in people),
        "twice": crowd.twice,
        "missing": crowd.missing,
        "conflicts": crowd.conflicts,
        "gaps": crowd.gaps,
        "unserved": crowd.unserved,
        "silences": crowd.silences,
        "errors": crowd.errors,
        "ended": client.ended,
    }
