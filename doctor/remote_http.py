"""One question over HTTP/1.1, sent as it is written, and what came back, read within bounds.

Judges nothing: a refusal, garbage and silence are answers like others.
"""

import asyncio
import contextlib
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from .remote_url import Asked

Failure = Literal["", "refused", "unreachable", "silent", "closed", "not-http", "endless", "tls"]
"""What came instead of an answer:

refused: nobody listens; unreachable: the network says so, or this machine has no way there; silent: nothing within the limit;
closed: the connection ended before an answer; not-http: bytes that are no HTTP; endless: a head of more than 64 KiB;
tls: no TLS came about.
"""

HEAD_MOST = 64 * 1024
BODY_MOST = 256 * 1024
AGENT = "Mozilla/5.0 (compatible; wsfront doctor)"
UPGRADED = 101  # RFC 6455, 4.1
_BODY_SECONDS = 2.0
_GOODBYE_SECONDS = 0.5
_CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # a masked close frame, 1000 (RFC 6455, 5.5.1)
_AT_ONCE = 4


@dataclass(frozen=True)
class Answer:
    """Hold what came back.

    Attributes:
        failure: what came instead of an answer, or nothing.
        status: of the status line.
        headers: names in lower case, in their order.
        body: its first 256 KiB; of a 101: what followed it.
        seconds: from the question to the end of the head.
        detail: the failure's own words.
    """

    failure: Failure = ""
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    seconds: float = 0.0
    detail: str = ""

    def header(self, name: str) -> str:
        """Return a header's values, joined (RFC 9110, 5.3); empty where there is none."""
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def is_apache_page(self) -> bool:
        """Tell whether the body is one of httpd's own error documents (modules/http/http_protocol.c)."""
        return self.body.startswith(b'<!DOCTYPE HTML PUBLIC "-//') and b"</head><body>\n<h1>" in self.body


@dataclass
class Line:
    """Hold one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def read(self) -> bytes:
        """Return what comes next; empty at the end."""
        return await self.reader.read(HEAD_MOST)

    def write(self, content: bytes) -> None:
        """Send bytes."""
        self.writer.write(content)

    async def drain(self) -> None:
        """Wait until more may be sent."""
        await self.writer.drain()

    async def close(self) -> None:
        """Close it without a word."""
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def leave(self, limit: float) -> None:
        """Say goodbye on a socket just opened, so that nobody has to wonder at 1006, and close it."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(min(limit, _GOODBYE_SECONDS)):
                self.writer.write(_CLOSE)
                while await self.reader.read(HEAD_MOST):
                    pass
        await self.close()


class FailureError(Exception):
    """Say how a connection failed, as an answer would."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        self.answer = Answer(failure, detail=detail)
        super().__init__(failure)


@dataclass
class Asker:
    """Ask one server, at one of its addresses, a few questions at a time.

    Args:
        asked: for whom.
        address: where to connect.
        limit: seconds for each question.
    """

    asked: Asked
    address: str
    limit: float

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(_AT_ONCE)
        self.connections = 0

    async def connect(
        self, *, alpn: Sequence[str] = ("http/1.1",), port: int = 0, is_secure: bool | None = None
    ) -> Line:
        """Open a connection; whom the certificate belongs to is judged elsewhere.

        Raises:
            FailureError: none came about.
        """
        secure = self.asked.is_secure if is_secure is None else is_secure
        return await opened(
            self.address,
            port or self.asked.port,
            unverified(alpn) if secure else None,
            self.asked.host,
            self.limit,
        )

    async def ask(
        self,
        target: str,
        headers: Sequence[str] = (),
        *,
        port: int = 0,
        is_secure: bool | None = None,
        is_kept: bool = False,
    ) -> tuple[Answer, Line | None]:
        """Send one GET on a connection of its own; keep the connection open where a 101 came and it is asked for."""
        async with self.gate:
            self.connections += 1
            try:
                line = await self.connect(port=port, is_secure=is_secure)
            except FailureError as failure:
                return failure.answer, None
            answer, is_open = None, False
            try:
                answer = await _asked(line, self._head(target, headers, port), self.limit)
                is_open = is_kept and answer.status == UPGRADED
            finally:
                if not is_open:
                    await (line.leave(self.limit) if answer and answer.status == UPGRADED else line.close())
            return answer, line if is_open else None

    def _head(self, target: str, headers: Sequence[str], port: int) -> bytes:
        host = self.asked.authority
        if port:
            host = replace(self.asked, is_secure=False, port=port).authority
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", f"User-Agent: {AGENT}", *headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def unverified(alpn: Sequence[str]) -> ssl.SSLContext:
    """Return a client's TLS that takes any certificate: what is wrong with it is told, and the rest is asked all the same."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


async def opened(address: str, port: int, context: ssl.SSLContext | None, name: str, limit: float) -> Line:
    """Open a connection.

    Raises:
        FailureError: none came about within the limit.
        ssl.SSLCertVerificationError: the context judges certificates, and this one is not good.
    """
    try:
        async with asyncio.timeout(limit):
            reader, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=name if context else None, limit=HEAD_MOST
            )
    except TimeoutError:
        raise FailureError("silent") from None
    except ConnectionRefusedError:
        raise FailureError("refused") from None
    except ssl.SSLCertVerificationError:
        raise
    except ssl.SSLError as error:
        raise FailureError("tls", error.reason or str(error)) from None
    except ConnectionError as error:
        raise FailureError("closed", type(error).__name__) from None
    except OSError as error:
        raise FailureError("unreachable", error.strerror or str(error)) from None
    return Line(reader, writer)


async def _asked(line: Line, head: bytes, limit: float) -> Answer:  # noqa: PLR0911 (each end is another answer)
    begun = time.monotonic()
    read = b""
    try:
        async with asyncio.timeout(limit):
            line.writer.write(head)
            while not (end := re.search(rb"\r?\n\r?\n", read)):
                if len(read) > HEAD_MOST:
                    return Answer("endless")
                if read and not b"HTTP/1.".startswith(read[:7]):
                    return Answer("not-http", detail=_shown(read))
                part = await line.reader.read(HEAD_MOST)
                if not part:
                    return Answer("not-http", detail=_shown(read)) if read else Answer("closed")
                read += part
    except TimeoutError:
        return Answer("silent", detail=_shown(read))
    except (ConnectionError, ssl.SSLError) as error:
        return Answer("closed", detail=type(error).__name__)
    answer = _read_head(read[: end.start()], time.monotonic() - begun)
    rest = read[end.end() :]
    if answer.failure or answer.status == UPGRADED:
        return replace(answer, body=rest)
    return replace(answer, body=await _body(line, rest, answer.header("content-length")))


def _read_head(head: bytes, seconds: float) -> Answer:
    first, *rest = re.split(r"\r?\n", head.decode("latin-1"))
    status = re.fullmatch(r"HTTP/1\.[01] (\d{3})(?: .*)?", first)
    if not status:
        return Answer("not-http", detail=_shown(head))
    headers = [each.partition(":") for each in rest]
    return Answer(
        "",
        int(status[1]),
        tuple((name.strip().lower(), value.strip()) for name, _, value in headers),
        seconds=seconds,
    )


async def _body(line: Line, read: bytes, length: str) -> bytes:
    """Read on to the end that was announced, or that of the connection, or as much as is wanted."""
    most = min(int(length), BODY_MOST) if re.fullmatch(r"\d{1,18}", length) else BODY_MOST
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while len(read) < most and not read.endswith(b"\r\n0\r\n\r\n"):
                part = await line.reader.read(HEAD_MOST)
                if not part:
                    break
                read += part
    except (OSError, TimeoutError):  # what there is is enough to tell who answered
        pass
    return read[:BODY_MOST]


def _shown(content: bytes) -> str:
    return ascii(content[:40].decode("latin-1"))
