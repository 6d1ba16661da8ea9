"""What one attacker does, in a process of its own so that he does not slow those he is measured against; and how others fare.

Knows nothing of what stops him.
"""

import asyncio
import contextlib
import os
import select
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from websockets.asyncio.client import ClientConnection

from apache.httpd import die_with_parent
from tests.stacks import Running

ADDRESS = "127.0.0.66"
TLS = "16"
"""The first byte of a ClientHello, in hexadecimal: without one the kernel does not even show Apache the connection."""
HTTP = b"GET / HTTP/1.1\r\nX-Slow: ".hex()
_ROOT = Path(__file__).parents[1]


class Attacker:
    """Hold an attacker while he runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def told(self) -> dict[str, int]:
        """Return how many of his connections are up, were ever made, and were closed on him."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        up, made, closed = map(int, self._process.stdout.readline().split())
        return {"up": up, "made": made, "closed": closed}


@contextmanager
def _attacker(*words: str | int) -> Iterator[Attacker]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.attackers", *map(str, words)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=die_with_parent,  # noqa: PLW1509 (a prctl)
    )
    try:
        attacker = Attacker(process)
        attacker.told()
        yield attacker
    finally:
        process.kill()
        process.communicate()


def half_open(
    port: int, count: int, words: str, *, again: bool = False
) -> contextlib.AbstractContextManager[Attacker]:
    """Hold connections that begin and go no further, from an address of their own.

    Args:
        port: on 127.0.0.1.
        count: how many at once.
        words: what each says, in hexadecimal.
        again: open a new one for each that is closed.
    """
    return _attacker("half_open", port, count, words, int(again))


def flood(port: int) -> contextlib.AbstractContextManager[Attacker]:
    """Shake hands over TLS, open a socket and hang up, again and again, four at a time."""
    return _attacker("flood", port)


def frames(port: int, path: str) -> contextlib.AbstractContextManager[Attacker]:
    """Send frames of 64 MiB over plain HTTP, four at a time, and again wherever one is refused."""
    return _attacker("frames", port, path)


async def echo_times(sockets: Sequence[ClientConnection], seconds: float) -> list[float]:
    """Return how long each of many echoes took, over some seconds."""
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    times: list[float] = []

    async def ask(each: ClientConnection) -> None:
        while clock() < end:
            start = clock()
            await each.send("x" * 64)
            await each.recv()
            times.append(clock() - start)
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(ask, sockets))
    return times


def p99(times: Sequence[float]) -> float:
    """Return what one in a hundred exceeds."""
    return sorted(times)[int(len(times) * 0.99)]


def memory(stack: Running) -> int:
    """Return the MiB that Apache's processes and the backend hold (PSS: proc(5), smaps_rollup)."""
    parent = stack.stack.httpd.pid
    assert parent
    text = Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="utf-8")
    processes = [parent, *map(int, text.split())]
    if stack.stack.backend and stack.stack.backend.process:
        processes.append(stack.stack.backend.process.pid)
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total >> 10


def _half_open(port: int, count: int, words: bytes, *, again: bool) -> None:
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    made = closed = 0

    def begin() -> None:
        nonlocal made
        each = _bound()
        each.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            each.connect(("127.0.0.1", port))
        sockets[each.fileno()] = each
        poll.register(each, select.EPOLLOUT | select.EPOLLRDHUP)
        made += 1

    for _ in range(count):
        begin()
    poll.register(0, select.EPOLLIN)
    while True:
        for number, event in poll.poll():
            if number == 0:
                if not os.read(0, 1):
                    return
                print(len(sockets), made, closed, flush=True)  # noqa: T201 (its way to tell)
            elif event & (select.EPOLLRDHUP | select.EPOLLERR | select.EPOLLHUP):
                poll.unregister(number)
                sockets.pop(number).close()
                closed += 1
                if again:
                    begin()
            else:
                with contextlib.suppress(OSError):
                    sockets[number].send(words)
                poll.modify(number, select.EPOLLRDHUP)


def _bound() -> socket.socket:
    each = socket.socket()
    each.setsockopt(
        socket.SOL_IP, 24, 1
    )  # IP_BIND_ADDRESS_NO_PORT, linux/in.h: the port is chosen at connect
    each.bind((ADDRESS, 0))
    return each


def _upgrade(each: socket.socket, path: str) -> None:
    each.sendall(
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    while b"\r\n\r\n" not in each.recv(4096):
        pass


def _flood(port: int) -> None:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE

    def one() -> None:
        with _bound() as each:
            each.connect(("127.0.0.1", port))
            with context.wrap_socket(each, server_hostname="localhost") as encrypted:
                _upgrade(encrypted, "/ws/echo")

    _repeat(one)


def _frames(port: int, path: str) -> None:
    block = bytes(1 << 16)

    def one() -> None:
        with _bound() as each:
            each.connect(("127.0.0.1", port))
            _upgrade(each, path)
            each.sendall(b"\x82\xff" + (64 << 20).to_bytes(8, "big") + bytes(4))
            for _ in range((64 << 20) // len(block)):
                each.sendall(block)
            while each.recv(1 << 16):
                pass

    _repeat(one)


def _repeat(one: Callable[[], None]) -> None:
    made = [0]

    def go_on() -> None:
        while True:
            made[0] += 1
            with contextlib.suppress(OSError):
                one()

    os.nice(10)  # his own share of a machine that he would not be on
    for _ in range(4):
        threading.Thread(target=go_on, daemon=True).start()
    while os.read(0, 1):
        print(4, made[0], 0, flush=True)  # noqa: T201 (its way to tell)


def _main(kind: str, port: str, *words: str) -> None:
    if kind == "half_open":
        _half_open(int(port), int(words[0]), bytes.fromhex(words[1]), again=words[2] == "1")
    elif kind == "flood":
        _flood(int(port))
    else:
        _frames(int(port), words[0])


if __name__ == "__main__":
    _main(*sys.argv[1:])
