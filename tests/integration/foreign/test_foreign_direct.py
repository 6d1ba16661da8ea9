"""The foreign servers themselves, with nothing in front: what the tests through Apache may rely on."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosedError

from tests.integration.foreign.servers import foreign_server
from tests.waiting import until

KINDS = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("node", "php")]
MIB = 1 << 20


@pytest.fixture(scope="module", params=KINDS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run each foreign server once for this module; its port."""
    with foreign_server(request.param) as port:
        yield port


def client(port: int) -> connect:
    """Open a connection that takes messages of any size, straight to the server."""
    return connect(f"ws://127.0.0.1:{port}/any/path", max_size=None, proxy=None)


async def close_code(connection: ClientConnection) -> int | None:
    """Wait until the connection is closed; the server's close code."""
    await connection.wait_closed()
    return connection.close_code


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MIB, 16 * MIB])
async def test_echo_of_any_size(port: int, size: int) -> None:
    """A binary message and a text of any size come back as they went."""
    async with client(port) as connection:
        for message in (os.urandom(size), "x" * size):
            await connection.send(message)
            assert await connection.recv() == message


async def test_fragments_and_a_ping_between_them(port: int) -> None:
    """A fragmented message comes back whole, and a ping in its midst is answered."""
    async with client(port) as connection:

        async def fragments() -> AsyncIterator[str]:
            yield "one, "
            await (await connection.ping(b"midst"))
            yield "two, ünï✓"

        await connection.send(fragments())
        assert await connection.recv() == "one, two, ünï✓"


async def test_close_code_is_answered(port: int) -> None:
    """A close from the client is answered with the same code."""
    async with client(port) as connection:
        await connection.close(4001, "enough")
        assert await close_code(connection) == 4001


async def test_faulty_frame_ends_one_connection_alone(port: int) -> None:
    """A frame with a reserved bit set is answered with 1002, and others go on."""
    async with client(port) as faulty, client(port) as sound:
        faulty.transport.write(b"\xf1\x80\0\0\0\0")
        with pytest.raises(ConnectionClosedError):
            await faulty.recv()
        assert await close_code(faulty) == 1002
        await sound.send("still here")
        assert await sound.recv() == "still here"


async def test_chat_message_reaches_everybody(port: int) -> None:
    """A text with the type usermsg reaches all clients, the sender too; any other comes back alone."""
    message = json.dumps({"type": "usermsg", "name": "Ada", "message": "hi 👋", "color": "#112233"})
    async with client(port) as one, client(port) as two, client(port) as three:
        await one.send(message)
        assert [await each.recv() for each in (one, two, three)] == [message] * 3
        await two.send('{"type":"other"}')
        await two.send("next")
        await one.send("last")
        assert [await two.recv(), await two.recv()] == ['{"type":"other"}', "next"]
        assert await one.recv() == "last"


async def test_two_hundred_clients(port: int) -> None:
    """Two hundred clients at once are each answered."""
    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one_of_many(port, str(number)))


async def one_of_many(port: int, text: str) -> None:
    """Connect, have one text echoed, and go."""
    async with client(port) as connection:
        await connection.send(text)
        assert await connection.recv() == text


def test_plain_get(port: int) -> None:
    """A plain GET on the same port is answered with a line of text."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/any/path") as answer:
        assert answer.status == 200
        assert answer.read().startswith(b"A WebSocket server in ")


def test_client_that_vanishes_harms_nobody(port: int) -> None:
    """A client that resets its connection in the middle of a handshake leaves the server alive."""
    with socket.create_connection(("127.0.0.1", port)) as rude:
        rude.sendall(b"GET / HTTP/1.1\r\n")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    test_plain_get(port)


@pytest.mark.parametrize("kind", KINDS)
def test_port_in_use_is_told(kind: str) -> None:
    """A port in use ends the start with what the server said."""
    with foreign_server(kind) as port, pytest.raises(RuntimeError, match=r"(?i)address already in use"):
        foreign_server(kind, port).__enter__()


@pytest.mark.parametrize("kind", KINDS)
def test_server_ends_with_its_test(kind: str, tmp_path: Path) -> None:
    """A test run that is killed leaves no server behind."""
    script = tmp_path / "holder.py"
    script.write_text(
        f"from tests.integration.foreign.servers import foreign_server\n"
        f"with foreign_server({kind!r}) as port:\n    print(port, flush=True)\n    input()\n"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        port = int(holder.stdout.readline())
        test_plain_get(port)
        holder.send_signal(signal.SIGKILL)
    until(lambda: not is_listening(port))


def is_listening(port: int) -> bool:
    """Tell whether somebody accepts connections on this port of the loopback address."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
