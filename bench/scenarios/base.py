"""What scenarios are made of: the figures they give, and one trial to take them in."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

from bench import proc
from bench.backends.base import Running
from bench.load.processes import Load
from bench.stacks.base import Stack


@dataclass(frozen=True)
class Options:
    """Hold what a run was told.

    Attributes:
        connections: sockets at once, where a scenario holds many.
        seconds: how long one measurement lasts.
        hold: how long idle sockets are held.
        reloads: how many a socket sees.
    """

    connections: int = 1000
    seconds: float = 3.0
    hold: float = 3.0
    reloads: int = 5


@dataclass(frozen=True)
class Goal:
    """Say what a figure of ours shall be, relative to another stack's.

    Attributes:
        against: the other stack.
        factor: how many times its figure.
        backend: what stands behind it, where ours is measured with our own; empty: the same as behind ours.
    """

    against: str
    factor: float
    backend: str = ""


@dataclass(frozen=True)
class Metric:
    """Describe one figure.

    Attributes:
        key: its name in results.json.
        title: its name for people.
        unit: as printed behind it.
        better: which way is better.
        goals: what ours shall reach.
        plot: whether it is drawn.
        parts: of a sum, the keys of its parts and their names: drawn one behind the other.
    """

    key: str
    title: str
    unit: str
    better: Literal["more", "less"]
    goals: tuple[Goal, ...] = ()
    plot: bool = True
    parts: tuple[tuple[str, str], ...] = ()


@dataclass
class Cpu:
    """Hold what a span of time took, in seconds."""

    elapsed: float = 0.0
    proxy: float = 0.0
    backend: float = 0.0
    load: float = 0.0
    busiest_load: float = 0.0
    machine: float = 0.0

    @property
    def others(self) -> float:
        """Return what neither proxy nor backend nor load generator took."""
        return max(0.0, self.machine - self.proxy - self.backend - self.load)


@dataclass
class Trial:
    """One scenario on one stack, all processes fresh.

    Attributes:
        stack: the stack, started.
        running: the backend, started.
        load: the load generator, connected to nobody yet.
        options: what the run was told.
        cpu: what was watched.
        notes: sentences for the report.
    """

    stack: Stack
    running: Running
    load: Load
    options: Options
    cpu: Cpu = field(default_factory=Cpu)
    notes: list[str] = field(default_factory=list)

    @property
    def backend(self) -> int:
        """Return the backend's session."""
        return self.running.process.pid

    @property
    def proxies(self) -> list[int]:
        """Return the sessions of the stack's processes."""
        return [self.stack.session] if self.stack.session else []

    @contextmanager
    def watch(self) -> Iterator[Cpu]:
        """Count the CPU time of a span, and add it to the trial's."""
        before = self._clocks()
        span = Cpu()
        yield span
        after = self._clocks()
        elapsed, proxy, backend, machine, *loads = (
            late - soon for late, soon in zip(after, before, strict=True)
        )
        span.elapsed, span.proxy, span.backend, span.machine = elapsed, proxy, backend, machine
        span.load, span.busiest_load = sum(loads), max(loads)
        for name, value in vars(span).items():
            setattr(self.cpu, name, getattr(self.cpu, name) + value)

    def _clocks(self) -> list[float]:
        return [
            time.monotonic(),
            proc.cpu_seconds(self.proxies),
            proc.cpu_seconds([self.backend]),
            proc.machine_seconds(),
            *(proc.cpu_seconds([pid]) for pid in self.load.pids),
        ]


@dataclass(frozen=True)
class Scenario:
    """Describe one scenario.

    Attributes:
        name: as on the command line.
        rank: where it stands in the report.
        title: as in the report.
        summary: a sentence on what is done.
        metrics: the figures that `measure` returns, by their keys; one that does not apply is left out.
        measure: takes them.
        backends: the backends that it is run with.
        in_room: its sockets are in the backend's room, not at its echo.
    """

    name: str
    rank: int
    title: str
    summary: str
    metrics: tuple[Metric, ...]
    measure: Callable[[Trial], dict[str, float]]
    backends: tuple[str, ...] = ("wsfront",)
    in_room: bool = False
