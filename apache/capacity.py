"""From the connections declared to the numbers of MPM event: a tunnel holds one worker thread for its whole life.

Source: httpd 2.4, server/mpm/event/event.c. A lingering generation keeps every child that holds at least one tunnel,
so the reserve of slots is reloads x active children. Knows nothing of sites but their connections.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from . import resources
from .backend_units import shared_workers
from .errors import TargetError
from .resources import Memory
from .site import Site
from .target import Target

SERVER_LIMIT_MAX = 20000
"""MAX_SERVER_LIMIT, server/mpm/event/event.c."""

THREADS_MIN, THREADS_MAX = 25, 250
"""Debian's children below; above it one crash takes too many sockets along, and few large children cost the least memory."""

_DRAIN_WINDOW = 10  # seconds at the least, for the sockets of one generation
_DRAIN_SHARE = 3  # of what handshakes these cores can do, a third goes to those who come back after a reload
_CHILDREN = 8
_COUNTING = 2  # where each child counts for itself: of 200, three of 135 threads refused nobody too early, nine of 45 every second one
_HOLD_OFF = 10  # after a reload Apache starts one child a second for so long: hold_off_on_exponential_spawning, event.c
_SEARCH_MAX = 1 << 31  # above everything that can run out

RESTART_DIRECTIVES = ("ServerLimit", "ThreadLimit", "ListenBacklog")
"""Read at a start alone: AH00501 and AH00506 for the limits; a socket that listens already is not asked to listen anew."""


@dataclass(frozen=True)
class Demand:
    """Hold what the descriptions ask for.

    Attributes:
        connections: of all sockets of all sites.
        encrypted: those of them that come by wss.
        busiest: the TCP address of a backend that most connections go to; empty: all are unix sockets.
        busiest_connections: how many go there.
        backend: those of the backend that is ours, by whose process they are all held.
        backend_here: those of them that it holds on this machine.
        listening: ports of all backends.
        counted: those connections that no backend counts, so that Apache's children do.
        forked: our backend gives each of its own a process.
    """

    connections: int
    encrypted: int
    busiest: str
    busiest_connections: int
    backend: int
    backend_here: int
    listening: frozenset[int] = frozenset()
    counted: int = 0
    forked: bool = False

    def scaled(self, connections: int) -> "Demand":
        """Return the same mixture with another total."""

        def part(number: int) -> int:
            return math.ceil(number * connections / self.connections)

        return replace(
            self,
            connections=connections,
            encrypted=part(self.encrypted),
            busiest_connections=part(self.busiest_connections),
            backend=part(self.backend),
            backend_here=part(self.backend_here),
            counted=part(self.counted),
        )


@dataclass(frozen=True)
class Limit:
    """Hold one thing that runs out: how much the plan takes, how much there is, and how many connections fit by it alone."""

    name: str
    takes: int
    has: int
    most: int
    remedy: str


@dataclass(frozen=True)
class Plan:
    """Hold the numbers for the whole server, named as their directives are.

    Attributes:
        children: Apache's active children when all sockets are open.
        counted: connections that Apache counts itself, each child by itself.
        seats: how many of them a child takes.
        handshakes_per_second: what these cores can do.
        drain_seconds: over how long clients are sent away at the least, so that they can all come back without a queue.
        drain_window: over how long our backend sends them away after a reload.
        reload_interval: seconds between reloads that this sustains without end.
        backend_limit_nofile: LimitNOFILE of the backend, which holds all sockets in one process.
        limit_nofile: LimitNOFILE and `ulimit -n` of Apache: of one child, since the limit is each process's own.
        tasks: threads at once at most, of all generations.
        tasks_max: TasksMax of apache2.service.
        sysctls: kernel settings that have to be raised, by name.
        limits: everything that can run out, the first one first.
        most: how many connections of this mixture fit.
    """

    connections: int
    http_reserve: int
    reloads: int
    children: int
    counted: int
    seats: int
    threads_per_child: int
    server_limit: int
    max_request_workers: int
    start_servers: int
    min_spare_threads: int
    max_spare_threads: int
    listen_backlog: int
    handshakes_per_second: int
    drain_seconds: int
    drain_window: int
    reload_interval: int
    limit_nofile: int
    backend_limit_nofile: int
    tasks: int
    tasks_max: int
    sysctls: dict[str, str]
    memory: Memory
    limits: list[Limit] = field(default_factory=list)
    most: int = 0
    restart_directives: list[str] = field(default_factory=lambda: list(RESTART_DIRECTIVES))


def demand(sites: Sequence[Site]) -> Demand:
    """Add up what all sites ask for.

    Raises:
        TargetError: two of them want our backend to work differently.
    """
    addresses: Counter[str] = Counter()
    ports: set[int] = set()
    connections = encrypted = backend = backend_here = counted = 0
    for site in sites:
        for socket in site.websockets:
            connections += socket.connections
            encrypted += socket.connections if site.tls.mode != "none" else 0
            ours = set(socket.backends) & set(site.own_backend)
            backend += socket.connections if ours else 0
            counted += socket.connections if socket.full == "apache" else 0
            backend_here += socket.connections if ours - set(site.remote) else 0
            for address in socket.backends:
                if not address.socket:
                    ports.add(address.port)
                    addresses[str(address)] += math.ceil(socket.connections / len(socket.backends))
    busiest, count = max(addresses.items(), key=lambda item: item[1], default=("", 0))
    forked = shared_workers(sites) == "forked"
    return Demand(
        connections, encrypted, busiest, count, backend, backend_here, frozenset(ports), counted, forked
    )


def plan(sites: Sequence[Site], target: Target) -> Plan:
    """Size the server for all sockets of all sites at once.

    Raises:
        TargetError: the MPM or the machine cannot hold that many; it names the most that they can.
    """
    return plan_for(demand(sites), target)


def plan_for(wanted: Demand, target: Target) -> Plan:
    """Size the server for a demand.

    Raises:
        TargetError: the MPM or the machine cannot hold that many; it names the most that they can.
    """
    if target.mpm == "prefork":
        raise TargetError(_prefork(wanted, target))
    made = sized(wanted, target)
    limits = sorted(_limits(wanted, made, target), key=lambda limit: limit.most)
    first = limits[0]
    if wanted.connections > first.most:
        raise TargetError(
            f"{wanted.connections} connections are more than this machine can hold: they take {first.takes} {first.name}, of {first.has}; "
            f"{first.remedy}; as it is, this one goes up to {first.most}"
        )
    return replace(made, limits=limits, most=first.most)


def sized(wanted: Demand, target: Target) -> Plan:
    """Return the numbers for a demand, whether the machine can carry them or not.

    Workers: one for each socket, http_reserve for pages, and a child's worth idle: below MinSpareThreads Apache starts another
    child, which it does only while all workers of all generations that are at work are fewer than MaxRequestWorkers.
    Where Apache counts sockets itself, its children are few and there from the start, since one may be full while others are not,
    and the workers that full ones keep for others may not pass for spare ones.
    Slots: the children at work, as many again for each reload a socket may outlive, and two to spare.
    """
    workers = wanted.connections + target.http_reserve
    threads = min(
        THREADS_MAX,
        max(THREADS_MIN, math.ceil(workers / (_COUNTING if wanted.counted else _CHILDREN) / 5) * 5),
    )
    others = workers - wanted.counted
    spare = max(threads, others + 1) if wanted.counted else threads
    children = math.ceil((workers + spare) / threads)
    rate = resources.MEASURED.handshakes_per_core * target.cores
    slots = children * (1 + target.reloads) + 2
    # All workers of the generation at work, and all sockets once more in older ones, whose idle workers have ended.
    tasks = children * threads + workers + slots * resources.OTHER_THREADS + 1
    backlog = max(511, 2 * rate)
    drain_seconds = max(1, math.ceil(wanted.connections / rate))
    drain_window = max(_DRAIN_WINDOW, _DRAIN_SHARE * drain_seconds)
    backend_limit_nofile = resources.backend_files(wanted.backend, target.http_reserve, forked=wanted.forked)
    limit_nofile = resources.apache_files(threads)
    return Plan(
        connections=wanted.connections,
        http_reserve=target.http_reserve,
        reloads=target.reloads,
        children=children,
        counted=wanted.counted,
        seats=(children * threads - others) // children if wanted.counted else 0,
        threads_per_child=threads,
        server_limit=slots,
        max_request_workers=children * threads,
        start_servers=children if wanted.counted else _start_servers(workers, threads, children, rate),
        min_spare_threads=spare,
        max_spare_threads=children * threads,
        listen_backlog=backlog,
        handshakes_per_second=rate,
        drain_seconds=drain_seconds,
        drain_window=drain_window,
        reload_interval=max(drain_seconds, math.ceil(drain_window / max(1, target.reloads))),
        limit_nofile=limit_nofile,
        backend_limit_nofile=backend_limit_nofile,
        tasks=tasks,
        tasks_max=resources.tasks_max(slots, threads),
        sysctls=resources.sysctls(
            backlog=backlog,
            ports=resources.ports(wanted.busiest_connections, target.http_reserve),
            listening=wanted.listening,
            tasks=tasks,
            files=max(limit_nofile, backend_limit_nofile),
            memory=target.memory,
        ),
        memory=resources.memory(
            plain=wanted.connections - wanted.encrypted,
            encrypted=wanted.encrypted,
            backend=wanted.backend_here,
            forked=wanted.forked,
            idle_threads=children * threads,
            children=slots,
            has=target.memory - target.memory_reserve,
        ),
    )


def _start_servers(workers: int, threads: int, children: int, rate: int) -> int:
    """Return with how many children a generation begins, so that clients who come back at full rate find a worker.

    Apache starts one child a second for the first ten seconds after a reload, then doubles.
    """
    seconds = min(_HOLD_OFF, workers / rate)
    short = min(workers, rate * seconds) - threads * seconds
    return min(children, max(2, math.ceil(short / threads)))


def _limits(wanted: Demand, made: Plan, target: Target) -> list[Limit]:
    """Measure everything that can run out, each with the number of connections at which it does."""

    def limit(name: str, takes: Callable[[Demand, Plan], int], has: int, remedy: str) -> Limit:
        def fits(connections: int) -> bool:
            other = wanted.scaled(connections)
            return takes(other, sized(other, target)) <= has

        return Limit(name, takes(wanted, made), has, _most(fits), remedy)

    found = [
        limit(
            "MiB of memory",
            lambda _, sized: sized.memory.total_mib,
            max(0, target.memory - target.memory_reserve) >> 20,
            "give it more memory, or describe fewer connections",
        ),
        limit(
            "slots (ServerLimit)",
            lambda _, sized: sized.server_limit,
            SERVER_LIMIT_MAX,
            f"let sockets outlive fewer reloads than {target.reloads}"
            if target.reloads
            else "put a second machine beside it",
        ),
        limit(
            "threads",
            lambda _, sized: sized.tasks,
            resources.TASKS_LIMIT,
            "put a second machine beside it",
        ),
        limit(
            "files in the backend",
            lambda _, sized: sized.backend_limit_nofile,
            resources.FILES_LIMIT,
            "run several backends",
        ),
    ]
    if wanted.busiest:
        found.append(
            limit(
                f"local ports to {wanted.busiest}",
                lambda scaled, _: resources.ports(scaled.busiest_connections, target.http_reserve),
                resources.PORTS_WIDE,
                "name a unix socket as the backend, or several addresses of it, as 127.0.0.1, 127.0.0.2",
            )
        )
    return found


def _most(fits: Callable[[int], bool]) -> int:
    """Return a number that fits while the next one does not; 0 when nothing does."""
    if not fits(1):
        return 0
    low, high = 1, 2
    while high < _SEARCH_MAX and fits(high):
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _prefork(wanted: Demand, target: Target) -> str:
    each = resources.MEASURED.prefork_process_kib
    has = max(0, target.memory - target.memory_reserve) >> 20
    needs = (wanted.connections + target.http_reserve) * each >> 10
    return (
        f"this Apache runs mpm_prefork, a whole process for each socket (mod_php forces it): {wanted.connections} connections take "
        f"{needs} MiB at the least, of {has}; run PHP by php-fpm and switch, "
        "`a2dismod php* mpm_prefork && a2enmod mpm_event proxy_fcgi && a2enconf php*-fpm`"
    )
