"""Several backends behind one path, and backends on unix sockets."""

import asyncio
import json
from asyncio import Event
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve, unix_serve
from websockets.http11 import Request, Response

from apache.httpd import free_ports
from tests.raw import ask, shake
from tests.stacks import MEMBER_OUT, Running, held, running
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

HEALTHY = "/healthz"


@asynccontextmanager
async def member(name: str, port: int) -> AsyncIterator[Event]:
    """Run a backend that greets with its name and answers checks; what it yields, once set, makes it ill."""
    ill = Event()

    async def greet(connection: ServerConnection) -> None:
        await connection.send(name)
        await connection.wait_closed()

    def check(connection: ServerConnection, request: Request) -> Response | None:
        status = HTTPStatus.SERVICE_UNAVAILABLE if ill.is_set() else HTTPStatus.OK
        return connection.respond(status, "") if request.path == HEALTHY else None

    async with serve(greet, "127.0.0.1", port, process_request=check, ping_interval=None):
        yield ill


@pytest.fixture(scope="module", params=["upgrade", "ws"])
def balanced(request: pytest.FixtureRequest) -> Iterator[tuple[Running, int, int]]:
    """Run an Apache before two members, nobody behind it yet; with their ports."""
    one, two = free_ports(2)
    backends = f"['127.0.0.1:{one}', '127.0.0.1:{two}']"
    description = f"websockets: [{{path: /ws/, origins: any, backend: {backends}, tunnel: {request.param}}}]\npages: null\n"
    with held(one, two), running(description, backend=False) as stack:
        yield stack, one, two
        stack.allow(*MEMBER_OUT)  # checks go on after the last test


@asynccontextmanager
async def sockets(stack: Running, count: int) -> AsyncIterator[list[str]]:
    """Open so many sockets one after the other, hold them, and yield which member greeted each."""
    async with AsyncExitStack() as held:
        names = []
        for _ in range(count):
            socket = await held.enter_async_context(stack.websocket("/ws/"))
            names.append(str(await socket.recv()))
        yield names


async def test_members_share_by_busyness(balanced: tuple[Running, int, int]) -> None:
    """Open sockets are shared evenly."""
    stack, one, two = balanced
    stack.allow(*MEMBER_OUT)
    async with member("one", one), member("two", two):
        await both_up(stack)
        async with sockets(stack, 10) as names:
            assert (names.count("one"), names.count("two")) == (5, 5)
    stack.check_log()


async def both_up(stack: Running) -> None:
    """Wait until either member is reached."""
    await reached(stack, {"one", "two"})


async def reached(stack: Running, members: set[str]) -> None:
    """Wait until sockets go to these members alone."""
    async with asyncio.timeout(15 * SECOND):
        while True:
            async with sockets(stack, 2) as names:
                if set(names) == members:
                    return


async def test_member_that_stops_is_out_and_comes_back(balanced: tuple[Running, int, int]) -> None:
    """While a member is down every handshake goes to the other at once; when it is back it gets its share."""
    stack, one, two = balanced
    stack.allow(*MEMBER_OUT)
    async with member("one", one):
        async with member("two", two):
            await both_up(stack)
        async with sockets(stack, 6) as names:
            assert set(names) == {"one"}
        async with member("two", two):
            await both_up(stack)
    assert shake(stack, "/ws/").status == 503
    stack.check_log()


async def test_member_that_is_gone_is_spared_under_load(balanced: tuple[Running, int, int]) -> None:
    """However often Apache is asked while a member is down, and so finds it out before a check does, nobody is refused.

    A check that finds a member in error leaves it so, and no more; at retry=0 every handshake then fell on it twice: 503.
    """
    stack, one, two = balanced
    stack.allow(*MEMBER_OUT)
    async with member("one", one):
        async with AsyncExitStack() as held:
            async with member("two", two):
                await both_up(stack)
                names = await held.enter_async_context(sockets(stack, 6))
                assert (names.count("one"), names.count("two")) == (3, 3)
            end = asyncio.get_running_loop().time() + 3 * SECOND
            while asyncio.get_running_loop().time() < end:
                async with sockets(stack, 1) as names:
                    assert names == ["one"]
        async with member("two", two):
            await both_up(stack)
    stack.check_log()


async def test_member_that_is_ill_is_spared(balanced: tuple[Running, int, int]) -> None:
    """A member that answers its check with 503, as ours does while it drains, gets no sockets until it is well."""
    stack, one, two = balanced
    stack.allow(*MEMBER_OUT)
    async with member("one", one), member("two", two) as ill:
        await both_up(stack)
        ill.set()
        await reached(stack, {"one"})
        async with sockets(stack, 4) as names:
            assert set(names) == {"one"}
        ill.clear()
        await both_up(stack)
    stack.check_log()


@pytest.mark.parametrize("tunnel", ["upgrade", "ws"])
@pytest.mark.parametrize("count", [1, 2])
async def test_unix_sockets(folder: Path, tunnel: str, count: int) -> None:
    """One backend on a unix socket, or two, serve page and sockets as those on ports do, and leave no file behind."""
    addresses = [f"unix:{folder}/{number}" for number in range(count)]
    description = {
        "websockets": [{"path": "/ws/", "backend": addresses, "tunnel": tunnel}],
        "pages": {"proxy": addresses[0]},
    }
    with running(json.dumps(description)) as stack:
        assert ask(stack, "/").status == 200
        for _ in range(4):
            async with stack.websocket("/ws/echo", origin=stack.url.rstrip("/")) as socket:
                await socket.send("by file")
                assert await socket.recv() == "by file"
    # The folder is root's where Apache and the backend are not.
    assert left_in(folder) == []


async def test_unix_member_that_stops_is_passed_over(folder: Path) -> None:
    """Of two unix sockets, which Apache does not check, one that nobody listens at costs no handshake, and is used again when back."""
    paths = [folder / "one", folder / "two"]
    description = {
        "websockets": [
            {"path": "/ws/", "origins": "any", "backend": [f"unix:{each}" for each in paths]},
        ],
        "pages": None,
    }
    with running(json.dumps(description), backend=False) as stack:
        async with unix_member("one", paths[0]):
            async with unix_member("two", paths[1]), sockets(stack, 4) as names:
                assert (names.count("one"), names.count("two")) == (2, 2)
            async with sockets(stack, 6) as names:
                assert set(names) == {"one"}
            async with unix_member("two", paths[1]):
                await both_up(stack)
        stack.allow(*MEMBER_OUT, "AH02454")  # could not connect to the unix socket


@asynccontextmanager
async def unix_member(name: str, path: Path) -> AsyncIterator[None]:
    """Run a backend on a unix socket that greets with its name."""

    async def greet(connection: ServerConnection) -> None:
        await connection.send(name)
        await connection.wait_closed()

    async with unix_serve(greet, str(path), ping_interval=None):
        path.chmod(0o666)  # noqa: ASYNC240  # at once, in a folder of this test
        yield
    path.unlink(missing_ok=True)  # noqa: ASYNC240


def left_in(folder: Path) -> list[Path]:
    """Return what is in a folder."""
    return list(folder.iterdir())
