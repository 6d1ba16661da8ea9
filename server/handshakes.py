"""What a request gets before a socket is open: a page, a refusal, or the handshake's end.

Knows nothing of rooms, nor of who is open: `app.py` counts.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from http import HTTPStatus
from typing import Literal, cast

from websockets.asyncio.server import ServerConnection
from websockets.http11 import Request, Response
from websockets.protocol import CLOSED
from websockets.typing import Subprotocol

from . import metrics
from .client_address import client_of, neighbourhood_of
from .logs import about
from .messages import Refusal
from .origins import passes
from .pages import Page, answer
from .pages import serve as serve_page
from .routes import Route, program_route, routes_of
from .seats import Refused
from .settings import Settings
from .wire import Wire

log = logging.getLogger("server")

ALLOW = "GET, HEAD"
RETRY_AFTER = "5"
SUBPROTOCOL = Subprotocol("wsfront.chat")
_NOT_NOW = {
    "address": (HTTPStatus.TOO_MANY_REQUESTS, "Your address holds too many sockets already.\n"),
    "full": (HTTPStatus.SERVICE_UNAVAILABLE, "The server is full.\n"),
    "stopping": (HTTPStatus.SERVICE_UNAVAILABLE, "The server is stopping.\n"),
}

REFUSALS = metrics.counter("refusals", "Upgrades that were refused, by status.", ("status",))

Session = Callable[[], Awaitable[None]]


def _note_refusal(wire: Wire, status: HTTPStatus) -> None:
    REFUSALS.labels(status.value).inc()
    fields = about(wire, event="refused", status=status.value)
    log.info("%s refused %d from %s", wire.name, status, wire.whom, extra=fields)


class Handshakes:
    """Answer requests: pages, and handshakes, which become sockets or are refused.

    Args:
        settings: which paths there are, and who may use them.
        pages: path -> page.
        session_of: makes what serves a socket; raises Refusal or ValueError where the path or the query asks for what cannot be.
        admit: counts a connection in, or says why it may not be.
        health: tells whether new sockets are served, and how it goes.
    """

    def __init__(
        self,
        settings: Settings,
        pages: dict[str, Page],
        *,
        session_of: Callable[[Wire, Request, Route, str], Session],
        admit: Callable[[Wire], Refused | Literal["stopping"] | None],
        health: Callable[[], tuple[bool, dict[str, object]]],
    ) -> None:
        self.settings = settings
        self.pages = pages
        self.session_of = session_of
        self.admit = admit
        self.health = health
        self.route_of: Callable[[str], Route | None] = (
            partial(program_route, settings.sockets)
            if settings.program or settings.handler
            else routes_of(settings.sockets).get
        )

    def process(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer what is no upgrade, or refuse one; None lets the library go on with the handshake."""
        wire = cast("Wire", connection)
        headers = request.headers
        if wire.protocol.eof_sent:
            # What came behind the head was no frame, and the library has hung up: it would fail on any answer, and log how.
            wire.protocol.state = CLOSED
            return answer(request, HTTPStatus.BAD_REQUEST)
        wire.client = client_of(
            wire.peer,
            headers.get_all("X-Forwarded-For"),
            headers.get_all("X-Forwarded-Proto"),
            headers.get_all("X-Forwarded-Host"),
            fronts=self.settings.fronts,
            request=headers.get_all("X-Request-Id"),
        )
        tokens = ",".join(headers.get_all("Upgrade")).lower().split(",")
        path, _, query = request.path.partition("?")
        if "websocket" not in map(str.strip, tokens):
            return self._page(request, path)
        refusal = self._refusal(wire, request, path, query)
        if refusal is None:
            return None
        status, sentence = refusal
        _note_refusal(wire, status)
        return answer(request, status, f"{sentence}\n")

    def _refusal(self, wire: Wire, request: Request, path: str, query: str) -> tuple[HTTPStatus, str] | None:
        """Say why an upgrade is refused; None: it is not, and its session is set."""
        route = self.route_of(path)
        if route is None:
            return HTTPStatus.NOT_FOUND, "No WebSocket here."
        # A rule in an .htaccess cannot keep the Host header; the name asked for is in X-Forwarded-Host then.
        hosts = [wire.client.host] if wire.client.host else request.headers.get_all("Host")
        origins = request.headers.get_all("Origin")
        if not passes(route.socket.origins, tls=wire.client.tls, hosts=hosts, origins=origins):
            return HTTPStatus.FORBIDDEN, "This origin may not connect."
        if wire.has_body:
            return HTTPStatus.BAD_REQUEST, "A handshake has no body."
        neighbourhood = neighbourhood_of(wire.client)
        if route.socket.per_address and neighbourhood:
            wire.seat = (route.socket, neighbourhood)
        try:
            wire.session = self.session_of(wire, request, route, query)
        except (Refusal, ValueError) as fault:
            return HTTPStatus.BAD_REQUEST, str(fault)
        return None

    def _page(self, request: Request, path: str) -> Response:
        if request.method not in ("GET", "HEAD"):
            return answer(request, HTTPStatus.METHOD_NOT_ALLOWED, f"Use {ALLOW}.\n", Allow=ALLOW)
        if path == "/healthz":
            return self._health(request)
        if page := self.pages.get(path):
            return serve_page(page, request)
        if self.route_of(path):
            sentence = "This is a WebSocket: connect with a WebSocket client.\n"
            return answer(request, HTTPStatus.UPGRADE_REQUIRED, sentence, Upgrade="websocket")
        return answer(request, HTTPStatus.NOT_FOUND, "Nothing here.\n")

    def _health(self, request: Request) -> Response:
        serves, health = self.health()
        return answer(
            request,
            HTTPStatus.OK if serves else HTTPStatus.SERVICE_UNAVAILABLE,
            json.dumps(health),
            content_type="application/json",
            Cache_Control="no-store",
        )

    def confirm(self, connection: ServerConnection, request: Request, response: Response) -> Response | None:
        """Count a handshake that the library has accepted, or refuse it: nothing can come in between."""
        wire = cast("Wire", connection)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS or wire not in wire.live:
            return None
        refused = self.admit(wire)
        if refused is None:
            return None
        status, sentence = _NOT_NOW[refused]
        _note_refusal(wire, status)
        return answer(request, status, sentence, Retry_After=RETRY_AFTER)

    def select_subprotocol(
        self, connection: ServerConnection, offered: Sequence[Subprotocol]
    ) -> Subprotocol | None:
        """Let the echo speak what is offered first, so that subprotocols can be tried; the chat its own."""
        assert connection.request is not None  # noqa: S101  # the library calls this with a request in hand
        route = self.route_of(connection.request.path.partition("?")[0])
        if route is None or self.settings.program or self.settings.handler:
            return None
        if route.is_echo:
            return offered[0] if offered else None
        return SUBPROTOCOL if SUBPROTOCOL in offered else None
