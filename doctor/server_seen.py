"""What was seen on a machine, as data: nothing here asks or judges."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field

from .configuration import Configuration
from .findings import Finding
from .server_answers import Answer
from .server_apache import Apache, Dump
from .server_backend import Reached
from .server_certificates import Certificate
from .server_log import Log
from .server_machine import Child, Processes
from .server_system import System

_DEFAULT_SLOTS = {"prefork": 256}  # server/mpm: DEFAULT_SERVER_LIMIT
_SLOTS, _THREADS = 16, 25
_SETTLING = 3.0  # seconds that a child's threads take to start
_DOUBT = 0.02  # likewise of what the kernel says of its start


@dataclass(frozen=True)
class Sizes:
    """Hold what the configuration says of processes and threads, with Apache's own defaults where it says nothing.

    Attributes:
        mpm: event, worker or prefork.
        workers: MaxRequestWorkers, as Apache cuts it.
        slots: ServerLimit.
        threads: ThreadsPerChild; 1 on prefork.
        file: where MaxRequestWorkers is written down, or ServerLimit; empty: nowhere.
        line: likewise.
    """

    mpm: str = "event"
    workers: int = 400
    slots: int = _SLOTS
    threads: int = _THREADS
    file: str = ""
    line: int = 0

    @property
    def children(self) -> int:
        """Return how many children all workers take."""
        return -(-self.workers // self.threads)


def sizes(configuration: Configuration, modules: frozenset[str]) -> Sizes:
    """Return what a configuration says of processes and threads."""
    mpm = next((name for name in ("prefork", "worker", "event") if f"mpm_{name}" in modules), "event")

    def number(default: int, *names: str) -> int:
        values = [int(each.word(0)) for each in configuration.named(*names) if each.word(0).isdigit()]
        return values[-1] if values and values[-1] else default

    written = configuration.named("maxrequestworkers", "maxclients") or configuration.named("serverlimit")
    place = (written[-1].file, written[-1].line) if written else ("", 0)
    threads = 1 if mpm == "prefork" else number(_THREADS, "threadsperchild")
    slots = number(_DEFAULT_SLOTS.get(mpm, _SLOTS), "serverlimit")
    most = slots * threads
    workers = min(number(most, "maxrequestworkers", "maxclients"), most)
    return Sizes(mpm, max(threads, workers // threads * threads), slots, threads, *place)


@dataclass(frozen=True)
class Seen:
    """Hold all that was seen.

    Attributes:
        apache: which Apache was asked.
        told: what it says of its configuration.
        main_file: its main file.
        linted: what reading its configuration found.
        htaccess: the .htaccess files that were read with it.
        sizes: its processes and threads, as configured.
        path: the path of a socket that was asked about; empty: all.
        answering: what answers for it in each vhost: its name, whether sockets pass, the line.
        has_tunnels: whether sockets pass at all.
        has_way: whether that path leads to a backend at all.
        reached: what its backends did.
        processes: what runs; None where nothing does.
        connections: what is open to each backend, by its address.
        ports: local ports that there are for one address; None where that is not known.
        answer: what it answers itself.
        log: the end of its error logs.
        certificates: those configured.
        system: what the machine has around it.
        now: when all this was.
        not_seen: what could not be asked or read, a sentence each.
    """

    apache: Apache
    told: Dump
    main_file: str
    linted: tuple[Finding, ...] = ()
    htaccess: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=Sizes)
    path: str = ""
    answering: tuple[tuple[str, bool, str], ...] = ()
    has_tunnels: bool = False
    has_way: bool = False
    reached: tuple[Reached, ...] = ()
    processes: Processes | None = None
    connections: Mapping[str, int] = field(default_factory=dict)
    ports: int | None = None
    answer: Answer = field(default_factory=Answer)
    log: Log = field(default_factory=Log)
    certificates: tuple[Certificate, ...] = ()
    system: System = field(default_factory=System)
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    not_seen: tuple[str, ...] = ()

    @property
    def tunnels(self) -> int:
        """Return how many connections Apache has open to backends of sockets, some of which may be kept for the next request."""
        return sum(self.connections.values())

    @property
    def children(self) -> list[Child]:
        """Return the children that hold a slot each; mod_cgid's helper, of one thread alone, holds none."""
        each = self.processes.children if self.processes else ()
        return [child for child in each if self.sizes.mpm == "prefork" or child.threads > 1]

    @property
    def leaving(self) -> int:
        """Return how many children hold a slot and take nobody: of older generations, or on their way out.

        One of a threaded MPM that is at work has a thread for each worker; those that leave end their idle ones.
        """
        reloaded = max(self.log.reloads, default=0.0)
        settled = self.now.timestamp() - _SETTLING
        return sum(
            child.started < reloaded - _DOUBT
            or (
                self.sizes.mpm != "prefork"
                and child.started < settled
                and child.threads <= self.sizes.threads
            )
            for child in self.children
        )
