"""What `wire.py`, `frames.py` and `fanout.py` rely on below the public API of `websockets`: a version that has it otherwise fails here."""

import asyncio
import contextlib

import pytest
from websockets.asyncio.messages import Assembler
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from server.wire import Wire
from tests.unit.server.harness import Running, Start, handshake, open_socket, until

CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


def protocol_that_is_open(**options: int) -> ServerProtocol:
    """Return a protocol behind its handshake."""
    protocol = ServerProtocol(**options)  # type: ignore[arg-type]  # numbers alone are given
    protocol.receive_data(handshake())
    (request,) = protocol.events_received()
    assert isinstance(request, Request)
    protocol.send_response(protocol.accept(request))
    protocol.data_to_send()
    return protocol


async def opened(here: Running) -> Wire:
    """Return the one connection, once it is open for frames."""
    (wire,) = here.backend.live
    await until(lambda: wire.session is not None and wire.protocol.state is OPEN)
    return wire


async def test_drain(start: Start) -> None:
    """Who drains waits among `drain_waiters`, which may be a list, until writing goes on, and leaves nothing there."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo"):
        wire = await opened(here)
        assert isinstance(wire.drain_waiters, list)
        wire.pause_writing()
        gone, waits = asyncio.create_task(wire.drain()), asyncio.create_task(wire.drain())
        await until(lambda: len(wire.drain_waiters) == 2)
        gone.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await gone
        assert len(wire.drain_waiters) == 1
        assert not waits.done()
        wire.resume_writing()
        await waits
        assert not wire.drain_waiters


async def test_bytes_come_by_data_received(start: Start) -> None:
    """All that comes goes through `data_received`, which ends a silence, a pong too; no buffer of the library goes past it."""
    assert not issubclass(ServerConnection, asyncio.BufferedProtocol)
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        wire = await opened(here)
        wire.is_silent = True
        sock.sendall(b"\x8a\x80\x00\x00\x00\x00")
        await until(lambda: not wire.is_silent)


async def test_handshake_is_let_go_of(start: Start) -> None:
    """`request` and `response` hold the handshake's headers, and nothing needs them once the socket is open."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        wire = await opened(here)
        assert wire.request is not None
        assert (wire.response, [*wire.request.headers]) == (None, [])
        sock.sendall(b"\x81\x82\x00\x00\x00\x00hi")
        assert await asyncio.to_thread(sock.recv, 100) == b"\x81\x02hi"


@pytest.mark.parametrize("line", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_body_is_refused(line: bytes) -> None:
    """The library takes a request without a body, and drops one with a body without an answer: so `Wire` takes such lines out."""
    plain = ServerProtocol()
    plain.receive_data(handshake())
    (request,) = plain.events_received()
    assert isinstance(request, Request)
    assert plain.handshake_exc is None
    framed = ServerProtocol()
    framed.receive_data(handshake().replace(b"\r\n\r\n", b"\r\n" + line + b"\r\n\r\nabcde"))
    assert framed.events_received() == []
    assert framed.handshake_exc is not None


def test_close_is_told() -> None:
    """`close_sent` is set by our close, `close_rcvd_then_sent` by the other's: whether it came first."""
    ours = protocol_that_is_open()
    assert (ours.close_sent, ours.close_rcvd_then_sent) == (None, None)
    ours.send_close(1012, "service restart")
    assert (ours.close_sent is not None, ours.close_rcvd_then_sent) == (True, None)
    ours.receive_data(CLOSE)
    assert ours.close_rcvd_then_sent is False
    theirs = protocol_that_is_open()
    theirs.receive_data(CLOSE)
    assert theirs.close_sent is not None
    assert theirs.close_rcvd_then_sent is True


def test_writes() -> None:
    """`writes` holds what is to be sent, and is empty where there is nothing."""
    protocol = protocol_that_is_open()
    assert protocol.writes == []
    protocol.receive_data(b"\x8a\x80\x00\x00\x00\x00")
    assert protocol.writes == []
    protocol.receive_data(b"\x89\x80\x00\x00\x00\x00")
    assert protocol.writes == [b"\x8a\x00"]
    assert protocol.data_to_send() == [b"\x8a\x00"]
    assert protocol.writes == []


def test_largest_message_may_change() -> None:
    """`max_message_size` counts for each message as it is when that begins."""
    protocol = protocol_that_is_open(max_size=4)
    protocol.max_message_size = 8
    protocol.receive_data(b"\x82\x88\x00\x00\x00\x0012345678")
    (frame,) = protocol.events_received()
    assert isinstance(frame, Frame)
    assert (frame.opcode, bytes(frame.data)) == (Opcode.BINARY, b"12345678")
    protocol.max_message_size = 4
    protocol.receive_data(b"\x82\x88\x00\x00\x00\x0012345678")
    assert isinstance(protocol.parser_exc, PayloadTooBig)


async def test_reading_goes_on_by_our_way() -> None:
    """Who has read enough of what waited calls `resume`, which may be set, and is no longer `paused`."""
    calls = []
    messages = Assembler(
        high=2, low=1, pause=lambda: calls.append("pause"), resume=lambda: calls.append("theirs")
    )
    messages.resume = lambda: calls.append("ours")
    for _ in range(3):
        messages.put(Frame(Opcode.TEXT, b"x"))
    assert (calls, messages.paused) == (["pause"], True)
    for _ in range(2):
        await messages.get()
    assert (calls, messages.paused) == (["pause", "ours"], False)


async def test_message_is_one_event(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes is handed to `process_event` frame by frame, after the handshake."""
    seen: list[object] = []
    super_event = Wire.process_event

    def note(self: Wire, event: object) -> None:
        seen.append(event)
        super_event(self, event)  # type: ignore[arg-type]  # as it came

    monkeypatch.setattr(Wire, "process_event", note)
    here = await start()
    with await asyncio.to_thread(open_socket, here.port, "/ws/echo") as sock:
        sock.sendall(b"\x01\x81\x00\x00\x00\x00h\x80\x81\x00\x00\x00\x00i")
        assert await asyncio.to_thread(sock.recv, 100) == b"\x81\x02hi"
    frames = [event for event in seen if isinstance(event, Frame)][:2]
    assert [(frame.opcode, frame.fin) for frame in frames] == [(Opcode.TEXT, False), (Opcode.CONT, True)]
