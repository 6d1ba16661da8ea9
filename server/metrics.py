"""Metrics for Prometheus, on a loopback address of their own that no front leads to.

Each module declares its own by `counter`, `gauge` and `histogram`, in one registry of ours. Knows nothing of WebSockets.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily

REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
PERIOD = 0.1
PATIENCE = 5.0
HEAD_MOST = 1 << 14


def counter(name: str, meaning: str, labels: Sequence[str] = ()) -> Counter:
    """Declare what is only counted up; Prometheus reads it as NAME_total."""
    return Counter(name, meaning, labels, namespace="wsfront", registry=REGISTRY)


def gauge(name: str, meaning: str, labels: Sequence[str] = ()) -> Gauge:
    """Declare what goes up and down."""
    return Gauge(name, meaning, labels, namespace="wsfront", registry=REGISTRY)


def histogram(
    name: str, meaning: str, labels: Sequence[str] = (), buckets: Sequence[float] = SECONDS
) -> Histogram:
    """Declare what is sorted into buckets: seconds, where nothing else is said."""
    return Histogram(name, meaning, labels, namespace="wsfront", registry=REGISTRY, buckets=buckets)


class Tally:
    """A counter for what happens with every message: a plain number, without the lock of the library's (one thread counts)."""

    def __init__(self, name: str, meaning: str) -> None:
        self.count = 0
        self._name = f"wsfront_{name}"
        self._meaning = meaning
        REGISTRY.register(self)

    def collect(self) -> Iterator[CounterMetricFamily]:
        """Tell the number."""
        yield CounterMetricFamily(self._name, self._meaning, value=self.count)


LAG = histogram("loop_lag_seconds", "How late the event loop comes to what is due.")


async def watch_loop() -> None:
    """Look ten times a second how late the event loop is, for ever."""
    clock = asyncio.get_running_loop().time
    while True:
        due = clock() + PERIOD
        await asyncio.sleep(PERIOD)
        LAG.observe(max(0.0, clock() - due))


async def serve(sock: socket.socket) -> None:
    """Answer GET /metrics on a socket that listens already, for ever."""
    server = await asyncio.start_server(_answer, sock=sock, limit=HEAD_MOST)
    async with server:
        await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
            if head.split(b" ", 2)[:2] == [b"GET", b"/metrics"]:
                status, kind, body = "200 OK", CONTENT_TYPE_LATEST, generate_latest(REGISTRY)
            else:
                status, kind, body = (
                    "404 Not Found",
                    "text/plain; charset=utf-8",
                    b"Here is GET /metrics alone.\n",
                )
            lines = [
                f"HTTP/1.1 {status}",
                f"Content-Type: {kind}",
                f"Content-Length: {len(body)}",
                "Connection: close",
            ]
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
    writer.close()
