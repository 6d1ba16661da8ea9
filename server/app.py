"""The server: how many sockets there are, what serves each, and how it stops.

Knows nothing of what is said on a socket, nor of what a request without one gets.
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Literal, cast
from urllib.parse import parse_qs

from websockets.asyncio.server import Server, ServerConnection
from websockets.asyncio.server import serve as serve_websockets
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request

from . import cgi, metrics, program, session, tls
from .bus import Bus
from .bus.memory import MemoryBus
from .chat import Hall
from .frames import COMPRESS_SETTINGS
from .generations import Generations
from .handshakes import Handshakes
from .keepalive import Keepalive
from .listen import BACKLOG, name_of
from .logs import about
from .messages import FRAME_MOST, checked_room
from .pages import Page
from .routes import Route
from .seats import OwnSeats, Refused, Seat, Seats
from .settings import Settings
from .systemd import Manager
from .uploads import Uploads
from .wire import RESTART, Wire
from .workers import forked
from .workers.processes import Processes, StartError

log = logging.getLogger("server")

PING_TIMEOUT = 20
CLOSE_TIMEOUT = 5
QUEUE_FRAMES = 1
CLOSED_AT_ONCE = 20
SPREAD = 0.75  # of the time for a stop, at the most: the slower they go, the less they wait for each other elsewhere
PAUSE = 0.002
LOOK = 0.01
TURNS = 5
HANDSHAKE_PATIENCE = 1.0

GOING_AWAY = (1001, "going away")

# No context is kept between messages, so that an idle socket costs no zlib memory (RFC 7692, section 7.1.1).
DEFLATE = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_no_context_takeover=True,
    server_max_window_bits=12,
    client_max_window_bits=12,
    compress_settings=COMPRESS_SETTINGS,
)


CONNECTIONS = metrics.gauge("connections", "Sockets that are open.")
CONNECTIONS_MOST = metrics.gauge(
    "connections_most", "How many sockets may be open: this process's part of them."
)
BUS_UP = metrics.gauge("bus_up", "1 where the bus keeps messages, 0 where it is down or refuses.")
ROOMS = metrics.gauge("rooms", "Rooms with somebody in them.")
CLOSES = metrics.counter("closes", "Sockets that have closed, by code; 1006: without a word.", ("code",))
ABNORMAL = 1006  # no close frame (RFC 6455, section 7.4.1)
CODES = frozenset({1000, 1001, 1002, 1003, 1005, ABNORMAL, 1007, 1008, 1009, 1010, 1011, 1012, 1013})


async def _stop_accepting(servers: Sequence[Server]) -> None:
    """Close our end of the listening sockets, and let everybody in who was accepted before."""
    loop = asyncio.get_running_loop()
    # asyncio's own server loses those whom it accepted in the very turn in which it is closed; uvloop's does not read here.
    for sock in (sock for server in servers for sock in server.sockets):
        loop.remove_reader(sock.fileno())
    await _turn(TURNS)
    for server in servers:
        server.close(close_connections=False)
    await _turn(TURNS)


async def _turn(times: int) -> None:
    for _ in range(times):
        await asyncio.sleep(0)


def _bus(settings: Settings, *, is_alone: bool) -> Bus:
    """Make the bus that is asked for; nothing of Redis is loaded for the other."""
    if settings.bus == "memory":
        return MemoryBus(file=settings.history_file if is_alone else None)
    from .bus.place import Place  # noqa: PLC0415  # see above
    from .bus.redis import RedisBus  # noqa: PLC0415

    at = settings.redis
    return RedisBus(Place(at.host, at.port, at.path, settings.redis_password))


class Backend:
    """One server over any number of listening sockets."""

    def __init__(
        self,
        settings: Settings,
        pages: dict[str, Page],
        certificate: tls.Certificate | None = None,
        *,
        seats: Seats | None = None,
    ) -> None:
        self.settings = settings
        self.certificate = certificate
        self.bus = _bus(settings, is_alone=seats is None)
        self.hall = Hall(self.bus)
        self.live: set[Wire] = set()
        self.generations = (
            Generations(settings.status, settings.drain_window, settings.reloads, self.live)
            if settings.status
            else None
        )
        self.keepalive = Keepalive(settings.ping_interval, PING_TIMEOUT)
        self.pinging: asyncio.Task[None] | None = None
        self.large_echoes: set[Wire] = set()
        self.uploads = Uploads()
        self.processes = Processes(settings.process_limits)
        self.open = 0
        self.is_alone = seats is None
        self.seats: Seats = seats or OwnSeats(settings.connections)
        self.leaving = False
        self.draining = False
        self.farewell: Callable[[Wire], None] | None = None
        self.empty = asyncio.Event()
        self.handshakes = Handshakes(
            settings, pages, session_of=self._session, admit=self._admit, health=self._health
        )

    async def run(
        self,
        listening: Sequence[socket.socket],
        manager: Manager,
        *,
        inherited: bool = False,
        watched: socket.socket | None = None,
    ) -> None:
        """Serve until SIGTERM or SIGINT, then drain; a second signal cuts the drain short. SIGUSR1 closes all sockets and goes on.

        Args:
            listening: the sockets to serve on.
            manager: who is told how it goes.
            inherited: the sockets are somebody else's too, so what waits in their queues is left for the next process.
            watched: where metrics are asked for.
        """
        loop = asyncio.get_running_loop()
        told: asyncio.Future[signal.Signals] = loop.create_future()

        def stop(number: signal.Signals) -> None:
            if told.done():
                self.empty.set()
            else:
                told.set_result(number)

        def send_home() -> None:
            if not told.done():
                tasks.create_task(self.send_home())

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop, number)
        servers = await self.start(listening)
        workers = self.settings.workers
        CONNECTIONS_MOST.set(self.settings.connections / (workers if isinstance(workers, int) else 1))
        ROOMS.set_function(lambda: len(self.hall.rooms))
        BUS_UP.set_function(lambda: float(self.bus.state()["state"] == "up"))
        async with asyncio.TaskGroup() as tasks:
            loop.add_signal_handler(signal.SIGUSR1, send_home)
            for sock in listening if self.is_alone else ():
                log.info("listening on %s", name_of(sock))
            manager.tell("READY=1")
            watching = [tasks.create_task(manager.keep_told(self.status))]
            if self.certificate:
                watching.append(tasks.create_task(self.certificate.keep_fresh()))
            watching += map(tasks.create_task, self._more_to_watch(told))
            if watched:
                watching += map(tasks.create_task, (metrics.serve(watched), metrics.watch_loop()))
            code, reason = RESTART if await told == signal.SIGTERM else GOING_AWAY
            manager.tell("STOPPING=1")
            await self.stop(servers, code, reason, inherited=inherited)
            for task in watching:
                task.cancel()

    def _more_to_watch(self, told: asyncio.Future[signal.Signals]) -> list[Coroutine[Any, Any, None]]:
        watching = [self.generations.watch()] if self.generations else []
        return [*watching, self._exit_when_idle(told)] if self.settings.exit_when_idle else watching

    async def _exit_when_idle(self, told: asyncio.Future[signal.Signals]) -> None:
        """Stop once nobody has been here for so long; whoever connects meanwhile waits for the next process."""
        clock = asyncio.get_running_loop().time
        idle_since = clock()
        while clock() - idle_since < self.settings.exit_when_idle:
            await asyncio.sleep(min(1.0, self.settings.exit_when_idle / 4))
            if self.live:
                idle_since = clock()
        if not told.done():
            log.info("nobody was here for %.0f s", self.settings.exit_when_idle)
            told.set_result(signal.SIGTERM)

    def status(self) -> str:
        """Say in a few words how it goes."""
        return f"draining, {self.open} connections left" if self.draining else f"{self.open} connections"

    async def start(self, listening: Sequence[socket.socket]) -> list[Server]:
        """Serve on sockets that listen already.

        Raises:
            StartError: there is no such handler.
        """
        if self.settings.workers == "forked":
            try:
                for handler in (self.settings.handler or forked.CHAT, self.settings.handler or forked.ECHO):
                    await self.processes.warm(handler)
            except StartError:
                self.processes.close()
                raise
        await self.bus.start()
        if self.generations:
            await self.generations.look()
        self.pinging = asyncio.create_task(self.keepalive.run())
        servers = [
            await serve_websockets(
                self._converse,
                sock=sock,
                # All who are sent away at once come back at once, and wait here.
                backlog=max(BACKLOG, self.settings.connections),
                **(tls.options(self.certificate) if self.certificate and tls.is_meant_for(sock) else {}),
                create_connection=cast("type[ServerConnection]", partial(Wire, self.live)),
                process_request=self.handshakes.process,
                process_response=self.handshakes.confirm,
                select_subprotocol=self.handshakes.select_subprotocol,
                extensions=[DEFLATE],
                compression=None,
                server_header=None,
                ping_interval=None,  # Keepalive does it
                close_timeout=CLOSE_TIMEOUT,
                max_size=FRAME_MOST,
                max_queue=QUEUE_FRAMES,
                logger=logging.getLogger("server.websockets"),
            )
            for sock in listening
        ]
        for server in servers:
            # The library refuses handshakes once it accepts no more; here _admit decides that.
            server.is_serving = lambda: True  # type: ignore[method-assign]
        return servers

    async def leave(self, code: int) -> None:
        """Serve on before a restart, and be ill to who checks: newcomers go to others then, and those who are here can follow at once."""
        if code == RESTART[0] and self.settings.leave_seconds and self.open:
            self.leaving = True
            log.info("leaving: serving %d connections for %g s", self.open, self.settings.leave_seconds)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.leave_seconds):
                    await self.empty.wait()

    async def stop(
        self, servers: Sequence[Server], code: int, reason: str, *, inherited: bool = False
    ) -> None:
        """Close all sockets with a code and a reason, take no new ones, and end in bounded time."""
        await self.leave(code)
        loop = asyncio.get_running_loop()
        patience = self.settings.drain_seconds * 0.9
        deadline = loop.time() + patience
        self.draining = True
        if inherited:
            self.farewell = partial(Wire.drop, code=code, reason=reason, patience=patience)
            await _stop_accepting(servers)
        log.info("draining %d connections: %d %s", self.open, code, reason)
        await self._close_all(code, reason, patience)
        if inherited:
            await self._finish_handshakes(min(deadline, loop.time() + HANDSHAKE_PATIENCE))
        if not self.open:
            self.empty.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self.empty.wait()
        await self.uploads.pool.close()
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
        if self.pinging:
            self.pinging.cancel()
        await self.bus.stop()
        self.processes.close()
        log.info("stopped")

    async def send_home(self) -> None:
        """Close all sockets that are open now, as a stop would, and go on serving: the front is about to stop."""
        log.info("closing %d connections, and staying: %d %s", self.open, *RESTART)
        await self._close_all(*RESTART, self.settings.drain_seconds * 0.9)

    async def _close_all(self, code: int, reason: str, patience: float) -> None:
        """Close the open sockets, so many at a time that nothing else waits long; where others serve them at once, one by one."""
        wires = list(self.live)
        spread = SPREAD * patience * CLOSED_AT_ONCE / max(CLOSED_AT_ONCE, len(wires))
        pause = spread if self.leaving else min(PAUSE, spread)
        for start in range(0, len(wires), CLOSED_AT_ONCE):
            for wire in wires[start : start + CLOSED_AT_ONCE]:
                wire.drop(code, reason, patience=patience)
            if start + CLOSED_AT_ONCE < len(wires):
                await asyncio.sleep(pause)

    async def _finish_handshakes(self, deadline: float) -> None:
        """Wait for answers to those who were accepted before the stop: nobody else will answer them."""
        clock = asyncio.get_running_loop().time
        while any(wire.on_lost is None for wire in self.live) and clock() < deadline:  # noqa: ASYNC110  # no one event tells it
            await asyncio.sleep(LOOK)

    async def _converse(self, connection: ServerConnection) -> None:
        """Serve one open socket for its life."""
        wire = cast("Wire", connection)
        wire.forget_handshake()
        self.keepalive.add(wire)
        started = wire.loop.time()
        log.info("%s open from %s", wire.name, wire.whom, extra=about(wire, event="open"))
        if self.farewell is not None:
            self.farewell(wire)
        try:
            await wire.session()
        finally:
            self.keepalive.discard(wire)
            said = wire.protocol.close_sent
            code = said.code if said else ABNORMAL
            CLOSES.labels(code if code in CODES else "other").inc()
            seconds = round(wire.loop.time() - started, 1)
            fields = about(wire, event="closed", code=wire.close_code, seconds=seconds)
            log.info("%s closed %s after %.1f s", wire.name, wire.close_code, seconds, extra=fields)

    def _session(
        self, wire: Wire, request: Request, route: Route, query: str
    ) -> Callable[[], Awaitable[None]]:
        """Return what serves a socket.

        Raises:
            Refusal, ValueError: where the path or the query asks for what cannot be.
        """
        settings = self.settings
        room = "" if settings.program else checked_room(parse_qs(query).get("room", ["lobby"])[0])
        chat = partial(session.chat, wire, self.hall, room, self.uploads)
        if not settings.program and settings.workers != "forked":
            return partial(session.echo, wire, self.large_echoes) if route.is_echo else chat
        environment = cgi.variables(
            wire.client,
            request.headers,
            request.path,
            script=route.socket.public_path.rstrip("/") if route.folder else "",
            folder=route.folder,
            name=wire.name,
        )
        if settings.program:
            return partial(program.serve, wire, self.processes, settings.program, environment)
        handler = settings.handler or (forked.ECHO if route.is_echo else forked.CHAT)
        return partial(forked.serve, wire, self.processes, handler, environment, chat)

    def _health(self) -> tuple[bool, dict[str, object]]:
        """Tell whether new sockets are served, and how it goes."""
        health: dict[str, object] = {
            "status": "draining" if self.draining else "leaving" if self.leaving else "ok",
            "connections": self.seats.taken,
            "rooms": len(self.hall.rooms),
            "people": sum(len(room.people) for room in self.hall.rooms.values()),
            "bus": self.bus.state(),
        }
        if self.generations:
            health |= {"generation": self.generations.seen, "older": self.generations.left()}
        return not (self.leaving or self.draining), health

    def _admit(self, wire: Wire) -> Refused | Literal["stopping"] | None:
        """Count a connection in, or say why it may not be: nothing can come in between."""
        if self.draining and self.farewell is None:
            return "stopping"
        if refused := self.seats.take(wire.seat):
            return refused
        self.open += 1
        CONNECTIONS.inc()
        self.empty.clear()
        wire.on_lost = partial(self._lost, wire.seat)
        if self.generations:
            self.generations.note(wire)
        return None

    def _lost(self, seat: Seat | None) -> None:
        self.open -= 1
        self.seats.give(seat)
        CONNECTIONS.dec()
        if (self.leaving or self.draining) and not self.open:
            self.empty.set()
