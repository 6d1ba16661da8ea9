"""One process for all connections, or one for each: what a connection costs, and what is lost with a process."""

import contextlib
import os
import signal
import time
from typing import Any

from bench import proc
from bench.load.client import Client

from .base import Metric, Scenario, Trial
from .echo import work as work_echo
from .figures import percentile
from .idle import reasons, work_answers, work_open

_SOCKETS = 100
_SETTLE_SECONDS = 1.0
_KIB = 1024
_STARTED = 19  # the 22nd of proc(5), counted from the third


def work_left(client: Client, *, seconds: float) -> dict[str, Any]:
    """Count the sockets that are open after a while."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client.turn(0.1)
    return {"open": len(client.open)}


def measure(trial: Trial) -> dict[str, float]:
    """Open sockets until all have answered, weigh them, talk on one, then kill a process."""
    wanted = min(_SOCKETS, trial.options.connections)
    trial.load.call(work_open, [{"count": int(index == 0)} for index in range(len(trial.load.pids))])
    trial.load.call(work_answers)  # whatever is there but once has started now
    before = proc.memory(proc.sessions_of(trial.backend))
    began = time.monotonic()
    opened = trial.load.call(work_open, [{"count": share} for share in trial.load.shares(wanted)])
    asked = trial.load.call(work_answers)
    elapsed = time.monotonic() - began
    count = sum(each["answered"] for each in asked) - 1
    if count < wanted:
        trial.notes.append(f"{count} of {wanted} opened and answered: {reasons(opened)}")
        if count < 1:
            return {"open": 0}
    time.sleep(_SETTLE_SECONDS)
    after = proc.memory(proc.sessions_of(trial.backend))
    alone = [{"sockets": int(index == 0)} for index in range(len(trial.load.pids))]
    replies = trial.load.call(work_echo, alone, seconds=trial.options.seconds / 2)
    trips = [trip for reply in replies for trip in reply["trips"]]
    with contextlib.suppress(ProcessLookupError):
        os.kill(_last(trial.backend), signal.SIGKILL)
    left = sum(each["open"] for each in trial.load.call(work_left, seconds=_SETTLE_SECONDS))
    return {
        "open": count,
        "rate": count / elapsed,
        "memory": (after.pss - before.pss) / count / _KIB,
        "kernel_memory": (after.kernel - before.kernel) / count / _KIB,
        "median": percentile(trips, 50) * 1e6 if trips else 0.0,
        "p99": percentile(trips, 99) * 1e6 if trips else 0.0,
        "lost": count + 1 - left,
    }


def _last(backend: int) -> int:
    """Name the youngest process that serves connections."""
    family = proc.processes(proc.sessions_of(backend))
    # The start comes first: numbers of processes begin anew at some time.
    return max(((int(fields[_STARTED]), pid) for pid, fields in family), default=(0, backend))[1]


SCENARIO = Scenario(
    name="modes",
    rank=20,
    title="One process, or one for each",
    summary=f"{_SOCKETS} sockets, or fewer, are opened and answer; one talks; then the youngest of the backend's processes is killed.",
    metrics=(
        Metric("rate", "connections opened and answered per second", "/s", "more"),
        Metric("memory", "memory per connection", "KiB", "less"),
        Metric("kernel_memory", "of the kernel per connection", "KiB", "less", plot=False),
        Metric("median", "round trip, median", "µs", "less"),
        Metric("p99", "round trip, p99", "µs", "less", plot=False),
        Metric("lost", "connections lost with one process", "", "less", plot=False),
        Metric("open", "connections that answered", "", "more", plot=False),
    ),
    measure=measure,
    backends=("wsfront", "wsfront-forked", "wsfront-exec", "wsfront-exec-php", "websocketd"),
)
