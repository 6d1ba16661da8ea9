"""Several processes on one port: who counts, what happens when one dies or hangs, and how all stop."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from server.seats import OwnSeats
from server.settings import Socket
from tests.redis_server import RedisServer
from tests.unit.server.harness import ROOT, SECONDS, Launch, Process, handshake, hear, open_socket, say
from tests.unit.server.test_main import closing, run
from tests.unit.server.test_program import is_alive
from tests.unit.server.test_systemd import Activate, Listener, activate, listener, number_of, port
from tests.waiting import until

__all__ = ["activate", "listener", "port"]  # fixtures

SOCKETS = json.dumps([{"path": "/ws/", "public_path": "/ws/", "per_address": 3}])


def start(launch: Launch, count: int = 3, **environment: str) -> Process:
    """Run some workers, each of whose connections is served by cat."""
    settings = {"WSFRONT_WORKERS": str(count), "WSFRONT_DRAIN_SECONDS": "60", "WSFRONT_CONNECTIONS": "100"}
    return launch(**settings | environment, arguments=("--exec", "cat"))


def workers_of(backend: Process) -> list[int]:
    """Return the workers' processes."""
    children = Path(f"/proc/{backend.popen.pid}/task/{backend.popen.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def holders(backend: Process) -> list[int]:
    """Return the workers that hold connections, by the warm parents that they have started for them."""
    return [
        pid for pid in workers_of(backend) if Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
    ]


def echoes(sock: socket.socket) -> bool:
    """Tell whether a connection is served."""
    sock.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
    return sock.recv(4, socket.MSG_WAITALL) == b"\x81\x02hi"


def status(backend: Process, *lines: str) -> int:
    """Try a handshake, and hang up."""
    with socket.create_connection(("127.0.0.1", backend.ports[0]), SECONDS) as sock:
        sock.sendall(handshake("/ws/", *lines))
        return int(sock.recv(12).split()[1])


def count(backend: Process) -> int:
    """Return how many connections the health says there are."""
    with socket.create_connection(("127.0.0.1", backend.ports[0]), SECONDS) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(4096), b""))
    number: int = json.loads(answer.partition(b"\r\n\r\n")[2])["connections"]
    return number


def test_limits_are_exact(launch: Launch) -> None:
    """The limits hold for all processes together, in all and of one address, whoever takes a connection."""
    backend = start(launch, WSFRONT_CONNECTIONS="5", WSFRONT_SOCKETS=SOCKETS)
    port = backend.ports[0]
    assert len(workers_of(backend)) == 3
    with ExitStack() as stack:
        first, *_ = [stack.enter_context(open_socket(port, "/ws/")) for _ in range(3)]
        assert {status(backend) for _ in range(10)} == {429}
        for _ in range(2):
            stack.enter_context(open_socket(port, "/ws/", "X-Forwarded-For: 203.0.113.9"))
        assert {status(backend, "X-Forwarded-For: 203.0.113.10") for _ in range(10)} == {503}
        assert {count(backend) for _ in range(10)} == {5}
        first.close()
        until(lambda: count(backend) == 4)
        stack.enter_context(open_socket(port, "/ws/"))
        assert status(backend) == 503
    until(lambda: count(backend) == 0)
    assert backend.end() == 0


def test_one_dies(launch: Launch) -> None:
    """One that dies takes its own connections with it, is started again, and what it held is free again; the others go on."""
    backend = start(launch, WSFRONT_CONNECTIONS="30")
    with ExitStack() as stack:
        socks = [stack.enter_context(open_socket(backend.ports[0], "/ws/")) for _ in range(30)]
        assert all(map(echoes, socks))
        before = workers_of(backend)
        victim = holders(backend)[0]
        os.kill(victim, signal.SIGKILL)
        until(lambda: len(workers_of(backend)) == 3 and victim not in workers_of(backend))
        left = []
        for sock in socks:
            try:
                if echoes(sock):
                    left.append(sock)
            except OSError:
                sock.close()
        until(lambda: count(backend) == len(left))
        assert set(before) - {victim} < set(workers_of(backend))
        for _ in range(30 - len(left)):
            stack.enter_context(open_socket(backend.ports[0], "/ws/"))
        assert status(backend) == 503
    assert any("ended with signal 9; it is started again" in line for line in backend.lines)
    assert backend.end() == 0


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, (1012, "service restart")), (signal.SIGINT, (1001, "going away"))],
)
def test_stop(launch: Launch, number: signal.Signals, expected: tuple[int, str]) -> None:
    """A signal to the supervisor closes all connections of all processes with its code, and nothing is left."""
    backend = start(launch)
    workers = workers_of(backend)
    with ExitStack() as stack:
        socks = [stack.enter_context(open_socket(backend.ports[0], "/ws/")) for _ in range(20)]
        backend.popen.send_signal(number)
        assert {closing(sock, answer=True) for sock in socks} == {expected}
        assert backend.popen.wait(SECONDS) == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in workers)
    assert not [line for line in backend.lines if " INFO " not in line]


def test_send_home(launch: Launch) -> None:
    """SIGUSR1 to the supervisor closes all connections with 1012, and all processes stay."""
    backend = start(launch)
    workers = workers_of(backend)
    with ExitStack() as stack:
        socks = [stack.enter_context(open_socket(backend.ports[0], "/ws/")) for _ in range(20)]
        backend.popen.send_signal(signal.SIGUSR1)
        assert {closing(sock, answer=True)[0] for sock in socks} == {1012}
    open_socket(backend.ports[0], "/ws/").close()
    assert workers_of(backend) == workers
    assert backend.end() == 0


def test_supervisor_dies(launch: Launch) -> None:
    """When the supervisor is killed, its processes drain and go: systemd starts all anew."""
    backend = start(launch)
    workers = workers_of(backend)
    with open_socket(backend.ports[0], "/ws/") as sock:
        backend.popen.kill()
        assert closing(sock, answer=True)[0] == 1012
        until(lambda: not any(map(is_alive, workers)))


def test_tells(activate: Activate, port: socket.socket, listener: tuple[Listener, str]) -> None:
    """The supervisor speaks with systemd for all: ready once all serve, how many connections in all, signs of life, the stop."""
    ear, address = listener
    backend = activate(
        port, "--workers", "2", "--exec", "cat", NOTIFY_SOCKET=address, WATCHDOG_USEC="2000000"
    )
    assert "READY=1" in ear.hear("READY=1", "STATUS=0 connections in 2 workers", "WATCHDOG=1")
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(open_socket(number_of(port), "/ws/"))
        ear.hear("STATUS=3 connections in 2 workers")
        began = time.monotonic()
        assert "WATCHDOG=1" in ear.hear("WATCHDOG=1")
        assert time.monotonic() - began < 2
    assert backend.end() == 0
    ear.hear("STOPPING=1")


@pytest.mark.needs("redis")
async def test_rooms(launch: Launch, redis: Callable[..., RedisServer]) -> None:
    """With the bus in Redis a room is one for the clients of all processes: lines, presence, and what was said before."""
    backend = launch(WSFRONT_WORKERS="3", WSFRONT_BUS="redis", WSFRONT_REDIS=redis().address)
    address = f"ws://127.0.0.1:{backend.ports[0]}/ws/chat"
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect(address, proxy=None)) for _ in range(12)]
        for number, client in enumerate(clients):
            await say(client, type="join", name=f"client{number}")
            await hear(client, "welcome")
        await say(clients[0], type="usermsg", message="to all")
        for client in clients:
            assert (await hear(client, "usermsg"))["message"] == "to all"
        os.kill(workers_of(backend)[0], signal.SIGKILL)
        await asyncio.to_thread(until, lambda: len(workers_of(backend)) == 3, 10)
        left = []
        for client in clients:
            with suppress(ConnectionClosed):
                await (await client.ping())
                left.append(client)
        # One process may have had them all.
        left.append(await stack.enter_async_context(connect(address, proxy=None)))
        await say(left[-1], type="join", name="late")
        await hear(left[-1], "welcome")
        await say(left[-1], type="usermsg", message="to all who are left")
        for client in left:
            assert (await hear(client, "usermsg"))["message"] == "to all who are left"
    assert backend.end() == 0


def test_refused() -> None:
    """Several processes for rooms that are in one process's memory are refused in a line, as is an idle exit."""
    assert run("--workers", "2") == (
        2,
        [
            "server: WSFRONT_WORKERS: rooms on the bus memory are one process's;"  # noqa: ISC004  # one line
            " set WSFRONT_BUS to redis, or this to 1 or forked"
        ],
    )
    assert run("--workers", "2", "--exit-when-idle", "5", "--exec", "cat")[1] == [
        "server: WSFRONT_EXIT_WHEN_IDLE: it is for one process; set WSFRONT_WORKERS to 1 or forked"
    ]


def test_seats() -> None:
    """Seats are counted in all and by address, and given back."""
    seats = OwnSeats(3)
    seat = (Socket(per_address=1), "192.0.2.1")
    assert [seats.take(seat), seats.take(seat), seats.take(None), seats.take(None)] == [
        None,
        "address",
        None,
        None,
    ]
    assert (seats.take(None), seats.taken) == ("full", 3)
    seats.give(seat)
    assert (seats.take(seat), dict(seats.held)) == (None, {seat: 1})


@contextmanager
def changed(folder: Path, change: str) -> Iterator[Process]:
    """Run two workers, with one thing about them changed before they start."""
    program = (
        f"import os, sys, time; from server.workers import shared; {change}; from server.__main__ import main; "
        "sys.exit(main(['--listen', '127.0.0.1:0', '--workers', '2', '--exec', 'cat']))"
    )
    log = folder / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stderr=stderr) as popen,
    ):
        try:
            yield Process(popen, log)
        finally:
            popen.kill()


def test_hung(tmp_path: Path) -> None:
    """One that gives no sign of life is killed, which is said once, and started again."""
    with changed(tmp_path, "shared.HUNG = 4") as backend:
        until(lambda: backend.ports, 30)
        victim = workers_of(backend)[0]
        os.kill(victim, signal.SIGSTOP)
        until(lambda: victim not in workers_of(backend), 20)
        until(lambda: len(workers_of(backend)) == 2)
        said = [line for line in backend.lines if f"(process {victim}) does not answer; killing it" in line]
        assert len(said) == 1
        assert backend.end() == 0


def test_stopped_at_once(tmp_path: Path) -> None:
    """A stop that comes before a process is ready to hear of it is heard all the same."""
    slow = "set_group = os.setpgid; os.setpgid = lambda *them: (time.sleep(1), set_group(*them))"
    with changed(tmp_path, slow) as backend:
        until(lambda: len(workers_of(backend)) == 2, 30)
        assert backend.end() == 0
    assert not [line for line in backend.lines if "killing" in line]
