"""So many processes, each of which serves any number of connections, and the supervisor that they are forked from.

All accept from the same listening sockets, so that nobody waits in the queue of one that has died. The supervisor starts one that has ended
anew, kills one whose loop has hung, passes signals on, speaks with systemd for all, and counts for all: it alone knows
whether one more connection may come. It has no event loop and serves nobody. Knows nothing of WebSockets.
"""

import contextlib
import json
import logging
import os
import select
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from server.listen import name_of
from server.seats import OwnSeats, Refused, Seat
from server.settings import Socket
from server.systemd import Manager

log = logging.getLogger("server")

HUNG = 30.0  # seconds without a sign of life
PATIENCE = 1.0  # for the supervisor's answer
PAUSE = 1.0  # before one that has died at once is started again
STOP_RESERVE = 5.0  # seconds above the drain
TICK = 0.5
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class SharedSeats:
    """Ask the supervisor, and wait for its word: it does nothing else."""

    def __init__(self, sock: socket.socket, sockets: Sequence[Socket]) -> None:
        self._sock = sock
        self._sock.settimeout(PATIENCE)
        self._answers = sock.makefile("rb")
        self._sockets = sockets

    @property
    def taken(self) -> int:
        """Return how many there are in all processes; -1 where the supervisor is gone."""
        answer = self._ask("taken", None)
        return answer if isinstance(answer, int) else -1

    def take(self, seat: Seat | None) -> Refused | None:
        """Count one more, or say why not."""
        answer = self._ask("take", seat)
        return None if answer is None else "address" if answer == "address" else "full"

    def give(self, seat: Seat | None) -> None:
        """Count one less."""
        self._ask("give", seat)

    def _ask(self, what: str, seat: Seat | None) -> object:
        place = [self._sockets.index(seat[0]), seat[1]] if seat else None
        try:
            self._sock.sendall(json.dumps([what, place]).encode() + b"\n")
            return json.loads(self._answers.readline())
        except (OSError, ValueError):
            return "gone"


@dataclass
class _Worker:
    """One process, as the supervisor sees it."""

    number: int
    pid: int
    told: socket.socket
    asks: socket.socket
    started: float
    seen: float
    is_ready: bool = False
    is_killed: bool = False
    rest: bytes = b""
    seats: Counter[Seat | None] = field(default_factory=Counter)

    def close(self) -> None:
        """Close our ends."""
        self.told.close()
        self.asks.close()


Serve = Callable[[Manager, SharedSeats, int], None]


class Supervisor:
    """Keep so many processes, numbered from 1, running until it is told to stop.

    Args:
        count: how many.
        serve: what each of them does.
        listening: the sockets that all serve.
        manager: who is told how it goes.
        most: connections in all.
        sockets: of the settings.
        drain_seconds: how long each may take to stop.
    """

    def __init__(
        self,
        count: int,
        serve: Serve,
        listening: Sequence[socket.socket],
        manager: Manager,
        *,
        most: int,
        sockets: Sequence[Socket],
        drain_seconds: float,
    ) -> None:
        self.count = count
        self.serve = serve
        self.listening = listening
        self.manager = manager
        self.seats = OwnSeats(most)
        self.sockets = sockets
        self.patience = drain_seconds + STOP_RESERVE
        self.workers: dict[int, _Worker] = {}
        self.due: dict[int, float] = dict.fromkeys(range(1, count + 1), 0.0)
        self.deadline: float | None = None
        self.status = 0
        self._told_ready = False

    def run(self) -> int:
        """Supervise; return the exit status."""
        heard, woken = os.pipe()
        for end in (heard, woken):
            os.set_blocking(end, False)
        before = [(number, signal.signal(number, lambda *_: None)) for number in (*PASSED_ON, signal.SIGCHLD)]
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        try:
            while self.workers or self.deadline is None:
                self._turn(heard)
        finally:
            signal.set_wakeup_fd(-1)
            for number, handler in before:
                signal.signal(number, handler)
            os.close(heard)
            os.close(woken)
        return self.status

    def _turn(self, heard: int) -> None:
        now = time.monotonic()
        if self.deadline is None:
            for number in [number for number, due in self.due.items() if due <= now]:
                self._start(number)
        sources: dict[int, Callable[[], None]] = {heard: lambda: self._signals(heard)}
        for worker in self.workers.values():
            sources[worker.told.fileno()] = lambda worker=worker: self._hear(worker)  # type: ignore[misc]
            sources[worker.asks.fileno()] = lambda worker=worker: self._answer(worker)  # type: ignore[misc]
        poll = select.poll()  # select() knows no descriptor above 1023
        for source in sources:
            poll.register(source, select.POLLIN)
        for source, _ in poll.poll(TICK * 1000):
            sources[source]()
        self._reap()
        self._look_after()

    def _start(self, number: int) -> None:
        told, tells = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        asked, asks = socket.socketpair()
        # What comes before the new process has handlers of its own waits for them: ours would swallow it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        pid = os.fork()
        if not pid:
            told.close()
            asked.close()
            self._become(number, tells, asks, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        tells.close()
        asks.close()
        told.setblocking(False)  # noqa: FBT003  # as the standard library has it
        now = time.monotonic()
        self.workers[pid] = _Worker(number, pid, told, asked, now, now)
        del self.due[number]

    def _become(
        self, number: int, tells: socket.socket, asks: socket.socket, mask: Iterable[int]
    ) -> NoReturn:
        """Be a worker."""
        status = 1
        try:
            os.setpgid(0, 0)  # what comes from a terminal is for the supervisor, who passes it on
            signal.set_wakeup_fd(-1)
            for each in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            for worker in self.workers.values():
                worker.close()
            self.manager.close()
            self.serve(Manager.over(tells, HUNG), SharedSeats(asks, self.sockets), number)
            status = 0
        except BaseException:
            log.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(status)

    def _signals(self, heard: int) -> None:
        for number in os.read(heard, 1024):
            if number not in PASSED_ON:
                continue
            if number != signal.SIGUSR1 and self.deadline is None:
                self.deadline = time.monotonic() + self.patience
                self.manager.tell("STOPPING=1")
            for worker in self.workers.values():
                os.kill(worker.pid, number)

    def _hear(self, worker: _Worker) -> None:
        """Hear what a worker would tell systemd."""
        try:
            lines = worker.told.recv(4096).decode().split("\n")
        except OSError:  # nothing there, or it has just died
            return
        for line in lines:
            if line == "WATCHDOG=1":
                worker.seen = time.monotonic()
            elif line == "READY=1":
                worker.is_ready = True

    def _answer(self, worker: _Worker) -> None:
        """Count for a worker."""
        try:
            data = worker.asks.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            return
        *lines, worker.rest = (worker.rest + data).split(b"\n")
        for line in lines:
            what, place = json.loads(line)
            seat = (self.sockets[place[0]], place[1]) if place else None
            answer: object = None
            if what == "take":
                answer = self.seats.take(seat)
                worker.seats[seat] += answer is None
            elif what == "give":
                self.seats.give(seat)
                worker.seats[seat] -= 1
            else:
                answer = self.seats.taken
            with contextlib.suppress(OSError):
                worker.asks.sendall(json.dumps(answer).encode() + b"\n")

    def _reap(self) -> None:
        """Take note of who has ended, give back what it held, and have it started again."""
        while self.workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self.workers.pop(pid, None)
            if worker is None:
                continue
            worker.close()
            for seat in worker.seats.elements():
                self.seats.give(seat)
            now = time.monotonic()
            self.due[worker.number] = now + PAUSE if now - worker.started < PAUSE else now
            code = os.waitstatus_to_exitcode(status)
            if self.deadline is not None:
                # One that had only just been started has no other answer to these.
                self.status = self.status or int(code not in (0, -signal.SIGTERM, -signal.SIGINT))
            elif not self._told_ready:
                log.error("worker %d did not start: %s", worker.number, _words(code))
                self.status = 1
                self.deadline = now
            else:
                log.error(
                    "worker %d (process %d) ended with %s; it is started again",
                    worker.number,
                    pid,
                    _words(code),
                )

    def _look_after(self) -> None:
        now = time.monotonic()
        for worker in self.workers.values():
            is_late = self.deadline is not None and now > self.deadline
            if not worker.is_killed and (is_late or now - worker.seen > HUNG):
                log.error(
                    "worker %d (process %d) does not %s; killing it",
                    worker.number,
                    worker.pid,
                    "stop" if is_late else "answer",
                )
                worker.is_killed = True
                os.kill(worker.pid, signal.SIGKILL)
        if (
            not self._told_ready
            and len(self.workers) == self.count
            and all(w.is_ready for w in self.workers.values())
        ):
            self._told_ready = True
            for sock in self.listening:
                log.info("listening on %s", name_of(sock))
            self.manager.tell("READY=1")
        self.manager.keep_alive(f"{self.seats.taken} connections in {len(self.workers)} workers")


def _words(code: int) -> str:
    return f"exit status {code}" if code >= 0 else f"signal {-code}"
