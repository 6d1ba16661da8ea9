"""``python -m server``: read the settings, bind, drop privileges, serve.

Exit status: 0 stopped as told, 1 it could not run, 2 the settings or the use are wrong.
"""

import argparse
import asyncio
import contextlib
import ctypes
import logging
import os
import pwd
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from . import logs, pages
from .app import Backend
from .environment import load, read_env_file
from .listen import ListenError, bind, release
from .routes import chat_path
from .seats import Seats
from .settings import Settings, SettingsError
from .systemd import Manager, take_sockets
from .tls import Certificate
from .workers.processes import StartError
from .workers.shared import Supervisor

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with contextlib.suppress(ImportError):  # where it has no wheel, asyncio's own loop does the same, slower
    from uvloop import new_event_loop

log = logging.getLogger("server")
SPARE_FILES = 256
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line."""
    made = argparse.ArgumentParser(
        prog="python -m server", description="The WebSocket backend: a chat and an echo."
    )
    made.add_argument(
        "--listen",
        action="append",
        default=[],
        metavar="ADDR",
        help="host:port, [v6]:port or unix:/path; may be given more than once (default: 127.0.0.1:8888)",
    )
    made.add_argument(
        "--env-file", type=Path, metavar="FILE", help="read the WSFRONT_* settings from this file"
    )
    made.add_argument(
        "--user", metavar="NAME", help="run as this user once the sockets are bound (root only)"
    )
    made.add_argument(
        "--exit-with-parent",
        action="store_true",
        help="stop when the process that started this one is gone (Linux)",
    )
    made.add_argument(
        "--exit-when-idle",
        metavar="SECONDS",
        help="stop when nobody has been connected for so long; for sockets that systemd holds",
    )
    made.add_argument(
        "--workers",
        metavar="N|forked",
        help="so many processes for all connections, or forked: one for each (default: 1)",
    )
    made.add_argument(
        "--handler",
        default="",
        metavar="MODULE:FUNCTION",
        help="call this function in a process for each connection",
    )
    made.add_argument(
        "--process-limits",
        metavar="LIMITS",
        help="of each connection's process: memory=MIB,cpu=SECONDS,files=N,processes=N; 0 is none"
        " (default: memory=512,cpu=600,files=64,processes=4096)",
    )
    made.add_argument("--log-level", choices=["debug", "info", "warning", "error"], default="info")
    made.add_argument(
        "--exec",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="PROGRAM",
        help="run this program, with all arguments that follow, for each connection: a line is a message",
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the backend until it is told to stop; return the exit status."""
    options = parser().parse_args(arguments)
    try:
        from_file = read_env_file(options.env_file) if options.env_file else {}
        told = {
            "WSFRONT_EXIT_WHEN_IDLE": options.exit_when_idle,
            "WSFRONT_WORKERS": options.workers,
            "WSFRONT_PROCESS_LIMITS": options.process_limits,
        }
        given = {key: value for key, value in told.items() if value is not None}
        settings = load(
            {**os.environ, **from_file, **given},
            listen=options.listen,
            program=options.exec,
            handler=options.handler,
        )
        user = _user(options.user)
        # Before we become that user, who may not be allowed to read the key.
        certificate = (
            Certificate(settings.certificate, settings.key) if settings.certificate and settings.key else None
        )
    except SettingsError as fault:
        sys.stderr.writelines(f"server: {line}\n" for line in fault.faults)
        return 2
    logs.set_up(options.log_level, settings.log)
    try:
        return _serve(settings, certificate, user, parent=os.getppid() if options.exit_with_parent else None)
    except KeyboardInterrupt:  # before the event loop takes the signal
        return 0
    except StartError as fault:
        sys.stderr.write(f"server: {settings.handler or settings.workers}: {fault}\n")
        return 1
    except ListenError as fault:
        sys.stderr.write(f"server: {fault}\n")
        return 1


def _serve(
    settings: Settings, certificate: Certificate | None, user: pwd.struct_passwd | None, parent: int | None
) -> int:
    # A process of its own has three pipes.
    each = 4 if settings.program or settings.workers == "forked" else 1
    _raise_file_limit(settings.connections * each)
    # A program speaks a language of its own, which our page does not know.
    files = (
        {} if settings.program or settings.handler else pages.load(chat_path(settings.sockets[0].public_path))
    )
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # it would end us; until we serve there is nobody to close
    inherited = take_sockets(os.environ)
    if settings.exit_when_idle and not inherited:
        raise ListenError(
            "--exit-when-idle: nobody would start it again; leave it out, or let systemd hold the sockets (Accept=no)"
        )
    manager = Manager(os.environ)
    listening = []
    try:
        owner = (user.pw_uid, user.pw_gid) if user else None
        for address in settings.listen if not inherited else ():
            listening.append((address, bind(address, owner)))  # noqa: PERF401  # what is bound is undone below
        watched = _bind_metrics(settings)
        if user:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        if parent:
            _exit_with(parent)
        serving = inherited or [sock for _, sock in listening]

        def serve(manager: Manager, seats: Seats | None = None, number: int = 1) -> None:
            if seats:
                _exit_with(supervisor)
            with asyncio.Runner(loop_factory=new_event_loop) as runner:
                backend = Backend(settings, files, certificate, seats=seats)
                own = watched[number - 1] if watched else None
                runner.run(backend.run(serving, manager, inherited=bool(inherited), watched=own))

        supervisor = os.getpid()
        if settings.workers in (1, "forked"):
            serve(manager)
            return 0
        return Supervisor(
            int(settings.workers),
            serve,
            serving,
            manager,
            most=settings.connections,
            sockets=settings.sockets,
            drain_seconds=settings.leave_seconds + settings.drain_seconds,
        ).run()
    finally:
        manager.close()
        for address, sock in listening:
            sock.close()
            release(address)


def _exit_with(parent: int) -> None:
    """Have the kernel stop us with our parent; asked for after the change of user, which clears it (prctl(2), PR_SET_PDEATHSIG)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it ended before we asked
        signal.raise_signal(signal.SIGTERM)


def _bind_metrics(settings: Settings) -> list[socket.socket]:
    """Bind for the metrics of each of the processes that serve, one port after the other; none where one is taken."""
    if settings.metrics is None:
        return []
    count = settings.workers if isinstance(settings.workers, int) else 1
    bound: list[socket.socket] = []
    try:
        for number in range(count):
            bound.append(bind(replace(settings.metrics, port=settings.metrics.port + number)))  # noqa: PERF401  # what is bound is closed below
    except ListenError as fault:
        # A release on trial starts beside the one that lives; and sockets matter more than what is told of them.
        log.warning("WSFRONT_METRICS: %s; going on without metrics", fault)
        for sock in bound:
            sock.close()
        return []
    return bound


def _user(name: str | None) -> pwd.struct_passwd | None:
    if name is None:
        return None
    if os.geteuid() != 0:
        raise SettingsError(["--user: only root can become another user; leave it out"])
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise SettingsError([f"--user: no user {name!r}; choose one that `getent passwd` shows"]) from None


def _raise_file_limit(files: int) -> None:
    """Let the process hold that many files, as far as its hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = files + SPARE_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning(
            "%d open files allowed, and %d needed for all connections; raise LimitNOFILE or `ulimit -Hn`",
            hard,
            wanted,
        )


if __name__ == "__main__":
    sys.exit(main())
