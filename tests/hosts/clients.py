"""Those who use a name: they read pages, open sockets, chat, and notice when something is not as it should be.

They resolve nothing: a visitor is given the address. Runs inside the machines' network.
"""

import asyncio
import http.client
import json
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.waiting import SECOND

_AT_ONCE = 25  # handshakes under way while a crowd comes in


@dataclass(frozen=True)
class Visitor:
    """Somebody who knows a name, the address behind it, and the authority to trust."""

    name: str
    address: str
    authority: Path

    def page(self, path: str = "/", *, is_plain: bool = False, host: str = "") -> tuple[int, str]:
        """Return the status and the text of a page.

        Args:
            path: of the page.
            is_plain: by plain HTTP on port 80, without following redirects.
            host: who is asked for; none: the name.
        """
        with socket.create_connection((self.address, 80 if is_plain else 443), 10 * SECOND) as line:
            if not is_plain:
                line = self.trust.wrap_socket(line, server_hostname=self.name)  # noqa: PLW2901 # the same line
            with line:
                connection = http.client.HTTPConnection(host or self.name)
                connection.sock = line
                connection.request("GET", path)
                answer = connection.getresponse()
                return answer.status, answer.read().decode()

    @property
    def trust(self) -> ssl.SSLContext:
        """Return what a client needs to verify the name by the authority alone."""
        return ssl.create_default_context(cafile=self.authority)

    def certificate(self) -> dict[str, Any]:
        """Return the certificate that the name shows, once it has been verified."""
        with (
            socket.create_connection((self.address, 443), 10 * SECOND) as line,
            self.trust.wrap_socket(line, server_hostname=self.name) as encrypted,
        ):
            return dict(encrypted.getpeercert() or {})

    def websocket(self, path: str = "/ws/echo", **options: Any) -> connect:
        """Return a socket to be entered."""
        options.setdefault("open_timeout", 10 * SECOND)
        options.setdefault("ssl", self.trust)
        return connect(f"wss://{self.name}{path}", host=self.address, proxy=None, **options)

    async def chat(self, room: str) -> None:
        """Talk to oneself in a room: what one socket says, another one hears."""
        async with (
            self.websocket(f"/ws/chat?room={room}") as ada,
            self.websocket(f"/ws/chat?room={room}") as bob,
        ):
            await ada.send(
                json.dumps({"type": "usermsg", "name": "Ada", "message": "Hello", "color": "#7c3aed"})
            )
            heard = json.loads(await asyncio.wait_for(bob.recv(), 5 * SECOND))
            assert (heard["type"], heard["name"], heard["message"]) == ("usermsg", "Ada", "Hello")

    async def is_served(self) -> bool:
        """Tell whether a socket opens and echoes."""
        try:
            async with self.websocket(open_timeout=5 * SECOND) as opened:
                await opened.send("?")
                return await asyncio.wait_for(opened.recv(), 5 * SECOND) == "?"
        except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
            return False

    async def until_served(self, seconds: float = 20) -> None:
        """Wait until sockets are served."""
        end = time.monotonic() + seconds * SECOND
        while not await self.is_served():
            assert time.monotonic() < end, f"{self.name} is not served within {seconds} s"
            await asyncio.sleep(0.05)


class Crowd:
    """Many open sockets of one visitor."""

    def __init__(self, sockets: list[ClientConnection]) -> None:
        self._sockets = sockets
        self._round = 0

    @property
    def lost(self) -> list[str]:
        """Return why sockets are no longer open."""
        return [str(each.protocol.close_exc) for each in self._sockets if each.close_code is not None]

    @property
    def farewells(self) -> list[tuple[int | None, str]]:
        """Return the codes and reasons with which sockets were closed from the other side."""
        return [(each.close_code, each.close_reason or "") for each in self._sockets if each.close_code]

    async def until_all_left(self) -> None:
        """Wait until every socket is closed."""
        await asyncio.wait_for(asyncio.gather(*(each.wait_closed() for each in self._sockets)), 30 * SECOND)

    async def speak(self) -> None:
        """Fail unless every socket is open and echoes what it is told now."""
        self._round += 1
        word = f"round {self._round}"
        assert not self.lost, f"{len(self.lost)} sockets are closed: {self.lost[:5]}"
        await asyncio.gather(*(each.send(word) for each in self._sockets))
        answers = await asyncio.wait_for(
            asyncio.gather(*(each.recv() for each in self._sockets)), 20 * SECOND
        )
        assert answers == [word] * len(self._sockets)


@asynccontextmanager
async def crowd(visitor: Visitor, size: int) -> AsyncIterator[Crowd]:
    """Open many sockets, and close them."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def opened() -> ClientConnection:
        async with places:
            return await visitor.websocket(open_timeout=30 * SECOND)

    sockets = await asyncio.gather(*(opened() for _ in range(size)))
    try:
        yield Crowd(sockets)
    finally:
        await asyncio.gather(*(each.close() for each in sockets))


@dataclass
class Watch:
    """What was seen so far by somebody who asked again and again.

    How often it went well, what went wrong, and the longest time in seconds in which nothing went well.
    """

    well: int = 0
    gap: float = 0
    faults: list[str] = field(default_factory=list)


@asynccontextmanager
async def arriving(visitor: Visitor) -> AsyncIterator[Watch]:
    """Open one socket after the other, and have it echo, for as long as it takes."""
    watch = Watch()
    is_over = asyncio.Event()

    async def arrive() -> None:
        while not is_over.is_set():
            try:
                async with visitor.websocket() as opened:
                    await opened.send("?")
                    await asyncio.wait_for(opened.recv(), 10 * SECOND)
                watch.well += 1
            except ConnectionClosed as error:
                # 1012 is the restart's own word to those who are in (RFC 6455, 7.4.2): not a refusal.
                if error.rcvd is None or error.rcvd.code != 1012:
                    watch.faults.append(repr(error))
            except (OSError, InvalidHandshake, TimeoutError) as error:
                watch.faults.append(repr(error))

    task = asyncio.create_task(arrive())
    try:
        yield watch
    finally:
        is_over.set()
        await task


@asynccontextmanager
async def reading(address: str, host: str, wanted: str) -> AsyncIterator[Watch]:
    """Read a page by plain HTTP again and again, on fresh connections, and compare it with what it should be."""
    watch = Watch()
    is_over = asyncio.Event()
    last = time.monotonic()

    def read() -> None:
        nonlocal last
        connection = http.client.HTTPConnection(address, 80, timeout=5 * SECOND)
        try:
            connection.request("GET", "/", headers={"Host": host})
            said = connection.getresponse().read().decode()
            if said == wanted:
                now = time.monotonic()
                watch.well, watch.gap, last = watch.well + 1, max(watch.gap, now - last), now
            else:
                watch.faults.append(said)
        except OSError as error:
            watch.faults.append(repr(error))
        finally:
            connection.close()

    async def go_on() -> None:
        while not is_over.is_set():
            await asyncio.to_thread(read)
            await asyncio.sleep(0.05)  # a page every now and then, not a load test

    task = asyncio.create_task(go_on())
    try:
        yield watch
    finally:
        is_over.set()
        await task
