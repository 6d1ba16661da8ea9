"""What a forked process sees of its connection: blocking calls, and nothing else of the server.

A handler is a function of one argument, this `Connection`. It may block, since nobody else waits for it.
Knows neither sockets nor rooms: what it sends goes through two pipes to the server, which frames it.
"""

import importlib
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

HEAD = struct.Struct("!cI")
MOST = 1 << 24


class Kind:
    """What a record in a pipe is: text or binary from and to the client, a text for the room, or the end with a code."""

    TEXT = b"T"
    BINARY = b"B"
    ROOM = b"R"
    CLOSE = b"C"


class Record(NamedTuple):
    """One record in a pipe."""

    kind: bytes
    payload: bytes

    def pack(self) -> bytes:
        """Put a length in front."""
        return HEAD.pack(self.kind, len(self.payload)) + self.payload


class Connection:
    """One client, as its handler sees it; iterate over it for the client's messages.

    Attributes:
        request: the handshake in CGI's names (RFC 3875): QUERY_STRING, REMOTE_ADDR, HTTP_USER_AGENT and so on.
    """

    def __init__(self, request: Mapping[str, str]) -> None:
        self.request = request

    def __iter__(self) -> Iterator[str | bytes]:
        while (record := read_record()) is not None:
            yield record.payload if record.kind == Kind.BINARY else record.payload.decode()

    def send(self, message: str | bytes) -> None:
        """Send a message to the client; blocks while it reads too slowly."""
        if isinstance(message, str):
            _write(Record(Kind.TEXT, message.encode()))
        else:
            _write(Record(Kind.BINARY, message))

    def hand_on(self, message: str) -> None:
        """Have the server take a text as if the client had sent it to the chat: as PROTOCOL.md has it, to its room."""
        _write(Record(Kind.ROOM, message.encode()))

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection with a code (RFC 6455, section 7.4); what the client still sends is not read."""
        _write(Record(Kind.CLOSE, json.dumps([code, reason]).encode()))


Handler = Callable[[Connection], object]


def find(name: str) -> Handler:
    """Import a handler, ``module:function``, from where this process runs.

    Raises:
        ValueError: where the name has another form, or is no function's.
    """
    module, _, function = name.partition(":")
    if not module or not function:
        raise ValueError(f"{name!r} is no handler; expected module:function")
    if "" not in sys.path and (here := str(os.getcwd())) not in sys.path:  # noqa: PTH109  # a text, for sys.path
        sys.path.append(here)
    found = getattr(importlib.import_module(module), function, None)
    if not callable(found):
        raise ValueError(f"{module} has no function {function!r}")  # noqa: TRY004  # the name is at fault
    return found  # type: ignore[no-any-return]  # what the user calls a handler


def serve(handler: Handler, request: Mapping[str, str]) -> None:
    """Serve this process's one connection."""
    handler(Connection(request))


def read_record() -> Record | None:
    """Read the next record from descriptor 0; None at its end."""
    head = _read(HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length = HEAD.unpack(head)
    payload = _read(length)
    return Record(kind, payload) if len(payload) == length else None


def _read(count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(0, count - len(data))
        if not part:
            break
        data += part
    return data


def _write(record: Record) -> None:
    view = memoryview(record.pack())
    while view:
        view = view[os.write(1, view) :]
