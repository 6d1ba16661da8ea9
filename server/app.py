"""The server: what each request gets, how many sockets there are, and how it stops.

Knows nothing of what is said on a socket.
"""

import asyncio
import contextlib
import json
import logging
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import cast
from urllib.parse import parse_qs, quote

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from . import session
from .chat import Hall
from .client_address import client_of
from .listen import BACKLOG, name_of
from .messages import FRAME_MOST, Refusal, checked_room
from .origins import Policy, passes
from .pages import Page, answer
from .pages import serve as serve_page
from .settings import Settings, Socket
from .wire import Wire

log = logging.getLogger("server")

ALLOW = "GET, HEAD"
RETRY_AFTER = "5"
SUBPROTOCOL = Subprotocol("wsfront.chat")
PING_TIMEOUT = 20
CLOSE_TIMEOUT = 5
QUEUE_FRAMES = 1
CLOSED_AT_ONCE = 100
PAUSE = 0.01

# No context is kept between messages, so that an idle socket costs no zlib memory (RFC 7692, section 7.1.1).
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings={"memLevel": 5},
)


@dataclass(frozen=True)
class Route:
    """What a path serves, and to which origins."""

    is_echo: bool
    origins: Policy


def chat_path(path: str) -> str:
    """Name the chat's path under a socket's path."""
    return f"{path}chat" if path.endswith("/") else path


def routes_of(sockets: Sequence[Socket]) -> dict[str, Route]:
    """Lay out the paths of all sockets; the upgrade at ``/`` is the chat too."""
    routes: dict[str, Route] = {}
    for entry in sockets:
        path = quote(entry.path, safe="/%:@!$&'()*+,;=~")
        folders = {path, f"{path.rstrip('/')}/"}
        for chat in (path, *(f"{folder}chat" for folder in folders)):
            routes[chat] = Route(is_echo=False, origins=entry.origins)
        for folder in folders:
            routes[f"{folder}echo"] = Route(is_echo=True, origins=entry.origins)
    routes.setdefault("/", Route(is_echo=False, origins=sockets[0].origins))
    return routes


class Backend:
    """One server over any number of listening sockets."""

    def __init__(self, settings: Settings, pages: dict[str, Page]) -> None:
        self.settings = settings
        self.pages = pages
        self.routes = routes_of(settings.sockets)
        self.hall = Hall()
        self.live: set[Wire] = set()
        self.open = 0
        self.draining = False
        self.empty = asyncio.Event()

    async def run(self, listening: Sequence[socket.socket]) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the drain short."""
        loop = asyncio.get_running_loop()
        told: asyncio.Future[signal.Signals] = loop.create_future()

        def stop(number: signal.Signals) -> None:
            if told.done():
                self.empty.set()
            else:
                told.set_result(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        servers = await self.start(listening)
        for sock in listening:
            log.info("listening on %s", name_of(sock))
        if await told == signal.SIGTERM:
            await self.stop(servers, 1012, "service restart")
        else:
            await self.stop(servers, 1001, "going away")

    async def start(self, listening: Sequence[socket.socket]) -> list[Server]:
        """Serve on sockets that listen already."""
        return [
            await serve_websockets(
                self._converse,
                sock=sock,
                backlog=BACKLOG,
                create_connection=cast("type[ServerConnection]", partial(Wire, self.live)),
                process_request=self._process_request,
                process_response=self._process_response,
                select_subprotocol=self._select_subprotocol,
                extensions=[DEFLATE],
                compression=None,
                server_header=None,
                ping_interval=self.settings.ping_interval,
                ping_timeout=PING_TIMEOUT,
                close_timeout=CLOSE_TIMEOUT,
                max_size=FRAME_MOST,
                max_queue=QUEUE_FRAMES,
                logger=logging.getLogger("server.websockets"),
            )
            for sock in listening
        ]

    async def stop(self, servers: Sequence[Server], code: int, reason: str) -> None:
        """Close all sockets with a code and a reason, refuse new ones, and end in bounded time."""
        loop = asyncio.get_running_loop()
        patience = self.settings.drain_seconds * 0.9
        deadline = loop.time() + patience
        log.info("draining %d connections: %d %s", self.open, code, reason)
        self.draining = True
        if not self.open:
            self.empty.set()
        wires = list(self.live)
        pause = min(PAUSE, 0.3 * patience * CLOSED_AT_ONCE / max(1, len(wires)))
        for start in range(0, len(wires), CLOSED_AT_ONCE):
            for wire in wires[start : start + CLOSED_AT_ONCE]:
                wire.drop(code, reason, patience=patience)
            await asyncio.sleep(pause)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self.empty.wait()
        for server in servers:
            server.close(close_connections=False)
        for wire in list(self.live):
            if wire.on_lost is not None:
                wire.transport.abort()
            else:
                wire.transport.close()
        try:
            async with asyncio.timeout(max(0.1, self.settings.drain_seconds - patience)):
                for server in servers:
                    await server.wait_closed()
        except TimeoutError:
            log.info("left %d connections behind", len(self.live))
        log.info("stopped")

    async def _converse(self, connection: ServerConnection) -> None:
        """Serve one open socket for its life."""
        wire = cast("Wire", connection)
        started = wire.loop.time()
        log.info("%s open from %s", wire.name, wire.client.address)
        try:
            await wire.session()
        finally:
            log.info("%s closed %s after %.1f s", wire.name, wire.close_code, wire.loop.time() - started)

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no upgrade, or refuse one; None lets the library go on with the handshake."""
        wire = cast("Wire", connection)
        headers = request.headers
        wire.client = client_of(
            wire.peer,
            headers.get_all("X-Forwarded-For"),
            headers.get_all("X-Forwarded-Proto"),
            headers.get_all("X-Forwarded-Host"),
        )
        tokens = ",".join(headers.get_all("Upgrade")).lower().split(",")
        path, _, query = request.path.partition("?")
        if "websocket" not in map(str.strip, tokens):
            return self._page(request, path)
        refusal = self._refusal(wire, request, path, query)
        if refusal is None:
            return None
        status, sentence = refusal
        log.info("%s refused %d from %s", wire.name, status, wire.client.address)
        return answer(request, status, f"{sentence}\n")

    def _refusal(self, wire: Wire, request: Request, path: str, query: str) -> tuple[HTTPStatus, str] | None:
        """Say why an upgrade is refused; None: it is not, and its session is set."""
        route = self.routes.get(path)
        if route is None:
            return HTTPStatus.NOT_FOUND, "No WebSocket here."
        # A rule in an .htaccess cannot keep the Host header; the name asked for is in X-Forwarded-Host then.
        hosts = [wire.client.host] if wire.client.host else request.headers.get_all("Host")
        origins = request.headers.get_all("Origin")
        if not passes(route.origins, tls=wire.client.tls, hosts=hosts, origins=origins):
            return HTTPStatus.FORBIDDEN, "This origin may not connect."
        if wire.has_body:
            return HTTPStatus.BAD_REQUEST, "A handshake has no body."
        if route.is_echo:
            wire.session = partial(session.echo, wire)
            return None
        try:
            room = checked_room(parse_qs(query).get("room", ["lobby"])[0])
        except Refusal as fault:
            return HTTPStatus.BAD_REQUEST, str(fault)
        wire.session = partial(session.chat, wire, self.hall, room)
        return None

    def _page(self, request: Request, path: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            return answer(request, HTTPStatus.METHOD_NOT_ALLOWED, f"Use {ALLOW}.\n", Allow=ALLOW)
        if path == "/healthz":
            return self._health(request)
        if page := self.pages.get(path):
            return serve_page(page, request)
        if path in self.routes:
            sentence = "This is a WebSocket: connect with a WebSocket client.\n"
            return answer(request, HTTPStatus.UPGRADE_REQUIRED, sentence, Upgrade="websocket")
        return answer(request, HTTPStatus.NOT_FOUND, "Nothing here.\n")

    def _health(self, request: Request) -> Response:
        health = {
            "status": "draining" if self.draining else "ok",
            "connections": self.open,
            "rooms": len(self.hall.rooms),
            "people": sum(len(room.people) for room in self.hall.rooms.values()),
        }
        status = HTTPStatus.SERVICE_UNAVAILABLE if self.draining else HTTPStatus.OK
        return answer(
            request, status, json.dumps(health), content_type="application/json", Cache_Control="no-store"
        )

    def _process_response(
        self, connection: ServerConnection, request: Request, response: Response
    ) -> Response | None:
        """Count a handshake that the library has accepted, or refuse it: nothing can come in between."""
        wire = cast("Wire", connection)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS or wire not in self.live:
            return None
        if self.draining or self.open >= self.settings.connections:
            why = "The server is stopping.\n" if self.draining else "The server is full.\n"
            log.info("%s refused 503 from %s", wire.name, wire.client.address)
            return answer(request, HTTPStatus.SERVICE_UNAVAILABLE, why, Retry_After=RETRY_AFTER)
        self.open += 1
        wire.on_lost = self._lost
        return None

    def _lost(self) -> None:
        self.open -= 1
        if self.draining and not self.open:
            self.empty.set()

    def _select_subprotocol(
        self, connection: ServerConnection, offered: Sequence[Subprotocol]
    ) -> Subprotocol | None:
        """Let the echo speak what is offered first, so that subprotocols can be tried; the chat its own."""
        assert connection.request is not None  # noqa: S101  # the library calls this with a request in hand
        route = self.routes[connection.request.path.partition("?")[0]]
        if route.is_echo:
            return offered[0] if offered else None
        return SUBPROTOCOL if SUBPROTOCOL in offered else None
