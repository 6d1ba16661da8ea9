"""What clients see of a backend that is down, or not what it should be."""

import asyncio
import os
import signal
import socket as sockets
import struct
import threading

import pytest
from websockets.exceptions import ConnectionClosedError

from tests.raw import ask, line, shake
from tests.scripted import Request, Script, accepting, answering, scripted
from tests.stacks import Running, running
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

REFUSED = ("AH00957", "AH01114")  # connection refused, and so no answer


def test_down_and_back(front: Running, path: str) -> None:
    """While nobody listens behind, page and handshake get 503; the first one after it is back is served."""
    for _ in range(2):
        front.allow(*REFUSED)
        assert shake(front, path).status == 503
        assert ask(front, "/").status == 503
        with scripted(front.backend_port):
            assert shake(front, path).status == 101
            assert ask(front, "/").status == 200


@pytest.mark.parametrize("status", ["200 OK", "404 Not Found", "426 Upgrade Required", "403 No", "302 Found"])
def test_refusal_is_passed_on(front: Running, path: str, status: str) -> None:
    """A backend that answers a handshake by anything but 101 is heard, and the connection stays HTTP under Apache's eyes."""
    with (
        scripted(front.backend_port, answering(status, "X-Own: yes", body=b"why")) as seen,
        line(front) as opened,
    ):
        answer = opened.shake(path)
        assert (f"{answer.status}", answer.body) == (status.split(maxsplit=1)[0], b"why")
        assert answer.headers["X-Own"] == "yes"
        assert opened.ask("/next").body == b"why"
    assert [request.path for request in seen] == [path, "/next"]
    assert seen[1].headers["X-Forwarded-For"] == "127.0.0.1"


def garbage(connection: sockets.socket, _request: Request) -> None:
    """Answer with what is no HTTP."""
    connection.sendall(b"\x00\xff\x16\x03 no HTTP at all\r\n\r\n")


def nothing(_connection: sockets.socket, _request: Request) -> None:
    """Hang up without a word."""


def other_protocol(connection: sockets.socket, _request: Request) -> None:
    """Switch to a protocol that nobody asked for."""
    connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")


@pytest.mark.parametrize("script", [garbage, nothing, other_protocol])
def test_nonsense_is_502(front: Running, path: str, script: Script) -> None:
    """A backend that speaks no HTTP, hangs up or switches to something else makes a 502, and no tunnel."""
    front.allow("AH01102", "AH01097", "AH00898", "AH10212", "AH10213", "AH10239", "AH01106")
    with scripted(front.backend_port, script):
        assert shake(front, path).status == 502


def test_backend_that_ends_in_a_tunnel(front: Running, path: str) -> None:
    """When the backend resets a tunnel, the client's connection ends at once."""
    is_open = threading.Event()

    def reset(connection: sockets.socket, request: Request) -> None:
        connection.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        connection.settimeout(0.01)
        try:
            accepting(connection, request)
        except TimeoutError:
            is_open.wait(5 * SECOND)
            connection.close()

    with scripted(front.backend_port, reset), line(front) as opened:
        assert opened.shake(path).status == 101
        is_open.set()
        opened.connection.settimeout(SECOND)
        assert opened.connection.recv(1) == b""


async def test_our_backend_killed_and_back() -> None:
    """When our backend is killed its sockets end at once; started again it serves at once."""
    with running() as stack:
        backend = stack.stack.backend
        assert backend
        assert backend.process
        async with stack.websocket() as socket:
            os.kill(backend.process.pid, signal.SIGKILL)
            with pytest.raises(ConnectionClosedError):
                await asyncio.wait_for(socket.recv(), SECOND)
        backend.stop()
        stack.allow(*REFUSED)
        assert ask(stack, "/").status == 503
        backend.start()
        assert ask(stack, "/").status == 200
        async with stack.websocket() as socket:
            await socket.send("back")
            assert await socket.recv() == "back"
