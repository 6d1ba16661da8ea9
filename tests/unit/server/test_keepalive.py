"""Pings by one timer: who answers stays, who says nothing is dropped."""

import asyncio
import json

import pytest

from server import app
from tests.unit.server.harness import SECONDS, Start, open_socket, until

PING, CLOSE = b"\x89\x00", b"\x88\x18\x03\xf3keepalive ping timeout"


async def test_pings(start: Start) -> None:
    """An idle connection is pinged again and again, and stays open as long as its pongs come."""
    here = await start(ping_interval=0.1)
    with await asyncio.to_thread(open_socket, here.port) as sock:
        sock.settimeout(SECONDS)
        for _ in range(5):
            assert await asyncio.to_thread(sock.recv, len(PING)) == PING
            sock.sendall(b"\x8a\x80\x00\x00\x00\x00")
        assert here.backend.open == 1


async def test_silence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends nothing after a ping, in 20 seconds as a rule, is closed with 1011; who says anything is not, pong or no pong."""
    monkeypatch.setattr(app, "PING_TIMEOUT", 0.4)
    here = await start(ping_interval=0.2)
    with (
        await asyncio.to_thread(open_socket, here.port) as mute,
        await asyncio.to_thread(open_socket, here.port) as talks,
    ):
        mute.settimeout(SECONDS)
        heard = b""
        ping = json.dumps({"type": "ping"}).encode()
        while not heard.endswith(CLOSE):
            talks.sendall(bytes([0x81, 0x80 | len(ping), 0, 0, 0, 0]) + ping)
            heard += await asyncio.to_thread(mute.recv, 100)
        assert heard.startswith(PING)
        mute.sendall(b"\x88\x80\x00\x00\x00\x00")
        await until(lambda: here.backend.open == 1)
    await until(lambda: not here.backend.keepalive._to_ping and not here.backend.keepalive._pinged)


def text(payload: bytes) -> bytes:
    """Write a client's frame of 126 bytes or more, its mask all zeros."""
    return b"\x81\xfe" + len(payload).to_bytes(2, "big") + bytes(4) + payload


async def test_held_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not read from, because its program is busy, is not taken for dead: its pongs wait behind what it said."""
    monkeypatch.setattr(app, "PING_TIMEOUT", 0.2)
    here = await start(ping_interval=0.1, program=("/bin/sleep", "1000"))
    with await asyncio.to_thread(open_socket, here.port) as sock:
        sock.settimeout(SECONDS)
        (wire,) = here.backend.live
        sock.sendall(text(b"x" * 1000) * 300)
        await until(lambda: wire.is_held_up)
        heard = b""
        while len(heard) < 20 * len(PING):
            heard += await asyncio.to_thread(sock.recv, len(PING))
            assert heard.endswith(PING)


async def test_reads_nothing(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is not read from, because it reads nothing of what comes back, is dropped all the same."""
    monkeypatch.setattr(app, "PING_TIMEOUT", 0.2)
    here = await start(ping_interval=0.1)
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        sock.settimeout(0)
        (wire,) = here.backend.live
        loop = asyncio.get_running_loop()
        flood = asyncio.create_task(loop.sock_sendall(sock, text(b"x" * 60_000) * 500))
        await until(lambda: wire.recv_messages.paused and wire.transport.get_write_buffer_size() > 0)
        await until(lambda: wire.protocol.close_sent is not None)
        flood.cancel()
        assert wire.protocol.close_sent.code == 1011  # type: ignore[union-attr]  # the wait ended on it
