"""What `doctor` makes of sockets that behave in every way a server's may, over HTTP/1.1; and the little it reads of HTTP/2."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.protocol import State

from doctor.examination import Examination
from doctor.remote import examine
from doctor.remote_http2 import status_of
from tests.waiting import SECOND

Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler, **options: object) -> AsyncIterator[str]:
    """Run a server with this handler; yield its URL."""
    options = {"ping_interval": None, "close_timeout": 1, **options}
    async with serve(handler, "127.0.0.1", 0, **options) as server:  # type: ignore[arg-type] # each test's own
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/echo"


def found(examination: Examination) -> list[str]:
    """Return what was found, in its order."""
    return [finding.id for finding in examination.findings]


def told(examination: Examination, name: str) -> str:
    """Return what a check saw."""
    return next(check.seen for check in examination.checks if check.name == name)


async def echo(socket: ServerConnection) -> None:
    """Send back what comes."""
    async for message in socket:
        await socket.send(message)


async def welcome(socket: ServerConnection) -> None:
    """Speak first, then echo."""
    await socket.send("welcome")
    await echo(socket)


async def swallow(socket: ServerConnection) -> None:
    """Send back what is short."""
    async for message in socket:
        if len(message) < 1000:
            await socket.send(message)


async def vanish(socket: ServerConnection) -> None:
    """End without a word."""
    socket.transport.abort()


async def crash(_socket: ServerConnection) -> None:
    """Fail, as programs do; the library closes with 1011."""
    raise RuntimeError


async def dismiss(socket: ServerConnection) -> None:
    """Close with an application's own code."""
    await socket.close(4401, "who are you")


async def flood(socket: ServerConnection) -> None:
    """Never stop talking."""
    while socket.state is State.OPEN:
        await socket.send(b"x" * 65536)
        await asyncio.sleep(0)


async def garble(socket: ServerConnection) -> None:
    """Send what is no frame."""
    socket.transport.write(b"\x83garbage")
    await socket.wait_closed()


async def deaf(socket: ServerConnection) -> None:
    """Read nothing."""
    socket.transport.pause_reading()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(socket.wait_closed(), 6 * SECOND)
    socket.transport.abort()


async def test_speaks_when_spoken_to() -> None:
    """A server that waits, and echoes, is healthy; with and without compression."""
    for options in ({}, {"compression": None}):
        async with serving(echo, **options) as url:
            examination = await examine(url, any_origin=True)
        assert not examination.findings
        assert told(examination, "ping").endswith("it waits for the client")
        assert told(examination, "messages") == "small, 64 KiB, in fragments: echoed"
        assert told(examination, "close") == "4001 comes back"


async def test_speaks_first() -> None:
    """A server that speaks first is as healthy, and this is told."""
    async with serving(welcome) as url:
        examination = await examine(url, any_origin=True)
    assert not examination.findings
    assert told(examination, "ping").endswith("it speaks first, 7 bytes")


@pytest.mark.parametrize(
    ("handler", "names"),
    [
        (swallow, ["echo-broken"]),
        (vanish, ["socket-cut"]),
        (crash, ["socket-failed"]),
        (dismiss, []),
        (flood, []),
        (garble, ["frames-broken"]),
        (deaf, ["socket-deaf"]),
    ],
)
async def test_fault(handler: Handler, names: list[str]) -> None:
    """What goes wrong on a socket has its name."""
    async with serving(handler) as url:
        examination = await examine(url, any_origin=True, timeout=1 * SECOND)
    assert found(examination) == names


async def test_messages_are_for_paths_that_echo() -> None:
    """A path that does not say that it echoes is sent no message: nobody's chat is written to."""
    received: list[str | bytes] = []

    async def listen(socket: ServerConnection) -> None:
        async for message in socket:
            received.append(message)  # noqa: PERF401 (they come one by one)

    async with serving(listen) as url:
        examination = await examine(url.replace("/echo", "/chat"), any_origin=True)
        assert not examination.findings
        assert not received
        assert any("messages" in sentence for sentence in examination.not_checked)
        assert found(await examine(url, any_origin=True, echo=True, timeout=1 * SECOND)) == ["echo-broken"]
    assert received


async def test_silence() -> None:
    """A socket that is cut in silence is told with its time; pings of the server are answered as browsers do, and no byte more."""

    async def cut(socket: ServerConnection) -> None:
        reader = asyncio.create_task(socket.recv())
        await asyncio.wait([reader], timeout=1.5 * SECOND)
        reader.cancel()
        socket.transport.abort()

    async with serving(cut) as url:
        examination = await examine(url, any_origin=True, idle=5 * SECOND, echo=False)
    assert "idle-cut" in found(examination)
    assert told(examination, "idle").startswith("cut after ")
    async with serving(echo, ping_interval=0.1 * SECOND, ping_timeout=1 * SECOND) as url:
        examination = await examine(url, any_origin=True, idle=2 * SECOND)
    assert not examination.findings
    assert told(examination, "idle").startswith("alive after ")


@pytest.mark.parametrize(
    ("block", "status"),
    [
        (b"\x88", 200),
        (b"\x8d\x58\x01x", 404),
        (b"\x48\x82\x64\x02", 302),  # RFC 7541, C.6.1: Huffman, with indexing
        (b"\x48\x03403", 403),
        (b"\x08\x03501", 501),
        (b"\x48\x83\x64\x0e\xff", 307),  # C.6.2
        (b"\x3f\xe1\x1f\x48\x83\x68\x0c\xff", 403),  # behind a change of the table's size
        (b"", 0),
        (b"\x82", 0),
        (b"\x48", 0),
        (b"\x48\x03ab", 0),
        (b"\xff\xff\xff\xff", 0),
    ],
)
def test_status_over_http2(block: bytes, status: int) -> None:
    """A status is read in each form that it may have; what is none is none."""
    assert status_of(block) == status
