"""Backends in other languages behind a real Apache: what `up --no-backend` is for."""

import asyncio
import json
import os
from collections.abc import Iterator

import pytest

from tests.integration.foreign.servers import foreign_server
from tests.raw import ask
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")

KINDS = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("node", "php")]
MIB = 1 << 20


@pytest.fixture(scope="module")
def empty() -> Iterator[Running]:
    """Run the plain case with nothing behind it, and the other form of the tunnel beside it."""
    description = "websockets:\n- {path: /ws/}\n- {path: /tunnel/, tunnel: ws, backend: 127.0.0.1:8888}\n"
    with running(description, backend=False) as instance:
        yield instance


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest, empty: Running) -> Iterator[str]:
    """Run each foreign server behind it."""
    with foreign_server(request.param, empty.backend_port):
        yield request.param


@pytest.fixture
def stack(empty: Running, kind: str) -> Iterator[Running]:
    """Lend both to one test, and read Apache's log after it."""
    assert kind
    yield empty
    empty.check_log()


@pytest.mark.parametrize("size", [1, 65536, MIB])
async def test_echo(stack: Running, path: str, size: int) -> None:
    """Text and bytes come back as they were sent."""
    async with stack.websocket(path, max_size=None) as socket:
        for message in ("x" * size, os.urandom(size)):
            await socket.send(message)
            assert await socket.recv() == message


async def test_ping(stack: Running, path: str) -> None:
    """A ping is answered."""
    async with stack.websocket(path) as socket:
        await (await socket.ping(b"there?"))


async def test_close(stack: Running, path: str) -> None:
    """A close is answered with its own code."""
    async with stack.websocket(path) as socket:
        await socket.close(4001, "enough")
    assert socket.close_code == 4001


async def test_chat(stack: Running, path: str) -> None:
    """The simplest client's message reaches everybody."""
    message = json.dumps({"type": "usermsg", "name": "Ada", "message": "hi 👋", "color": "#112233"})
    async with stack.websocket(path) as one, stack.websocket(path) as two:
        await one.send(message)
        assert [await one.recv(), await two.recv()] == [message, message]


async def test_fifty_at_once(stack: Running, path: str) -> None:
    """Fifty sockets are open at once, and each is answered with its own words."""
    everybody = asyncio.Barrier(50)

    async def one(number: int) -> None:
        async with stack.websocket(path) as socket:
            await everybody.wait()
            await socket.send(str(number))
            assert await socket.recv() == str(number)

    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(one(number))


def test_page(stack: Running, kind: str) -> None:
    """Its page is served on the same port, with nosniff once."""
    answer = ask(stack, "/")
    assert (answer.status, answer.headers.get_all("X-Content-Type-Options")) == (200, ["nosniff"])
    assert {"node": b"in Node", "php": b"in PHP"}[kind] in answer.body
