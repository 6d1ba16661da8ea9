"""The backend as a process: how it starts, what it says when it cannot, and how it stops."""

import os
import pwd
import re
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.unit.server.harness import ROOT, SECONDS, Launch, handshake, open_socket
from tests.waiting import SECOND, until

IN_USE = "in use by another program; stop it or choose another address with --listen"


def run(*arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Run a backend that ends by itself; return its exit status and what it said."""
    ended = subprocess.run(
        [sys.executable, "-m", "server", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    return ended.returncode, ended.stderr.splitlines()


def closing(sock: socket.socket, *, answer: bool) -> tuple[int, str]:
    """Read the close frame and maybe answer it; return its code and reason."""
    head = sock.recv(2, socket.MSG_WAITALL)
    assert head[0] == 0x88
    payload = sock.recv(head[1], socket.MSG_WAITALL)
    if answer:
        sock.sendall(bytes([0x88, 0x80 | head[1], 0, 0, 0, 0]) + payload)
    return int.from_bytes(payload[:2], "big"), payload[2:].decode()


@pytest.mark.parametrize(
    ("number", "expected"),
    [(signal.SIGTERM, (1012, "service restart")), (signal.SIGINT, (1001, "going away"))],
)
def test_signal(launch: Launch, number: signal.Signals, expected: tuple[int, str]) -> None:
    """A signal closes all sockets with its code and reason, and the process exits 0 at once."""
    backend = launch(WSFRONT_DRAIN_SECONDS="60")
    with ExitStack() as stack:
        paths = ("/ws/chat", "/ws/echo") * 10
        socks = [stack.enter_context(open_socket(backend.ports[0], path)) for path in paths]
        backend.popen.send_signal(number)
        assert {closing(sock, answer=True) for sock in socks} == {expected}
        assert backend.popen.wait(SECONDS) == 0
    assert not [line for line in backend.lines if " INFO " not in line]


def test_deaf_clients(launch: Launch) -> None:
    """Clients that never answer the close, or never ended their handshake, hold the exit up for so long only."""
    backend = launch(WSFRONT_DRAIN_SECONDS="1")
    with open_socket(backend.ports[0]), socket.create_connection(("127.0.0.1", backend.ports[0])) as half:
        half.sendall(handshake()[:-2])
        started = time.monotonic()
        assert backend.end() == 0
    assert 0.8 < time.monotonic() - started < 4 * SECOND
    assert not [line for line in backend.lines if " INFO " not in line]


def test_stopping(launch: Launch) -> None:
    """While it drains it says so, and refuses new sockets with 503; a second signal ends the wait."""
    backend = launch(WSFRONT_DRAIN_SECONDS="60")
    port = backend.ports[0]
    with open_socket(port) as deaf:
        backend.popen.send_signal(signal.SIGTERM)
        closing(deaf, answer=False)
        answers = []
        for request in (handshake(), b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", port)) as sock:
                sock.sendall(request)
                answers.append(b"".join(iter(lambda: sock.recv(4096), b"")).decode())  # read at once
        assert backend.end(signal.SIGTERM) == 0
    assert all(answer.startswith("HTTP/1.1 503 ") for answer in answers)
    assert "Retry-After: 5\r\n" in answers[0]
    assert '"draining"' in answers[1]


def test_leaving(launch: Launch) -> None:
    """Told to leave first, it serves old and new sockets as before, ill to who checks, and closes them one by one when the time is over."""
    backend = launch(WSFRONT_LEAVE_SECONDS="3", WSFRONT_DRAIN_SECONDS="2")
    port = backend.ports[0]
    with ExitStack() as stack:
        socks = [stack.enter_context(open_socket(port)) for _ in range(40)]
        started = time.monotonic()
        backend.popen.send_signal(signal.SIGTERM)
        until(lambda: any("leaving" in line for line in backend.lines))
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b"".join(iter(lambda: sock.recv(4096), b"")).decode()
        assert answer.startswith("HTTP/1.1 503 ")
        assert '"leaving"' in answer
        socks.append(stack.enter_context(open_socket(port)))
        assert time.monotonic() - started < 3
        times: list[float] = []
        with selectors.DefaultSelector() as unclosed:  # which of them goes first is chance
            for sock in socks:
                unclosed.register(sock, selectors.EVENT_READ, sock)
            while len(times) < len(socks):
                ready = unclosed.select(SECONDS)
                assert ready
                for key, _ in ready:
                    sock = unclosed.unregister(key.fileobj).data
                    assert closing(sock, answer=True)[0] == 1012
                    times.append(time.monotonic() - started)
        assert min(times) > 2.9
        assert max(times) - min(times) > 0.1
        assert backend.popen.wait(SECONDS) == 0
    assert not [line for line in backend.lines if " INFO " not in line]


def test_many_addresses(launch: Launch, short_path: Path) -> None:
    """It listens on TCP, IPv6 and unix sockets at once; the latter with mode 0660, and removed at the end."""
    path = short_path / "b.sock"
    backend = launch("127.0.0.1:0", "[::1]:0", f"unix:{path}")
    assert len(backend.ports) == 2
    assert path.stat().st_mode & 0o777 == 0o660
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(handshake("/ws/", "X-Forwarded-For: 203.0.113.9"))
        assert sock.recv(12) == b"HTTP/1.1 101"
    with socket.create_connection(("::1", backend.ports[1])) as sock:
        sock.sendall(handshake())
        assert sock.recv(12) == b"HTTP/1.1 101"
    assert backend.end() == 0
    assert not path.exists()
    assert any(line.endswith("open from 203.0.113.9") for line in backend.lines)
    assert any(line.endswith("open from ::1") for line in backend.lines)


def test_stale_socket(launch: Launch, short_path: Path) -> None:
    """A socket's file that a killed server left is replaced; a living one's is not, nor is a file."""
    path = short_path / "b.sock"
    killed = launch(f"unix:{path}")
    killed.end(signal.SIGKILL)
    assert path.exists()
    backend = launch(f"unix:{path}")
    assert run("--listen", f"unix:{path}") == (1, [f"server: cannot listen on unix:{path}: " + IN_USE])
    assert path.exists()
    assert backend.end() == 0
    path.write_text("precious")
    status, (line,) = run("--listen", f"unix:{path}")
    assert status == 1
    assert "that file is no socket" in line
    assert path.read_text() == "precious"


def test_port_in_use(launch: Launch) -> None:
    """A port in use is one line with the remedy and status 1; what was bound before it is let go."""
    port = launch().ports[0]
    assert run("--listen", f"127.0.0.1:{port}") == (
        1,
        [f"server: cannot listen on 127.0.0.1:{port}: " + IN_USE],
    )


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1:8888", "no address of this machine"),
        ("nosuchhost.invalid:8888", "nosuchhost.invalid:8888: "),
        ("unix:/nowhere/at/all.sock", "make it first"),
        (f"unix:/{'a' * 200}", "AF_UNIX path too long"),
    ],
)
def test_cannot_listen(address: str, expected: str) -> None:
    """Whatever keeps it from listening is one line, and status 1."""
    # A resolver that nobody answers is given up soon (resolv.conf(5)).
    status, (line,) = run("--listen", address, RES_OPTIONS="timeout:1 attempts:1")
    assert (status, line.startswith(f"server: cannot listen on {address}: ")) == (1, True)
    assert expected in line


def test_wrong_settings(tmp_path: Path) -> None:
    """Wrong settings are one line for each fault, and status 2."""
    assert run("--listen", "x", WSFRONT_CONNECTIONS="many") == (
        2,
        [
            "server: --listen: 'x' is no address; expected host:port, [v6]:port or unix:/path",
            "server: WSFRONT_CONNECTIONS: 'many' is out of range; expected a number from 1 to 1000000",
        ],
    )
    missing = tmp_path / "none.env"
    status, (line,) = run("--env-file", str(missing))
    assert (status, str(missing) in line) == (2, True)
    assert run("--user", "nobody-of-that-name")[0] == 2
    assert run("--nonsense")[0] == 2


def test_env_file(launch: Launch, tmp_path: Path) -> None:
    """Settings come from a file; an option wins over it."""
    file = tmp_path / "backend.env"
    file.write_text('WSFRONT_LISTEN="192.0.2.1:1"\nWSFRONT_CONNECTIONS="1"\n')
    backend = launch(arguments=("--env-file", str(file)))
    with open_socket(backend.ports[0]), socket.create_connection(("127.0.0.1", backend.ports[0])) as second:
        second.sendall(handshake())
        assert second.recv(12) == b"HTTP/1.1 503"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user(launch: Launch, short_path: Path) -> None:
    """Root becomes the user named, in no group but its own; the unix socket is made over to it."""
    user = pwd.getpwnam("nobody")
    short_path.chmod(0o755)
    path = short_path / "b.sock"
    backend = launch("127.0.0.1:0", f"unix:{path}", arguments=("--user", "nobody"), groups=[4, 5])
    status = Path(f"/proc/{backend.popen.pid}/status")
    dropped = re.compile(rf"Uid:(\t{user.pw_uid}){{4}}\nGid:(\t{user.pw_gid}){{4}}\n(?s:.*)\nGroups:\t? ?\n")
    until(lambda: dropped.search(status.read_text()))
    assert (path.stat().st_uid, path.stat().st_gid) == (user.pw_uid, user.pw_gid)
    open_socket(backend.ports[0]).close()
    assert backend.end() == 0


def test_alone(tmp_path: Path) -> None:
    """The folder copied alone to another place runs."""
    shutil.copytree(ROOT / "server", tmp_path / "server")
    ended = subprocess.run(
        [sys.executable, "-m", "server", "--help"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert "--listen ADDR" in ended.stdout


def test_load(launch: Launch) -> None:
    """Three hundred sockets at once are all closed with the code and reason."""
    backend = launch(WSFRONT_DRAIN_SECONDS="60")
    with ExitStack() as stack:
        socks = [stack.enter_context(open_socket(backend.ports[0])) for _ in range(300)]
        backend.popen.send_signal(signal.SIGTERM)
        assert {closing(sock, answer=True) for sock in socks} == {(1012, "service restart")}
        assert backend.popen.wait(SECONDS) == 0
    assert not [line for line in backend.lines if " INFO " not in line]


def test_ping(launch: Launch) -> None:
    """Every so often the backend pings."""
    backend = launch(WSFRONT_PING_INTERVAL="1")
    with open_socket(backend.ports[0]) as sock:
        sock.settimeout(SECONDS)
        assert sock.recv(2) == b"\x89\x00"
