"""The backend under systemd: sockets that were given to it, and what it tells."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from server.listen import STALLED_MILLISECONDS
from server.systemd import Manager
from tests.unit.server.harness import ACTIVATE, ROOT, SECONDS, Launch, Process, handshake, open_socket
from tests.waiting import SECOND, until

Activate = Callable[..., Process]


@pytest.fixture
def activate(tmp_path: Path) -> Iterator[Activate]:
    """Give a function that starts a backend on a socket that listens already."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(
        sock: socket.socket, *arguments: str, absent: str = "", ready: bool = True, **environment: str
    ) -> Process:
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as stderr:
            popen = subprocess.Popen(
                [sys.executable, "-c", ACTIVATE, str(sock.fileno()), absent, *arguments],
                cwd=ROOT,
                env={**os.environ, "LISTEN_FDS": "1", **environment},
                stderr=stderr,
                pass_fds=[sock.fileno()],
            )
        started.append(popen)
        process = Process(popen, log)
        if ready:
            until(lambda: "listening on" in log.read_text() or popen.poll() is not None, 30)
            assert popen.poll() is None, process.lines
        return process

    yield begin
    for popen in started:
        popen.kill()
        popen.wait()


@pytest.fixture
def port() -> Iterator[socket.socket]:
    """Give a listening socket, as systemd holds it."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as sock:
        yield sock


def number_of(sock: socket.socket) -> int:
    """Return a socket's port."""
    number: int = sock.getsockname()[1]
    return number


def read_close(sock: socket.socket) -> int:
    """Read a close frame, answer it, and return its code."""
    head = sock.recv(2, socket.MSG_WAITALL)
    assert head[0] == 0x88
    payload = sock.recv(head[1], socket.MSG_WAITALL)
    sock.sendall(bytes([0x88, 0x80 | head[1], 0, 0, 0, 0]) + payload)
    return int.from_bytes(payload[:2], "big")


def read_head(sock: socket.socket) -> bytes:
    """Read an answer's head, and nothing of what follows it."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        assert byte, head
        head += byte
    return head


class Listener:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(address)
        self.sock.settimeout(SECONDS)

    def hear(self, *wanted: str) -> list[str]:
        """Return lines until all those wanted were among them."""
        heard: list[str] = []
        while not set(wanted) <= set(heard):
            heard += self.sock.recv(4096).decode().split("\n")
        return heard


@pytest.fixture(params=["path", "abstract"])
def listener(request: pytest.FixtureRequest, short_path: Path) -> Iterator[tuple[Listener, str]]:
    """Give a listener, and its address as systemd writes it."""
    if request.param == "abstract":
        if sys.platform != "linux":
            pytest.skip("abstract sockets are Linux's; this is another system")
        address, written = f"\0{short_path}", f"@{short_path}"
    else:
        address = written = str(short_path / "notify")
    made = Listener(address)
    with made.sock:
        yield made, written


def test_given_socket_wins(activate: Activate, port: socket.socket) -> None:
    """A socket that was given wins over the addresses in the settings, and gets the options that ours have."""
    backend = activate(port, WSFRONT_LISTEN="192.0.2.1:1")
    open_socket(number_of(port)).close()
    assert port.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == STALLED_MILLISECONDS
    assert backend.end() == 0


def test_given_unix_socket_stays(activate: Activate, short_path: Path) -> None:
    """The file of a unix socket that was given is not removed at the end: it is systemd's."""
    path = short_path / "b.sock"
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(str(path))
        sock.listen()
        backend = activate(sock)
        client.connect(str(path))
        client.sendall(handshake())
        assert read_head(client).startswith(b"HTTP/1.1 101")
        client.close()
        assert backend.end() == 0
    assert path.exists()


def test_given_to_another(launch: Launch) -> None:
    """Sockets that were given to another process are none of ours."""
    backend = launch(LISTEN_FDS="1", LISTEN_PID="1", LISTEN_FDNAMES="x")
    open_socket(backend.ports[0]).close()


@pytest.mark.parametrize("kind", ["file", "silent", "datagram"])
def test_given_something_else(activate: Activate, kind: str) -> None:
    """What is no listening stream socket is a line that names it, and status 1."""
    with ExitStack() as stack:
        sort = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
        sock = stack.enter_context(socket.socket(socket.AF_INET, sort))
        if kind == "file":
            os.dup2(stack.enter_context((ROOT / "README.md").open("rb")).fileno(), sock.fileno())
        backend = activate(sock, ready=False, LISTEN_FDNAMES="my.socket")
        assert backend.popen.wait(SECONDS) == 1
    assert backend.lines == [
        "server: descriptor 3 (my.socket) is no listening socket; give it by ListenStream= and Accept=no"
    ]


def test_tells(activate: Activate, port: socket.socket, listener: tuple[Listener, str]) -> None:
    """It tells that it is ready once it serves, how many connections there are, and that it stops."""
    ear, address = listener
    backend = activate(port, NOTIFY_SOCKET=address, WSFRONT_DRAIN_SECONDS="60")
    assert ear.hear("READY=1")[0] == "READY=1"
    ear.hear("STATUS=0 connections")
    with open_socket(number_of(port)) as sock:
        ear.hear("STATUS=1 connections")
        backend.popen.send_signal(signal.SIGTERM)
        ear.hear("STOPPING=1", "STATUS=draining, 1 connections left")
        assert read_close(sock) == 1012
        assert backend.popen.wait(SECONDS) == 0


def test_watchdog(activate: Activate, port: socket.socket, listener: tuple[Listener, str]) -> None:
    """It gives a sign of life within the watchdog's time, again and again, and none where it is not asked to."""
    ear, address = listener
    limit = 2 * SECOND
    activate(port, NOTIFY_SOCKET=address, WATCHDOG_USEC=str(int(limit * 1_000_000)))
    ear.hear("WATCHDOG=1")
    for _ in range(3):
        before = time.monotonic()
        assert ear.hear("WATCHDOG=1") == ["WATCHDOG=1"]
        assert time.monotonic() - before < limit


async def test_hung_loop(short_path: Path) -> None:
    """A loop that does not turn gives no sign of life: the sign is its own."""
    ear = Listener(str(short_path / "notify"))
    with (
        ear.sock,
        closing(Manager({"NOTIFY_SOCKET": str(short_path / "notify"), "WATCHDOG_USEC": "20000"})) as manager,
    ):
        telling = asyncio.create_task(manager.keep_told(lambda: "fine"))
        await asyncio.sleep(0)
        ear.hear("STATUS=fine", "WATCHDOG=1")
        time.sleep(0.1)  # noqa: ASYNC251  # this hangs the loop, on purpose
        ear.sock.settimeout(0)
        with pytest.raises(BlockingIOError):
            ear.sock.recv(100)
        await asyncio.sleep(0.02)
        assert ear.hear("WATCHDOG=1")
        telling.cancel()


@pytest.mark.parametrize(
    "asked", [{"WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}]
)
async def test_no_watchdog(short_path: Path, asked: dict[str, str]) -> None:
    """A watchdog that is another process's, or none, gets no sign."""
    ear = Listener(str(short_path / "notify"))
    with (
        ear.sock,
        closing(Manager({"NOTIFY_SOCKET": str(short_path / "notify"), **asked})) as manager,
    ):
        telling = asyncio.create_task(manager.keep_told(lambda: "fine"))
        await asyncio.sleep(0.05)
        telling.cancel()
        assert ear.sock.recv(100) == b"STATUS=fine"


def test_nobody_hears(activate: Activate, port: socket.socket, short_path: Path) -> None:
    """A manager that does not answer is a warning, and it serves all the same."""
    backend = activate(port, NOTIFY_SOCKET=str(short_path / "none"))
    open_socket(number_of(port)).close()
    assert backend.end() == 0
    assert sum(" WARNING " in line for line in backend.lines) == 1


@pytest.mark.parametrize("absent", ["", "uvloop"])
def test_queue_is_left(activate: Activate, port: socket.socket, absent: str) -> None:
    """Who connects once it stops waits for the next process, neither refused nor reset; who was accepted before is let in and told."""
    first = activate(port, absent=absent, WSFRONT_DRAIN_SECONDS="60")
    with ExitStack() as stack:
        early = stack.enter_context(open_socket(number_of(port)))
        half = stack.enter_context(socket.create_connection(("127.0.0.1", number_of(port)), SECONDS))
        half.sendall(handshake()[:-2])
        until(lambda: sum(" open from " in line for line in first.lines) == 1)
        open_socket(number_of(port)).close()  # by now the half one has been accepted, too
        first.popen.send_signal(signal.SIGTERM)
        until(lambda: "draining" in first.log.read_text())
        late = stack.enter_context(socket.create_connection(("127.0.0.1", number_of(port)), SECONDS))
        late.sendall(handshake())
        assert read_close(early) == 1012
        half.sendall(b"\r\n")
        assert read_head(half).startswith(b"HTTP/1.1 101")
        assert read_close(half) == 1012
        assert first.popen.wait(SECONDS) == 0
        activate(port, absent=absent)
        assert read_head(late).startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("absent", ["", "uvloop"])
def test_restart_under_load(activate: Activate, port: socket.socket, absent: str) -> None:
    """Handshakes without a pause, while one process follows another: each is answered with 101."""
    answers: list[bytes] = []
    done = threading.Event()

    def knock() -> None:
        while not done.is_set():
            try:
                with socket.create_connection(("127.0.0.1", number_of(port)), SECONDS) as sock:
                    sock.sendall(handshake())
                    answers.append(read_head(sock)[:12])
                    with suppress(OSError):
                        sock.sendall(bytes([0x88, 0x80, 0, 0, 0, 0]))
            except (OSError, AssertionError) as fault:
                answers.append(repr(fault).encode())

    threads = [threading.Thread(target=knock) for _ in range(4)]
    backend = activate(port, absent=absent)
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            seen = len(answers)
            until(lambda seen=seen: len(answers) > seen + 50)  # type: ignore[misc]
            assert backend.end() == 0
            backend = activate(port, absent=absent)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert set(answers) == {b"HTTP/1.1 101"}
    assert not [line for line in backend.lines if " INFO " not in line]


@pytest.mark.parametrize("command", [(), ("--exec", "cat")])
def test_idle_exit(activate: Activate, port: socket.socket, command: tuple[str, ...]) -> None:
    """Nobody there for so long, and it ends; whoever comes next finds the port open, and is served by the next process."""
    with socket.create_connection(("127.0.0.1", number_of(port)), SECONDS) as early:
        early.sendall(handshake("/ws/"))
        backend = activate(port, *command, WSFRONT_EXIT_WHEN_IDLE="1")
        assert read_head(early).startswith(b"HTTP/1.1 101")
        with pytest.raises(subprocess.TimeoutExpired):
            backend.popen.wait(2)
        assert backend.popen.poll() is None
    assert backend.popen.wait(SECONDS) == 0
    assert "nobody was here for 1 s" in backend.log.read_text()
    with socket.create_connection(("127.0.0.1", number_of(port)), SECONDS) as late:
        late.sendall(handshake("/ws/"))
        activate(port, *command)
        assert read_head(late).startswith(b"HTTP/1.1 101")


def test_idle_exit_alone() -> None:
    """A backend that nobody would start again is not to end by itself: one line, and status 1."""
    ended = subprocess.run(
        [sys.executable, "-m", "server", "--listen", "127.0.0.1:0", "--exit-when-idle", "5"],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "let systemd hold the sockets" in ended.stderr


def test_send_home(launch: Launch) -> None:
    """SIGUSR1 closes all sockets with 1012, and goes on accepting; SIGTERM ends it as ever."""
    backend = launch()
    for _ in range(2):
        with ExitStack() as stack:
            socks = [stack.enter_context(open_socket(backend.ports[0])) for _ in range(5)]
            backend.popen.send_signal(signal.SIGUSR1)
            assert {read_close(sock) for sock in socks} == {1012}
    assert backend.end() == 0
    assert not [line for line in backend.lines if " INFO " not in line]
