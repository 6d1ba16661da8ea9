"""Bad neighbours: sockets that do not read, and pictures made to burst who opens them. What do the others feel?"""

import json
import math
import re
import struct
import time
import urllib.request
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from bench import proc
from bench.load.client import Client, Connection, frame

from .base import Metric, Scenario, Trial
from .idle import reasons, work_open
from .paced import BUCKETS, Timing, percentile_of
from .room import line, work_drain

_SOCKETS = 40
_LARGE = {
    "rate": 80.0,
    "size": 8000,
    "seconds": 20.0,
}  # so much that what the kernel keeps for a slow reader is soon full
_SMALL = {"rate": 40.0, "size": 100, "seconds": 15.0}  # 1 % of these are six messages, not one
_FILLER = "\N{GRINNING FACE}".encode()  # ours counts characters, and lets 2,000 in
_LEAD_SECONDS = 0.3
_LATE_SECONDS = 2.0
_UNREAD = 10
_BOMBERS = 3
_BOMB_SIDE = 5000  # pixels: 25 million are the most that ours opens
_BINARY = 2
_LAG = re.compile(r'^wsfront_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', re.MULTILINE)
_LAG_SECONDS = 0.02
_DROPS = re.compile(r'^wsfront_drops_total\{code="1013".*\} (\S+)$', re.MULTILINE)
_MIB = 1 << 20


@cache
def bomb() -> bytes:
    """Return a PNG of a hundred kilobytes that opens to a hundred megabytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack("!I", len(data)) + kind + data + struct.pack("!I", zlib.crc32(kind + data))

    head = struct.pack("!IIBBBBB", _BOMB_SIDE, _BOMB_SIDE, 8, 6, 0, 0, 0)
    data = zlib.compress(bytes((1 + 4 * _BOMB_SIDE) * _BOMB_SIDE), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


class _Bombers:
    """Sockets that send one bomb after the other, as fast as they are let."""

    def __init__(self, client: Client) -> None:
        data = bomb()
        self._bomb = frame(data, _BINARY)
        self._announcement = _json(type="picture", size=len(data), id="bomb")
        self._waits: dict[Connection, float] = {}
        self.sent = 0
        before = set(client.open)
        client.open_more(_BOMBERS)
        client.on_message = self._hear
        for connection in client.open - before:
            connection.send(_json(type="join", name="Eve"))

    def turn(self) -> None:
        """Try again where we were told to wait."""
        now = time.monotonic()
        for connection in [each for each, until in self._waits.items() if until <= now]:
            del self._waits[connection]
            self._announce(connection)

    def _hear(self, connection: Connection, payload: bytes) -> None:
        if payload.startswith(b'{"type":"ready"'):
            self.sent += 1
            connection.send(self._bomb)
        elif payload.startswith((b'{"type":"welcome"', b'{"type":"ack"')):
            self._announce(connection)
        elif payload.startswith(b'{"type":"error"'):
            self._waits[connection] = time.monotonic() + json.loads(payload).get("retry_after", 0.0)

    def _announce(self, connection: Connection) -> None:
        connection.send(self._announcement)


def _json(**message: Any) -> bytes:
    return frame(json.dumps(message).encode())


def work_prepare(_client: Client) -> dict[str, Any]:
    """Make the bomb beforehand: it takes a while, and everybody shall be heard in time."""
    return {"size": len(bomb())}


def work(
    client: Client,
    *,
    rate: float,
    size: int,
    seconds: float,
    speaks: bool = False,
    unread: bool = False,
    bombs: bool = False,
) -> dict[str, Any]:
    """Hear what one process says at a pace, beside bad neighbours."""
    ears = Timing(client)
    listening = len(client.open)
    speakers = list(client.open)
    before = set(client.open)
    if unread:
        client.open_more(_UNREAD)
        for connection in client.open - before:
            connection.stall()
    bombers = _Bombers(client) if bombs else None
    count = round(rate * seconds)
    began = time.monotonic() + _LEAD_SECONDS
    said = 0
    end = began + seconds + _LATE_SECONDS
    while (now := time.monotonic()) < end and ears.heard < count * listening:
        due = began + said / rate
        if speaks and said < count and now >= due:
            speakers[said % len(speakers)].send(line(due, size, _FILLER))
            said += 1
        if bombers:
            bombers.turn()
        client.turn(min(0.02, max(0.0, due - now)) if speaks else 0.02)
    client.calm()
    for connection in client.open - before:
        connection.leaving = True
        connection.end("")
    return {
        "buckets": ears.buckets,
        "wanted": count * listening,
        "bombs": bombers.sent if bombers else 0,
        "ended": client.ended,
    }


def measure(trial: Trial) -> dict[str, float]:
    """Take the others' times alone, beside sockets that do not read, and beside bombs."""
    load = trial.load
    wanted = min(_SOCKETS, trial.options.connections)
    opened = load.call(work_open, [{"count": share} for share in load.shares(wanted)])
    count = sum(each["open"] for each in opened)
    if count < wanted:
        trial.notes.append(f"{count} of {wanted} opened: {reasons(opened)}")
    values: dict[str, float] = {}
    phases = {"alone": (_LARGE, {}), "slow": (_LARGE, {"unread": True})}
    if trial.running.backend.metrics:
        phases = {"calm": (_SMALL, {}), "bombs": (_SMALL, {"bombs": True}), **phases}
    for name, (said, neighbours) in phases.items():
        values |= _phase(trial, name, said, neighbours)
    for name, quiet in (("slow", "alone"), ("bombs", "calm")):
        if {f"{name}_p99", f"{quiet}_p99"} <= {*values}:
            values[f"{name}_ratio"] = values[f"{name}_p99"] / values[f"{quiet}_p99"]
    return values


def _phase(
    trial: Trial, name: str, said: Mapping[str, float], neighbours: Mapping[str, bool]
) -> dict[str, float]:
    """Let one process speak at a pace, and another one be the bad neighbours."""
    load, values = trial.load, {}
    if name == "bombs":
        load.call(work_prepare)
    each = [{"speaks": True}, *[{} for _ in load.pids[2:]], {**neighbours}]
    memory, looked = proc.memory(proc.sessions_of(trial.backend)).pss, _looked(trial)
    with trial.watch():
        replies = load.call(work, each, **said)
    grown = (proc.memory(proc.sessions_of(trial.backend)).pss - memory) / _MIB
    looks, late, dropped = (now - then for now, then in zip(_looked(trial), looked, strict=True))
    buckets = [sum(reply["buckets"][number] for reply in replies) for number in range(BUCKETS)]
    wanted = sum(reply["wanted"] for reply in replies)
    for key, share in (("median", 0.5), ("p99", 0.99)):
        if math.isfinite(figure := percentile_of(buckets, wanted, share)):
            values[f"{name}_{key}"] = figure
        else:
            trial.notes.append(f"{name}: {1 - share:.0%} and more took over a second, or never came")
    if name == "slow":
        values["slow_memory"] = grown
        if trial.running.metrics_port:
            values["dropped"] = dropped
    if name == "bombs":
        values["bombs"] = sum(reply["bombs"] for reply in replies)
        values["bombs_memory"] = grown
        values["lag"] = late / looks * 100 if looks else 0.0
    load.call(work_drain)
    return values


def _looked(trial: Trial) -> tuple[float, float, float]:
    """Return how often the backend has looked how late its loop is, how often that was too late, and whom it cut off."""
    if not trial.running.metrics_port:
        return 0.0, 0.0, 0.0
    with urllib.request.urlopen(
        f"http://127.0.0.1:{trial.running.metrics_port}/metrics", timeout=10
    ) as answer:
        text = answer.read().decode()
    found = {float(bound): float(count) for bound, count in _LAG.findall(text)}
    looks = max(found.values(), default=0.0)
    return looks, looks - found.get(_LAG_SECONDS, 0.0), sum(map(float, _DROPS.findall(text)))


SCENARIO = Scenario(
    name="neighbours",
    rank=7,
    title="Bad neighbours",
    summary=f"{_SOCKETS} sockets of a room hear {_LARGE['rate']:g} messages a second of {_LARGE['size']:,} bytes, "
    f"alone and beside {_UNREAD} that do not read; with ours also {_SMALL['rate']:g} of {_SMALL['size']}, alone and beside "
    f"{_BOMBERS} that send one picture of {_BOMB_SIDE} x {_BOMB_SIDE} pixels in 100 KB after the other.",
    metrics=(
        Metric("alone_median", "others alone, median", "ms", "less", plot=False),
        Metric("alone_p99", "others alone, p99", "ms", "less"),
        Metric("slow_median", "beside slow readers, median", "ms", "less", plot=False),
        Metric("slow_p99", "beside slow readers, p99", "ms", "less"),
        Metric("slow_ratio", "p99 beside slow readers, of alone", "", "less", plot=False),
        Metric("slow_memory", "memory that slow readers took of the backend", "MiB", "less"),
        Metric("dropped", f"slow readers cut off, of {_UNREAD}", "", "more", plot=False),
        Metric("calm_median", "fewer and smaller messages, others alone, median", "ms", "less", plot=False),
        Metric("calm_p99", "fewer and smaller messages, others alone, p99", "ms", "less"),
        Metric("bombs_median", "beside bombs, median", "ms", "less", plot=False),
        Metric("bombs_p99", "beside bombs, p99", "ms", "less"),
        Metric("bombs_ratio", "p99 beside bombs, of alone", "", "less", plot=False),
        Metric("bombs_memory", "memory that bombs took of the backend", "MiB", "less", plot=False),
        Metric("bombs", "bombs sent", "", "more", plot=False),
        Metric(
            "lag",
            f"looks at the loop more than {_LAG_SECONDS * 1000:g} ms late, beside bombs",
            "%",
            "less",
            plot=False,
        ),
    ),
    measure=measure,
    backends=("wsfront", "stock", "ws"),
    in_room=True,
)
