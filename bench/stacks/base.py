"""What all stacks share: a program with a configuration, started as our child, stopped within a bounded time."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from apache import httpd
from bench.errors import BenchFault, MissingFault

_FOLDERS = (*os.get_exec_path(), "/usr/sbin", "/usr/local/sbin", "/usr/local/bin")
_START_SECONDS = 20.0
_STOP_SECONDS = 3.0
_KILL_SECONDS = 2.0
_HERE = Path(__file__).parent
IDLE_SECONDS = 120
"""After how long without a byte a stack gives a socket up: the default of a description's idle_timeout, for all stacks."""


@dataclass(frozen=True)
class Place:
    """Say where a stack runs, and what it must hold.

    Attributes:
        directory: its own folder, for all it writes.
        port: where it listens on 127.0.0.1.
        backend_port: where the backend does.
        connections: how many sockets at once.
        certificate: PEM file for localhost.
        key: its key.
        user: to whom its workers drop when we are root; empty: they stay who we are.
        group: that user's group.
    """

    directory: Path
    port: int
    backend_port: int
    connections: int
    certificate: Path
    key: Path
    user: str
    group: str


class Stack(ABC):
    """Run one stack at a place.

    Attributes:
        name: as on the command line.
        rank: where it stands in tables and plots.
        title: as in tables and plots.
        package: the Debian package that brings its program.
        tls: whether clients speak wss to it.
        files_each: open files for each socket in its largest process.
        threads_each: threads for each socket.
    """

    name: ClassVar[str]
    rank: ClassVar[int]
    title: ClassVar[str]
    package: ClassVar[str] = ""
    tls: ClassVar[bool] = True
    files_each: ClassVar[float] = 2
    threads_each: ClassVar[float] = 0

    def __init__(self, place: Place) -> None:
        self.place = place

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """Return the version of its program.

        Raises:
            MissingFault: it is not installed.
        """

    @abstractmethod
    def start(self) -> None:
        """Start it and return once it listens.

        Raises:
            BenchFault: it does not.
        """

    @abstractmethod
    def stop(self) -> None:
        """Stop it and all its processes within a bounded time."""

    @abstractmethod
    def reload(self) -> None:
        """Have it read its configuration again, in the way its users do."""

    @property
    @abstractmethod
    def session(self) -> int | None:
        """Return the session of all its processes; None: it has none."""

    @property
    def port(self) -> int:
        """Return where clients connect to."""
        return self.place.port


class Program(Stack):
    """Run a stack that is one program, stays in the foreground and stops on SIGTERM."""

    program: ClassVar[str]
    version_arguments: ClassVar[tuple[str, ...]]
    templates: ClassVar[Mapping[str, str]]
    reload_signal: ClassVar[signal.Signals] = signal.SIGHUP

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def binary(cls) -> Path:
        """Return its program."""
        return find(cls.program, cls.package)

    @classmethod
    def version(cls) -> str:
        """Return what the program says of itself."""
        done = subprocess.run(
            [cls.binary(), *cls.version_arguments], capture_output=True, text=True, check=False, timeout=10
        )
        number = re.search(r"\d+(\.\d+)+", done.stdout + done.stderr)
        return number[0] if number else "unknown"

    @abstractmethod
    def command(self) -> list[str]:
        """Return the arguments of its program."""

    def start(self) -> None:
        """Write its files, start it, wait until it accepts."""
        for name, template in self.templates.items():
            (self.place.directory / name).write_text(fill(template, self.place))
        log = self.place.directory / "output.log"
        with log.open("ab") as output, httpd.stop_signals_held():
            self._process = subprocess.Popen(
                [str(self.binary()), *self.command()],
                cwd=self.place.directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={
                    **os.environ,
                    "HOME": str(self.place.directory),
                    "XDG_DATA_HOME": str(self.place.directory),
                },
                preexec_fn=httpd.die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
            )
        wait_until_it_listens(self._process, self.place.port, self.title, log)

    def stop(self) -> None:
        """Stop the program and its workers."""
        process, self._process = self._process, None
        if process:
            end_group(process)

    def reload(self) -> None:
        """Send its signal."""
        if self._process:
            self._process.send_signal(self.reload_signal)

    @property
    def session(self) -> int | None:
        """Return its session: it is started as the leader of one."""
        return self._process.pid if self._process else None


def find(program: str, package: str) -> Path:
    """Return a program that Debian may keep out of a user's PATH.

    Raises:
        MissingFault: it is not here.
    """
    found = shutil.which(program, path=os.pathsep.join(_FOLDERS))
    if not found:
        raise MissingFault(f"{program} is not installed: on Debian type `apt-get install {package}`")
    return Path(found)


def fill(template: str, place: Place) -> str:
    """Return a configuration for this place."""
    environment = Environment(
        loader=FileSystemLoader(_HERE),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 (these are no web pages, and all values are ours)
    )
    return environment.get_template(template).render(place=place, idle_seconds=IDLE_SECONDS)


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, title: str, log: Path) -> None:
    """Return once somebody accepts on a port.

    Raises:
        BenchFault: the process ended instead, or takes too long, with the last of what it said.
    """
    deadline = time.monotonic() + _START_SECONDS
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        ended = process.poll() is not None
        if ended or time.monotonic() > deadline:
            words = log.read_text(errors="replace").strip().splitlines()[-2:]
            state = "ended at its start" if ended else f"does not listen after {_START_SECONDS:.0f} s"
            raise BenchFault(f"{title} {state}: {' '.join(words) or 'it said nothing'}")
        time.sleep(0.01)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Stop a process that leads a group, and whatever is left of the group."""
    httpd.end(process, _STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        deadline = time.monotonic() + _KILL_SECONDS
        while time.monotonic() < deadline:
            os.killpg(process.pid, signal.SIGKILL)
            time.sleep(0.005)
