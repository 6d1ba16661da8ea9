"""Metrics: what is counted, where it is told, and where it is not."""

import asyncio
import json
import signal
import socket
from contextlib import ExitStack, suppress

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.asyncio.client import connect

from apache.httpd import free_ports
from server.environment import load
from server.settings import Address, SettingsError
from tests.unit.server.harness import SECONDS, Launch

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def free_port(count: int = 1) -> int:
    """Name a port that nobody has, the first of so many in a row."""
    while True:
        (first,) = free_ports(1)
        with ExitStack() as held, suppress(OSError):
            for port in range(first, first + count):
                held.enter_context(socket.create_server(("127.0.0.1", port)))
            return first


async def ask(port: int, line: str = "GET /metrics HTTP/1.1") -> tuple[str, str]:
    """Ask for a page; return the status and the body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"{line}\r\nHost: x\r\n\r\n".encode())
        async with asyncio.timeout(SECONDS):
            head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        return head.split(" ", 2)[1], body
    finally:
        writer.close()


async def scrape(port: int) -> Samples:
    """Read all samples as Prometheus does."""
    status, body = await ask(port)
    assert status == "200"
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def becomes(port: int, name: str, least: float, **labels: str) -> None:
    """Wait until a sample is as much as that."""
    key = (name, tuple(sorted(labels.items())))
    async with asyncio.timeout(SECONDS):
        while (await scrape(port)).get(key, 0) < least:  # noqa: ASYNC110  # it has no event of its own
            await asyncio.sleep(0.01)


async def test_what_is_counted(launch: Launch) -> None:
    """Connections, rooms, messages in and out, their time, refusals, closes and drops are told, and the loop's lag."""
    metrics = free_port()
    process = launch(WSFRONT_METRICS=f"127.0.0.1:{metrics}")
    (port,) = process.ports[:1]
    url = f"ws://127.0.0.1:{port}/ws/chat"
    async with connect(url, proxy=None) as one, connect(f"{url}?room=a", proxy=None) as two:
        for _ in range(3):
            await one.send(json.dumps({"type": "usermsg", "name": "Ada", "message": "x"}))
            await one.recv()
        seen = await scrape(metrics)
        assert seen["wsfront_connections", ()] == 2
        assert seen["wsfront_rooms", ()] == 2
        assert seen["wsfront_messages_received_total", ()] == 3
        assert seen["wsfront_deliveries_total", ()] == 3
        assert seen["wsfront_fanout_seconds_count", ()] == 3
        assert seen["process_resident_memory_bytes", ()] > 1 << 20
        await two.send("x" * 100_000)
        await two.wait_closed()
    assert (await ask(port, "GET /ws/none HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade"))[0] == "404"
    await becomes(metrics, "wsfront_closes_total", 1, code="1000")
    await becomes(metrics, "wsfront_closes_total", 1, code="1009")
    await becomes(metrics, "wsfront_loop_lag_seconds_count", 1)
    seen = await scrape(metrics)
    assert seen["wsfront_connections", ()] == 0
    assert seen["wsfront_refusals_total", (("status", "404"),)] == 1
    async with connect(url, proxy=None):
        process.popen.send_signal(signal.SIGUSR1)  # all sockets are sent home
        await becomes(metrics, "wsfront_drops_total", 1, code="1012", reason="service restart")


async def test_where_it_is_told(launch: Launch) -> None:
    """There is nothing but GET /metrics there, and nothing of it on the port that a front leads to."""
    metrics = free_port()
    process = launch(WSFRONT_METRICS=f"127.0.0.1:{metrics}")
    assert (await ask(metrics, "GET / HTTP/1.1"))[0] == "404"
    assert (await ask(metrics, "POST /metrics HTTP/1.1"))[0] == "404"
    assert (await ask(process.ports[0]))[0] == "404"


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9000", "192.0.2.1:9000", "example.org:9000", "unix:/run/x", "9000"]
)
def test_metrics_are_not_for_everybody(address: str) -> None:
    """Only an address of this machine alone is taken."""
    with pytest.raises(SettingsError, match="WSFRONT_METRICS: '"):
        load({"WSFRONT_METRICS": address})


def test_loopback() -> None:
    """Both loopbacks are taken."""
    assert load({"WSFRONT_METRICS": "127.0.0.1:9100"}).metrics == Address("127.0.0.1", 9100)
    assert load({"WSFRONT_METRICS": "[::1]:9100"}).metrics == Address("::1", 9100)


async def test_apaches_workers(launch: Launch) -> None:
    """What Apache's status shows of its workers and of children that are stopping is told."""

    async def status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        page = (
            b"ParentServerConfigGeneration: 3\nBusyWorkers: 7\nIdleWorkers: 43\nProcesses: 4\nStopping: 2\n"
        )
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + page)
        writer.close()

    metrics = free_port()
    async with await asyncio.start_server(status, "127.0.0.1", 0) as apache:
        there = apache.sockets[0].getsockname()[1]
        await asyncio.to_thread(
            launch, WSFRONT_METRICS=f"127.0.0.1:{metrics}", WSFRONT_STATUS=f"127.0.0.1:{there}"
        )
        await becomes(metrics, "wsfront_apache_workers", 7, state="busy")
        await becomes(metrics, "wsfront_apache_workers", 43, state="idle")
        await becomes(metrics, "wsfront_apache_processes_stopping", 2)


async def test_a_port_that_is_taken(launch: Launch) -> None:
    """Where the port of the metrics is somebody else's, the backend says so and serves without, as a release on trial does."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        backend = launch(WSFRONT_METRICS=f"127.0.0.1:{other.getsockname()[1]}")
    assert any("going on without metrics" in line for line in backend.lines)
    status, _ = await ask(backend.ports[0], "GET /healthz HTTP/1.1")
    assert status == "200"


def test_ports_beyond_the_last() -> None:
    """Several workers' ports are counted up, and there must be so many."""
    with pytest.raises(SettingsError, match="WSFRONT_METRICS: 4 workers count up from 65533, beyond 65535"):
        load({"WSFRONT_METRICS": "127.0.0.1:65533", "WSFRONT_WORKERS": "4", "WSFRONT_BUS": "redis"})


async def test_each_worker(launch: Launch) -> None:
    """Each of several workers tells its own, at one port after the other, and of its share of the connections."""
    metrics = free_port(2)
    process = launch(
        WSFRONT_METRICS=f"127.0.0.1:{metrics}",
        WSFRONT_WORKERS="2",
        WSFRONT_CONNECTIONS="100",
        arguments=("--exec", "cat"),
    )
    for port in (metrics, metrics + 1):
        await becomes(port, "wsfront_connections_most", 50)
    assert process.end() == 0
