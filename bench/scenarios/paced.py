"""Fan-out at a steady pace: the highest rate of messages at which the slowest hundredth of the deliveries stays below 100 ms."""

import math
import time
from typing import Any

from bench.load.client import Client

from .base import Goal, Metric, Scenario, Trial
from .idle import reasons, work_open
from .room import Ears, line, work_drain

_LIMIT_SECONDS = 0.1
_SHARE = 0.01
_FIRST_RATE = 5.0
_EACH_RATE = 4.0  # messages a second of one socket: a backend may bound it
_BISECTIONS = 2
_ATTEMPTS = 3
_TRIED = 3  # rates in any case
_LEAD_SECONDS = 0.2
_LATE_SECONDS = 1.0
_PER_MILLISECOND = 10
BUCKETS = 1000 * _PER_MILLISECOND  # what took longer than a second is in the last


class Timing(Ears):
    """Count lines by how long they took."""

    def __init__(self, client: Client) -> None:
        self.buckets = [0] * BUCKETS
        self.late = 0
        super().__init__(client)

    def note(self, seconds: float) -> None:
        """Count a line."""
        self.buckets[min(BUCKETS - 1, int(seconds * 1000 * _PER_MILLISECOND))] += 1
        self.late += seconds > _LIMIT_SECONDS


def work(client: Client, *, rate: float, seconds: float, speaks: bool) -> dict[str, Any]:
    """Hear for some time what one process says at a pace; it gives up once too much is late.

    A message's time runs from the moment when it was due: a load generator that is late itself is no excuse.
    """
    ears = Timing(client)
    count = max(1, round(rate * seconds))
    hopeless = 5 * _SHARE * count * len(client.open)
    began = time.monotonic() + _LEAD_SECONDS
    speakers = list(client.open)
    said = 0
    while speaks and said < count and ears.late <= hopeless and client.open:
        due = began + said / rate
        if (now := time.monotonic()) >= due:
            speakers[said % len(speakers)].send(line(due))
            said += 1
        client.turn(max(0.0, due - now))  # who only speaks, and reads nothing, is thrown out
    wanted = count * len(client.open)
    end = began + seconds + _LATE_SECONDS
    while ears.heard < wanted and ears.late <= hopeless and time.monotonic() < end:
        client.turn(0.05)
    return {"buckets": ears.buckets, "wanted": wanted, "ended": client.ended}


def measure(trial: Trial) -> dict[str, float]:
    """Double the rate until it is too much, twice in a row, and look in between."""
    load = trial.load
    opened = load.call(work_open, [{"count": share} for share in load.shares(trial.options.connections)])
    count = sum(each["open"] for each in opened)
    if count < trial.options.connections:
        trial.notes.append(f"{count} of {trial.options.connections} opened: {reasons(opened)}")
    most = _EACH_RATE * opened[0]["open"]
    found: dict[float, dict[str, float]] = {}
    rate = _FIRST_RATE
    # A machine's disturbance is no limit: two rates that are too much, one after the other, are; at the lowest ones, three.
    while rate <= most and (len(found) < _TRIED or any(map(found.get, sorted(found)[-2:]))):
        found[rate] = _at(trial, rate)
        rate *= 2
    good = max((each for each, figures in found.items() if figures), default=0.0)
    bad = min((each for each in found if each > good), default=0.0)
    if not bad:
        trial.notes.append(f"the sockets may say no more than {most:g} messages a second")
    for _ in range(_BISECTIONS if bad else 0):
        rate = math.sqrt(max(good, 1.0) * bad)
        found[rate] = _at(trial, rate)
        good, bad = (rate, bad) if found[rate] else (good, rate)
    if not good:
        return {"rate": 0.0, "deliveries": 0.0}
    return {"rate": good, "deliveries": good * count, **found[good]}


def _at(trial: Trial, rate: float) -> dict[str, float]:
    """Return the figures at a rate; none, where it is too much: three times, for two may be a disturbance."""
    load = trial.load
    each = [{"speaks": index == 0} for index in range(len(load.pids))]
    for _ in range(_ATTEMPTS):
        with trial.watch() as span:
            replies = load.call(work, each, rate=rate, seconds=trial.options.seconds)
        buckets = [sum(reply["buckets"][number] for reply in replies) for number in range(BUCKETS)]
        wanted = sum(reply["wanted"] for reply in replies)
        p99 = percentile_of(buckets, wanted, 1 - _SHARE)
        load.call(work_drain)
        if p99 <= _LIMIT_SECONDS * 1000:
            return {
                "median": percentile_of(buckets, wanted, 0.5),
                "p99": p99,
                "proxy_cpu": span.proxy / wanted * 1e6,
                "backend_cpu": span.backend / wanted * 1e6,
            }
    return {}


def percentile_of(buckets: list[int], wanted: int, share: float) -> float:
    """Return in how many milliseconds this share of all wanted was there; what never came took for ever."""
    heard = 0
    for number, count in enumerate(buckets[:-1], 1):
        heard += count
        if heard >= share * wanted > 0:
            return number / _PER_MILLISECOND
    return math.inf


SCENARIO = Scenario(
    name="paced",
    rank=5,
    title="Fan-out at a steady pace",
    summary="The highest rate of messages of 100 bytes, each to all sockets, at which 99 % of the deliveries take 100 ms at the most.",
    metrics=(
        Metric("rate", "messages", "/s", "more", goals=(Goal("nginx", 2, backend="stock"),)),
        Metric("deliveries", "deliveries at that rate", "/s", "more", plot=False),
        Metric("median", "median at that rate", "ms", "less", plot=False),
        Metric("p99", "99th percentile at that rate", "ms", "less", plot=False),
        Metric("proxy_cpu", "proxy CPU per delivery", "µs", "less", plot=False),
        Metric("backend_cpu", "backend CPU per delivery", "µs", "less", plot=False),
    ),
    measure=measure,
    backends=("wsfront", "stock", "ws", "socketify"),
    in_room=True,
)
