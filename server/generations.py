"""Which generation of its configuration Apache is in, and the sockets of older ones: each keeps a child of Apache's alive.

Whoever asks for a reload, mod_status shows it: ParentServerConfigGeneration rises (modules/generators/mod_status.c). Sockets
of older generations are closed with 1012 over a window, so that their clients come back one by one to the newest.
Knows nothing of what is said on a socket.
"""

import asyncio
import contextlib
import logging
import random
import re
from collections.abc import Collection
from dataclasses import dataclass, field

from . import metrics
from .settings import Address
from .wire import RESTART, Wire

log = logging.getLogger("server")

PERIOD = 1.0  # seconds between two looks
PATIENCE = 3.0
FIRST = 1  # what an Apache shows that was never reloaded
MISSES = 10  # in a row, before a word is said
ANSWER_MOST = 1 << 16
# A handshake that an old child had begun may come after the news; its socket is closed when the window ends.
DOUBT = 1.0
HOST = "status.wsfront.invalid"  # RFC 6761, 6.4: nobody else's
WORKERS = re.compile(rb"^(Busy|Idle)Workers: (\d+)\r?$", re.MULTILINE)
STOPPING = re.compile(rb"^Stopping: (\d+)\r?$", re.MULTILINE)
APACHE_WORKERS = metrics.gauge("apache_workers", "Apache's worker threads, busy or idle.", ("state",))
APACHE_STOPPING = metrics.gauge("apache_processes_stopping", "Apache's children of older generations.")
APACHE_OLDER = metrics.gauge(
    "apache_older_connections", "Sockets open through older generations of Apache's."
)
GENERATION = re.compile(rb"^ParentServerConfigGeneration: (\d+)\r?$", re.MULTILINE)


@dataclass(eq=False)
class _Old:
    """A generation that is on its way out."""

    wires: list[Wire]
    hurry: asyncio.Event = field(default_factory=asyncio.Event)


class Generations:
    """Follow Apache's generations and close the sockets of older ones.

    Args:
        status: where Apache's status page is asked for.
        window: seconds over which the sockets of one generation are closed.
        reserve: how many older generations Apache has room for; beyond it the oldest goes at once.
        live: all connections.
    """

    def __init__(self, status: Address, window: float, reserve: int, live: Collection[Wire]) -> None:
        self.status = status
        self.window = window
        self.reserve = reserve
        self.live = live
        self.seen: int | None = None
        self.older: list[_Old] = []
        self._turned = -DOUBT
        self._misses = 0

    async def look(self) -> None:
        """Look once, before anybody is let in: whoever comes later is of this generation, or of a newer one."""
        self.seen = await self._ask()

    async def watch(self) -> None:
        """Look every second, for ever."""
        async with asyncio.TaskGroup() as drains:
            while True:
                seen = await self._ask()
                if seen is not None and seen != self.seen:
                    if self.seen is not None:
                        self._turned = asyncio.get_running_loop().time()
                    # Where Apache is seen for the first time after a reload, who is here may have come before that.
                    if self.seen is not None or seen > FIRST:
                        self._turn(drains)
                    self.seen = seen
                await asyncio.sleep(PERIOD)

    def note(self, wire: Wire) -> None:
        """Take note of a socket that has just been opened."""
        if self.seen is not None and wire.loop.time() - self._turned < DOUBT:
            wire.loop.call_later(self.window * random.uniform(0.8, 1), wire.drop, *RESTART)  # noqa: S311  # no secret

    def left(self) -> int:
        """Return how many sockets of older generations are still open."""
        return sum(wire in self.live for old in self.older for wire in old.wires)

    def _turn(self, drains: asyncio.TaskGroup) -> None:
        """Begin to close all sockets that no drain has in hand yet."""
        in_hand = {wire for old in self.older for wire in old.wires}
        wires = [wire for wire in self.live if wire.on_lost is not None and wire not in in_hand]
        log.info(
            "Apache was reloaded: closing %d connections over %.0f s: %d %s",
            len(wires),
            self.window,
            *RESTART,
        )
        if wires:
            random.shuffle(wires)
            old = _Old(wires)
            self.older.append(old)
            drains.create_task(self._drain(old))
        for each in self.older[: max(0, len(self.older) - self.reserve)]:
            each.hurry.set()

    async def _drain(self, old: _Old) -> None:
        """Close one after the other, evenly over the window, or in a hurry."""
        clock = asyncio.get_running_loop().time
        started, pace = clock(), self.window / len(old.wires)
        for number, wire in enumerate(old.wires, 1):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(started + number * pace):
                    await old.hurry.wait()
            if old.hurry.is_set():
                await asyncio.sleep(0)
            wire.drop(*RESTART)
        self.older.remove(old)

    async def _ask(self) -> int | None:
        """Return the number that Apache shows; None, told once, where it shows none."""
        try:
            async with asyncio.timeout(PATIENCE):
                page = await _fetch(self.status)
        except (OSError, TimeoutError) as fault:
            self._miss(str(fault) or "no answer")
            return None
        found = GENERATION.search(page)
        if found is None:
            self._miss(page.partition(b"\r\n")[0].decode("latin-1")[:80] or "an empty answer")
            return None
        self._misses = 0
        self._note_workers(page)
        return int(found[1])

    def _note_workers(self, page: bytes) -> None:
        for state, number in WORKERS.findall(page):
            APACHE_WORKERS.labels(state.decode().lower()).set(int(number))
        if stopping := STOPPING.search(page):
            APACHE_STOPPING.set(int(stopping[1]))
        APACHE_OLDER.set(self.left())

    def _miss(self, why: str) -> None:
        """Tell once of a status that stays away; Apache may just be starting, or stopping."""
        self._misses += 1
        if self._misses == MISSES:
            log.warning(
                "Apache's status at %s says no generation (%s): reloads go unnoticed meanwhile; is mod_status loaded?",
                self.status,
                why,
            )


async def _fetch(address: Address) -> bytes:
    reader, writer = await asyncio.open_connection(address.host, address.port)
    try:
        writer.write(f"GET /?auto HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode())
        page = b""
        while len(page) < ANSWER_MOST and (part := await reader.read(ANSWER_MOST)):
            page += part
        return page
    finally:
        writer.close()
