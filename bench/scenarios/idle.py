"""Hold N idle sockets: how fast they open, what each takes in memory, and whether all are still there."""

import time
from collections import Counter
from typing import Any

from bench import proc
from bench.load.client import Client, Connection, frame

from .base import Goal, Metric, Scenario, Trial

_KIB = 1024
_SETTLE_SECONDS = 0.5
_ANSWER_SECONDS = 10.0


def work_open(client: Client, *, count: int) -> dict[str, Any]:
    """Open sockets and keep them."""
    seconds = client.open_more(count)
    return {"open": len(client.open), "seconds": seconds, "ended": client.ended}


def work_answers(client: Client) -> dict[str, Any]:
    """Send a message on every socket, and count those that come back."""
    before = len(client.open)
    waiting = set(client.open)

    def heard(connection: Connection, _payload: bytes) -> None:
        waiting.discard(connection)

    client.on_message = heard
    client.on_end = lambda connection, _reason: waiting.discard(connection)
    for connection in list(waiting):
        connection.send(frame(b"are you there?"))
    deadline = time.monotonic() + _ANSWER_SECONDS
    while waiting and time.monotonic() < deadline:
        client.turn(0.1)
    return {"answered": len(client.open) - len(waiting), "before": before, "ended": client.ended}


def measure(trial: Trial) -> dict[str, float]:
    """Open, weigh, hold, and ask every socket."""
    wanted = trial.options.connections
    proxy_before, backend_before = proc.memory(trial.proxies), proc.memory([trial.backend])
    kernel_before = proc.kernel_bytes()
    with trial.watch() as span:
        opened = trial.load.call(work_open, [{"count": share} for share in trial.load.shares(wanted)])
    count = sum(each["open"] for each in opened)
    if not count:
        trial.notes.append(f"no socket opened: {reasons(opened)}")
        return {"open": 0}
    if count < wanted:
        trial.notes.append(f"{count} of {wanted} opened: {reasons(opened)}")
    time.sleep(_SETTLE_SECONDS)
    proxy, backend = proc.memory(trial.proxies), proc.memory([trial.backend])
    kernel_machine = proc.kernel_bytes() - kernel_before
    time.sleep(max(0.0, trial.options.hold - _SETTLE_SECONDS))
    asked = trial.load.call(work_answers)
    answered = sum(each["answered"] for each in asked)
    if answered < count:
        trial.notes.append(f"{answered} of {count} answered after {trial.options.hold:g} s: {reasons(asked)}")
    parts = {
        "proxy_memory": (proxy.pss - proxy_before.pss) / count / _KIB,
        "backend_memory": (backend.pss - backend_before.pss) / count / _KIB,
        "kernel_memory": (proxy.kernel + backend.kernel - proxy_before.kernel - backend_before.kernel)
        / count
        / _KIB,
    }
    return {
        "open": count,
        "answered": answered,
        **parts,
        "memory": sum(parts.values()),
        "kernel_memory_machine": kernel_machine / count / _KIB,
        "opened_per_second": count / max(each["seconds"] for each in opened),
        "proxy_cpu": span.proxy / count * 1000,
    }


def reasons(replies: list[dict[str, Any]]) -> str:
    """Say why connections ended, the most frequent first."""
    total: Counter[str] = Counter()
    for reply in replies:
        total.update(reply["ended"])
    return ", ".join(f"{count} x {reason}" for reason, count in total.most_common(3)) or "no reason seen"


SCENARIO = Scenario(
    name="idle",
    rank=0,
    title="Idle sockets",
    summary="Opens the sockets, weighs the processes against what they took before the first one, holds them, then asks each for an echo.",
    metrics=(
        Metric("open", "sockets open", "", "more"),
        Metric("answered", "answered at the end", "", "more", plot=False),
        Metric("proxy_memory", "proxy memory per socket", "KiB", "less", goals=(Goal("nginx", 2.5),)),
        Metric("backend_memory", "backend memory per socket", "KiB", "less", plot=False),
        Metric("kernel_memory", "kernel memory per socket, estimated", "KiB", "less", plot=False),
        Metric(
            "memory",
            "memory per socket, all in all",
            "KiB",
            "less",
            parts=(("proxy_memory", "proxy"), ("backend_memory", "backend"), ("kernel_memory", "kernel")),
        ),
        Metric(
            "kernel_memory_machine", "growth of the machine's kernel per socket", "KiB", "less", plot=False
        ),
        Metric("opened_per_second", "opened per second", "/s", "more", plot=False),
        Metric("proxy_cpu", "proxy CPU per socket opened", "ms", "less", plot=False),
    ),
    measure=measure,
)
