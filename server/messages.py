"""The chat's messages as types, and the rules for what people may put in them; PROTOCOL.md in code.

Knows nothing of rooms or of connections.
"""

import re
import unicodedata
import zlib
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

FRAME_MOST = 65_536
REF_MOST = 64
CLIENT = re.compile(r"[\w-]{16,64}", re.ASCII)
ROOM_MOST = 64
COLOR = re.compile(r"#?[0-9A-Za-z]{1,31}")
# Marks that turn the direction of all the text behind them: https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters
BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
PALETTE = (
    "#7c3aed", "#2563eb", "#0891b2", "#059669", "#65a30d", "#ca8a04",
    "#ea580c", "#dc2626", "#e11d48", "#c026d3", "#9333ea", "#4f46e5",
)  # fmt: skip


class Limits(msgspec.Struct, frozen=True):
    """What one socket may send: lengths in characters, frames in bytes, messages a second."""

    message: int = 2000
    name: int = 40
    frame: int = FRAME_MOST
    picture: int = 2 << 20  # inflating as much holds up the loop for 12 ms
    alt: int = 500
    burst: int = 20
    per_second: int = 5


LIMITS = Limits()


class Refusal(Exception):  # noqa: N818  # an answer to the client, not an error of ours
    """A message that is not served: a code of PROTOCOL.md, a sentence for people, the client's ref."""

    def __init__(
        self, code: str, sentence: str, ref: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(sentence)
        self.code = code
        self.ref = ref
        self.retry_after = retry_after


class Join(msgspec.Struct, tag_field="type", tag="join"):
    """Name this socket, or rename it; with a room, move it there."""

    name: str
    color: str | None = None
    room: str | None = None
    ref: str | None = None


class UserMessage(msgspec.Struct, tag_field="type", tag="usermsg"):
    """A line of chat as a client sends it."""

    message: str
    name: str | None = None
    color: str | None = None
    ref: str | None = None
    id: str | None = None


class PictureMessage(msgspec.Struct, tag_field="type", tag="picture"):
    """A picture of so many bytes, which are the next binary frame; ``alt`` says what it shows."""

    size: Annotated[int, msgspec.Meta(gt=0)]
    alt: str = ""
    ref: str | None = None
    id: str | None = None


class Resume(msgspec.Struct, tag_field="type", tag="resume"):
    """Say who this client is, and where in the room it was; without a position, ask for it."""

    client: str | None = None
    epoch: str | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, lt=2**53)] | None = None
    ref: str | None = None


class Leave(msgspec.Struct, tag_field="type", tag="leave"):
    """Be listed no longer."""

    ref: str | None = None


class Ping(msgspec.Struct, tag_field="type", tag="ping"):
    """Ask for a pong: a browser cannot send the protocol's own ping."""

    ref: str | None = None


Inbound = Join | UserMessage | PictureMessage | Resume | Leave | Ping


class Person(msgspec.Struct, frozen=True):
    """Someone who joined."""

    id: str
    name: str
    color: str


class Gone(msgspec.Struct, frozen=True):
    """Someone who left."""

    id: str
    name: str


class Welcome(msgspec.Struct, tag_field="type", tag="welcome"):
    """The answer to a join."""

    id: str
    room: str
    name: str
    color: str
    count: int
    people: list[Person]
    limits: Limits = LIMITS


class Said(msgspec.Struct, tag_field="type", tag="usermsg", rename={"from_": "from"}):
    """A line of chat as everyone in the room receives it, but for its offset, which it has once it is kept."""

    name: str
    message: str
    color: str
    from_: str | UnsetType = UNSET
    time: int | UnsetType = UNSET
    id: str | UnsetType = UNSET


class Shown(msgspec.Struct, tag_field="type", tag="picture", rename={"from_": "from"}):
    """A picture as everyone in the room receives it, ``data`` in base64; its fields are a line's but for the message."""

    name: str
    color: str
    mime: str
    width: int
    height: int
    data: bytes
    alt: str
    from_: str | UnsetType = UNSET
    time: int | UnsetType = UNSET
    id: str | UnsetType = UNSET


class Ready(msgspec.Struct, tag_field="type", tag="ready"):
    """The announced picture may be sent."""

    id: str | UnsetType = UNSET
    ref: str | UnsetType = UNSET


class Ack(msgspec.Struct, tag_field="type", tag="ack"):
    """A line is kept: where; ``again``: it was there already."""

    epoch: str
    offset: int
    id: str | UnsetType = UNSET
    ref: str | UnsetType = UNSET
    again: bool | UnsetType = UNSET


class Resumed(msgspec.Struct, tag_field="type", tag="resumed"):
    """The answer to a resume: the lines after ``offset`` follow, ``count`` of them at once."""

    room: str
    epoch: str
    offset: int
    count: int
    ref: str | UnsetType = UNSET


class Missing(msgspec.Struct, tag_field="type", tag="gap"):
    """Lines are missing, ``lost`` of them where that is known; it goes on after ``offset``, with ``count`` lines at once."""

    room: str
    epoch: str
    offset: int
    count: int
    reason: str
    lost: int | UnsetType = UNSET
    ref: str | UnsetType = UNSET


class Presence(msgspec.Struct, tag_field="type", tag="presence"):
    """Who came, went or was renamed since the last one; ``more`` counts the changes that were cut."""

    count: int
    joined: list[Person]
    left: list[Gone]
    renamed: list[Person]
    more: int | UnsetType = UNSET


class Pong(msgspec.Struct, tag_field="type", tag="pong"):
    """The answer to a ping."""

    ref: str | UnsetType = UNSET


class ErrorMessage(msgspec.Struct, tag_field="type", tag="error"):
    """Why a message was not served."""

    code: str
    message: str
    retry_after: float | UnsetType = UNSET
    ref: str | UnsetType = UNSET
    id: str | UnsetType = UNSET


class _Head(msgspec.Struct):
    """What is read of a message that did not fit, to say why."""

    type: Any = None
    ref: Any = None


_decoder: msgspec.json.Decoder[Inbound] = msgspec.json.Decoder(Inbound)
_head_decoder = msgspec.json.Decoder(_Head)
encode = msgspec.json.Encoder().encode


def decode(text: str) -> Inbound:
    """Read one frame's text.

    Raises:
        Refusal: bad-json, unknown-type or bad-field.
    """
    try:
        message = _decoder.decode(text)
    except msgspec.ValidationError as fault:
        raise _misfit(text, str(fault)) from None
    except (msgspec.DecodeError, RecursionError):
        raise Refusal("bad-json", "This is not JSON.") from None
    if message.ref is not None and len(message.ref) > REF_MOST:
        raise Refusal("bad-field", f"A ref has at most {REF_MOST} characters.")
    name = message.id if isinstance(message, UserMessage | PictureMessage) else None
    if name is not None and not 1 <= len(name) <= REF_MOST:
        raise Refusal("bad-field", f"An id has 1 to {REF_MOST} characters.", message.ref)
    if isinstance(message, Resume):
        _check_resume(message)
    return message


def _check_resume(message: Resume) -> None:
    if message.client is not None and not CLIENT.fullmatch(message.client):
        raise Refusal("bad-field", "A client has 16 to 64 letters, digits, - and _.", message.ref)
    if (message.epoch is None) != (message.offset is None):
        raise Refusal("bad-field", "A position has an epoch and an offset.", message.ref)


def _misfit(text: str, fault: str) -> Refusal:
    try:
        head = _head_decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return Refusal("bad-json", "Expected one JSON object.")
    ref = head.ref if isinstance(head.ref, str) and len(head.ref) <= REF_MOST else None
    if head.type not in ("join", "usermsg", "picture", "resume", "leave", "ping"):
        return Refusal(
            "unknown-type", "Unknown type; expected join, usermsg, picture, resume, leave or ping.", ref
        )
    return Refusal("bad-field", f"{fault}.", ref)


def checked_name(name: str, ref: str | None = None) -> str:
    """Trim a name and refuse one that is empty, too long, invisible or turns the text around it."""
    name = name.strip()
    if len(name) > LIMITS.name:
        raise Refusal("too-long", f"A name has at most {LIMITS.name} characters.", ref)
    if not any(unicodedata.category(character)[0] not in "CZ" for character in name):
        raise Refusal("bad-field", "A name has at least one visible character.", ref)
    if not _is_plain(name):
        raise Refusal("bad-field", "A name has no control characters.", ref)
    return name


def checked_message(message: str, ref: str | None = None) -> str:
    """Refuse a chat line that is empty or too long."""
    if not message:
        raise Refusal("bad-field", "A message has at least one character.", ref)
    if len(message) > LIMITS.message:
        raise Refusal("too-long", f"A message has at most {LIMITS.message} characters.", ref)
    return message


def checked_alt(alt: str, ref: str | None = None) -> str:
    """Refuse a picture's text that is too long."""
    if len(alt) > LIMITS.alt:
        raise Refusal("too-long", f"A picture's text has at most {LIMITS.alt} characters.", ref)
    return alt


def checked_color(color: str | None, name: str, ref: str | None = None) -> str:
    """Refuse a colour that is no hex number or name of a colour; derive a missing one from the name.

    Simple clients write ``#7c3aed``, ``7C3AED`` and ``red``; who shows it must know what it can show.
    """
    if color is None:
        return color_of(name)
    if not COLOR.fullmatch(color):
        raise Refusal("bad-field", "A colour is written #rrggbb, or as a name.", ref)
    return color


def checked_room(room: str, ref: str | None = None) -> str:
    """Refuse a room's name that is empty, too long or has control characters."""
    if not 1 <= len(room) <= ROOM_MOST or not _is_plain(room):
        raise Refusal("bad-field", f"A room has 1 to {ROOM_MOST} characters, no control characters.", ref)
    return room


def color_of(name: str) -> str:
    """Derive a colour from a name, the same one every time."""
    return PALETTE[zlib.crc32(name.encode()) % len(PALETTE)]


def _is_plain(text: str) -> bool:
    return not any(
        character in BIDI or unicodedata.category(character) in ("Cc", "Zl", "Zp") for character in text
    )
