"""Which processes are on a Redis, and who is in their rooms: each tells the others, and forgets those that fall silent.

Knows nothing of messages, or of how Redis is reached.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from . import VERSION
from . import scripts as lua
from .place import Place
from .replica import Replica

log = logging.getLogger("server")

TICK = 0.25
ALIVE_EVERY = 5.0
ALIVE = 15.0

_people = msgspec.json.Decoder(dict[str, str | None])


class Presence:
    """This process and the others.

    Args:
        place: for the log.
        name: of this process.
        replicas: the rooms that are followed here, by name.

    Attributes:
        processes: those of our version, this one too.
    """

    def __init__(self, place: Place, name: str, replicas: Mapping[str, Replica]) -> None:
        self.place = place
        self.name = name
        self.processes: set[str] = set()
        self._replicas = replicas
        self._changed: dict[str, dict[str, bytes | None]] = {}
        self._strangers: set[str] = set()

    @property
    def member(self) -> str:
        """Return what this process is called among those of all versions."""
        return f"{VERSION}:{self.name}"

    def note(self, room: str, people: Mapping[str, bytes | None]) -> None:
        """Have the others told of people here with the next tick; None: gone."""
        self._changed.setdefault(room, {}).update(people)

    def note_all(self) -> None:
        """Have the others told of all who are here: what they knew may be lost."""
        for room, replica in self._replicas.items():
            self._changed[room] = {**self._changed.get(room, {}), **replica.own}

    async def leave(self, redis: Any) -> None:
        """Tell the others that nobody is here any more."""
        for room, replica in self._replicas.items():
            self.note(room, dict.fromkeys(replica.own))
        await self.tell(redis)
        await redis.zrem(lua.PROCESSES, self.member)

    def hear_of(self, found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        """Hear who came and went at other processes."""
        for _, fields in found:
            process = fields[b"p"].decode()
            replica = self._replicas.get(fields[b"r"].decode())
            if replica and process != self.name:
                people = _people.decode(fields[b"d"])
                replica.hear_of(
                    process, {key: None if data is None else data.encode() for key, data in people.items()}
                )

    async def look_after(self, redis: Any, scripts: Mapping[str, str]) -> None:
        """Say every now and then that we live, and who came and went here."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await asyncio.sleep(TICK)
            if self._changed:
                await self.tell(redis)
            if clock() >= due:
                due = clock() + ALIVE_EVERY
                await self.live(redis, scripts)
                pipe = redis.pipeline(transaction=False)
                for room in self._replicas:
                    pipe.expire(lua.people_key(room), lua.PEOPLE_SECONDS)
                    pipe.expire(lua.room_key(room), lua.ROOM_SECONDS)
                await pipe.execute()

    async def live(self, redis: Any, scripts: Mapping[str, str]) -> None:
        """Say that we live, and find out who else does."""
        members = await redis.evalsha(scripts[lua.ALIVE], 1, lua.PROCESSES, self.member, int(ALIVE * 1000))
        names = [member.decode().partition(":") for member in members]
        self.processes = {name for version, _, name in names if version == str(VERSION)}
        strangers = {version for version, _, _ in names} - {str(VERSION)}
        if strangers - self._strangers:
            log.warning(
                "redis at %s: servers of bus version %s are there, too; ours is %d, and rooms are not shared with them",
                self.place, ", ".join(sorted(strangers)), VERSION,
            )  # fmt: skip
        self._strangers = strangers
        for replica in self._replicas.values():
            replica.keep(self.processes)

    async def tell(self, redis: Any) -> None:
        """Tell the others who came and went here."""
        changed, self._changed = self._changed, {}
        pipe = redis.pipeline(transaction=False)
        for room, people in changed.items():
            key = lua.people_key(room)
            here = {f"{self.name}/{name}": data for name, data in people.items() if data is not None}
            gone = [f"{self.name}/{name}" for name, data in people.items() if data is None]
            if here:
                pipe.hset(key, mapping=here)
                pipe.expire(key, lua.PEOPLE_SECONDS)
            if gone:
                pipe.hdel(key, *gone)
            told = msgspec.json.encode({name: data and data.decode() for name, data in people.items()})
            pipe.xadd(lua.PRESENCE, {"p": self.name, "r": room, "d": told}, maxlen=lua.PRESENCE_MOST)
        try:
            await pipe.execute(raise_on_error=False)
        except BaseException:
            for room, people in changed.items():
                self._changed[room] = people | self._changed.get(room, {})
            raise
