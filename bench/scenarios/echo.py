"""Echo: the round trip of one small message on a quiet machine, and of many sockets at once."""

import time
from typing import Any

from bench.load.client import Client, Connection, frame

from .base import Goal, Metric, Scenario, Trial
from .figures import percentile
from .idle import reasons

_SIZE = 64
_SOCKETS = 100
_WARM_SECONDS = 0.3


def work(client: Client, *, sockets: int, seconds: float) -> dict[str, Any]:
    """Have each socket send a message, wait for it, send the next."""
    if sockets > len(client.open):
        client.open_more(sockets - len(client.open))
    message = frame(b"x" * _SIZE)
    trips: list[float] = []
    clock = time.perf_counter
    playing = True

    def heard(connection: Connection, _payload: bytes) -> None:
        now = clock()
        trips.append(now - connection.tag)
        if playing:
            connection.tag = now
            connection.send(message)

    client.on_message = heard
    began = clock()
    deadline = began + seconds
    for connection in list(client.open)[:sockets]:
        connection.tag = clock()
        connection.send(message)
    while clock() < deadline:
        client.turn(0.1)
    elapsed = clock() - began
    count, playing = len(trips), False
    late = time.monotonic() + 1
    while len(trips) < count + min(sockets, len(client.open)) and time.monotonic() < late:
        client.turn(0.05)
    return {"trips": trips[:count], "seconds": elapsed, "ended": client.ended}


def measure(trial: Trial) -> dict[str, float]:
    """Take one socket's round trips, then those of many sockets."""
    load = trial.load
    many = min(_SOCKETS, trial.options.connections)
    alone = [{"sockets": int(index == 0)} for index in range(len(load.pids))]
    load.call(work, alone, seconds=_WARM_SECONDS)
    with trial.watch() as one:
        replies = load.call(work, alone, seconds=trial.options.seconds / 2)
    trips = [trip for reply in replies for trip in reply["trips"]]
    if not trips:
        trial.notes.append(f"no echo came: {reasons(replies)}")
        return {}
    values = {
        "median": percentile(trips, 50) * 1e6,
        "p99": percentile(trips, 99) * 1e6,
        "proxy_cpu": one.proxy / len(trips) * 1e6,
    }
    each = [{"sockets": share} for share in load.shares(many)]
    load.call(work, each, seconds=_WARM_SECONDS)
    with trial.watch() as all_of_them:
        replies = load.call(work, each, seconds=trial.options.seconds / 2)
    trips = [trip for reply in replies for trip in reply["trips"]]
    if trips:
        values |= {
            "rate": sum(len(reply["trips"]) / reply["seconds"] for reply in replies),
            "many_p99": percentile(trips, 99) * 1000,
            "many_proxy_cpu": all_of_them.proxy / len(trips) * 1e6,
        }
    if any(reply["ended"] for reply in replies):
        trial.notes.append(f"sockets ended: {reasons(replies)}")
    return values


SCENARIO = Scenario(
    name="echo",
    rank=2,
    title="Echo",
    summary=f"One socket sends {_SIZE} bytes, waits for them, sends the next; then {_SOCKETS} sockets do so at once, fewer where told.",
    metrics=(
        Metric("median", "round trip, median", "µs", "less", goals=(Goal("nginx", 1.2),)),
        Metric("p99", "round trip, p99", "µs", "less", plot=False),
        Metric("proxy_cpu", "proxy CPU per round trip", "µs", "less", plot=False),
        Metric("rate", "round trips per second, many sockets", "/s", "more"),
        Metric("many_p99", "p99, many sockets", "ms", "less", plot=False),
        Metric("many_proxy_cpu", "proxy CPU per round trip, many sockets", "µs", "less", plot=False),
    ),
    measure=measure,
)
