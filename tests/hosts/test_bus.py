"""A real server whose rooms are in Redis, served by several processes, or by one for each connection; and one whose rooms are in memory."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.plays import OURS
from tests.hosts.servers import DESCRIPTION, NAME, Server, describe
from tests.ledger import Ledger, closed, is_complete, traffic
from tests.waiting import SECOND, until

UNIT = "wsfront-backend"
REDIS = "redis-server@wsfront"
HEALTH = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8888/healthz').read().decode())"
PEOPLE = 12


def health(server: Server) -> dict[str, Any]:
    """Return what the backend says of itself, to its own machine."""
    return dict(json.loads(server.machine.run("python3", "-c", HEALTH)))


def workers(server: Server) -> list[str]:
    """Return the processes that the service's main process has started."""
    return server.machine.run("pgrep", "-P", str(server.main_process(UNIT))).split()


async def come(server: Server, room: str, ledgers: list[Ledger], count: int) -> None:
    """Let more people come into a room, and wait until each has a connection."""
    visitor = server.visitor
    options = {"ssl": visitor.trust, "host": visitor.address}
    url = f"wss://{NAME}/ws/chat?room={room}"
    first = len(ledgers)
    ledgers += [Ledger(f"c{number}", lambda: url, **options) for number in range(first, first + count)]
    while any(not ledger.connections for ledger in ledgers):  # noqa: ASYNC110 (no one event tells it)
        await asyncio.sleep(0.01)


@asynccontextmanager
async def people(server: Server, room: str, *, is_shared: bool = False) -> AsyncIterator[list[Ledger]]:
    """Let people talk in a room who keep ledgers; in the end these have to be complete.

    Args:
        server: where.
        room: its name.
        is_shared: between two workers, half of them at each.
    """
    ledgers: list[Ledger] = []
    try:
        async with asyncio.timeout(20 * SECOND):
            # Left to themselves, one of two workers may be so quick that it takes all of them.
            for worker in await asyncio.to_thread(workers, server) if is_shared else []:
                await asyncio.to_thread(server.machine.run, "kill", "-STOP", worker)
                await come(server, room, ledgers, PEOPLE // 2)
                await asyncio.to_thread(server.machine.run, "kill", "-CONT", worker)
            await come(server, room, ledgers, PEOPLE - len(ledgers))
            await asyncio.gather(*(ledger.settled() for ledger in ledgers))
        await traffic(ledgers, 1)
        yield ledgers
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)


async def test_redis(lab: Lab, boot: Boot, tmp_path: Path) -> None:
    """With bus: redis and two workers lines cross processes; Redis, a worker and the service are restarted, and nothing is lost."""
    description = DESCRIPTION + "bus: {redis: {}}\nworkers: 2\n"
    server = describe(lab, boot("trixie", NAME), OURS, description)
    inventory = tmp_path / "hosts"
    inventory.write_text(f"[redis]\n{NAME}\n")
    server.play(inventory=inventory)
    machine = server.machine
    seen = health(server)["bus"]
    assert (seen["kind"], seen["state"], seen["processes"]) == ("redis", "up", 2)

    async with people(server, "redis", is_shared=True) as ledgers:
        run = asyncio.to_thread
        await run(machine.run, "systemctl", "restart", REDIS)
        await run(until, lambda: health(server)["bus"]["state"] == "up", 10)
        await traffic(ledgers, 1)
        assert [ledger.connections for ledger in ledgers] == [1] * PEOPLE
        before = await run(workers, server)
        assert len(before) == 2
        await run(machine.run, "kill", "-KILL", before[0])
        await traffic(ledgers, 1)
        others = sum(ledger.connections > 1 for ledger in ledgers)
        assert 0 < others < PEOPLE  # the other worker held the rest
        await run(machine.run, "systemctl", "restart", UNIT)

    # Only its owner and root may read the password, and it is in no environment.
    environment = machine.run("cat", f"/proc/{server.main_process(UNIT)}/environ")
    secret = machine.run("cat", "/etc/wsfront/redis.password")
    credential = environment.partition("WSFRONT_REDIS_PASSWORD_FILE=")[2].partition("\0")[0]
    assert credential == f"/run/credentials/{UNIT}.service/redis.password"
    assert secret not in environment
    assert machine.run("stat", "-c", "%a", "/etc/wsfront/redis.password").strip() == "600"

    server.description.write_text(description.replace("workers: 2", "workers: forked"))
    server.play("--tags", "backend", inventory=inventory)
    async with people(server, "forked") as ledgers:
        await traffic(ledgers, 1)
        assert len(await asyncio.to_thread(machine.run, "pgrep", "-u", "wsfront")) > PEOPLE


@pytest.mark.parametrize("installed", ["bookworm"], indirect=True)
async def test_memory(server: Server) -> None:
    """What was said in memory outlives a restart of the service, in a folder that is nobody else's."""
    async with people(server, "memory"):
        await asyncio.to_thread(server.machine.run, "systemctl", "restart", UNIT)
    said = server.machine.run("stat", "-c", "%U %a", f"/run/{UNIT}").split()
    assert said == ["wsfront", "700"]
