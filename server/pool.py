"""Processes for heavy work, off the loop: few of them, started when there is work and ended when there is none.

A job is bytes, and so is its answer. A process that dies, or takes too long or too much, costs the one job that it had. Each is a
fresh interpreter on two pipes: nothing is forked from a process with an event loop, and no semaphore, thread or shared memory is needed.
"""

import asyncio
import contextlib
import logging
import os
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from . import metrics
from .pooled import DONE, LENGTH, Rejected

log = logging.getLogger("server")

UNDER_WAY = metrics.gauge(
    "pool_jobs", "Jobs that wait for a process of the pool, or are in one.", ("module",)
)
JOBS = metrics.counter(
    "pool_jobs_ended", "Jobs of the pool, by how they ended: done, rejected, lost or busy.", ("module", "end")
)
SECONDS = metrics.histogram("pool_seconds", "From a job until its end, the wait for a process included.")

ROOT = Path(__file__).resolve().parent.parent
ANSWER_MOST = 1 << 20
SAID_MOST = 4096  # bytes of standard error that are logged at a time
# No setting, password or socket of ours is any business of a process that opens what strangers send.
PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH")


class Busy(Exception):  # noqa: N818  # an answer to who sent the job, not an error of ours
    """More jobs wait than may."""


class JobLost(Exception):  # noqa: N818  # likewise
    """The process that had the job died, or took too long and was killed."""


class NotStarted(Exception):  # noqa: N818  # likewise
    """No process could be started, or none may be any longer."""


class Pool:
    """Processes that run one module's jobs.

    Args:
        module: run as ``python -m``; it calls `pooled.work`.
        size: how many processes there may be.
        waiting: how many jobs may wait for one.
        seconds: how long one job may take, the start of its process included; the processor's time is limited to the same.
        memory: bytes of address space (RLIMIT_AS) for each process.
        idle: seconds without a job after which a process ends.
    """

    def __init__(
        self, module: str, *, size: int, waiting: int, seconds: float, memory: int, idle: float = 60.0
    ) -> None:
        self.module = module
        self.most = size + waiting
        self.seconds = seconds
        self.memory = memory
        self.idle = idle
        self.jobs = 0
        self.closed = False
        self._turn = asyncio.Semaphore(size)
        self._rest: list[tuple[Process, asyncio.TimerHandle]] = []
        self._alive: set[Process] = set()
        self._hearing: dict[Process, asyncio.Task[None]] = {}
        self._ends: set[asyncio.Task[None]] = set()

    async def run(self, job: bytes) -> bytes:
        """Have a job done, in its turn, and return the answer.

        Raises:
            Busy: too many wait already.
            JobLost: its process died or ran over.
            NotStarted: there was none.
            Rejected: what the job itself says of its bytes.
        """
        if self.jobs >= self.most:
            JOBS.labels(self.module, "busy").inc()
            raise Busy(f"{self.jobs} jobs are under way")
        self.jobs += 1
        UNDER_WAY.labels(self.module).inc()
        end = "lost"
        try:
            with SECONDS.time():
                async with self._turn:
                    answer = await self._do(job)
            end = "done"
        except Rejected:
            end = "rejected"
            raise
        else:
            return answer
        finally:
            self.jobs -= 1
            UNDER_WAY.labels(self.module).dec()
            JOBS.labels(self.module, end).inc()

    async def close(self) -> None:
        """End all processes, those at work too, and start none again; return when they are gone."""
        self.closed = True
        for process in list(self._alive):
            _kill(process)
        while self._rest:
            self._retire()
        await asyncio.gather(*self._ends)
        await asyncio.gather(*(process.wait() for process in self._alive))

    async def _do(self, job: bytes) -> bytes:
        process = None
        try:
            async with asyncio.timeout(self.seconds):
                process = self._rested() or await self._start()
                answer = await _ask(process, job)
        except (TimeoutError, OSError, EOFError) as fault:
            why = str(fault)
            if isinstance(fault, TimeoutError):
                why = f"it took more than {self.seconds:g} s"
            elif process is not None:
                await self._end(process)
                why = f"its process ended with {process.returncode}"
            log.warning("%s: a job was lost: %s", self.module, why)
            raise JobLost(why) from None
        else:
            if not self.closed:
                timer = asyncio.get_running_loop().call_later(self.idle, self._retire)
                self._rest.append((process, timer))
                process = None
        finally:
            if process is not None:
                await self._end(process)
        if answer[:1] != DONE:
            raise Rejected(answer[1:].decode(errors="replace"))
        return answer[1:]

    def _rested(self) -> Process | None:
        """Take the process that worked last, so that the others may end."""
        while self._rest:
            process, timer = self._rest.pop()
            timer.cancel()
            if process.returncode is None:
                return process
            self._end_soon(process)
        return None

    async def _start(self) -> Process:
        if self.closed:
            raise NotStarted("the pool is closed")
        limits = (os.getpid(), self.memory, round(self.seconds + 0.5))
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        command = (sys.executable, "-m", self.module, *map(str, limits))
        try:
            process = await asyncio.create_subprocess_exec(
                *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=environment
            )
        except OSError as fault:
            log.warning("%s did not start: %s; may this user run %s?", self.module, fault, sys.executable)
            raise NotStarted(str(fault)) from None
        self._alive.add(process)
        self._hearing[process] = asyncio.get_running_loop().create_task(self._hear(process))
        if self.closed:  # meanwhile
            await self._end(process)
            raise NotStarted("the pool is closed")
        return process

    async def _hear(self, process: Process) -> None:
        """Log what a process says on standard error."""
        assert process.stderr is not None  # noqa: S101  # it was started so
        while said := await process.stderr.read(SAID_MOST):
            for line in said.decode(errors="backslashreplace").splitlines():
                log.warning("%s: %s", self.module, line)

    def _retire(self) -> None:
        """End the process that has rested longest."""
        process, timer = self._rest.pop(0)
        timer.cancel()
        self._end_soon(process)

    def _end_soon(self, process: Process) -> None:
        end = asyncio.get_running_loop().create_task(self._end(process))
        self._ends.add(end)
        end.add_done_callback(self._ends.discard)

    async def _end(self, process: Process) -> None:
        """Kill a process, and wait until it is gone; what it still had to say is read, or its pipe would never end."""
        _kill(process)
        if hearing := self._hearing.pop(process, None):
            await hearing
        await process.communicate()
        self._alive.discard(process)


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()


async def _ask(process: Process, job: bytes) -> bytes:
    """Hand over a job and read the answer.

    Raises:
        EOFError, OSError: it died, or answers what is no answer.
    """
    if process.stdin is None or process.stdout is None:
        raise OSError("it has no pipes")
    process.stdin.writelines((LENGTH.pack(len(job)), job))
    await process.stdin.drain()
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if not 0 < length <= ANSWER_MOST:
        raise OSError(f"an answer of {length} bytes")
    return await process.stdout.readexactly(length)
