"""Any program for each connection: a line of its standard input or output is a message.

Knows nothing of HTTP, of who may connect, or of how processes are started.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from websockets.exceptions import ConnectionClosed

from .bucket import Bucket
from .logs import about
from .messages import FRAME_MOST
from .wire import Wire
from .workers.processes import Process, Processes, StartError

log = logging.getLogger("server")

LINE_MOST = FRAME_MOST  # bytes, its end not counted
BREAK = re.compile(r"[\r\n]")
AFTERMATH = 1.0  # seconds for the last words on standard error
LOG_BURST, LOG_PER_SECOND, LOG_MOST = 50, 10, 1000
FAILED = (1011, "the program failed")


async def serve(
    wire: Wire, processes: Processes, command: Sequence[str], environment: Mapping[str, str]
) -> None:
    """Serve one socket by a program, until either of them ends."""
    try:
        process = await processes.start(environment, LINE_MOST, program=command)
    except StartError as fault:
        log.error("%s %s did not start: %s", wire.name, command[0], fault, extra=about(wire))  # noqa: TRY400  # the reason is in it
        await wire.close(1011, "the program did not start")
        return
    await accompany(wire, process, _listen(wire, process), _speak(wire, process))


async def accompany(
    wire: Wire, process: Process, listening: Awaitable[None], speaking: Awaitable[tuple[int, str] | None]
) -> None:
    """Hold a socket and its process together until either ends, then end the other; log what it says on standard error.

    Args:
        wire: the socket.
        process: its process.
        listening: takes what the client sends to the process.
        speaking: takes what the process says to the client; returns how to close, None to close as its exit status says.
    """
    logging_ = asyncio.ensure_future(_log(wire, process))
    heard, said = asyncio.ensure_future(listening), asyncio.ensure_future(speaking)
    gone, ended = asyncio.ensure_future(wire.wait_closed()), process.ended
    either: list[asyncio.Future[Any]] = [said, gone, ended]
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        # Nothing of what it said is lost: the pipe holds it, and ends.
        await asyncio.wait(either[:2], return_when=asyncio.FIRST_COMPLETED)
        close = said.result() if said.done() and not said.cancelled() else None
        if close is not None:
            await wire.close(*close)
        status = await process.end()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.shield(logging_), AFTERMATH)
        if close is None and not gone.done():
            if status:
                how = f"exit status {status}" if status > 0 else f"signal {-status}"
                log.error("%s its process ended with %s", wire.name, how, extra=about(wire))
            await wire.close(*(FAILED if status else (1000, "the program ended")))
    finally:
        for task in (heard, said, gone, logging_):
            task.cancel()
        process.close()


async def _listen(wire: Wire, process: Process) -> None:
    """Write each message to the program as a line."""
    with contextlib.suppress(ConnectionClosed):
        async for message in wire:
            if isinstance(message, bytes):
                wire.drop(1003, "text alone: a message is a line")
            elif BREAK.search(message):
                wire.drop(1008, "a message is one line, without line breaks")
            else:
                await process.input.write(message.encode() + b"\n")
                continue
            return


async def _speak(wire: Wire, process: Process) -> tuple[int, str] | None:
    """Send each line of the program as a message; return how to close where that is not its exit status's affair."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            try:
                line = await process.output.readline()
                if not line:
                    return None
                text = line.removesuffix(b"\n").removesuffix(b"\r").decode()
            except UnicodeDecodeError:
                why = "a line that is not UTF-8"
            except ValueError:
                why = f"a line beyond {LINE_MOST} bytes"
            else:
                await wire.send(text)
                continue
            log.error("%s its program wrote %s", wire.name, why, extra=about(wire))
            return FAILED
    return None


async def _log(wire: Wire, process: Process) -> None:
    """Log what the process says on standard error, so much a second: more of it waits in its pipe."""
    clock = asyncio.get_running_loop().time
    bucket = Bucket(LOG_BURST, LOG_PER_SECOND, clock())
    while True:
        try:
            line = await process.errors.readline()
        except ValueError:
            line = f"(a line beyond {LINE_MOST} bytes)\n".encode()
        if not line:
            return
        if wait := bucket.take(clock()):
            await asyncio.sleep(wait)
            bucket.take(clock())
        log.info("%s stderr: %s", wire.name, _shown(line), extra=about(wire))


def _shown(line: bytes) -> str:
    text = line[:LOG_MOST].decode(errors="backslashreplace").rstrip("\r\n")
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)
