"""One socket's life: what it may send and how often, and the answers it gets.

Knows nothing of HTTP, of who may connect, or of how rooms send.
"""

import asyncio
import math
from collections.abc import AsyncIterable

from websockets.exceptions import ConnectionClosed

from .chat import Hall, Member
from .frames import COMPRESS_MOST, frame_of
from .messages import (
    LIMITS,
    ErrorMessage,
    Inbound,
    Join,
    Leave,
    Person,
    Ping,
    Pong,
    Refusal,
    Resume,
    Said,
    UserMessage,
    checked_color,
    checked_message,
    checked_name,
    checked_room,
    decode,
    encode,
)
from .wire import Wire

ECHO_MOST = 16 << 20
LARGE_ECHOES = (
    2  # of ECHO_MOST at a time: each takes about twice that of memory, and 20 ms of everybody's time
)
REFUSED_MOST = 100


class Bucket:
    """A token bucket: so many messages at once, so many a second over time."""

    def __init__(self, burst: int, per_second: float, now: float) -> None:
        self.burst = burst
        self.per_second = per_second
        self.tokens = float(burst)
        self.then = now

    def take(self, now: float) -> float:
        """Take a token; return 0, or the seconds until there is one."""
        self.tokens = min(self.burst, self.tokens + (now - self.then) * self.per_second)
        self.then = now
        if self.tokens < 1:
            return (1 - self.tokens) / self.per_second
        self.tokens -= 1
        return 0.0


async def echo(wire: Wire, large: set[Wire]) -> None:
    """Send every message back as it came, until the socket closes; a few of those open, kept in ``large``, may send large ones."""
    if len(large) < LARGE_ECHOES:
        large.add(wire)
        wire.protocol.max_message_size = ECHO_MOST
    try:
        async for message in wire:
            if len(message) > COMPRESS_MOST:
                # Half a second of zlib for 16 MiB would hold up everybody else.
                wire.write(frame_of(message))
                await wire.drain()
            else:
                await wire.send(message)
    except (ConnectionClosed, OSError):  # the latter from drain()
        pass
    finally:
        large.discard(wire)


async def chat(wire: Wire, hall: Hall, room: str, frames: AsyncIterable[str | bytes] | None = None) -> None:
    """Serve one socket of the chat until it closes; ``frames`` are what it sends, where that comes by another way."""
    clock = asyncio.get_running_loop().time
    bucket = Bucket(LIMITS.burst, LIMITS.per_second, clock())
    refused = 0
    member = Member(wire)
    hall.enter(member, room)
    try:
        async for frame in frames or wire:
            wait = bucket.take(clock())
            refused = refused + 1 if wait else 0
            if refused > REFUSED_MOST:
                wire.drop(1008, "too many messages")
                return
            message = None
            try:
                message = _read(frame, wait)
                answer = await _serve(hall, member, message)
            except Refusal as refusal:
                answer = _error(refusal, message)
            if answer is not None:
                await wire.send(answer, text=True)
    except ConnectionClosed:
        pass
    finally:
        hall.exit(member)


def _read(frame: str | bytes, wait: float) -> Inbound:
    """Read a frame that was not too early.

    Raises:
        Refusal: rate-limited, not-text, bad-json, unknown-type or bad-field.
    """
    if wait:
        after = math.ceil(wait * 10) / 10
        raise Refusal("rate-limited", "Too many messages; wait a moment.", retry_after=after)
    if isinstance(frame, bytes):
        raise Refusal("not-text", "Send text frames; the chat has no binary ones.")
    return decode(frame)


def _error(refusal: Refusal, message: Inbound | None) -> bytes:
    error = ErrorMessage(refusal.code, str(refusal))
    if refusal.retry_after is not None:
        error.retry_after = refusal.retry_after
    if refusal.ref is not None:
        error.ref = refusal.ref
    if isinstance(message, UserMessage) and message.id is not None:
        error.id = message.id
    return encode(error)


async def _serve(hall: Hall, member: Member, message: Inbound) -> bytes | None:
    """Do what a message asks for and return the answer, where there is one.

    Raises:
        Refusal: where the message is not as it should be.
    """
    match message:
        case UserMessage():
            name, color = _signature(member.person, message)
            said = Said(name, checked_message(message.message, message.ref), color)
            ack = await hall.say(member, said, message)
            return None if ack is None else encode(ack)
        case Join(ref=ref):
            name = checked_name(message.name, ref)
            color = checked_color(message.color, name, ref)
            room = None if message.room is None else checked_room(message.room, ref)
            return encode(hall.join(member, name, color, room, ref))
        case Resume():
            await hall.resume(member, message)
        case Leave():
            hall.leave(member)
        case Ping():
            return encode(Pong() if message.ref is None else Pong(message.ref))
    return None


def _signature(person: Person | None, message: UserMessage) -> tuple[str, str]:
    if person is not None:
        return person.name, person.color
    if message.name is None:
        raise Refusal("bad-field", "Give a name with the message, or join first.", message.ref)
    name = checked_name(message.name, message.ref)
    return name, checked_color(message.color, name, message.ref)
