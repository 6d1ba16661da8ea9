"""Several workers behind an Apache that is reloaded: each of them closes its own sockets of the old generation, and nothing is lost."""

import asyncio
import json
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
import requests

from apache.capacity import plan
from apache.httpd import free_ports
from tests.ledger import Ledger, closed, is_complete, traffic
from tests.redis_server import RedisServer
from tests.stacks import Running, held, running
from tests.waiting import SECOND

pytestmark = [pytest.mark.needs("apache"), pytest.mark.needs("redis")]

PEOPLE = 24


@contextmanager
def two_ports() -> Iterator[int]:
    """Let nobody else be given two ports, one behind the other; yield the first."""
    with ExitStack() as stack:
        while True:
            (port,) = free_ports(1)
            with suppress(OSError):
                stack.enter_context(held(port, port + 1))
                break
        yield port


@pytest.fixture
def stack() -> Iterator[tuple[Running, list[int]]]:
    """Run an Apache before two workers; with the ports of their metrics."""
    with tempfile.TemporaryDirectory(prefix="ws") as name, ExitStack() as resources:
        folder = Path(name)
        folder.chmod(0o755)  # the backend is another user
        redis = RedisServer(folder, "--unixsocketperm", "777")
        port = resources.enter_context(two_ports())
        description = {
            "websockets": [{"path": "/ws/", "connections": 60}],
            "bus": {"redis": {"address": redis.address, "password_file": None}},
            "workers": 2,
            "metrics": f"127.0.0.1:{port}",
        }
        try:
            with running(json.dumps(description)) as instance:
                yield instance, [port, port + 1]
        finally:
            redis.kill()


def sockets_of(port: int) -> int:
    """Return how many sockets a worker says it holds."""
    text = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=5 * SECOND).text
    found = re.search(r"^wsfront_connections (\d+)", text, re.MULTILINE)
    assert found, text
    return int(found[1])


def workers(stack: Running) -> list[int]:
    """Return the processes that the backend's own has started."""
    backend = stack.stack.backend
    assert backend
    assert backend.process
    pid = backend.process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


async def test_reload(stack: tuple[Running, list[int]]) -> None:
    """After a reload everybody comes back, from whichever worker, within the window, and the ledgers are complete."""
    front, ports = stack
    sized = plan(front.stack.sites, front.stack.target)
    context = front.stack.client_context(front.site)
    url = f"wss://localhost:{front.https_port}/ws/chat"
    ledgers: list[Ledger] = []
    try:
        # Left to themselves, one of the two may be so quick that it takes all of them.
        for number, worker in enumerate(workers(front)):
            os.kill(worker, signal.SIGSTOP)
            come = range(number * PEOPLE // 2, (number + 1) * PEOPLE // 2)
            ledgers += [Ledger(f"c{each}", lambda: url, ssl=context, host="127.0.0.1") for each in come]
            async with asyncio.timeout(10 * SECOND):
                while any(not ledger.connections for ledger in ledgers):  # noqa: ASYNC110 (no one event tells it)
                    await asyncio.sleep(0.01)
            os.kill(worker, signal.SIGCONT)
        async with asyncio.timeout(10 * SECOND):
            await asyncio.gather(*(ledger.settled() for ledger in ledgers))
        assert [await asyncio.to_thread(sockets_of, port) for port in ports] == [PEOPLE / 2] * 2
        await traffic(ledgers, 1)
        front.stack.httpd.reload()
        await traffic(ledgers, sized.drain_window + 2)
        async with asyncio.timeout(5 * SECOND):
            while any(ledger.connections < 2 for ledger in ledgers):  # noqa: ASYNC110 (no one event tells it)
                await asyncio.sleep(0.01)
        # Who is back at once may have come by an old child, and is sent away again when the window ends.
        assert {ledger.connections for ledger in ledgers} <= {2, 3}
        await is_complete(ledgers)
    finally:
        await closed(ledgers)
