"""One socket's life: what it may send and how often, and the answers it gets.

Knows nothing of HTTP, of who may connect, or of how rooms send.
"""

import asyncio
import math
from collections.abc import AsyncIterable

from websockets.exceptions import ConnectionClosed

from .bucket import Bucket
from .chat import Hall, Member
from .frames import COMPRESS_MOST, frame_of
from .messages import (
    FRAME_MOST,
    LIMITS,
    ErrorMessage,
    Inbound,
    Join,
    Leave,
    Person,
    PictureMessage,
    Ping,
    Pong,
    Ready,
    Refusal,
    Resume,
    Said,
    Shown,
    UserMessage,
    checked_alt,
    checked_color,
    checked_message,
    checked_name,
    checked_room,
    decode,
    encode,
)
from .uploads import Sender, Uploads
from .wire import Wire

ECHO_MOST = 16 << 20
LARGE_ECHOES = (
    2  # of ECHO_MOST at a time: each takes about twice that of memory, and 20 ms of everybody's time
)
REFUSED_MOST = 100


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


async def chat(
    wire: Wire, hall: Hall, room: str, uploads: Uploads, frames: AsyncIterable[str | bytes] | None = None
) -> None:
    """Serve one socket of the chat until it closes; ``frames`` are what it sends, where that comes by another way."""
    clock = asyncio.get_running_loop().time
    bucket = Bucket(LIMITS.burst, LIMITS.per_second, clock())
    refused = 0
    member = Member(wire)
    sender = Sender(wire, uploads)
    hall.enter(member, room)
    try:
        async for frame in frames or wire:
            message: Inbound | None = sender.take() if isinstance(frame, bytes) else None
            # An announced picture was paid for when it was announced.
            wait = 0.0 if message else bucket.take(clock())
            refused = refused + 1 if wait else 0
            if refused > REFUSED_MOST:
                wire.drop(1008, "too many messages")
                return
            if isinstance(frame, str) and len(frame) > FRAME_MOST:
                wire.drop(1009, "a text frame beyond 64 KiB")  # while a picture is let in
                return
            if isinstance(message, PictureMessage) and len(frame) > message.size:
                wire.drop(1009, "a picture beyond its size")
                return
            try:
                if isinstance(frame, bytes) and isinstance(message, PictureMessage):
                    answer = await _show(hall, member, message, frame, sender)
                else:
                    message = _read(frame, wait)
                    answer = await _serve(hall, member, message, sender)
            except Refusal as refusal:
                answer = _error(refusal, message)
            if answer is not None:
                await wire.send(answer, text=True)
    except ConnectionClosed:
        pass
    finally:
        sender.take()
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
        raise Refusal("not-text", "Announce a picture, and send it when the answer is ready.")
    return decode(frame)


def _error(refusal: Refusal, message: Inbound | None) -> bytes:
    error = ErrorMessage(refusal.code, str(refusal))
    if refusal.retry_after is not None:
        error.retry_after = refusal.retry_after
    if refusal.ref is not None:
        error.ref = refusal.ref
    if isinstance(message, UserMessage | PictureMessage) and message.id is not None:
        error.id = message.id
    return encode(error)


async def _serve(hall: Hall, member: Member, message: Inbound, sender: Sender) -> bytes | None:
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
        case PictureMessage():
            return _let_in(member, message, sender)
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


def _let_in(member: Member, message: PictureMessage, sender: Sender) -> bytes:
    if member.person is None:
        raise Refusal("not-joined", "Join before you send a picture.", message.ref)
    checked_alt(message.alt, message.ref)
    sender.announce(message)
    ready = Ready()
    if message.id is not None:
        ready.id = message.id
    if message.ref is not None:
        ready.ref = message.ref
    return encode(ready)


async def _show(
    hall: Hall, member: Member, message: PictureMessage, data: bytes, sender: Sender
) -> bytes | None:
    """Make a picture safe and show it to the room.

    Raises:
        Refusal: bad-picture, unavailable, busy, not-joined or try-again.
    """
    picture = await sender.uploads.prepare(data, sender.address, message.ref)
    person = member.person
    if person is None:
        raise Refusal("not-joined", "Join before you send a picture.", message.ref)
    mime, (width, height) = "image/webp", (picture.width, picture.height)
    shown = Shown(person.name, person.color, mime, width, height, picture.data, message.alt)
    ack = await hall.say(member, shown, message)
    return None if ack is None else encode(ack)


def _signature(person: Person | None, message: UserMessage) -> tuple[str, str]:
    if person is not None:
        return person.name, person.color
    if message.name is None:
        raise Refusal("bad-field", "Give a name with the message, or join first.", message.ref)
    name = checked_name(message.name, message.ref)
    return name, checked_color(message.color, name, message.ref)
