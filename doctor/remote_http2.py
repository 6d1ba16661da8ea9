"""A WebSocket over HTTP/2 (RFC 8441), as far as one handshake needs it: frames, settings, and the status of an answer.

Header fields go out as they are (RFC 7541, 6.2.2); of an answer `:status` alone is read, which comes first (RFC 9113, 8.3.2).
"""

import asyncio
import ssl
from dataclasses import dataclass

from .remote_http import AGENT, FailureError, Line, opened, unverified
from .remote_socket import SocketSeen, Talk
from .remote_url import Asked

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 1, 1, 4, 8, 32
_ENABLE_CONNECT = 8  # RFC 8441, 3
_STREAM = 1
_FRAME_MOST = 1 << 20
_STATUS_NAME = 8  # RFC 7541, appendix A: the first of :status
_STATUSES = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
# RFC 7541, appendix B: the codes of digits
_DIGITS = {f"{number:05b}": str(number) for number in range(3)} | {
    f"{number + 22:06b}": str(number) for number in range(3, 10)
}


@dataclass(frozen=True)
class Http2Seen:
    """Hold what HTTP/2 gave.

    Attributes:
        is_announced: whether the server says that sockets can be opened by it; browsers then do.
        status: of the answer to a handshake; 0: none came.
        detail: what came instead.
        socket: what the socket did.
    """

    is_announced: bool = False
    status: int = 0
    detail: str = ""
    socket: SocketSeen | None = None


class _ClosedError(Exception):
    """Say that the connection or the stream ended."""


class _Stream:
    """One stream on a connection of its own; once open it carries bytes, as a line does."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.is_announced = False
        self.status = 0
        self.is_ended = False
        self._received = b""

    async def settled(self) -> None:
        """Begin, and wait for the server's settings."""
        self.line.write(_PREFACE + _frame(_SETTINGS, 0, 0, b""))
        while await self._next() != _SETTINGS:
            pass

    async def shake(self, asked: Asked, origin: str) -> None:
        """Send an extended CONNECT, and wait for its answer."""
        fields = {
            ":method": "CONNECT",
            ":protocol": "websocket",
            ":scheme": "https",
            ":path": asked.target,
            ":authority": asked.authority,
            "sec-websocket-version": "13",
            "origin": origin,
            "user-agent": AGENT,
        }
        block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
        self.line.write(_frame(_HEADERS, _END_HEADERS, _STREAM, block))
        while not self.status:
            await self._next()

    async def read(self) -> bytes:
        """Return what the socket says next; empty at its end."""
        try:
            while not self._received and not self.is_ended:
                await self._next()
        except _ClosedError:
            self.is_ended = True
        content, self._received = self._received, b""
        return content

    def write(self, content: bytes) -> None:
        """Send bytes of the socket."""
        self.line.write(_frame(_DATA, 0, _STREAM, content))

    async def drain(self) -> None:
        """Wait until more may be sent."""
        await self.line.drain()

    async def close(self) -> None:
        """Close the connection."""
        await self.line.close()

    async def _next(self) -> int:
        """Take in one frame; return its kind (RFC 9113, 4.1)."""
        try:
            head = await self.line.reader.readexactly(9)
            length, kind, flags = int.from_bytes(head[:3]), head[3], head[4]
            if length > _FRAME_MOST:
                raise _ClosedError("a frame of more than 1 MiB")
            body = await self.line.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            raise _ClosedError("the connection ended") from None
        if kind == _SETTINGS and not flags & _ACK:
            settings = {
                int.from_bytes(body[at : at + 2]): int.from_bytes(body[at + 2 : at + 6])
                for at in range(0, length - 5, 6)
            }
            self.is_announced = self.is_announced or settings.get(_ENABLE_CONNECT) == 1
            self.line.write(_frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _PING and not flags & _ACK:
            self.line.write(_frame(_PING, _ACK, 0, body))
        elif kind in {_GOAWAY, _RST_STREAM}:
            raise _ClosedError(f"error {int.from_bytes(body[-4:] if kind == _RST_STREAM else body[4:8])}")
        elif kind in {_HEADERS, _DATA}:
            content = _unpadded(body, flags)
            if kind == _DATA:
                self._received += content
            elif not self.status:
                self.status = status_of(content[5:] if flags & _PRIORITY else content)
            self.is_ended = bool(flags & _END_STREAM)
        return kind


async def look(asked: Asked, address: str, origin: str, limit: float) -> Http2Seen:
    """Open a socket by HTTP/2, where the server announces that it can be."""
    try:
        line = await opened(address, asked.port, unverified(("h2",)), asked.host, limit)
    except FailureError as failure:
        return Http2Seen(detail=failure.answer.failure)
    stream = _Stream(line)
    detail = ""
    try:
        async with asyncio.timeout(limit):
            await stream.settled()
            if stream.is_announced:
                await stream.shake(asked, origin)
    except TimeoutError:
        detail = "no answer"
    except _ClosedError as error:
        detail = str(error)
    if detail or stream.status != 200:  # noqa: PLR2004 (RFC 8441, 5)
        await line.close()
        return Http2Seen(stream.is_announced, stream.status, detail)
    talk = Talk(stream, (), b"", limit)
    try:
        await talk.first()
        await talk.ping()
    finally:
        await talk.close()
    return Http2Seen(stream.is_announced, stream.status, "", talk.seen)


def status_of(block: bytes) -> int:
    """Return the status that a block of fields begins with; 0 where it begins with something else (RFC 7541, 6)."""
    while block and block[0] & 0xE0 == 0x20:  # noqa: PLR2004 (6.3: a change of the table's size)
        _, block = _integer(block, 5)
    if not block:
        return 0
    if block[0] & 0x80:
        return _STATUSES.get(_integer(block, 7)[0], 0)
    index, rest = _integer(block, 6 if block[0] & 0x40 else 4)
    if not rest or not _STATUS_NAME <= index <= max(_STATUSES):
        return 0
    is_huffman = rest[0] & 0x80
    length, rest = _integer(rest, 7)
    text = _digits(rest[:length]) if is_huffman else rest[:length].decode("latin-1")
    return int(text) if len(text) == 3 and text.isascii() and text.isdigit() else 0  # noqa: PLR2004 (RFC 9110, 15)


def _integer(block: bytes, prefix: int) -> tuple[int, bytes]:
    """Read a number of so many bits and, where they do not suffice, more bytes (RFC 7541, 5.1)."""
    most = (1 << prefix) - 1
    value = block[0] & most
    at, shift = 1, 0
    if value == most:
        while at < len(block):
            value += (block[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not block[at - 1] & 0x80:
                break
    return value, block[at:]


def _digits(content: bytes) -> str:
    bits = "".join(f"{byte:08b}" for byte in content)
    text, code = "", ""
    for bit in bits:
        code += bit
        if code in _DIGITS:
            text += _DIGITS[code]
            code = ""
    return text


def _text(text: str) -> bytes:
    content = text.encode("latin-1", "replace")
    length, most = len(content), 127
    if length < most:
        return bytes([length]) + content
    head, length = bytes([most]), length - most
    while length >= 128:  # noqa: PLR2004 (RFC 7541, 5.1)
        head += bytes([length % 128 + 128])
        length //= 128
    return head + bytes([length]) + content


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + body


def _unpadded(body: bytes, flags: int) -> bytes:
    return body[1 : len(body) - body[0]] if flags & _PADDED and body else body
