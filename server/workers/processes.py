"""The server's side of the processes that serve one connection each: order one, hear it, end it.

Knows nothing of WebSockets, nor of what a process reads and writes.
"""

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

from server.settings import ProcessLimits

from .spawner import Spawner

HEAD = struct.Struct("!I")
ROOT = Path(__file__).parents[2]
PASSED = (
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
)  # of our environment; nothing that is named after us, nor a proxy
PATIENCE_AT_END = 1.0  # for one who was told by the end of its input
PATIENCE_AT_TERM = 3.0  # for one who was told by SIGTERM
PAUSE = 0.01

log = logging.getLogger("server")


class StartError(Exception):
    """A process that was not started: why."""


class Input(asyncio.BaseProtocol):
    """The pipe to a process's standard input, which holds a writer up while it is full."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport
        self._free = asyncio.Event()
        self._free.set()
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Be ready."""
        self.transport = cast("asyncio.WriteTransport", transport)  # connect_write_pipe makes no other

    def pause_writing(self) -> None:
        """Hold writers up."""
        self._free.clear()

    def resume_writing(self) -> None:
        """Let them go on."""
        self._free.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let them go, too: nobody reads any more."""
        del exc
        self._lost = True
        self._free.set()

    async def write(self, data: bytes) -> None:
        """Write, and wait while the pipe is full; nothing happens once the process has closed its end."""
        if not self._lost:
            self.transport.write(data)
            await self._free.wait()

    def close(self) -> None:
        """Let the process read to the end of what was written, and then the end."""
        self.transport.close()


class Process:
    """One process: what it reads, what it says, and how it ended.

    Attributes:
        ended: the exit status, or a signal's number with a minus.
    """

    def __init__(self, owner: "Processes", key: int) -> None:
        self._owner = owner
        self.key = key
        loop = asyncio.get_running_loop()
        self.input = Input()
        self.output = asyncio.StreamReader()
        self.errors = asyncio.StreamReader()
        self.started: asyncio.Future[int] = loop.create_future()
        self.ended: asyncio.Future[int] = loop.create_future()
        self._pipes: list[asyncio.BaseTransport] = []

    async def connect(self, most: int) -> list[int]:
        """Open the three pipes, of which no line may be longer than ``most`` bytes; return the process's ends."""
        loop = asyncio.get_running_loop()
        theirs: list[int] = []
        try:
            heard, told = os.pipe()
            theirs.append(heard)
            transport, _ = await loop.connect_write_pipe(lambda: self.input, open(told, "wb", 0))  # noqa: SIM115, PTH123, ASYNC230  # the transport closes it
            self._pipes.append(transport)
            self.output, self.errors = (asyncio.StreamReader(limit=most) for _ in range(2))
            for reader in (self.output, self.errors):
                heard, told = os.pipe()
                theirs.append(told)
                reading, _ = await loop.connect_read_pipe(
                    lambda reader=reader: asyncio.StreamReaderProtocol(reader),  # type: ignore[misc]
                    open(heard, "rb", 0),  # noqa: SIM115, PTH123, ASYNC230  # the transport closes it
                )
                self._pipes.append(reading)
        except BaseException:
            for number in theirs:
                os.close(number)
            self.close()
            raise
        return theirs

    def signal(self, number: int) -> None:
        """Send a signal to the process and all of its group, unless it has ended."""
        if not self.ended.done():
            self._owner.order({"id": self.key, "signal": int(number)})

    async def end(self) -> int:
        """End it in bounded time: by the end of its input, by SIGTERM, by SIGKILL; return its exit status."""
        self.input.close()
        for patience, number in ((PATIENCE_AT_END, signal.SIGTERM), (PATIENCE_AT_TERM, signal.SIGKILL)):
            done, _ = await asyncio.wait([self.ended], timeout=patience)
            if done:
                break
            self.signal(number)
        return await self.ended

    def close(self) -> None:
        """Let go of the pipes, and of the process at once if it still runs."""
        self.signal(signal.SIGKILL)
        for pipe in self._pipes:
            pipe.close()


class _Forked:
    """A warm parent for where this user may not run Python's own file: forked from the server, with all that is in its memory."""

    def __init__(self, control: socket.socket, environment: Mapping[str, str]) -> None:
        self._ended = False
        self.pid = os.fork()
        if self.pid:
            return
        try:
            gc.freeze()  # what would close a descriptor of the server's when it is collected
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
            os.environ.clear()
            os.environ.update(environment)
            kept = os.dup(control.fileno())
            self._cover(kept)
            Spawner(socket.socket(fileno=kept)).run()
        finally:
            os._exit(0)

    @staticmethod
    def _cover(kept: int) -> None:
        """Let go of the server's descriptors, but not of their numbers: libuv closes its own again in each process that is forked."""
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a descriptor is wanted
            for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208  # names alone
                if number not in (1, 2, kept, nothing.fileno()):
                    os.dup2(nothing.fileno(), number, inheritable=False)

    def kill(self) -> None:
        """Kill it, unless it has ended."""
        if not self._ended:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it has not ended in so many seconds.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._ended:
            pid, _ = os.waitpid(self.pid, 0 if end is None else os.WNOHANG)
            self._ended = bool(pid)
            if end is not None and not self._ended:
                if time.monotonic() > end:
                    raise subprocess.TimeoutExpired("the parent of processes", timeout or 0)
                time.sleep(PAUSE)
        return 0


class Processes:
    """All processes of a server, and their warm parent, which is started with the first of them.

    Args:
        limits: what each may take.
    """

    def __init__(self, limits: ProcessLimits) -> None:
        self.limits = limits
        self.running: dict[int, Process] = {}
        self._number = 0
        self._orders: asyncio.Queue[tuple[bytes, Sequence[int]]] = asyncio.Queue()
        self._parent: subprocess.Popen[bytes] | _Forked | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(
        self, environment: Mapping[str, str], most: int, *, program: Sequence[str] = (), handler: str = ""
    ) -> Process:
        """Start a program or a handler with an environment; none of its lines may be longer than ``most`` bytes.

        Raises:
            StartError: where it does not start.
        """
        self._start_parent()
        self._number += 1
        key = self._number
        process = Process(self, key)
        try:
            theirs = await process.connect(most)
        except OSError as fault:
            raise StartError(f"no pipes for it: {fault.strerror}") from None
        self.running[key] = process
        order: dict[str, object] = {
            "id": key,
            "environment": {name: os.environ[name] for name in PASSED if name in os.environ}
            | dict(environment),
            "limits": asdict(self.limits),
        }
        order |= {"handler": handler} if handler else {"program": [program[0], *program]}
        self.order(order, theirs)
        try:
            await process.started
        except BaseException:
            self.running.pop(key, None)
            process.close()
            raise
        return process

    async def warm(self, handler: str) -> None:
        """Have the warm parent import a handler before anybody comes.

        Raises:
            StartError: where it cannot be imported.
        """
        self._start_parent()
        self._number += 1
        process = self.running[self._number] = Process(self, self._number)
        self.order({"id": self._number, "handler": handler})
        try:
            await process.started
        finally:
            self.running.pop(process.key, None)

    def order(self, order: Mapping[str, object], descriptors: Sequence[int] = ()) -> None:
        """Send an order to the warm parent; the descriptors are closed once they are there."""
        self._orders.put_nowait((json.dumps(order).encode(), descriptors))

    def close(self) -> None:
        """End all processes and their parent at once."""
        for task in self._tasks:
            task.cancel()
        self._forget()
        if self._parent is not None:
            self._control.close()
            # It ends by itself once the socket is closed, so a moment is enough; if it hangs, its children die with it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._parent.wait(1)
            self._parent.kill()
            self._parent.wait()
            self._parent = None

    def _start_parent(self) -> None:
        if self._parent is not None:
            return
        control, theirs = socket.socketpair()
        control.setblocking(False)  # noqa: FBT003  # as the standard library has it
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        try:
            self._parent = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.spawner", str(theirs.fileno())],
                env={**environment, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
        except PermissionError:
            # Root's own Python, as in a home folder, and another user that serves.
            self._parent = _Forked(theirs, environment)
        except OSError as fault:
            control.close()
            raise StartError(f"{sys.executable}: {fault.strerror}") from None
        finally:
            theirs.close()
        self._control = control
        loop = asyncio.get_running_loop()
        self._tasks = {loop.create_task(self._send()), loop.create_task(self._hear())}

    async def _send(self) -> None:
        """Send orders, one after the other: a descriptor goes with an order's first byte."""
        loop = asyncio.get_running_loop()
        while True:
            data, descriptors = await self._orders.get()
            try:
                while True:
                    try:
                        socket.send_fds(self._control, [HEAD.pack(len(data))], list(descriptors))
                        break
                    except BlockingIOError:
                        await asyncio.sleep(PAUSE)
                await loop.sock_sendall(self._control, data)
            except OSError:
                return  # _hear sees the end, too
            finally:
                for number in descriptors:
                    os.close(number)

    async def _hear(self) -> None:
        """Hear what starts and what ends; start anew, with the next order, after a parent that has died."""
        loop = asyncio.get_running_loop()
        rest = b""
        with contextlib.suppress(OSError):
            while data := await loop.sock_recv(self._control, 1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    self._note(json.loads(line))
        log.error(
            "the parent of the connections' processes has died, and they with it; the next one is started with the next connection"
        )
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        self._forget()
        assert self._parent is not None  # noqa: S101  # we hear it
        self._control.close()
        self._parent.kill()
        self._parent.wait()
        self._parent = None

    def _note(self, answer: dict[str, object]) -> None:
        key, error, status = answer["id"], answer.get("error"), answer.get("status")
        process = self.running.get(key) if isinstance(key, int) else None
        if process is None:
            return
        if error is not None:
            process.ended.set_result(1)
            process.started.set_exception(StartError(str(error)))
        elif isinstance(status, int):
            del self.running[process.key]
            process.ended.set_result(status)
        elif isinstance(number := answer.get("pid"), int):
            process.started.set_result(number)

    def _forget(self) -> None:
        while not self._orders.empty():
            for number in self._orders.get_nowait()[1]:
                os.close(number)
        for process in self.running.values():
            if not process.started.done():
                process.started.set_exception(StartError("the parent of all processes has died"))
            if not process.ended.done():
                process.ended.set_result(-signal.SIGKILL)
        self.running.clear()
