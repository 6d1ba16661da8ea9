"""Reload with sockets open: who loses a socket, who is kept waiting at the door, and what is left of the old configuration."""

import time
from collections import Counter
from typing import Any

from bench import proc
from bench.load.client import Client, Connection, frame

from .base import Metric, Scenario, Trial
from .idle import reasons, work_open

_SOCKETS = 100
_BEFORE_SECONDS = 0.2
_AFTER_SECONDS = 1.0
_TALK_SECONDS = 0.2
_KNOCK_SECONDS = 0.02
_STUCK_SECONDS = 2.0


class _Knocker:
    """Somebody new: shakes hands, leaves, and comes again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._at: Connection | None = None
        self._next = 0.0
        self.waits: list[float] = []
        self.refused = 0
        self.stuck = 0

    def knock(self, now: float) -> None:
        """Come again, unless somebody is still at the door; give up on one that is not answered."""
        if self._at is None and now >= self._next:
            self._next = now + _KNOCK_SECONDS
            self._at = self._client.connect()
            self.refused += self._at is None
        elif self.waits_in_vain(now):
            self.stuck += 1
            self.waits.append(_STUCK_SECONDS)
            self.go()

    def waits_in_vain(self, now: float) -> bool:
        """Tell whether the one at the door has stood there for too long."""
        return self.is_waiting and self._at is not None and now - self._at.began > _STUCK_SECONDS

    @property
    def is_waiting(self) -> bool:
        """Tell whether one at the door is not answered yet."""
        return self._at is not None and self._at not in self._client.open

    def owns(self, connection: Connection) -> bool:
        """Tell whether a connection is ours."""
        return connection is self._at

    def let_in(self, connection: Connection) -> None:
        """Note how long it took, and leave."""
        self.waits.append(time.monotonic() - connection.began)
        connection.leave()

    def lost(self, reason: str) -> None:
        """Note that the one at the door is gone; with a reason, it was sent away."""
        self._at = None
        self.refused += bool(reason)

    def go(self) -> None:
        """Leave the door at once."""
        if self._at:
            self._at.leaving = True
            self._at.end("")


def work(client: Client, *, seconds: float, knocks: bool) -> dict[str, Any]:
    """Let every open socket talk, while somebody new comes again and again."""
    message = frame(b"still here")
    knocker = _Knocker(client)
    lost = 0

    def ended(connection: Connection, reason: str) -> None:
        nonlocal lost
        if knocker.owns(connection):
            knocker.lost(reason)
        elif reason:
            lost += 1

    client.on_open, client.on_end = knocker.let_in, ended
    deadline = time.monotonic() + seconds
    talk = 0.0
    while (now := time.monotonic()) < deadline or knocker.is_waiting:
        if now >= talk:
            talk = now + _TALK_SECONDS
            for connection in [each for each in client.open if not knocker.owns(each)]:
                connection.send(message)
        if knocks and (now < deadline or knocker.is_waiting):
            knocker.knock(now)
        client.turn(_KNOCK_SECONDS)
    knocker.go()
    return {
        "lost": lost,
        "shaken": len(knocker.waits) - knocker.stuck,
        "refused": knocker.refused,
        "stuck": knocker.stuck,
        "longest": max(knocker.waits, default=0.0),
        "ended": client.ended,
    }


def measure(trial: Trial) -> dict[str, float]:
    """Open some sockets and reload, again and again."""
    load, reloads = trial.load, trial.options.reloads
    sockets = min(_SOCKETS, max(1, trial.options.connections // max(1, reloads)))
    each = [{"knocks": index == 0} for index in range(len(load.pids))]
    total: Counter[str] = Counter()
    longest = 0.0
    before = proc.memory(trial.proxies)
    with trial.watch() as span:
        for number in range(1, reloads + 1):
            opened = load.call(work_open, [{"count": share} for share in load.shares(sockets)])
            missing = sockets * number - total["lost"] - sum(reply["open"] for reply in opened)
            if missing > 0:
                total["lost"] += missing
                trial.notes.append(
                    f"before reload {number}, {missing} sockets did not open: {reasons(opened)}"
                )
            load.begin(work, each, seconds=_BEFORE_SECONDS + _AFTER_SECONDS)
            time.sleep(_BEFORE_SECONDS)
            trial.stack.reload()
            for reply in load.collect():
                total.update({key: reply[key] for key in ("lost", "shaken", "refused", "stuck")})
                longest = max(longest, reply["longest"])
    after = proc.memory(trial.proxies)
    wanted = sockets * reloads
    return {
        "kept": (wanted - total["lost"]) / wanted * 100,
        "lost": total["lost"],
        "refused": total["refused"],
        "stuck": total["stuck"],
        "shaken": total["shaken"],
        "longest": longest * 1000,
        "memory": (after.pss - before.pss) / (1 << 20),
        "proxy_cpu": span.proxy / reloads * 1000,
    }


SCENARIO = Scenario(
    name="reload",
    rank=3,
    title="Reload with sockets open",
    summary=f"{_SOCKETS} more sockets, then a graceful reload, again and again, while all sockets talk and somebody new knocks.",
    metrics=(
        Metric("kept", "sockets open at the end, of all that were wanted", "%", "more"),
        Metric("lost", "sockets lost or not opened", "", "less", plot=False),
        Metric("refused", "handshakes refused", "", "less", plot=False),
        Metric("stuck", f"handshakes not answered in {_STUCK_SECONDS:g} s", "", "less", plot=False),
        Metric("shaken", "handshakes done meanwhile", "", "more", plot=False),
        Metric("longest", "longest handshake", "ms", "less"),
        Metric("memory", "memory taken by then", "MiB", "less", plot=False),
        Metric("proxy_cpu", "proxy CPU per reload", "ms", "less", plot=False),
    ),
    measure=measure,
)
