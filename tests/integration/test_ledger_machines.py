"""Backends on two machines, and what they share on a third: a Redis. Each machine is a network of its own.

In full size the time that a line takes from one to the other is a measurement for an idle machine: WSFRONT_CROSSING=0.02, with `-s`.
"""

import asyncio
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect

from apache.httpd import die_with_parent
from tests.ledger import Ledger, closed, is_complete, traffic
from tests.namespaces import Neighbour, neighbour, network
from tests.redis_server import RedisServer
from tests.unit.server.harness import ROOT, hear, say
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("namespaces", "redis")

HERE = "10.9.0.1"
PORT = 8888
SPEAKERS = 25
RATE = 100
CROSSING = float(
    os.environ.get("WSFRONT_CROSSING", "1")
)  # seconds that a hundredth of the lines may be above


@dataclass
class Machine:
    """A backend and the machine that it runs on."""

    host: Neighbour
    backend: subprocess.Popen[bytes]
    log: Path

    @property
    def url(self) -> str:
        """Return where its chat is."""
        return f"ws://{self.host.address}:{PORT}/ws/chat"


@pytest.fixture
def machines() -> Iterator[list[Machine]]:
    """Run two, with a cable each to the machine that this one is, where their Redis is."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ws")))
        stack.enter_context(network())
        hosts = [stack.enter_context(neighbour(HERE, f"10.9.0.{number}")) for number in (2, 3)]
        redis = RedisServer(folder, "--port", "6380", "--bind", HERE, password="secret-word")
        stack.callback(redis.kill)
        secret = folder / "password"
        secret.write_text("secret-word")
        bus = {
            "WSFRONT_BUS": "redis",
            "WSFRONT_REDIS": f"{HERE}:6380",
            "WSFRONT_REDIS_PASSWORD_FILE": str(secret),
        }
        made = [stack.enter_context(started(host, folder / host.address, bus)) for host in hosts]
        until(lambda: all("listening on" in each.log.read_text() for each in made), 20)
        yield made


@contextmanager
def started(host: Neighbour, log: Path, environment: Mapping[str, str]) -> Iterator[Machine]:
    """Run a backend on a machine."""
    with log.open("wb") as out:
        backend = subprocess.Popen(
            [
                "nsenter",
                "-t",
                str(host.process),
                "-n",
                sys.executable,
                "-m",
                "server",
                "--listen",
                f"{host.address}:{PORT}",
            ],
            cwd=ROOT,
            env={**os.environ, **environment},
            stderr=out,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (a prctl)
        )
    try:
        yield Machine(host, backend, log)
    finally:
        backend.kill()
        backend.wait()


def by_turns(machines: list[Machine]) -> Callable[[], str]:
    """Give the machines' addresses by turns, as a balancer would; of those that have died, too."""
    turns = itertools.cycle(machines)
    return lambda: next(turns).url


async def test_one_machine_dies(machines: list[Machine]) -> None:
    """Lines cross between machines; when one dies, its clients go on at the other where they were, and the ledgers are complete."""
    ledgers = [Ledger(f"c{number}", by_turns(machines[:: 1 - 2 * (number % 2)])) for number in range(6)]
    try:
        await asyncio.sleep(0.3)
        await traffic(ledgers, 1)
        machines[0].backend.kill()
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)
    assert {ledger.connections for ledger in ledgers} > {1}


async def test_a_cable_is_out(machines: list[Machine]) -> None:
    """A machine that reaches neither Redis nor its clients for a while says so once, and all is complete once it does."""
    ledgers = [Ledger(f"c{number}", lambda url=machines[number % 2].url: url) for number in range(6)]  # type: ignore[misc]  # bound here
    try:
        await asyncio.sleep(0.3)
        await traffic(ledgers, 1)
        machines[0].host.cut()
        await traffic(ledgers, 1)  # more at once, when it is mended, would be against the limit on rates
        await asyncio.sleep(4)
        await asyncio.to_thread(until, lambda: " WARNING " in machines[0].log.read_text(), 10)
        machines[0].host.mend()
        await is_complete(ledgers)
    finally:
        await closed(ledgers)
    assert len([line for line in machines[0].log.read_text().splitlines() if " WARNING " in line]) == 1
    assert " WARNING " not in machines[1].log.read_text()


async def deaf(client: ClientConnection) -> None:
    """Hear, and take no note."""
    async for _ in client:
        pass


async def test_crossing(machines: list[Machine]) -> None:
    """At 100 lines a second a line is at the other machine in no time."""
    async with AsyncExitStack() as stack:
        speakers = [
            await stack.enter_async_context(connect(machines[0].url, proxy=None)) for _ in range(SPEAKERS)
        ]
        listener = await stack.enter_async_context(connect(machines[1].url, proxy=None))
        await say(listener, type="resume")
        await hear(listener, "resumed")
        count, took = round(5 * RATE), []
        clock = time.monotonic

        async def speak() -> None:
            began = clock()
            for number in range(count):
                await asyncio.sleep(began + number / RATE - clock())
                await say(
                    speakers[number % SPEAKERS], type="usermsg", name="x", message=f"{number} {clock()}"
                )

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(speak())
            others = [tasks.create_task(deaf(speaker)) for speaker in speakers]
            for _ in range(count):
                line = await hear(listener, "usermsg")
                took.append(clock() - float(line["message"].split()[1]))
            for other in others:
                other.cancel()
    took.sort()
    p99 = took[int(0.99 * count)]
    shown = ", ".join(f"{took[int(part * (count - 1))] * 1000:.1f} ms" for part in (0.5, 0.99, 1))
    print(f"{count} lines crossed, median, p99 and longest: {shown}")  # noqa: T201 (a measurement)
    assert p99 < CROSSING * SECOND
