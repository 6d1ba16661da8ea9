"""Frames made once, and what of the library's insides they rely on."""

import asyncio

import pytest
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Opcode
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server import wire as wires
from server.fanout import Group
from server.frames import COMPRESS_LEAST, COMPRESS_MOST, COMPRESS_SETTINGS, PLAIN, frame_of, kind_of
from server.wire import Wire
from tests.unit.server.harness import Running, Start, open_socket, until


def by_the_library(data: str | bytes, *extensions: PerMessageDeflate) -> bytes:
    """Frame a message as the library does for one connection."""
    protocol = ServerProtocol()
    protocol.state = OPEN
    protocol.extensions = list(extensions)
    if isinstance(data, str):
        protocol.send_text(data.encode())
    else:
        protocol.send_binary(data)
    return b"".join(protocol.data_to_send())


@pytest.mark.parametrize("size", [0, 1, 125, 126, COMPRESS_LEAST, COMPRESS_MOST - 1, COMPRESS_MOST + 1])
def test_frames_as_the_library(size: int) -> None:
    """A frame has the bytes that the library would send, plain or compressed."""
    text, data = "é" * (size // 2) + "x" * (size % 2), b"\xff" * size
    assert frame_of(text) == by_the_library(text)
    assert frame_of(data) == frame_of(data, 12) == by_the_library(data)
    deflate = PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=12,
        local_max_window_bits=12,
        compress_settings=COMPRESS_SETTINGS,
    )
    pays = COMPRESS_LEAST <= size <= COMPRESS_MOST
    assert frame_of(text, 12) == (by_the_library(text, deflate) if pays else frame_of(text))


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ((), PLAIN),
        (("Sec-WebSocket-Extensions: permessage-deflate",), 12),
        (("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",), 12),
        (("Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=10",), 10),
        (("Sec-WebSocket-Extensions: x-unknown",), PLAIN),
    ],
)
async def test_kinds(start: Start, header: tuple[str, ...], kind: int) -> None:
    """A connection's kind is the window that its handshake agreed on."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo", *header):
        (wire,) = here.backend.live
        assert wire.kind == kind


def test_context_is_not_shared() -> None:
    """A connection that keeps context between messages is sent plain frames: a shared one would break it."""
    protocol = ServerProtocol()
    protocol.extensions = [
        PerMessageDeflate(
            remote_no_context_takeover=False,
            local_no_context_takeover=False,
            remote_max_window_bits=15,
            local_max_window_bits=15,
        )
    ]
    assert kind_of(protocol) == PLAIN


async def opened(here: Running) -> Wire:
    """Return the one connection, once it is open for frames."""
    (wire,) = here.backend.live
    await until(lambda: wire.session is not None and wire.protocol.state is OPEN)
    return wire


async def test_library_goes_behind(start: Start) -> None:
    """All that the library sends by itself goes behind what a group has pending: messages, pings, pongs, closes."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        wire = await opened(here)
        group = Group()
        group.add(wire)
        sock.settimeout(10)

        async def heard() -> list[int]:
            data = b""
            while not data or (data[0] & 0x0F == Opcode.TEXT and len(data) == 2 + data[1]):
                part = await asyncio.to_thread(sock.recv, 1000)
                if not part:
                    break
                data += part
            return [data[0] & 0x0F, data[2 + data[1]] & 0x0F] if data else []

        async def own() -> None:
            await wire.send(b"own")

        async def ping() -> None:
            await wire.ping()

        async def asked() -> None:
            sock.sendall(b"\x89\x80\x00\x00\x00\x00")

        async def closed() -> None:
            wire.drop(*wires.RESTART)

        for act, opcode in (
            (own, Opcode.BINARY),
            (ping, Opcode.PING),
            (asked, Opcode.PONG),
            (closed, Opcode.CLOSE),
        ):
            group._window, group._rested = (
                3600,
                wire.loop.time(),
            )  # until the test says otherwise nothing is flushed
            group.send("text")
            await act()
            assert await heard() == [Opcode.TEXT, opcode]
        group.send("after the close")
        wire.transport.write_eof()
        assert await heard() == []


async def test_nothing_to_say(start: Start) -> None:
    """What a client sends does not flush what is pending for it, unless something has to be answered."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        wire = await opened(here)
        group = Group()
        group.add(wire)
        group._window, group._rested = 3600, wire.loop.time()
        group.send("text")
        sock.sendall(b"\x8a\x80\x00\x00\x00\x00" * 3)  # pongs that nobody asked for
        sock.sendall(b"\x01\x81\x00\x00\x00\x00a")  # the first part of a message
        await until(lambda: wire.protocol.current_size is not None)
        assert group._at[wire] == 0
