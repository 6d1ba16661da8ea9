"""The backends of the fault matrix: one that is right, and some that are wrong in one way each.

Knows nothing of Apache: the port is for whoever puts something in front.
"""

import asyncio
import contextlib
import http
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from tests.scripted import Script, answering, scripted

PAGE = b"<!doctype html><title>page</title><p>page</p>"
_SCRIPT = (
    b'<!doctype html><title>page</title><script>new WebSocket("%s://" + location.host + "/ws/echo")</script>'
)
Begin = Callable[[int], Awaitable[Server | asyncio.Server]]


async def _echo(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for message in connection:
            await connection.send(message)


async def _greet(connection: ServerConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        await connection.send("welcome")
    await _echo(connection)


def _answer(status: http.HTTPStatus, body: bytes, kind: str = "text/html") -> Response:
    headers = Headers({"Content-Length": str(len(body)), "Content-Type": kind, "Connection": "close"})
    return Response(status, status.phrase, headers, body)


def _pages(*sockets: str) -> Callable[[ServerConnection, Request], Response | None]:
    """Return what leads handshakes for these paths to the socket, and answers all else as a page."""

    def process(_connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path in sockets and request.headers.get("Upgrade", "").lower() == "websocket":
            return None
        if path in sockets:
            return _answer(http.HTTPStatus.UPGRADE_REQUIRED, b"This is for WebSockets.\n", "text/plain")
        if path == "/":
            # As frameworks do: the scheme is the one that the front says the page was asked by.
            scheme = b"wss" if request.headers.get("X-Forwarded-Proto") == "https" else b"ws"
            return _answer(http.HTTPStatus.OK, _SCRIPT % scheme)
        return _answer(http.HTTPStatus.NOT_FOUND, b"No such path.\n", "text/plain")

    return process


def _same_origin(connection: ServerConnection, request: Request) -> Response | None:
    """Let in whom a page on the Host asked for sends, as many frameworks do."""
    origin = request.headers.get("Origin", "")
    if origin and origin.partition("://")[2] != request.headers["Host"]:
        return _answer(http.HTTPStatus.FORBIDDEN, b"Origin is not allowed.\n", "text/plain")
    return _pages("/echo")(connection, request)


async def _comparing(port: int) -> Server:
    return await serve(_echo, "127.0.0.1", port, process_request=_same_origin, ping_interval=None)


def _serving(handler: Any, *sockets: str, host: Any = ("127.0.0.1", "127.0.0.2"), **options: Any) -> Begin:
    async def begin(port: int) -> Server:
        return await serve(
            handler, host, port, process_request=_pages(*sockets), ping_interval=None, **options
        )

    return begin


async def _switch(connection: ServerConnection, request: Request) -> Response | None:
    """Upgrade to whatever is asked for, and then say nothing."""
    upgrade = request.headers.get("Upgrade", "websocket")
    if upgrade.lower() != "websocket":
        answer = f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: {upgrade}\r\nConnection: Upgrade\r\n\r\n"
        connection.transport.write(answer.encode())
        await connection.wait_closed()
    return None


async def _switching(port: int) -> Server:
    return await serve(_echo, "127.0.0.1", port, process_request=_switch, ping_interval=None)


@contextmanager
def _running(begin: Begin, port: int) -> Iterator[None]:
    """Run a server of websockets' in a thread until the block ends."""
    ready, finish = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        try:
            server = await begin(port)
        finally:
            ready.set()
        await finish.wait()
        server.close()
        await server.wait_closed()

    thread = threading.Thread(target=asyncio.run, args=(main(),))
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        loops[0].call_soon_threadsafe(finish.set)
        thread.join()


def _dying(_connection: socket.socket, _request: object) -> None:
    """Hang up in the middle of the handshake, as a program that crashes does."""


def _refusing(connection: socket.socket, _request: object) -> None:
    """Refuse a handshake, and send back whatever comes behind it."""
    connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    while data := connection.recv(4096):
        connection.sendall(data)


def _deaf(connection: socket.socket, _request: object) -> None:
    """Take a request and never answer it."""
    while connection.recv(4096):
        pass


_SOCKETS = {
    "echo": _serving(_echo, "/echo", "/echo%2Fa", "/echo%3Fa", "/a%20b"),
    "echo below /ws/": _serving(_echo, "/ws/echo"),
    "echo on IPv6": _serving(_echo, "/echo", host="::1"),
    "switching": _switching,
    "comparing origins": _comparing,
    "greeting": _serving(_greet, "/echo"),
}
_SCRIPTS: dict[str, Script] = {
    "pages alone": answering("200 OK", "Content-Type: text/html", body=PAGE),
    "dying": _dying,
    "deaf": _deaf,
    "refusing": _refusing,
}


async def _pumped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextmanager
def forgetful_front(port: int, target: int, own: ssl.SSLContext, trusting: ssl.SSLContext) -> Iterator[None]:
    """Run a proxy by TLS that passes all on by TLS, and does not say there what name was asked for.

    Args:
        port: where it listens.
        target: where it passes all on to.
        own: what it shows.
        trusting: what it takes.
    """

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", target, ssl=trusting, server_hostname="")
        await asyncio.gather(_pumped(reader, behind[1]), _pumped(behind[0], writer))

    async def begin(at: int) -> asyncio.Server:
        return await asyncio.start_server(passed, "127.0.0.1", at, ssl=own)

    with _running(begin, port):
        yield


@contextmanager
def backend(kind: str, port: int, context: Callable[[], ssl.SSLContext]) -> Iterator[None]:
    """Run a backend on a port of 127.0.0.1 until the block ends.

    Args:
        kind: `none`, one of those above, `by TLS` for one that speaks TLS, or `origin …` for one that lets that origin alone in.
        port: where.
        context: makes what a server by TLS has.
    """
    with contextlib.ExitStack() as stack:
        if kind == "by TLS":
            stack.enter_context(_running(_serving(_echo, "/echo", ssl=context()), port))
        elif kind.startswith("origin "):
            origin = kind.removeprefix("origin ")
            stack.enter_context(_running(_serving(_echo, "/echo", origins=[origin, None]), port))
        elif kind in _SOCKETS:
            stack.enter_context(_running(_SOCKETS[kind], port))
        elif kind != "none":
            stack.enter_context(scripted(port, _SCRIPTS[kind]))
        yield
