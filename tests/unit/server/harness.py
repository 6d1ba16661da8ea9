"""A backend in this process on a free port or as a process of its own, and clients for both.

Holds no test and no fixture.
"""

import asyncio
import json
import re
import signal
import socket
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from server.app import Backend
from server.listen import bind
from server.pages import Page
from server.settings import Address, Settings
from tests.waiting import SECOND

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 10 * SECOND

# What systemd does between fork and exec; and python -m server, without a module where one is named.
ACTIVATE = """
import os, runpy, sys
number, absent, *sys.argv[1:] = sys.argv[1:]
os.dup2(int(number), 3)
os.environ["LISTEN_PID"] = str(os.getpid())
sys.modules.update({absent: None} if absent else {})
sys.path.insert(0, os.getcwd())
runpy.run_module("server", run_name="__main__", alter_sys=True)
"""


@dataclass
class Running:
    """A backend in this process, and its clients."""

    backend: Backend
    port: int
    stop: Callable[[int, str], Awaitable[None]]
    clients: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def connect(self, path: str = "/ws/chat", **options: Any) -> ClientConnection:
        """Open a WebSocket that is closed with the test."""
        options = {"proxy": None, "max_size": None, **options}
        client = connect(f"ws://127.0.0.1:{self.port}{path}", **options)
        return await self.clients.enter_async_context(client)

    async def joined(self, name: str, path: str = "/ws/chat", **fields: Any) -> ClientConnection:
        """Open a WebSocket that has joined, its welcome and its own arrival read."""
        client = await self.connect(path)
        await say(client, type="join", name=name, **fields)
        await hear(client, "welcome")
        await hear(client, "presence")
        return client

    async def raw(self, data: bytes) -> bytes:
        """Send bytes and return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(SECONDS):
                return await reader.read()
        finally:
            await hang_up(writer)

    async def status(self, data: bytes) -> int:
        """Send a handshake by hand, hang up, and return the answer's status."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            async with asyncio.timeout(SECONDS):
                return int((await reader.readline()).split()[1])
        finally:
            await hang_up(writer)

    async def get(self, path: str, *lines: str, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """Make a plain request; return the status, the headers in lower case and the body."""
        head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", *lines, "", ""])
        answer = await self.raw(head.encode())
        top, _, body = answer.partition(b"\r\n\r\n")
        status, *headers = top.decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in headers)
        return int(status.split()[1]), {name.lower(): value for name, value in pairs}, body


Start = Callable[..., Awaitable[Running]]


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Close a connection made by hand."""
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def say(client: ClientConnection, /, **message: Any) -> None:
    """Send one message."""
    await client.send(json.dumps(message))


async def hear(client: ClientConnection, kind: str | None = None) -> dict[str, Any]:
    """Return the next message, or the next one of a kind."""
    async with asyncio.timeout(SECONDS):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if kind in (None, message["type"]):
                return message


async def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # what is waited for has no event of its own
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(settings: Settings, pages: dict[str, Page]) -> AsyncIterator[Running]:
    """Run a backend in this process."""
    sock = bind(Address("127.0.0.1", 0))
    backend = Backend(settings, pages)
    servers = await backend.start([sock])
    done = False

    async def stop(code: int, reason: str) -> None:
        nonlocal done
        done = True
        await backend.stop(servers, code, reason)

    here = Running(backend, sock.getsockname()[1], stop)
    try:
        async with here.clients:
            yield here
    finally:
        if not done:
            await stop(1001, "test over")


@dataclass
class Process:
    """A backend as a process of its own, its log in a file."""

    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def lines(self) -> list[str]:
        """Read the log so far."""
        return self.log.read_text().splitlines()

    @property
    def ports(self) -> list[int]:
        """Name the ports that it listens on."""
        return [
            int(port)
            for port in re.findall(r"listening on [^\"\n]*:(\d+)", self.log.read_text(), re.MULTILINE)
        ]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit status."""
        self.popen.send_signal(number)
        return self.popen.wait(2 * SECONDS)


Launch = Callable[..., Process]


def handshake(path: str = "/ws/chat", *lines: str, host: str = "x") -> bytes:
    """Write a handshake by hand."""
    head = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
    ]
    return "\r\n".join([*head, *lines, "", ""]).encode()


def open_socket(port: int, path: str = "/ws/chat", *lines: str) -> socket.socket:
    """Open a WebSocket by hand, its 101 read; blocking."""
    sock = socket.create_connection(("127.0.0.1", port), SECONDS)
    sock.sendall(handshake(path, *lines))
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += sock.recv(1)
    assert answer.startswith(b"HTTP/1.1 101"), answer
    return sock
