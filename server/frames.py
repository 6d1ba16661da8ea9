"""Frames as bytes, made once for any number of connections: the one place that goes below the library's public API.

`websockets.broadcast` frames, compresses and writes a message anew for every connection, and no call gives the bytes. So `Frame` and
the `extensions` and `writes` of a connection's protocol are used here and in `Wire`; tests/unit/server/test_frames.py fails where a
version of the library has them otherwise. Knows nothing of connections' lives or of rooms.
"""

from functools import cache

from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

PLAIN = 0
# Measured on a chat's JSON, window of 12 bits: below 256 bytes some 50 bytes are saved for 7 microseconds of ours and as much
# of every client's; from there on a quarter to a half for 10 to 20. Beyond 64 KiB it would hold up everybody for milliseconds.
COMPRESS_LEAST = 256
COMPRESS_MOST = 1 << 16
COMPRESS_SETTINGS = {"memLevel": 5}


def frame_of(data: str | bytes, kind: int = PLAIN) -> bytes:
    """Frame a message for all connections of a kind; what compression does not make smaller goes plain (RFC 7692, section 6)."""
    is_text = isinstance(data, str)
    payload = data.encode() if isinstance(data, str) else data
    frame = Frame(Opcode.TEXT if is_text else Opcode.BINARY, payload)
    # Binary messages here are pictures, which are compressed already.
    if kind != PLAIN and is_text and COMPRESS_LEAST <= len(payload) <= COMPRESS_MOST:
        return frame.serialize(mask=False, extensions=[_deflate(kind)])
    return frame.serialize(mask=False)


def kind_of(protocol: ServerProtocol) -> int:
    """Return what a connection can be sent: PLAIN alone, or by the bits of its window what is compressed without context too."""
    match protocol.extensions:
        case [PerMessageDeflate(local_no_context_takeover=True, local_max_window_bits=bits)]:
            return bits
    return PLAIN


@cache
def _deflate(bits: int) -> Extension:
    """Return a compressor that keeps nothing from one message to the next, and so may serve all (RFC 7692, section 7.1.1.1)."""
    return PerMessageDeflate(
        remote_no_context_takeover=True,
        local_no_context_takeover=True,
        remote_max_window_bits=15,
        local_max_window_bits=bits,
        compress_settings=COMPRESS_SETTINGS,
    )
