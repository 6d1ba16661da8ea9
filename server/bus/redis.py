"""The bus of many processes on many machines: Redis or Valkey keeps the rooms, each process holds a copy of those it follows.

One task publishes, one reads all streams on one connection, one reads rooms that are new here, one looks after presence. When any of them
fails all begin anew, and what was not answered is sent again under its id. Knows nothing of sockets.
"""

import asyncio
import contextlib
import logging
import random
import secrets
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from redis.exceptions import AuthenticationError, NoScriptError, RedisError, ResponseError

from . import Bounds, Budget, Entry, Follower, History, Kept, Unavailable
from . import scripts as lua
from .outbox import BATCH, WAITING_MOST, Outbox
from .place import CONNECT, Place
from .presence import Presence
from .replica import Replica

log = logging.getLogger("server")

PATIENCE = 3.0  # seconds for a message to be kept, or a room to be read
GONE = 1.0  # seconds without Redis after which nobody waits for it any more
BLOCK = 2000  # milliseconds that a read waits
BACKOFF = (0.05, 2.0)


class RedisBus:
    """Rooms in Redis."""

    def __init__(self, place: Place, bounds: Bounds | None = None) -> None:
        self.place = place
        self.bounds = bounds or Bounds()
        self.name = secrets.token_hex(6)
        self._budget = Budget(self.bounds.total)
        self._replicas: dict[str, Replica] = {}
        self._outbox = Outbox(place, self.bounds)
        self._presence = Presence(place, self.name, self._replicas)
        self._entering: dict[Replica, asyncio.Future[None]] = {}
        self._enter = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._stopped = asyncio.Event()
        self._up = False
        self._trouble = ""
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
        self._outbox.cancel()
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(CONNECT):
                if self._up:
                    await self._presence.leave(self._redis)
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
        if self._is_gone() or len(self._outbox) >= WAITING_MOST:
            raise Unavailable("Messages cannot be kept at the moment; send it again.")
        done = self._outbox.put(replica, data, key or secrets.token_hex(16))
        try:
            async with asyncio.timeout(PATIENCE):
                return await done
        except TimeoutError:
            raise Unavailable("The message could not be kept in time; send it again.") from None

    def enlist(self, room: str, people: Iterable[tuple[str, bytes]]) -> None:
        """Tell other processes of people here, with the next tick."""
        for key, data in people:
            self._replicas[room].own[key] = data
            self._presence.note(room, {key: data})

    def unlist(self, room: str, key: str) -> None:
        """Tell other processes with the next tick that somebody is here no longer."""
        self._replicas[room].own.pop(key, None)
        self._presence.note(room, {key: None})

    def state(self) -> dict[str, str | int]:
        """Say how it is."""
        state: dict[str, str | int] = {
            "kind": "redis",
            "state": ("refusing" if self._outbox.refusing else "up") if self._up else "down",
            "bytes": self._budget.used,
            "processes": len(self._presence.processes),
            "waiting": len(self._outbox),
        }
        if why := (self._outbox.refusing if self._up else self._trouble):
            state["why"] = why
        return state

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
            if self._stopped.is_set():
                break
            if fault is None:
                self._came_back()
                pause = BACKOFF[0]
                fault = await self._run(
                    self._outbox.work(self._redis, self._scripts, self._life),
                    self._read(),
                    self._load(),
                    self._presence.look_after(self._redis, self._scripts),
                )
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
        self._presence.note_all()
        await self._presence.tell(self._redis)
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
        self._up, self._trouble, self._outbox.refusing = False, why, ""
        self._tried.set()

    # ------------------------------------------------------------ messages

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
                        self._presence.hear_of(found)
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
        await self._presence.live(self._redis, self._scripts)
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
            self._outbox.refuse(fault)
        if self._replicas.get(replica.room) is replica and not faults:
            epoch, offset, found = entered
            replica.enter(epoch.decode(), int(offset), _entries(found))
            others: dict[str, dict[str, bytes]] = {}
            for name, data in people.items():
                process, _, key = name.decode().partition("/")
                if process in self._presence.processes and process != self.name:
                    others.setdefault(process, {})[key] = data
            replica.replace(others)
        if asked := self._entering.pop(replica, None):
            asked.set_result(None)


def _entries(found: Iterable[tuple[bytes, Any]]) -> list[Entry]:
    entries = []
    for at, fields in found:
        # A script answers with a list where a command answers with a mapping.
        pairs = fields if isinstance(fields, dict) else dict(zip(fields[::2], fields[1::2], strict=True))
        epoch, _, offset = at.decode().partition("-")
        entries.append(Entry(epoch, int(offset), int(pairs[b"t"]) / 1000, pairs[b"d"]))
    return entries
