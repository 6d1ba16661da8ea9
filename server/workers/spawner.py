"""The warm parent: a small process that forks another one for each order, and tells when it ends.

It has no event loop, no thread, no connection and no certificate, so a fork is quick, safe and takes nothing of other clients along.
Runs as ``python -m server.workers.spawner DESCRIPTOR``; ends, with all that it forked, when the other end of that socket is closed.
Knows nothing of WebSockets: who is forked runs a program, or a Python function, with limits of its own.
"""

import array
import contextlib
import ctypes
import fcntl
import gc
import json
import os
import resource
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import NoReturn

from .handler import Handler, find, serve

HEAD = struct.Struct("!I")
DESCRIPTORS = 3
SPARE = 64  # above all that this process has open
LIMITED = {
    "memory": (resource.RLIMIT_AS, 1 << 20),
    "cpu": (resource.RLIMIT_CPU, 1),
    "files": (resource.RLIMIT_NOFILE, 1),
    "processes": (resource.RLIMIT_NPROC, 1),
}
DEFAULT_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGCHLD, signal.SIGUSR1)
PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Spawner:
    """Take orders from a socket, each with the descriptors that become 0, 1 and 2 of a new process.

    Args:
        control: the socket; an order is a length and JSON, an answer a line of JSON.
    """

    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.running: dict[int, int] = {}
        self.handlers: dict[str, Handler] = {}
        # Looked up before the fork: nothing that forks may then import.
        self._prctl: Callable[..., int] | None = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def run(self) -> None:
        """Serve until the other end is closed."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # what comes from a terminal is for the server
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        heard, woken = os.pipe()
        os.set_blocking(heard, False)
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        try:
            while True:
                ready, _, _ = select.select([self.control.fileno(), heard], [], [])
                if heard in ready:
                    with contextlib.suppress(BlockingIOError):
                        os.read(heard, 4096)
                    self._reap()
                if self.control.fileno() in ready and not self._take():
                    return
        finally:
            for leader in self.running.values():
                _kill(leader, signal.SIGKILL)

    def _take(self) -> bool:
        """Do what the next order says; tell whether there was one."""
        parts = array.array("i")
        space = socket.CMSG_SPACE(DESCRIPTORS * parts.itemsize)
        head, ancillary, _, _ = self.control.recvmsg(HEAD.size, space)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                parts.frombytes(data[: len(data) - len(data) % parts.itemsize])
        given = list(parts)
        try:
            head += self._read(HEAD.size - len(head))
            order = json.loads(self._read(*HEAD.unpack(head)))
        except EOFError:
            return False
        else:
            self._do(order, given)
        finally:
            for number in given:
                os.close(number)
        return True

    def _do(self, order: dict[str, object], given: Sequence[int]) -> None:
        key = order["id"]
        assert isinstance(key, int)  # noqa: S101  # our own server wrote it
        if isinstance(number := order.get("signal"), int):
            if key in self.running:
                _kill(self.running[key], number)
            return
        name = order.get("handler")
        if isinstance(name, str) and name not in self.handlers:
            try:
                self.handlers[name] = find(name)
            except BaseException as fault:  # noqa: BLE001  # whatever the user's module raises
                self._tell(id=key, error=f"{type(fault).__name__}: {fault}")
                return
            gc.collect()
            gc.freeze()  # so that a child's collector touches no page that it shares with us
        if not given:  # it was only to be warm
            self._tell(id=key, pid=0)
            return
        failed, failure = os.pipe()
        try:
            leader = os.fork()
        except OSError as fault:
            os.close(failed)
            os.close(failure)
            self._tell(id=key, error=f"no process for it: {fault.strerror}")
            return
        if not leader:
            self._become(order, given, failure)
        os.close(failure)
        with open(failed, "rb") as file:  # noqa: PTH123  # a descriptor; it ends when the program runs
            error = file.read().decode(errors="replace")
        if error:
            os.waitpid(leader, 0)
            self._tell(id=key, error=error)
            return
        self.running[key] = leader
        self._tell(id=key, pid=leader)

    def _become(self, order: dict[str, object], given: Sequence[int], failure: int) -> NoReturn:
        """Be the new process: a group and session of its own, nothing open but what was given, and its limits."""
        try:
            signal.set_wakeup_fd(-1)
            for each in DEFAULT_SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            os.setsid()
            if self._prctl:
                self._prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            kept = fcntl.fcntl(failure, fcntl.F_DUPFD_CLOEXEC, SPARE)
            for place, number in enumerate(given):
                os.dup2(number, place)
            os.closerange(DESCRIPTORS, kept)
            os.closerange(kept + 1, 1 << 16)
            environment = order["environment"]
            assert isinstance(environment, dict)  # noqa: S101  # our own server wrote it
            program = order.get("program")
            try:
                _limit(order["limits"])
                if isinstance(program, list):
                    os.execve(program[0], program[1:], environment)  # noqa: S606  # never a shell, on purpose
            except (OSError, ValueError, MemoryError) as fault:
                os.write(kept, (getattr(fault, "strerror", None) or str(fault) or "out of memory").encode())
                os._exit(1)
            os.close(kept)
            serve(self.handlers[str(order["handler"])], environment)
            os._exit(0)
        except SystemExit as told:
            os._exit(told.code if isinstance(told.code, int) else int(told.code is not None))
        except BaseException:  # noqa: BLE001  # nothing may go back to where we were forked
            with contextlib.suppress(BaseException):
                traceback.print_exc()
            os._exit(1)

    def _reap(self) -> None:
        """Tell of each process that has ended, and end what it left behind in its group."""
        for key, leader in list(self.running.items()):
            # Not reaped yet, so that its number cannot be another's when its group is killed.
            if os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _kill(leader, signal.SIGKILL)
                _, status = os.waitpid(leader, 0)
                del self.running[key]
                self._tell(id=key, status=os.waitstatus_to_exitcode(status))

    def _tell(self, **answer: object) -> None:
        with contextlib.suppress(OSError):  # the server is gone; the next turn sees it
            self.control.sendall(json.dumps(answer).encode() + b"\n")

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.control.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _limit(limits: object) -> None:
    assert isinstance(limits, dict)  # noqa: S101  # our own server wrote it
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for name, value in limits.items():
        what, unit = LIMITED[name]
        if value:
            _, hard = resource.getrlimit(what)
            most = value * unit if hard == resource.RLIM_INFINITY else min(value * unit, hard)
            # The kernel says SIGXCPU at the soft limit, and nothing but SIGKILL at the hard one (setrlimit(2)).
            last = most + 1 if name == "cpu" and hard == resource.RLIM_INFINITY else most
            resource.setrlimit(what, (most, last))


def _kill(leader: int, number: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(leader, number)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _control:
        Spawner(_control).run()
