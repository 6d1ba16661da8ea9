"""Handshakes per second: connect, TLS, upgrade, goodbye, as many at a time as keep the machine busy."""

import time
from typing import Any

from bench.load.client import Client, Connection

from .base import Goal, Metric, Scenario, Trial
from .figures import percentile
from .idle import reasons

_WARM_SECONDS = 1.0
_IN_FLIGHT = 32


def work(client: Client, *, seconds: float, in_flight: int) -> dict[str, Any]:
    """Shake hands over and over; each handshake's socket is closed in order before the next takes its place."""
    latencies: list[float] = []

    def opened(connection: Connection) -> None:
        latencies.append(time.monotonic() - connection.began)
        connection.leave()

    client.on_open = opened
    before = sum(client.ended.values())
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        while len(client.all) < in_flight:
            if client.connect() is None:
                break
        client.turn(0.1)
    elapsed = time.monotonic() - began
    failed = sum(client.ended.values()) - before
    client.calm()
    for connection in list(client.all.values()):
        connection.leaving = True
        connection.end("")
    return {
        "seconds": elapsed,
        "latencies": latencies,
        "failed": failed,
        "ended": client.ended,
        "negotiated": client.negotiated,
    }


def measure(trial: Trial) -> dict[str, float]:
    """Warm up, then count."""
    in_flight = min(_IN_FLIGHT, trial.options.connections)
    each = [{"in_flight": share} for share in trial.load.shares(in_flight)]
    trial.load.call(work, each, seconds=min(_WARM_SECONDS, trial.options.seconds))
    with trial.watch() as span:
        replies = trial.load.call(work, each, seconds=trial.options.seconds)
    latencies = [latency for reply in replies for latency in reply["latencies"]]
    failed = sum(reply["failed"] for reply in replies)
    if failed:
        trial.notes.append(f"{failed} handshakes failed: {reasons(replies)}")
    if replies[0]["negotiated"]:
        trial.notes.append(f"negotiated {replies[0]['negotiated']}")
    if not latencies:
        return {"rate": 0.0}
    return {
        "rate": sum(len(reply["latencies"]) / reply["seconds"] for reply in replies),
        "failed": failed,
        "median": percentile(latencies, 50) * 1000,
        "p99": percentile(latencies, 99) * 1000,
        "proxy_cpu": span.proxy / len(latencies) * 1000,
    }


SCENARIO = Scenario(
    name="handshakes",
    rank=1,
    title="Handshakes",
    summary=f"{_IN_FLIGHT} handshakes at a time, each from connect to 101 and an orderly close; no session is resumed.",
    metrics=(
        Metric("rate", "handshakes per second", "/s", "more", goals=(Goal("nginx", 0.8),)),
        Metric("failed", "failed", "", "less", plot=False),
        Metric("median", "from connect to open, median", "ms", "less", plot=False),
        Metric("p99", "from connect to open, p99", "ms", "less", plot=False),
        Metric("proxy_cpu", "proxy CPU per handshake", "ms", "less"),
    ),
    measure=measure,
)
