"""One connection on the wire: the library's, made safe for bodies and for clients that do not read.

Knows nothing of routes, rooms or messages.
"""

import asyncio
import logging
import re
import secrets
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from websockets.asyncio.server import Server, ServerConnection
from websockets.frames import DATA_OPCODES, Frame
from websockets.protocol import OPEN, Event
from websockets.server import ServerProtocol

from . import metrics
from .client_address import Client
from .frames import kind_of
from .settings import Socket

if TYPE_CHECKING:
    from .fanout import Group

RESTART = (1012, "service restart")  # IANA's registry of close codes: come back
PENDING_MOST = 1 << 20
AFTER_CLOSE_MOST = 1 << 20
PATIENCE = 5.0
HEAD_MOST = 1 << 16
HEAD_END = b"\r\n\r\n"
METHOD = re.compile(rb"[A-Z]{1,16}(?: |\Z)")
FRAMING = re.compile(rb"(?:content-length|transfer-encoding):", re.IGNORECASE)


DROPS = metrics.counter("drops", "Sockets that we closed, by code and reason.", ("code", "reason"))
RECEIVED = metrics.Tally("messages_received", "Messages that came from clients.")


class _Log(logging.LoggerAdapter[Any]):
    """Put the connection's id in front of each line."""

    def process(self, msg: object, kwargs: Any) -> tuple[str, Any]:
        return f"{self.extra} {msg}", kwargs | {"extra": {"fields": {"connection": self.extra}}}


class Wire(ServerConnection):
    """A connection with an id, a client's address, and bounds on what it can make the server hold.

    ``live`` is the set of all connections; each is in it from its first byte to its end. ``session`` is what
    serves it once it is open, ``on_lost`` what hears of its end,
    ``peer`` the other end's address (None: a unix socket), ``seat`` under what it counts where its address may hold only so many,
    ``groups`` whose messages it hears, ``is_silent`` whether nothing has come since it was set.
    """

    session: Callable[[], Awaitable[None]]
    on_lost: Callable[[], None] | None
    peer: str | None
    seat: tuple[Socket, str] | None
    groups: "tuple[Group, ...]"

    def __init__(self, live: "set[Wire]", protocol: ServerProtocol, server: Server, **options: Any) -> None:
        super().__init__(protocol, server, **options)
        self.live = live
        self.name = f"m{secrets.token_hex(6)}"
        self.client = Client("", tls=False)
        self.has_body = False
        self.on_lost = None
        self.seat = None
        self.groups = ()
        self.is_silent = False
        self.drain_waiters = []  # type: ignore[assignment]  # an empty deque takes 600 bytes, and there is hardly ever one
        self._speaks = False
        self._head = bytearray()
        self._choked = False
        self._after_close = 0
        adapter = _Log(logging.getLogger("server.websockets"), self.name)  # type: ignore[arg-type]  # any object will do
        self.logger = self.protocol.logger = adapter

    def forget_handshake(self) -> None:
        """Let go of what only the handshake needed: its headers take kilobytes for as long as a socket is open."""
        self.response = None
        if self.request is not None:
            self.request.headers.clear()

    @property
    def whom(self) -> str:
        """Name the client for the log, with the id by which the front's log knows the request."""
        client = self.client
        return f"{client.address} as {client.request}" if client.request else client.address

    @property
    def kind(self) -> int:
        """Tell which frames it can be sent, as in frames.py."""
        return kind_of(self.protocol)

    @property
    def is_held_up(self) -> bool:
        """Tell whether we read no more from a client that reads what we send: then its silence says nothing of it."""
        return self.recv_messages.paused and not self.transport.get_write_buffer_size()

    def write(self, frame: bytes) -> None:
        """Put a frame on the wire without waiting, behind what its groups have for it."""
        self._catch_up()
        self.put(frame)

    def put(self, frames: bytes) -> None:
        """Put frames on the wire before all else, without waiting; drop a client with too much unread."""
        if self._speaks and not self.transport.is_closing():
            if self.transport.get_write_buffer_size() > PENDING_MOST:
                self.drop(1013, "you read too slowly")
            else:
                self.transport.write(frames)

    def send_data(self) -> None:
        """Let what the library sends, a close too, go behind what the groups have for this wire."""
        if self.protocol.writes:
            self._catch_up()
        super().send_data()
        self._speaks = self.protocol.state is OPEN

    def _catch_up(self) -> None:
        for group in self.groups:
            group.deliver(self)

    def poke(self) -> None:
        """Ping without waiting for the pong: whatever comes shows that somebody is there, and ends ``is_silent``."""
        if self.protocol.state is OPEN:
            self.protocol.send_ping(b"")
            self.send_data()

    def drop(self, code: int, reason: str, *, patience: float = PATIENCE) -> None:
        """Close without waiting; cut the line when there is no answer after ``patience`` seconds."""
        if self.protocol.state is OPEN:
            DROPS.labels(code, reason).inc()
            self.protocol.send_close(code, reason)
            self.send_data()
            self._read_on()
            self.loop.call_later(patience, self.transport.abort)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the set of connections."""
        super().connection_made(transport)
        name = transport.get_extra_info("peername")  # asked later, uvloop fails on a client that is gone
        self.peer = name[0] if isinstance(name, tuple) else None
        self.recv_messages.resume = self._read_on
        self.live.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the set of connections, exactly once."""
        self.live.discard(self)
        if self.on_lost is not None:
            self.on_lost()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Read again."""
        super().resume_writing()
        self._choked = False
        self._read_on()

    def process_event(self, event: Event) -> None:
        """Let go of what comes after our close: nobody reads it, and it may stand before the client's answer."""
        if self.protocol.close_sent is None:
            if isinstance(event, Frame) and event.fin and event.opcode in DATA_OPCODES:
                RECEIVED.count += 1
            super().process_event(event)

    def _read_on(self) -> None:
        full = self.recv_messages.paused and self.protocol.state is OPEN
        if not (full or self._choked or self.transport.is_closing()):
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Hand the head of a request on without what frames a body, and the body nowhere.

        The library drops a request with a body without a word, which a proxy turns into 502. Our answer
        always ends the connection, so that nothing of the body is ever taken for a request.
        """
        self.is_silent = False
        if self.request is not None or len(self._head) >= HEAD_MOST:
            if not self.has_body:
                self._feed(data)
            return
        seen = max(0, len(self._head) - len(HEAD_END))
        self._head += data
        if not METHOD.match(self._head):
            self.transport.abort()
        elif (end := self._head.find(HEAD_END, seen)) >= 0:
            lines = bytes(self._head[:end]).split(b"\r\n")
            framing = [line for line in lines if FRAMING.match(line)]
            self.has_body = any(line.partition(b":")[2].strip(b" \t0") for line in framing)
            rest = b"" if self.has_body else bytes(self._head[end + len(HEAD_END) :])
            self._head.clear()
            self._feed(b"\r\n".join(line for line in lines if line not in framing) + HEAD_END + rest)
        elif len(self._head) >= HEAD_MOST:
            self._feed(bytes(self._head))

    def _feed(self, data: bytes) -> None:
        """Read no more from a client that sends pings and reads no pong: they would fill the buffer without end."""
        if self.protocol.close_sent is not None:
            # Whoever goes on sending, as in the middle of a frame too large, is cut off rather than read to the end.
            self._after_close += len(data)
            if self._after_close > AFTER_CLOSE_MOST:
                self.transport.abort()
                return
        before = self.transport.get_write_buffer_size()
        super().data_received(data)
        if before < self.transport.get_write_buffer_size() > PENDING_MOST:
            self._choked = True
            self.transport.pause_reading()
        if self.protocol.close_rcvd_then_sent is False:
            self.transport.close()  # both have said it, and the server hangs up first (RFC 6455, section 7.1.1)
