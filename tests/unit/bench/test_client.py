"""The load generator's client, against real servers: what it counts must be what happened."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.http11 import Request, Response

from bench.load.client import Client, frame
from certs.store import Store

Opened = Callable[..., Client]


async def echo(connection: ServerConnection) -> None:
    """Send back what comes; `ping` asks for an answer to a ping first, `bye` closes with 4000."""
    async for message in connection:
        if message == "ping":
            await (await connection.ping())
        if message == "bye":
            await connection.close(4000)
        await connection.send(message)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Run a plain echo server."""
    async with serve(echo, "127.0.0.1", 0, max_size=None, compression=None, close_timeout=0.1) as running:
        yield running


@pytest.fixture
def client_of() -> Iterator[Opened]:
    """Make clients that are closed in the end."""
    made: list[Client] = []

    def make(port: int, authority: str | None = None) -> Client:
        made.append(Client(port, "/", authority))
        return made[-1]

    yield make
    for client in made:
        client.close()


def port_of(server: Server) -> int:
    """Return where a server listens."""
    return int(next(iter(server.sockets)).getsockname()[1])


async def do(work: Callable[[], None]) -> None:
    """Run the client, which blocks, beside the server's loop."""
    await asyncio.to_thread(work)


def heard_by(client: Client, text: bytes, times: int = 1) -> list[bytes]:
    """Open a connection, send a message so many times, and return all that comes back."""
    client.open_more(1)
    heard: list[bytes] = []
    client.on_message = lambda _connection, payload: heard.append(payload)
    (connection,) = client.open
    for _ in range(times):
        connection.send(frame(text))
    while len(heard) < times and connection in client.open:
        client.turn(5)
    return heard


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 3_000_000])
async def test_every_size_comes_back(client_of: Opened, server: Server, size: int) -> None:
    """A message of any length of head goes there and back, also when the kernel takes it in pieces."""

    def work() -> None:
        assert heard_by(client_of(port_of(server)), b"x" * size, 3) == [b"x" * size] * 3

    await do(work)


async def test_tls(client_of: Opened, tmp_path: Path) -> None:
    """The same over TLS, with a certificate that is checked."""
    issued = Store(tmp_path).ensure("localhost", ["localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    async with serve(
        echo, "127.0.0.1", 0, ssl=context, max_size=None, compression=None, close_timeout=0.1
    ) as server:

        def work() -> None:
            client = client_of(port_of(server), str(issued.ca))
            assert heard_by(client, b"y" * 3_000_000, 2) == [b"y" * 3_000_000] * 2
            assert client.negotiated.startswith("TLSv1.3 ")

        await do(work)


async def test_wrong_certificate_is_refused(client_of: Opened, tmp_path: Path) -> None:
    """A server whose certificate is another authority's opens nothing."""
    issued = Store(tmp_path / "theirs").ensure("localhost", ["localhost"])
    ours = Store(tmp_path / "ours").ensure("localhost", ["localhost"])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(issued.certificate, issued.key)
    async with serve(echo, "127.0.0.1", 0, ssl=context, close_timeout=0.1) as server:

        def work() -> None:
            client = client_of(port_of(server), str(ours.ca))
            client.open_more(1)
            ((reason, count),) = client.ended.items()
            assert (len(client.open), count, "certificate" in reason.lower()) == (0, 1, True)

        await do(work)


async def test_ping_is_answered(client_of: Opened, server: Server) -> None:
    """The server's ping gets its pong."""

    def work() -> None:
        assert heard_by(client_of(port_of(server)), b"ping") == [b"ping"]

    await do(work)


async def test_close_by_the_server_is_counted(client_of: Opened, server: Server) -> None:
    """A socket that the server closes is no longer open, and its code is the reason."""

    def work() -> None:
        client = client_of(port_of(server))
        assert heard_by(client, b"bye") == []
        assert (len(client.open), dict(client.ended)) == (0, {"closed with 4000": 1})

    await do(work)


async def test_leaving_is_no_loss(client_of: Opened, server: Server) -> None:
    """A socket that we leave ends without a reason."""

    def work() -> None:
        client = client_of(port_of(server))
        client.open_more(5)
        for connection in list(client.open):
            connection.leave()
        while client.all:
            client.turn(5)
        assert not client.ended

    await do(work)


async def test_refusal_is_counted(client_of: Opened) -> None:
    """An answer other than 101 is no open socket, and its status is the reason."""

    def refuse(connection: ServerConnection, _request: Request) -> Response:
        return connection.respond(503, "full\n")

    async with serve(echo, "127.0.0.1", 0, process_request=refuse, close_timeout=0.1) as server:

        def work() -> None:
            client = client_of(port_of(server))
            client.open_more(3)
            assert (len(client.open), dict(client.ended)) == (0, {"answered 503": 3})

        await do(work)


def test_silence_is_given_up(client_of: Opened) -> None:
    """A server that accepts and says nothing costs the patience, not more."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = client_of(silent.getsockname()[1])
        client.open_more(3, patience=0.2)
        assert (len(client.open), dict(client.ended)) == (0, {"no answer": 3})


def test_closed_port_is_counted(client_of: Opened, unused_tcp_port: int) -> None:
    """A port on which nobody listens refuses each connection."""
    client = client_of(unused_tcp_port)
    client.open_more(2)
    assert dict(client.ended) == {"Connection refused": 2}
