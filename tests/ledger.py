"""A client of the chat that keeps a ledger: what it said, what it heard, and whether any of it was lost, came twice or out of order.

Does what PROTOCOL.md says under "Nothing lost, nothing twice, in order"; holds no test.
"""

import asyncio
import json
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests.waiting import SECOND


class Ledger:
    """One client over any number of connections, one after the other.

    Args:
        url: asked for an address before each attempt to connect.
        options: of the connections (websockets.asyncio.client.connect).
    """

    def __init__(self, name: str, url: Callable[[], str], **options: Any) -> None:
        self.name = name
        self.url = url
        self.options = options
        self.client = secrets.token_hex(12)
        self.heard: list[str] = []
        self.gaps: list[dict[str, Any]] = []
        self.connections = 0
        self.twice = 0
        self._position: dict[str, Any] = {}
        self._unacknowledged: dict[str, str] = {}
        self._said = 0
        self._resumes = 0
        self._at: ClientConnection | None = None
        self._current = asyncio.Event()
        self._done = asyncio.Event()
        self._task = asyncio.create_task(self._live())

    async def say(self) -> None:
        """Say the next line; it is sent again until it is acknowledged."""
        self._said += 1
        name = f"{self.name}-{self._said}"
        self._unacknowledged[name] = name
        if self._at is not None and self._current.is_set():
            with suppress(ConnectionClosed):
                await self._send(self._at, name)

    async def settled(self) -> None:
        """Wait until all that was said is acknowledged."""
        while self._unacknowledged or not self._current.is_set():  # noqa: ASYNC110  # no one event tells it
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """Leave."""
        self._done.set()
        self._task.cancel()
        await asyncio.wait([self._task])

    @property
    def said(self) -> list[str]:
        """All that was said here."""
        return [f"{self.name}-{number}" for number in range(1, self._said + 1)]

    def from_(self, name: str) -> list[str]:
        """All that was heard of one client, in the order heard."""
        return [text for text in self.heard if text.startswith(f"{name}-")]

    async def _live(self) -> None:
        while not self._done.is_set():
            with suppress(OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                async with connect(self.url(), proxy=None, open_timeout=5, **self.options) as here:
                    self.connections += 1
                    await self._talk(here)
            self._at = None
            self._current.clear()
            await asyncio.sleep(0.05)

    async def _talk(self, here: ClientConnection) -> None:
        self._at = here
        await self._resume(here)
        left = -1  # of what was missed; before the answer nothing counts
        async for text in here:
            message = json.loads(text)
            match message["type"]:
                case "resumed" | "gap" if message.get("ref", str(self._resumes)) == str(self._resumes):
                    if message["type"] == "gap":
                        self.gaps.append(message)
                    self._position = {"epoch": message["epoch"], "offset": message["offset"]}
                    left = message["count"]
                    if not left:
                        await self._catch_up(here)
                case "usermsg" if left >= 0:
                    self._hear(message)
                    if left == 1:
                        await self._catch_up(here)
                    left = max(0, left - 1)
                case "ack":
                    self._unacknowledged.pop(message["id"], None)
                case "error":
                    assert message["code"] in ("try-again", "rate-limited"), message
                    is_answer = "id" not in message and message.get("ref", str(self._resumes)) == str(
                        self._resumes
                    )
                    if not (is_answer or self._current.is_set()):
                        continue  # of the lines sent together the first that is refused is enough
                    await asyncio.sleep(message.get("retry_after", 0.1))
                    left = -1
                    self._current.clear()
                    await self._resume(here)
                case _:
                    pass

    def _hear(self, line: dict[str, Any]) -> None:
        if line["offset"] <= self._position["offset"]:
            self.twice += 1
            return
        assert line["offset"] == self._position["offset"] + 1, (line, self._position)
        self._position["offset"] = line["offset"]
        self.heard.append(line["message"])

    async def _resume(self, here: ClientConnection) -> None:
        # One who was refused twice has asked twice; what came behind the first answer is in the second, too.
        self._resumes += 1
        await here.send(
            json.dumps({"type": "resume", "client": self.client, "ref": str(self._resumes), **self._position})
        )

    async def _catch_up(self, here: ClientConnection) -> None:
        for name in list(self._unacknowledged):
            await self._send(here, name)
        self._current.set()

    async def _send(self, here: ClientConnection, name: str) -> None:
        await here.send(json.dumps({"type": "usermsg", "name": self.name, "message": name, "id": name}))


async def traffic(ledgers: list[Ledger], seconds: float) -> None:
    """Let each client say something, four times a second."""
    end = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < end:
        for ledger in ledgers:
            await ledger.say()
        await asyncio.sleep(0.25)


async def is_complete(ledgers: list[Ledger]) -> None:
    """Wait until all have heard all, each line once and in order."""
    async with asyncio.timeout(20 * SECOND):
        await asyncio.gather(*(ledger.settled() for ledger in ledgers))
        everything = sum(len(ledger.said) for ledger in ledgers)
        for ledger in ledgers:
            while len(ledger.heard) < everything:  # noqa: ASYNC110  # no one event tells it
                await asyncio.sleep(0.01)
    for ledger in ledgers:
        assert not ledger.gaps
        assert not ledger.twice
        assert [ledger.from_(other.name) for other in ledgers] == [other.said for other in ledgers]


async def closed(ledgers: list[Ledger]) -> None:
    """Let all leave."""
    await asyncio.gather(*(ledger.close() for ledger in ledgers))
