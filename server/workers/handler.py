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
MOST = 2 << 20  # bytes in one message: the largest picture


class Kind:
    """What a record in a pipe is: text or binary from and to the client, or for the room, or the end with a code."""

    TEXT = b"T"
    BINARY = b"B"
    ROOM_TEXT = b"t"
    ROOM_BINARY = b"b"
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

    def __init__(self, request: Mapping[str, str], source: int, sink: int) -> None:
        self.request = request
        self._in = source
        self._out = sink

    def __iter__(self) -> Iterator[str | bytes]:
        while (record := _read_record(self._in)) is not None:
            yield record.payload if record.kind == Kind.BINARY else record.payload.decode()

    def send(self, message: str | bytes) -> None:
        """Send a message to the client; blocks while it reads too slowly.

        Raises:
            ValueError: beyond 2 MiB.
        """
        self._write(message, Kind.TEXT, Kind.BINARY)

    def hand_on(self, message: str | bytes) -> None:
        """Have the server take a message as if the client had sent it to the chat (PROTOCOL.md), which answers it and tells the room.

        Raises:
            ValueError: beyond 2 MiB.
        """
        self._write(message, Kind.ROOM_TEXT, Kind.ROOM_BINARY)

    def close(self, code: int = 1000, reason: str = "") -> None:
        """End the connection with 1000, 1008, 1011, 1013 or a code of your own (RFC 6455, section 7.4: 3000 to 4999), and this process.

        Of the reason 123 bytes are sent.
        """
        _write(self._out, Record(Kind.CLOSE, json.dumps([code, reason]).encode()))
        raise SystemExit

    def _write(self, message: str | bytes, text: bytes, binary: bytes) -> None:
        payload = message.encode() if isinstance(message, str) else message
        if len(payload) > MOST:
            raise ValueError(f"a message of {len(payload)} bytes; at most {MOST} can be sent")
        _write(self._out, Record(text if isinstance(message, str) else binary, payload))


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
    """Serve this process's one connection, whose pipes are descriptors 0 and 1; print() writes to the log from now on."""
    source, sink = os.dup(0), os.dup(1)
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123  # a descriptor is wanted
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    try:
        handler(Connection(request, source, sink))
    finally:
        sys.stdout.flush()


def _read_record(source: int) -> Record | None:
    head = _read(source, HEAD.size)
    if len(head) < HEAD.size:
        return None
    kind, length = HEAD.unpack(head)
    payload = _read(source, length)
    return Record(kind, payload) if len(payload) == length else None


def _read(source: int, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = os.read(source, count - len(data))
        if not part:
            break
        data += part
    return data


def _write(sink: int, record: Record) -> None:
    view = memoryview(record.pack())
    while view:
        view = view[os.write(sink, view) :]
