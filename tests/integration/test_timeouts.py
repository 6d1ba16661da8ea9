"""How long a silent socket stays open: as long as the description says, unless somebody pings."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.stacks import Running, running
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

IDLE = 2  # seconds, the least that a description may ask for
SHORT = """
websockets:
- {path: /ws/, origins: any, idle_timeout: 2}
- {path: /tunnel/, origins: any, idle_timeout: 2, tunnel: ws}
- {path: /long/, origins: any, idle_timeout: 3}
- {path: /long-ws/, origins: any, idle_timeout: 3, tunnel: ws}
"""


async def silent(connection: ServerConnection) -> None:
    """Say nothing until the other end goes."""
    await connection.wait_closed()


async def life(stack: Running, path: str) -> tuple[float, float]:
    """Return for how many seconds a socket on which nobody says anything is open: since it was asked for, and since it was here."""
    asked = time.monotonic()
    async with stack.websocket(path, ping_interval=None) as socket:
        opened = time.monotonic()
        await socket.wait_closed()
        end = time.monotonic()
        return end - asked, end - opened


@pytest.fixture(scope="module")
def short() -> Iterator[Running]:
    """Run an Apache for short-lived idle sockets, with nothing behind it."""
    with running(SHORT, backend=False) as instance:
        yield instance


async def test_idle_socket_is_closed_in_time(short: Running) -> None:
    """By both forms a socket without a byte is closed after its own timeout, to within a second."""
    expected = {"/ws/": 2, "/tunnel/": 2, "/long/": 3, "/long-ws/": 3}
    async with serve(silent, "127.0.0.1", short.backend_port, ping_interval=None):
        lives = await asyncio.gather(*(life(short, path) for path in expected))
    # Apache's silence begins after the one and before the other.
    for path, (since_asked, since_opened) in zip(expected, lives, strict=True):
        assert expected[path] - 0.1 <= since_asked, path
        assert since_opened <= expected[path] + SECOND, path
    short.check_log()


async def test_traffic_one_way_keeps_a_socket(short: Running) -> None:
    """Bytes in one direction alone keep a socket open past its timeout, by both forms."""
    words = [str(number) for number in range(3 * IDLE)]

    async def tick(connection: ServerConnection) -> None:
        for word in words:
            await connection.send(word)
            await asyncio.sleep(0.5)

    async def hear(path: str) -> list[str | bytes]:
        async with short.websocket(path, ping_interval=None) as socket:
            return [message async for message in socket]

    async with serve(tick, "127.0.0.1", short.backend_port, ping_interval=None):
        assert list(await asyncio.gather(hear("/ws/"), hear("/tunnel/"))) == [words, words]
    short.check_log()


async def test_our_pings_keep_an_idle_socket() -> None:
    """Our backend pings often enough, as the description has it, for an idle socket to outlive its timeout."""
    description = (
        "websockets:\n- {path: /ws/, idle_timeout: 2}\n- {path: /tunnel/, idle_timeout: 2, tunnel: ws}\n"
    )
    with running(description) as stack:
        async with (
            stack.websocket("/ws/echo", ping_interval=None) as one,
            stack.websocket("/tunnel/echo", ping_interval=None) as other,
        ):
            ends = [asyncio.ensure_future(socket.wait_closed()) for socket in (one, other)]
            done, _ = await asyncio.wait(ends, timeout=2 * IDLE)
            assert not done
            for socket in (one, other):
                await socket.send("awake")
                assert await socket.recv() == "awake"
        await asyncio.wait(ends)
