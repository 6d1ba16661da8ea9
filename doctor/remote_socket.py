"""What a socket that is open does: its first message, pings, messages, its close, and silence.

Judges nothing. Frames are those of the websockets library, without its network.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, PayloadTooBig
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.protocol import State
from websockets.uri import parse_uri

from .remote_http import Answer, Line

DEFLATE = ClientPerMessageDeflateFactory(client_max_window_bits=True)
OFFER = "permessage-deflate; client_max_window_bits"
"""What Chrome and Firefox offer (RFC 7692, 7.1)."""

CLOSE_CODE = 4001  # for applications to use (RFC 6455, 7.4.2), so that nobody in between makes it of its own
_PING = b"wsfront doctor"
_SMALL = "wsfront doctor"
_LARGE = "0123456789abcdef" * 4096  # 64 KiB: more than one read of any proxy in between
_PARTS = ("in ", "three ", "parts")
_MOST = 4 << 20  # a feed may say much; it is not listened to for ever
_FIRST_SECONDS = 0.3


@dataclass
class SocketSeen:
    """Hold what one socket did.

    Attributes:
        first: bytes of the server's first message, unasked; None: it waits for the client.
        is_first_held: whether a message came as soon as the client had said something, a ping, and none before.
        pong_seconds: how long an answer to a ping took; None: none came.
        echoes: kind of message (`small`, `64 KiB`, `in fragments`) -> whether it came back as it was; empty: not asked.
        close_code: with which code the server closed; None: it did not.
        close_reason: its words.
        is_left: whether we closed first.
        is_answered: whether that was answered with a close frame.
        is_cut: whether the connection ended without a close frame.
        idle_seconds: how long it was left in silence.
        is_loud: whether it said more than anybody listens to.
        fault: what was no protocol at all, in a few words.
    """

    first: int | None = None
    is_first_held: bool = False
    pong_seconds: float | None = None
    echoes: dict[str, bool] = field(default_factory=dict)
    close_code: int | None = None
    close_reason: str = ""
    is_left: bool = False
    is_answered: bool = False
    is_cut: bool = False
    idle_seconds: float = 0.0
    is_loud: bool = False
    fault: str = ""

    @property
    def is_over(self) -> bool:
        """Tell whether there is nothing more to be heard."""
        return self.is_cut or self.is_loud or self.close_code is not None or bool(self.fault)


class Stream(Protocol):
    """Carry the bytes of a socket, by whatever version of HTTP it was opened."""

    async def read(self) -> bytes:
        """Return what comes next; empty at the end."""

    def write(self, content: bytes) -> None:
        """Send bytes."""

    async def drain(self) -> None:
        """Wait until more may be sent."""

    async def close(self) -> None:
        """Close it without a word."""


class Talk:
    """Speak on an open socket.

    Args:
        stream: what carries it.
        headers: of the answer to the handshake.
        begin: what came behind that answer.
        limit: seconds for each question.

    Raises:
        InvalidHandshake: extensions were agreed on that nobody offered.
    """

    def __init__(
        self, stream: Stream, headers: Sequence[tuple[str, str]], begin: bytes, limit: float
    ) -> None:
        self.stream = stream
        self.limit = limit
        self.seen = SocketSeen()
        self.protocol = ClientProtocol(
            parse_uri("ws://doctor/"), extensions=[DEFLATE], state=State.OPEN, max_size=_MOST
        )
        self.protocol.extensions = self.protocol.process_extensions(Headers(list(headers)))
        self.pongs: list[bytes] = []
        self.messages: list[bytes] = []
        self._parts = b""
        self._heard = 0
        self._feed(begin)

    async def first(self) -> None:
        """Wait a moment for what the server says unasked."""
        await self._until(lambda: bool(self.messages), _FIRST_SECONDS)
        self.seen.first = len(self.messages[0]) if self.messages else None

    async def ping(self) -> None:
        """Ask for a pong."""
        if self.seen.is_over:
            return
        begun = asyncio.get_running_loop().time()
        self.protocol.send_ping(_PING)
        if await self._until(lambda: _PING in self.pongs, self.limit):
            self.seen.pong_seconds = asyncio.get_running_loop().time() - begun
        self.seen.is_first_held = self.seen.first is None and bool(self.messages)

    async def echo(self) -> None:
        """Send a small, a large and a fragmented message, and wait for each to come back."""
        small, large = _SMALL.encode(), _LARGE.encode()
        await self._echo("small", small, lambda: self.protocol.send_text(small))
        if self.seen.pong_seconds is None and not self.seen.echoes.get("small"):
            return  # more would only take longer
        await self._echo("64 KiB", large, lambda: self.protocol.send_text(large))
        await self._echo("in fragments", "".join(_PARTS).encode(), self._send_parts)

    async def close(self, code: int = 1000) -> None:
        """Close with this code, and wait for the answer."""
        if not self.seen.is_over:
            self.seen.is_left = True
            self.protocol.send_close(code, "wsfront doctor")
            await self._until(lambda: self.seen.is_over, self.limit)
            self.seen.is_answered = self.seen.close_code is not None
        await self.stream.close()

    async def idle(self, seconds: float) -> None:
        """Send nothing but what a browser answers by itself, for so many seconds; then ask for a pong."""
        begun = asyncio.get_running_loop().time()
        await self._until(lambda: self.seen.is_over, seconds)
        self.seen.idle_seconds = asyncio.get_running_loop().time() - begun
        await self.ping()

    def _send_parts(self) -> None:
        first, second, third = (part.encode() for part in _PARTS)
        self.protocol.send_text(first, fin=False)
        self.protocol.send_continuation(second, fin=False)
        self.protocol.send_continuation(third, fin=True)

    async def _echo(self, kind: str, content: bytes, send: Callable[[], None]) -> None:
        if self.seen.is_over:
            return
        self.messages.clear()
        send()
        self.seen.echoes[kind] = await self._until(lambda: content in self.messages, self.limit)

    async def _until(self, is_done: Callable[[], bool], seconds: float) -> bool:
        """Read until something is so, the socket is over, or the time is; tell whether it is so."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._flush()
                while not is_done() and not self.seen.is_over:
                    try:
                        part = await self.stream.read()
                    except (ConnectionError, ssl.SSLError):
                        part = b""
                    if not part:
                        self.seen.is_cut = True
                        break
                    self._feed(part)
                    await self._flush()
        return is_done()

    async def _flush(self) -> None:
        for content in self.protocol.data_to_send():
            if content:
                self.stream.write(content)
        with contextlib.suppress(ConnectionError):  # what it came to is read
            await self.stream.drain()

    def _feed(self, part: bytes) -> None:
        self.protocol.receive_data(part)
        for event in self.protocol.events_received():
            if isinstance(event, Frame):
                self._heard += len(event.data)  # once unpacked, which may be a thousand times what came
                self._note(event)
        failure = self.protocol.parser_exc
        self.seen.is_loud = self._heard > _MOST or isinstance(failure, PayloadTooBig)
        if failure and not self.seen.is_loud:
            self.seen.fault = str(failure) or type(failure).__name__

    def _note(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self.pongs.append(bytes(frame.data))
        elif frame.opcode is Opcode.CLOSE:
            received = self.protocol.close_rcvd
            self.seen.close_code = received.code if received else 1005
            self.seen.close_reason = received.reason if received else ""
        elif frame.opcode in {Opcode.TEXT, Opcode.BINARY, Opcode.CONT}:
            self._parts += bytes(frame.data)
            if frame.fin:
                self.messages.append(self._parts)
                self._parts = b""


async def begun(line: Line, answer: Answer, limit: float) -> Talk | SocketSeen:
    """Take a socket over from its handshake; where it cannot be understood, close it and say why."""
    try:
        return Talk(line, answer.headers, answer.body, limit)
    except InvalidHandshake as error:
        await line.close()
        return SocketSeen(fault=str(error))
