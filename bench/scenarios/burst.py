"""Fan-out in bursts: many say something at once, and all sockets of the room hear all of it."""

import statistics
import time
from typing import Any

from bench.load.client import Client

from .base import Goal, Metric, Scenario, Trial
from .idle import reasons, work_open
from .room import Counting, line, work_drain

_MESSAGES = 60
_BURSTS = 5
_SAY_EACH = 4  # a backend may bound what one socket says at once
_LEAD_SECONDS = 0.1
_PATIENCE_SECONDS = 20.0


def work(client: Client, *, messages: int, speaks: bool) -> dict[str, Any]:
    """Hear so many messages on every socket; one process says them, each on another socket."""
    ears = Counting(client)
    wanted = messages * len(client.open)
    lead = time.monotonic() + _LEAD_SECONDS
    while speaks and time.monotonic() < lead:
        client.turn(0.01)
    began = time.monotonic()
    if speaks:
        speakers = list(client.open)
        for number in range(messages):
            speakers[number % len(speakers)].send(line(began))
    deadline = began + _PATIENCE_SECONDS
    while ears.heard < wanted and client.open and time.monotonic() < deadline:
        client.turn(0.1)
    return {
        "heard": ears.heard,
        "began": began if speaks else None,
        "last": ears.last,
        "ended": client.ended,
    }


def measure(trial: Trial) -> dict[str, float]:
    """Open all sockets, and let burst after burst come to its end."""
    load = trial.load
    opened = load.call(work_open, [{"count": share} for share in load.shares(trial.options.connections)])
    count = sum(each["open"] for each in opened)
    if count < trial.options.connections:
        trial.notes.append(f"{count} of {trial.options.connections} opened: {reasons(opened)}")
    messages = min(_MESSAGES, _SAY_EACH * opened[0]["open"])
    if not messages:
        return {}
    each = [{"speaks": index == 0} for index in range(len(load.pids))]
    rates, seconds = [], []
    with trial.watch() as span:
        for _ in range(_BURSTS):
            replies = load.call(work, each, messages=messages)
            heard = sum(reply["heard"] for reply in replies)
            if heard < messages * count:
                trial.notes.append(
                    f"{heard} of {messages * count} heard within {_PATIENCE_SECONDS:g} s: {reasons(replies)}"
                )
            (began,) = (reply["began"] for reply in replies if reply["began"] is not None)
            seconds.append(max(reply["last"] for reply in replies) - began)
            rates.append(heard / max(seconds[-1], 1e-6))
            load.call(work_drain)
    return {
        "rate": statistics.median(rates),
        "seconds": statistics.median(seconds) * 1000,
        "proxy_cpu": span.proxy / (_BURSTS * messages * count) * 1e6,
        "backend_cpu": span.backend / (_BURSTS * messages * count) * 1e6,
    }


SCENARIO = Scenario(
    name="burst",
    rank=4,
    title="Fan-out in bursts",
    summary=f"{_MESSAGES} messages of 100 bytes said at once, each by another socket; all sockets hear all of them. "
    f"{_BURSTS} bursts a round, their median.",
    metrics=(
        Metric(
            "rate",
            "deliveries",
            "/s",
            "more",
            goals=(
                Goal("nginx", 6, backend="stock"),
                Goal("caddy", 10, backend="stock"),
                Goal("direct", 1, backend="stock"),
            ),
        ),
        Metric("seconds", "until all had heard all", "ms", "less", plot=False),
        Metric("proxy_cpu", "proxy CPU per delivery", "µs", "less", plot=False),
        Metric("backend_cpu", "backend CPU per delivery", "µs", "less", plot=False),
    ),
    measure=measure,
    backends=("wsfront", "stock", "ws", "socketify"),
    in_room=True,
)
