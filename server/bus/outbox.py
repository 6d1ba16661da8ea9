"""What waits to be kept in Redis: one after the other, and again under its id where there was no answer.

Knows nothing of who waits, or of how Redis is reached.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redis.exceptions import NoScriptError, ResponseError

from . import Bounds, Kept, Unavailable
from . import scripts as lua
from .place import Place
from .replica import Replica

log = logging.getLogger("server")

BATCH = 200
WAITING_MOST = 10_000  # messages


@dataclass(eq=False)
class _Sending:
    """A message on its way."""

    replica: Replica
    data: bytes
    key: str
    done: "asyncio.Future[Kept]"


class Outbox:
    """Messages on their way, in order.

    Attributes:
        refusing: why Redis keeps nothing now; empty: it does.
    """

    def __init__(self, place: Place, bounds: Bounds) -> None:
        self.place = place
        self.bounds = bounds
        self.refusing = ""
        self._queue: deque[_Sending] = deque()
        self._work = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, replica: Replica, data: bytes, key: str) -> "asyncio.Future[Kept]":
        """Have a message kept; the future is done when it is, or never."""
        done: asyncio.Future[Kept] = asyncio.get_running_loop().create_future()
        self._queue.append(_Sending(replica, data, key, done))
        self._work.set()
        return done

    def cancel(self) -> None:
        """Let nobody wait any longer."""
        for sending in self._queue:
            sending.done.cancel()

    def refuse(self, fault: Exception) -> None:
        """Take note, and say once, that Redis refuses."""
        if not self.refusing:
            log.warning("redis at %s refuses: %s; lines are refused until it does not", self.place, fault)
        self.refusing = str(fault)

    async def work(self, redis: Any, scripts: Mapping[str, str], life: tuple[str, str]) -> None:
        """Have Redis keep what waits, in order, so many messages at a time as have come meanwhile.

        Args:
            redis: a client.
            scripts: their digests.
            life: Redis' own, and whether it keeps what it has told beyond that.
        """
        while True:
            await self._work.wait()
            while self._queue and self._queue[0].done.done():
                self._queue.popleft()
            if not self._queue:
                self._work.clear()
                continue
            batch = list(itertools.islice(self._queue, BATCH))
            pipe = redis.pipeline(transaction=False)
            for sending in batch:
                self._put(pipe, sending, scripts[lua.PUBLISH], life)
            for sending, answer in zip(batch, await pipe.execute(raise_on_error=False), strict=True):
                self._settle(sending, answer)
                self._queue.popleft()

    def _put(self, pipe: Any, sending: _Sending, script: str, life: tuple[str, str]) -> None:
        replica, bounds = sending.replica, self.bounds
        keys = (lua.room_key(replica.room), lua.log_key(replica.room), lua.id_key(replica.room, sending.key))
        limits = (bounds.messages, bounds.size, int(bounds.seconds * 1000), int(bounds.ids * 1000))
        pipe.evalsha(
            script, 3, *keys, *life, replica.history.epoch, replica.history.offset,
            lua.ROOM_SECONDS, sending.data, *limits,
        )  # fmt: skip

    def _settle(self, sending: _Sending, answer: Any) -> None:
        if isinstance(answer, ResponseError) and not isinstance(answer, NoScriptError):
            self.refuse(answer)
            if not sending.done.done():
                sending.done.set_exception(
                    Unavailable("The message cannot be kept at the moment; send it again.")
                )
        elif isinstance(answer, Exception):
            raise answer
        else:
            if self.refusing:
                log.info("redis at %s keeps messages again", self.place)
                self.refusing = ""
            is_new, at = answer
            epoch, _, offset = at.decode().partition("-")
            if not sending.done.done():
                sending.done.set_result(Kept(epoch, int(offset), again=not is_new))
