"""The bus of many processes on many machines: Redis or Valkey keeps the rooms, each process holds a copy of those it follows.

One task publishes, one reads all streams on one connection, one reads rooms that are new here, one looks after presence. When any of them
fails all begin anew, and what was not answered is sent again under its id. Knows nothing of sockets.
"""

import asyncio
import contextlib
import itertools
import logging
import random
import secrets
from collections import deque
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from . import VERSION, Bounds, Budget, Entry, Follower, History, Kept, Unavailable
from . import scripts as lua
from .replica import Replica

log = logging.getLogger("server")

PATIENCE = 3.0  # seconds for a message to be kept, or a room to be read
GONE = 1.0  # seconds without Redis after which nobody waits for it any more
CONNECT = 2.0
BLOCK = 2000  # milliseconds that a read waits
BATCH = 200
WAITING_MOST = 10_000  # messages that wait to be kept
BACKOFF = (0.05, 2.0)
TICK = 0.25
ALIVE_EVERY = 5.0
ALIVE = 15.0

_people = msgspec.json.Decoder(dict[str, str | None])


@dataclass(frozen=True)
class Place:
    """Where Redis is: host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{self.host}:{self.port}"

    def connect(self, name: str, patience: float) -> Any:
        """Make a client that fails at once: who uses it tries again. The library's types fit no one version of its protocol."""
        where: dict[str, Any] = (
            {"unix_socket_path": self.path} if self.path else {"host": self.host, "port": self.port}
        )
        return Redis(
            **where,
            password=self.password,
            socket_timeout=patience,
            socket_connect_timeout=CONNECT,
            retry=Retry(NoBackoff(), 0),
            client_name=name,
            protocol=2,
        )


@dataclass(eq=False)
class _Sending:
    """A message on its way."""

    replica: Replica
    data: bytes
    key: str
    done: "asyncio.Future[Kept]"


class RedisBus:
    """Rooms in Redis."""

    def __init__(self, place: Place, bounds: Bounds | None = None) -> None:
        self.place = place
        self.bounds = bounds or Bounds()
        self.name = secrets.token_hex(6)
        self.processes: set[str] = set()
        self._budget = Budget(self.bounds.total)
        self._replicas: dict[str, Replica] = {}
        self._queue: deque[_Sending] = deque()
        self._work = asyncio.Event()
        self._entering: dict[Replica, asyncio.Future[None]] = {}
        self._enter = asyncio.Event()
        self._changed: dict[str, dict[str, bytes | None]] = {}
        self._strangers: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._stopped = asyncio.Event()
        self._up = False
        self._trouble = ""
        self._refusing = ""
        self._since = 0.0
        self._life = ("", "0")
        self._scripts: dict[str, str] = {}
        self._wake = f"{lua.PREFIX}wake:{self.name}"
        self._seen = {lua.PRESENCE: "0-0", self._wake: "0-0"}
        self._redis = place.connect(f"wsfront-{self.name}", PATIENCE)
        self._reader = place.connect(f"wsfront-{self.name}-reader", PATIENCE + BLOCK / 1000)

    async def start(self) -> None:
        """Begin to reach Redis; where it is not there yet, go on trying."""
        self._since = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._keep_up())
        await self._tried.wait()

    async def stop(self) -> None:
        """Let the others know that nobody is here any more, if they can be told at once."""
        self._stopped.set()
        if self._task is not None:
            await self._task
        for sending in self._queue:
            sending.done.cancel()
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(CONNECT):
                if self._up:
                    for room, replica in self._replicas.items():
                        self._changed.setdefault(room, {}).update(dict.fromkeys(replica.own))
                    await self._tell()
                    await self._redis.zrem(lua.PROCESSES, self._member)
                for client in (self._redis, self._reader):
                    await client.aclose()
        self._up = False

    def follow(self, room: str, follower: Follower) -> None:
        """Let somebody hear what is said in a room from about now on."""
        replica = self._replicas[room] = Replica(room, follower, self.bounds, self._budget)
        self._ask(replica)

    def unfollow(self, room: str) -> None:
        """Let the room's follower hear no more."""
        self._replicas.pop(room).history.forget()

    async def history(self, room: str, epoch: str | None = None, offset: int = 0) -> History:
        """Return a room's history, read again where it does not reach up to the position: another process may be ahead of us."""
        replica = self._replicas[room]
        history = replica.history
        if not replica.ready or (epoch is not None and (epoch != history.epoch or offset > history.offset)):
            await self._read_room(replica)
        return history

    async def publish(self, room: str, data: bytes, key: str | None = None) -> Kept:
        """Keep a message; one without a key gets one, so that it can be sent again when Redis does not answer."""
        replica = self._replicas[room]
        if not replica.ready:
            await self._read_room(replica)
        if self._is_gone() or len(self._queue) >= WAITING_MOST:
            raise Unavailable("Messages cannot be kept at the moment; send it again.")
        done: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._queue.append(_Sending(replica, data, key or secrets.token_hex(16), done))
        self._work.set()
        try:
            async with asyncio.timeout(PATIENCE):
                return await done
        except TimeoutError:
            raise Unavailable("The message could not be kept in time; send it again.") from None

    def enlist(self, room: str, people: Iterable[tuple[str, bytes]]) -> None:
        """Tell other processes of people here, with the next tick."""
        for key, data in people:
            self._replicas[room].own[key] = data
            self._changed.setdefault(room, {})[key] = data

    def unlist(self, room: str, key: str) -> None:
        """Tell other processes with the next tick that somebody is here no longer."""
        self._replicas[room].own.pop(key, None)
        self._changed.setdefault(room, {})[key] = None

    def state(self) -> dict[str, str | int]:
        """Say how it is."""
        state: dict[str, str | int] = {
            "kind": "redis",
            "state": ("refusing" if self._refusing else "up") if self._up else "down",
            "bytes": self._budget.used,
            "processes": len(self.processes),
            "waiting": len(self._queue),
        }
        if why := (self._refusing if self._up else self._trouble):
            state["why"] = why
        return state

    @property
    def _member(self) -> str:
        return f"{VERSION}:{self.name}"

    def _is_gone(self) -> bool:
        return not self._up and asyncio.get_running_loop().time() - self._since > GONE

    def _ask(self, replica: Replica) -> "asyncio.Future[None]":
        """Have a room read; the future is done when it was."""
        if replica not in self._entering:
            self._entering[replica] = asyncio.get_running_loop().create_future()
            self._enter.set()
        return self._entering[replica]

    async def _read_room(self, replica: Replica) -> None:
        asked = self._ask(replica)
        if not self._is_gone():
            await asyncio.wait([asked], timeout=PATIENCE)
        if not asked.done() or not replica.ready:
            raise Unavailable("The room's history cannot be read at the moment; try again.")

    # ------------------------------------------------------------ the connection

    async def _keep_up(self) -> None:
        """Connect and work; when that ends, do it again after a pause."""
        pause = BACKOFF[0]
        while not self._stopped.is_set():
            fault = await self._run(self._connect())
            if fault is None:
                self._came_back()
                pause = BACKOFF[0]
                fault = await self._run(self._publish(), self._read(), self._load(), self._look_after())
            if fault is not None:
                self._went(fault)
            for client in (self._redis, self._reader):
                with contextlib.suppress(RedisError, OSError):
                    await client.connection_pool.disconnect()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1)):  # noqa: S311  # no secret
                    await self._stopped.wait()
            pause = min(pause * 2, BACKOFF[1])

    async def _run(self, *works: Coroutine[Any, Any, None]) -> BaseException | None:
        """Work until one is done or fails, or we are stopped, and return the fault."""
        stopped = asyncio.create_task(self._stopped.wait())
        tasks = {asyncio.create_task(work) for work in works}
        done, pending = await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        # The library swallows a cancellation that comes together with an answer; no TaskGroup ends then.
        while pending:
            for task in pending:
                task.cancel()
            ended, pending = await asyncio.wait(pending, timeout=0.1)
            for task in ended:
                with contextlib.suppress(asyncio.CancelledError, RedisError, OSError):
                    task.result()
        faults = [task.exception() for task in done if task is not stopped]
        return next(filter(None, faults), None)

    async def _connect(self) -> None:
        """Find out whom we talk to, say who is here, and catch up with all rooms."""
        info = await self._redis.info()
        is_durable = False
        if info.get("aof_enabled"):
            with contextlib.suppress(ResponseError):  # an ACL may forbid it
                is_durable = (await self._redis.config_get("appendfsync")).get("appendfsync") == "always"
        self._life = (str(info["run_id"]), str(int(is_durable)))
        policy = info.get("maxmemory_policy", "noeviction")
        if info.get("maxmemory") and policy != "noeviction":
            log.warning(
                "redis at %s: maxmemory-policy %s throws away what was kept, which clients are told as a gap; set noeviction",
                self.place, policy,
            )  # fmt: skip
        for script in (lua.ENTER, lua.PUBLISH, lua.ALIVE):
            self._scripts[script] = await self._redis.script_load(script)
        last = await self._redis.xrevrange(lua.PRESENCE, count=1)
        self._seen[lua.PRESENCE] = last[0][0].decode() if last else "0-0"
        for room, replica in self._replicas.items():
            self._changed[room] = {**self._changed.get(room, {}), **replica.own}
        await self._tell()
        await self._catch_up(list(self._replicas.values()))

    def _came_back(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._trouble:
            log.info("redis at %s is back after %.1f s", self.place, now - self._since)
        self._up, self._trouble = True, ""
        self._tried.set()

    def _went(self, fault: BaseException) -> None:
        """Say once that Redis is gone, and why."""
        why = str(fault) or type(fault).__name__
        if isinstance(fault, AuthenticationError) or "password" in why:
            why = f"{why}; check WSFRONT_REDIS_PASSWORD_FILE"
        if self._up:
            self._since = asyncio.get_running_loop().time()
        if not self._trouble:
            is_known = isinstance(fault, (RedisError, OSError, TimeoutError))
            log.warning(
                "redis at %s: %s; sockets stay, and lines are refused until it is back",
                self.place, why, exc_info=None if is_known else fault,
            )  # fmt: skip
        self._up, self._trouble, self._refusing = False, why, ""
        self._tried.set()

    # ------------------------------------------------------------ messages

    async def _publish(self) -> None:
        """Have Redis keep what waits, in order, so many messages at a time as have come meanwhile."""
        while True:
            await self._work.wait()
            while self._queue and self._queue[0].done.done():
                self._queue.popleft()
            if not self._queue:
                self._work.clear()
                continue
            batch = list(itertools.islice(self._queue, BATCH))
            pipe = self._redis.pipeline(transaction=False)
            for sending in batch:
                self._put(pipe, sending)
            for sending, answer in zip(batch, await pipe.execute(raise_on_error=False), strict=True):
                self._settle(sending, answer)
                self._queue.popleft()

    def _put(self, pipe: Any, sending: _Sending) -> None:
        replica, bounds = sending.replica, self.bounds
        keys = (lua.room_key(replica.room), lua.log_key(replica.room), lua.id_key(replica.room, sending.key))
        limits = (bounds.messages, bounds.size, int(bounds.seconds * 1000), int(bounds.ids * 1000))
        pipe.evalsha(
            self._scripts[lua.PUBLISH], 3, *keys, *self._life, replica.history.epoch, replica.history.offset,
            lua.ROOM_SECONDS, sending.data, *limits,
        )  # fmt: skip

    def _settle(self, sending: _Sending, answer: Any) -> None:
        if isinstance(answer, ResponseError) and not isinstance(answer, NoScriptError):
            self._refuse(answer)
            if not sending.done.done():
                sending.done.set_exception(
                    Unavailable("The message cannot be kept at the moment; send it again.")
                )
        elif isinstance(answer, Exception):
            raise answer
        else:
            if self._refusing:
                log.info("redis at %s keeps messages again", self.place)
                self._refusing = ""
            is_new, at = answer
            epoch, _, offset = at.decode().partition("-")
            if not sending.done.done():
                sending.done.set_result(Kept(epoch, int(offset), again=not is_new))

    def _refuse(self, fault: Exception) -> None:
        if not self._refusing:
            log.warning("redis at %s refuses: %s; lines are refused until it does not", self.place, fault)
        self._refusing = str(fault)

    async def _read(self) -> None:
        """Hear of everything on one connection; a room that is new wakes us up."""
        while True:
            at = dict(self._seen)
            rooms = {}
            for room, replica in self._replicas.items():
                if replica.ready:
                    key = lua.log_key(room)
                    rooms[key] = replica
                    at[key] = f"{replica.history.epoch}-{replica.history.offset}"
            for name, found in await self._reader.xread(at, count=BATCH, block=BLOCK) or ():
                key = name.decode()
                if key in self._seen:
                    self._seen[key] = found[-1][0].decode()
                    if key == lua.PRESENCE:
                        self._hear_of(found)
                elif self._replicas.get(rooms[key].room) is rooms[key]:
                    for entry in _entries(found):
                        rooms[key].take(entry)

    # ------------------------------------------------------------ rooms and the people there

    async def _load(self) -> None:
        """Read the rooms that are new here, or that somebody knows more of than we do."""
        while True:
            await self._enter.wait()
            self._enter.clear()
            await self._catch_up(list(self._entering))
            await self._redis.xadd(self._wake, {"x": ""}, maxlen=1)
            await self._redis.expire(self._wake, lua.PEOPLE_SECONDS)

    async def _catch_up(self, replicas: Sequence[Replica]) -> None:
        """Read what came in rooms since we last heard, and who is there."""
        await self._live()
        for start in range(0, len(replicas), BATCH):
            some = replicas[start : start + BATCH]
            pipe = self._redis.pipeline(transaction=False)
            for replica in some:
                room, history = replica.room, replica.history
                keys = lua.room_key(room), lua.log_key(room)
                pipe.evalsha(
                    self._scripts[lua.ENTER], 2, *keys, *self._life, history.epoch, history.offset, lua.ROOM_SECONDS
                )  # fmt: skip
                pipe.hgetall(lua.people_key(room))
            answers = iter(await pipe.execute(raise_on_error=False))
            for replica, entered, people in zip(some, answers, answers, strict=True):
                self._enter_room(replica, entered, people)

    def _enter_room(self, replica: Replica, entered: Any, people: Any) -> None:
        faults = [answer for answer in (entered, people) if isinstance(answer, Exception)]
        for fault in faults:
            if isinstance(fault, NoScriptError) or not isinstance(fault, ResponseError):
                raise fault
            self._refuse(fault)
        if self._replicas.get(replica.room) is replica and not faults:
            epoch, offset, found = entered
            replica.enter(epoch.decode(), int(offset), _entries(found))
            others: dict[str, dict[str, bytes]] = {}
            for name, data in people.items():
                process, _, key = name.decode().partition("/")
                if process in self.processes and process != self.name:
                    others.setdefault(process, {})[key] = data
            replica.replace(others)
        if asked := self._entering.pop(replica, None):
            asked.set_result(None)

    def _hear_of(self, found: Iterable[tuple[bytes, Mapping[bytes, bytes]]]) -> None:
        for _, fields in found:
            process = fields[b"p"].decode()
            replica = self._replicas.get(fields[b"r"].decode())
            if replica and process != self.name:
                people = _people.decode(fields[b"d"])
                replica.hear_of(
                    process, {key: None if data is None else data.encode() for key, data in people.items()}
                )

    async def _look_after(self) -> None:
        """Say every now and then that we live, and who came and went here."""
        clock = asyncio.get_running_loop().time
        due = clock()
        while True:
            await asyncio.sleep(TICK)
            if self._changed:
                await self._tell()
            if clock() >= due:
                due = clock() + ALIVE_EVERY
                await self._live()
                pipe = self._redis.pipeline(transaction=False)
                for room in self._replicas:
                    pipe.expire(lua.people_key(room), lua.PEOPLE_SECONDS)
                    pipe.expire(lua.room_key(room), lua.ROOM_SECONDS)
                await pipe.execute()

    async def _live(self) -> None:
        """Say that we live, and find out who else does."""
        members = await self._redis.evalsha(
            self._scripts[lua.ALIVE], 1, lua.PROCESSES, self._member, int(ALIVE * 1000)
        )
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

    async def _tell(self) -> None:
        """Tell the others who came and went here."""
        changed, self._changed = self._changed, {}
        pipe = self._redis.pipeline(transaction=False)
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


def _entries(found: Iterable[tuple[bytes, Any]]) -> list[Entry]:
    entries = []
    for at, fields in found:
        # A script answers with a list where a command answers with a mapping.
        pairs = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        epoch, _, offset = at.decode().partition("-")
        entries.append(Entry(epoch, int(offset), int(pairs[b"t"]) / 1000, pairs[b"d"]))
    return entries
