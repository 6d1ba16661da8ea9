"""Clients that misbehave, and clients that just go away."""

import asyncio
import contextlib
import logging
import secrets
import socket
import struct
from collections.abc import Callable

import pytest
from websockets.exceptions import ConnectionClosedError

from server import wire
from server.messages import LIMITS
from tests.unit.server.harness import (
    SECONDS,
    Running,
    Start,
    handshake,
    hang_up,
    hear,
    open_socket,
    say,
    until,
)
from tests.waiting import SECOND

LINE = {"type": "usermsg", "name": "Ada", "message": "x", "color": "#7c3aed"}


async def healthy(here: Running, caplog: pytest.LogCaptureFixture) -> None:
    """Assert that a new client is served, that all others are gone, and that nobody complained."""
    one = await here.connect("/ws/echo")
    await one.send("still there?")
    assert await one.recv() == "still there?"
    await one.close()
    await until(lambda: not here.backend.live)
    assert here.backend.open == 0
    assert not here.backend.hall.rooms
    assert not [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


@pytest.mark.parametrize("gone", [reset, socket.socket.close], ids=["reset", "end"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"G",
        b"GET /ws/chat HTTP/1.1\r\nHost",
        handshake(),
        handshake() + b"\x81\x85\x00\x00\x00\x00he",
        handshake() + b"\x01\x85\x00\x00\x00\x00hello",
        handshake("/ws/echo") + b"\x82\xff" + b"\x00\x00\x00\x00\x01\x00\x00\x00" + b"\x00" * 70_000,
        b"POST / HTTP/1.1\r\nContent-Length: 9999\r\n\r\nabc",
    ],
    ids=lambda data: data[:12].decode(errors="replace") + str(len(data)),
)
async def test_goes_away(
    start: Start, caplog: pytest.LogCaptureFixture, data: bytes, gone: Callable[[socket.socket], None]
) -> None:
    """A client may go at any point of its life."""
    here = await start()
    for patient in (False, True):
        sock = socket.create_connection(("127.0.0.1", here.port))
        sock.sendall(data)
        if patient:
            await asyncio.sleep(0.02)
        gone(sock)
    await healthy(here, caplog)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00" * 100,
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length : 5\r\n\r\nabcde",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ],
    ids=lambda data: repr(data[:24]),
)
async def test_garbage(start: Start, caplog: pytest.LogCaptureFixture, data: bytes) -> None:
    """What is not HTTP/1 is hung up on, at once and without a word."""
    here = await start()
    with contextlib.suppress(ConnectionResetError):
        assert await here.raw(data) == b""
    await healthy(here, caplog)


@pytest.mark.parametrize("junk", [b"\xff\xff\xff", b"GET / HTTP/1.1\r\n\r\n", b"\x88\x80\0\0\0\0"], ids=repr)
@pytest.mark.parametrize(
    "head",
    [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", handshake("/nowhere"), handshake("/ws/chat")],
    ids=["page", "refused", "upgrade"],
)
async def test_garbage_behind_a_head(
    start: Start, caplog: pytest.LogCaptureFixture, head: bytes, junk: bytes
) -> None:
    """Who sends what is no frame before an answer is hung up on, and the log stays short."""
    here = await start()
    with contextlib.suppress(ConnectionResetError):
        assert await here.raw(head + junk) == b""
    await healthy(here, caplog)


async def test_endless_head(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A line or a head without an end is refused."""
    here = await start()
    assert (await here.raw(b"GET /" + b"a" * 70_000)).startswith(b"HTTP/1.1 414 ")
    lines = b"".join(b"A%d: %s\r\n" % (number, b"b" * 1000) for number in range(200))
    assert (await here.raw(b"GET / HTTP/1.1\r\n" + lines)).startswith(b"HTTP/1.1 431 ")
    await healthy(here, caplog)


async def test_head_in_pieces(start: Start) -> None:
    """A head may come byte by byte, with a frame right behind it."""
    here = await start()
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    for byte in handshake("/ws/echo"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"\x81\x82\x00\x00\x00\x00hi")
    async with asyncio.timeout(SECONDS):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        assert await reader.readexactly(4) == b"\x81\x02hi"
    await hang_up(writer)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (b"\x81\x02hi", 1002),
        (b"\x83\x80\x00\x00\x00\x00", 1002),
        (b"\xf1\x80\x00\x00\x00\x00", 1002),
        (b"\x80\x80\x00\x00\x00\x00", 1002),
        (b"\x89\xfe\x01\x00\x00\x00\x00\x00" + b"\x00" * 256, 1002),
        (b"\x81\x82\x00\x00\x00\x00\xff\xff", 1007),
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009),
        (b"\x88\x80\x00\x00\x00\x00", None),
    ],
    ids=lambda value: repr(value)[:24],
)
async def test_broken_frames(
    start: Start, caplog: pytest.LogCaptureFixture, frames: bytes, code: int | None
) -> None:
    """A breach of the protocol closes that one socket with the code for it."""
    here = await start()
    for path in ("/ws/chat", "/ws/echo"):
        with await asyncio.to_thread(open_socket, here.port, path) as sock:
            sock.sendall(frames)
            closed = await asyncio.to_thread(sock.recv, 2 if code is None else 4)
        assert (closed[0], closed[2:]) == (0x88, b"" if code is None else struct.pack("!H", code))
    await healthy(here, caplog)


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_echo(start: Start) -> None:
    """The echo gives back text, binary, empty, fragmented and large messages as they came."""
    here = await start()
    for compression in ("deflate", None):
        one = await here.connect("/ws/echo", compression=compression)
        for message in ("", b"", "é" * 1000, b"\x00\xff" * 1000, "x" * 70_000, secrets.token_bytes(15 << 20)):
            await one.send(message)
            assert await one.recv() == message
        await one.send(["a", "b", "c"])
        assert await one.recv() == "abc"


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_echo_has_an_end(start: Start) -> None:
    """An echo of more than 16 MiB is refused, compressed or not."""
    here = await start()
    one = await here.connect("/ws/echo", compression="deflate")
    await one.send(b"\x00" * ((16 << 20) + 1))
    with pytest.raises(ConnectionClosedError) as closed:
        await one.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_subprotocols(start: Start) -> None:
    """The echo takes the first subprotocol offered; the chat its own, and does without."""
    here = await start()
    assert (await here.connect("/ws/echo", subprotocols=["b", "a"])).subprotocol == "b"
    assert (await here.connect("/ws/echo")).subprotocol is None
    assert (await here.connect("/ws/chat", subprotocols=["x", "wsfront.chat"])).subprotocol == "wsfront.chat"
    assert (await here.connect("/ws/chat", subprotocols=["x"])).subprotocol is None


async def test_slow_reader(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who does not read is dropped at a bound, and the others hear all in the meantime."""
    monkeypatch.setattr(wire, "PENDING_MOST", 20_000)
    here = await start()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    slow.connect(("127.0.0.1", here.port))
    slow.sendall(handshake())
    await until(lambda: here.backend.open == 1)
    (victim,) = here.backend.live
    victim.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    swift = await here.connect()
    sent, most = 0, 0
    while victim.close_code is None and victim.protocol.close_sent is None:
        talker = await here.connect(max_queue=None)
        for _ in range(LIMITS.burst):
            await say(talker, **{**LINE, "message": "x" * 2000})
            assert (await hear(swift))["type"] == "usermsg"
            most = max(most, victim.transport.get_write_buffer_size())
            sent += 1
        await talker.close()
        assert sent < 1000
    assert victim.protocol.close_sent.code == 1013  # type: ignore[union-attr]  # the loop ended on it
    assert most < 20_000 + 5_000
    slow.close()
    await swift.close()
    await healthy(here, caplog)


async def test_pings_without_end(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A client that sends pings and reads no pong is no longer read from: the buffer stays bounded."""
    here = await start()
    sock = await asyncio.to_thread(open_socket, here.port)
    sock.settimeout(0)
    (victim,) = here.backend.live
    ping = b"\x89\xfd\x00\x00\x00\x00" + b"p" * 125
    loop = asyncio.get_running_loop()

    async def ping_on() -> None:
        for _ in range(1000):
            await loop.sock_sendall(sock, ping * 1000)
            assert victim.transport.get_write_buffer_size() < 2 << 20

    pinging = asyncio.create_task(ping_on())
    await until(lambda: victim._choked or pinging.done())
    await asyncio.wait([pinging], timeout=SECOND)
    assert not pinging.done()
    assert victim._choked
    assert victim.transport.get_write_buffer_size() < 2 << 20
    pinging.cancel()
    await asyncio.wait([pinging])
    reset(sock)
    await healthy(here, caplog)


async def test_speaks_on_after_our_close(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What a client sends after our close, without answering it, is not kept."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port) as sock:
        (victim,) = here.backend.live
        victim.drop(1008, "enough")
        await asyncio.to_thread(sock.sendall, b"\x81\x82\x00\x00\x00\x00hi" * 10_000)
        sock.sendall(b"\x88\x80\x00\x00\x00\x00")
        await until(lambda: not here.backend.live)
    assert len(victim.recv_messages.frames) == 0
    await healthy(here, caplog)


async def test_connections_are_counted(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """Of many handshakes at once exactly as many as are allowed pass; the rest get 503, and places come free."""
    here = await start(connections=5)
    answers = []

    async def knock() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(handshake())
        answers.append((await reader.readuntil(b"\r\n\r\n")).decode())
        return writer

    async with asyncio.timeout(SECONDS):
        writers = await asyncio.gather(*(knock() for _ in range(20)))
    assert sorted(answer.split()[1] for answer in answers) == ["101"] * 5 + ["503"] * 15
    assert all("Retry-After: 5\r\n" in answer for answer in answers if " 503 " in answer)
    assert await here.status(handshake().replace(b"dGhl", b"?")) == 400
    for writer in writers:
        await hang_up(writer)
    await until(lambda: here.backend.open == 0)
    await healthy(here, caplog)


async def test_compressed(start: Start) -> None:
    """A compressed line is read; no context is kept between messages."""
    here = await start()
    one = await here.connect(compression="deflate")
    assert one.response is not None
    agreed = one.response.headers["Sec-WebSocket-Extensions"]
    assert "server_no_context_takeover" in agreed
    assert "client_no_context_takeover" in agreed
    await say(one, **{**LINE, "message": "x" * 2000})
    assert (await hear(one))["message"] == "x" * 2000


async def test_log(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A connection's lines have its id and the client's address, and nothing that the client wrote."""
    caplog.set_level(logging.INFO, "server")
    here = await start()
    headers = {"X-Forwarded-For": "1.2.3.4, 203.0.113.9"}
    one = await here.connect("/ws/chat?room=secret", additional_headers=headers)
    await say(one, type="join", name="secret", color="#000000")
    await say(one, type="usermsg", message="secret")
    await one.close()
    await until(lambda: here.backend.open == 0)
    await until(lambda: "closed 1000" in caplog.text)
    lines = [record.getMessage() for record in caplog.records if record.name == "server"]
    opened, closed = lines
    assert opened.endswith(" open from 203.0.113.9")
    assert opened.split()[0] == closed.split()[0]
    assert "secret" not in caplog.text


async def test_log_has_the_fronts_id(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A connection's first line has the id by which the front's log knows its request; a refusal's too."""
    caplog.set_level(logging.INFO, "server")
    here = await start()
    one = await here.connect("/ws/echo", additional_headers={"X-Request-Id": "t=1795437558123456"})
    assert await here.status(handshake("/ws/none", "X-Request-Id: t=7")) == 404
    await one.close()
    assert " open from 127.0.0.1 as t=1795437558123456\n" in caplog.text
    assert " refused 404 from 127.0.0.1 as t=7\n" in caplog.text


async def test_sends_before_it_reads(start: Start) -> None:
    """A client may send its second large message before it reads the first one's echo."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        size = 8 << 20
        frame = b"\x82\xff" + struct.pack("!Q", size) + b"\x00\x00\x00\x00" + b"\x00" * size
        await asyncio.to_thread(sock.sendall, frame * 2)
        left = 2 * (10 + size)
        while left:
            left -= len(await asyncio.to_thread(sock.recv, left)) or left + 1
    assert left == 0


async def test_goes_away_in_the_middle_of_an_echo(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A client may go while its large message is on the way back."""
    here = await start()
    for size in (1 << 15, 8 << 20):
        sock = await asyncio.to_thread(open_socket, here.port, "/ws/echo")
        frame = b"\x82\xff" + struct.pack("!Q", size) + b"\x00\x00\x00\x00" + b"\x00" * size
        await asyncio.to_thread(sock.sendall, frame)
        await asyncio.to_thread(sock.recv, 1000)
        reset(sock)
    await healthy(here, caplog)
