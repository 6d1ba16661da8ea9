"""A process for each connection, forked from a warm parent: what is between it and its socket.

The socket, its frames and the rooms stay in the server, so that a process may block, crash or leak and nobody else's connection
is in it. Knows nothing of HTTP, or of what is said.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping

import msgspec
from websockets.exceptions import ConnectionClosed

from server.logs import about
from server.program import FAILED, accompany
from server.wire import Wire

from . import builtin
from .handler import HEAD, MOST, Kind, Record
from .processes import Process, Processes, StartError

log = logging.getLogger("server")

CHAT, ECHO = (f"{builtin.__name__}:{name}" for name in ("chat", "echo"))
LINE_MOST = 1 << 16  # of what it logs; its messages are records
REASON_MOST = 123  # bytes of a close frame's reason (RFC 6455, section 5.5)
CODES = range(3000, 5000)  # RFC 6455, section 7.4.2: an application's own

Chat = Callable[[AsyncIterable[str | bytes]], Awaitable[None]]


async def serve(
    wire: Wire, processes: Processes, handler: str, environment: Mapping[str, str], chat: Chat
) -> None:
    """Serve one socket by a handler in a process of its own, until either of them ends.

    Args:
        wire: the socket.
        processes: starts the process.
        handler: ``module:function``.
        environment: the handshake.
        chat: serves what the handler hands on.
    """
    handed: asyncio.Queue[str | bytes] = asyncio.Queue(1)
    # It is in its room from the moment it is open, whatever its process needs to start.
    chatting = asyncio.ensure_future(chat(_until_closed(wire, handed)))
    try:
        process = await processes.start(environment, LINE_MOST, handler=handler)
        await accompany(wire, process, _listen(wire, process), _speak(wire, process, handed))
    except StartError as fault:
        log.error("%s %s did not start: %s", wire.name, handler, fault, extra=about(wire))  # noqa: TRY400  # the reason is in it
        await wire.close(1011, "the handler did not start")
    finally:
        chatting.cancel()


async def _until_closed(wire: Wire, handed: asyncio.Queue[str | bytes]) -> AsyncIterator[str | bytes]:
    gone = asyncio.ensure_future(wire.wait_closed())
    try:
        while True:
            message = asyncio.ensure_future(handed.get())
            await asyncio.wait([message, gone], return_when=asyncio.FIRST_COMPLETED)
            if gone.done():
                message.cancel()
                return
            yield message.result()
    finally:
        gone.cancel()


async def _listen(wire: Wire, process: Process) -> None:
    """Write each message to the process."""
    with contextlib.suppress(ConnectionClosed):
        async for message in wire:
            is_text = isinstance(message, str)
            payload = message.encode() if isinstance(message, str) else message
            await process.input.write(Record(Kind.TEXT if is_text else Kind.BINARY, payload).pack())


async def _speak(wire: Wire, process: Process, handed: asyncio.Queue[str | bytes]) -> tuple[int, str] | None:
    """Do what the process says; return how to close where that is not its exit status's affair."""
    with contextlib.suppress(ConnectionClosed, asyncio.IncompleteReadError):
        while True:
            kind, length = HEAD.unpack(await process.output.readexactly(HEAD.size))
            if length > MOST:
                break
            payload = await process.output.readexactly(length)
            try:
                match kind:
                    case Kind.TEXT:
                        await wire.send(payload.decode())
                    case Kind.BINARY:
                        await wire.send(payload)
                    case Kind.ROOM_TEXT:
                        await handed.put(payload.decode())
                    case Kind.ROOM_BINARY:
                        await handed.put(payload)
                    case Kind.CLOSE:
                        return _close(payload)
                    case _:
                        break
            except (ValueError, msgspec.DecodeError):
                break
        log.error("%s its process wrote what is no record", wire.name, extra=about(wire))
        return FAILED
    return None


def _close(payload: bytes) -> tuple[int, str]:
    code, reason = msgspec.json.decode(payload, type=tuple[int, str])
    if code not in (1000, 1008, 1011, 1013) and code not in CODES:
        raise msgspec.ValidationError(code)
    return code, reason.encode(errors="replace")[:REASON_MOST].decode(errors="ignore")
