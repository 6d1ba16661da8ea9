"""Processes die, are restarted and replaced under traffic, and clients that keep a ledger find it complete, or are told that it is not."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ledger import Ledger, closed, is_complete, traffic
from tests.redis_server import RedisServer
from tests.unit.server.harness import SECONDS, Launch, Process, until

pytestmark = pytest.mark.asyncio(loop_factories=["uvloop"])


def address(*processes: Process) -> Callable[[], str]:
    """Give addresses of processes by turns, as a balancer would; of those that have died, too."""
    turns = iter(range(10**6))
    ports = [process.ports[0] for process in processes]
    return lambda: f"ws://127.0.0.1:{ports[next(turns) % len(ports)]}/ws/chat"


def latest(processes: list[Process]) -> Callable[[], str]:
    """Give the address of the last process, whichever that is."""
    return lambda: f"ws://127.0.0.1:{processes[-1].ports[0]}/ws/chat"


async def there(ledgers: list[Ledger]) -> None:
    """Wait until all have come, and know where they are."""
    async with asyncio.timeout(SECONDS):
        await asyncio.gather(*(ledger.settled() for ledger in ledgers))


@pytest.mark.needs("redis")
async def test_one_of_two_dies(launch: Launch, redis: Callable[..., RedisServer], tmp_path: Path) -> None:
    """Of two processes on one Redis, one is killed under traffic: 0 lines lost, 0 twice, 0 out of order, none missing."""
    server = redis(password="secret-word")
    secret = tmp_path / "password"
    secret.write_text("secret-word\n")
    bus = {
        "WSFRONT_BUS": "redis",
        "WSFRONT_REDIS": server.address,
        "WSFRONT_REDIS_PASSWORD_FILE": str(secret),
    }
    one, two = launch(**bus), launch(**bus)
    ledgers = [Ledger(f"c{number}", address(one, two)) for number in range(6)]
    try:
        await there(ledgers)
        await traffic(ledgers, 1)
        one.end(signal.SIGKILL)
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)
    assert max(ledger.connections for ledger in ledgers) > 1
    assert "secret-word" not in one.log.read_text() + two.log.read_text()


@pytest.mark.needs("redis")
@pytest.mark.parametrize("end", ["dies", "stalls"])
async def test_redis_is_away(launch: Launch, redis: Callable[..., RedisServer], end: str) -> None:
    """Redis is killed and started again under traffic, or stalls: no socket closes, one line says so, and the ledgers are complete."""
    server = redis()
    bus = {"WSFRONT_BUS": "redis", "WSFRONT_REDIS": server.address}
    one, two = launch(**bus), launch(**bus)
    ledgers = [Ledger(f"c{number}", address(one, two)) for number in range(6)]
    try:
        await there(ledgers)
        await traffic(ledgers, 1)
        if end == "dies":
            server.kill()
            await traffic(ledgers, 2)
            server.start()
        else:
            server.signal(signal.SIGSTOP)
            await traffic(ledgers, 1)
            await asyncio.sleep(4)  # beyond all patience
            server.signal(signal.SIGCONT)
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)
    assert [ledger.connections for ledger in ledgers] == [1] * len(ledgers)
    for process in (one, two):
        assert len([line for line in process.lines if " WARNING " in line]) == 1


@pytest.mark.needs("redis")
async def test_workers_in_one_room(launch: Launch, redis: Callable[..., RedisServer]) -> None:
    """Two workers of one server share rooms by Redis."""
    one = launch(WSFRONT_BUS="redis", WSFRONT_REDIS=redis().address, WSFRONT_WORKERS="2")
    ledgers = [Ledger(f"c{number}", address(one)) for number in range(6)]
    try:
        await there(ledgers)
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)


async def test_restarted(launch: Launch, tmp_path: Path) -> None:
    """One process with its memory is stopped and started again: the next one goes on with what it kept, and the file is gone."""
    kept = tmp_path / "history"
    processes = [launch(WSFRONT_HISTORY_FILE=str(kept))]
    ledgers = [Ledger(f"c{number}", latest(processes)) for number in range(4)]
    try:
        await there(ledgers)
        await traffic(ledgers, 1)
        processes[0].end()
        assert kept.stat().st_mode & 0o777 == 0o600
        processes.append(launch(WSFRONT_HISTORY_FILE=str(kept)))
        assert not kept.exists()
        await traffic(ledgers, 1)
        await is_complete(ledgers)
    finally:
        await closed(ledgers)


async def test_memory_is_lost(launch: Launch) -> None:
    """One process with its memory is killed: every client is told that its history is, and what is said afterwards is complete."""
    processes = [launch()]
    ledgers = [Ledger(f"c{number}", latest(processes)) for number in range(4)]
    try:
        await there(ledgers)
        await traffic(ledgers, 0.5)
        processes[0].end(signal.SIGKILL)
        processes.append(launch())
        await until(lambda: all(ledger.gaps for ledger in ledgers))
        await traffic(ledgers, 0.5)
        await asyncio.gather(*(ledger.settled() for ledger in ledgers))
        assert [[gap["reason"] for gap in ledger.gaps] for ledger in ledgers] == [["epoch"]] * 4
        for ledger in ledgers:
            for other in ledgers:
                late = other.said[-2:]
                await until(lambda heard=ledger.heard, late=late: set(late) <= set(heard))  # type: ignore[misc]  # bound above
    finally:
        await closed(ledgers)
