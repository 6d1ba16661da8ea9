"""Many WebSockets in one process: non-blocking sockets, TLS by OpenSSL, frames by hand, one epoll.

Does no more than a load generator must, so that the proxy and not the client is what is measured: no compression, a mask of zeros
(RFC 6455, 5.3, leaves its choice to the client), one fixed key. Knows nothing of scenarios: they hang their own functions on the hooks.
"""

import base64
import errno
import hashlib
import os
import select
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

KEY = base64.b64encode(b"wsfront's bench!").decode()
ACCEPT = base64.b64encode(hashlib.sha1(f"{KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest())  # noqa: S324 (RFC 6455, 4.2.2)
TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
HEAD_MOST = 1 << 14
READ_SIZE = 1 << 16
_SHORT, _MEDIUM, _LONG = 126, 127, 1 << 16


def frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Return a whole client's frame."""
    size = len(payload)
    if size < _SHORT:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < _LONG:
        head = bytes((0x80 | opcode, 0x80 | _SHORT)) + size.to_bytes(2)
    else:
        head = bytes((0x80 | opcode, 0x80 | _MEDIUM)) + size.to_bytes(8)
    return head + b"\0\0\0\0" + payload


_GOODBYE = frame((1000).to_bytes(2), CLOSE)


def _nothing(*_: Any) -> None:
    """Be the hook that nobody hung anything on."""


class Connection:
    """One WebSocket, from connect(2) to its end.

    Attributes:
        began: time.monotonic() before connect(2).
        tag: whatever a scenario keeps here.
    """

    __slots__ = (
        "_buffer",
        "_client",
        "_hook",
        "_out",
        "_socket",
        "_step",
        "began",
        "leaving",
        "number",
        "tag",
    )

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._buffer = bytearray()
        self._out = bytearray()
        self.leaving = False
        self.tag: Any = None
        self.began = time.monotonic()
        self._socket: socket.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self.number = self._socket.fileno()
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._step: Callable[[], None] = self._connected
        refused = self._socket.connect_ex(client.address)
        if refused not in {0, errno.EINPROGRESS}:
            self._socket.close()
            raise OSError(refused, os.strerror(refused))
        client.poll.register(self.number, select.EPOLLOUT)

    def ready(self) -> None:
        """Go on: the kernel has something for us, or takes something."""
        try:
            self._step()
        except (ssl.SSLWantReadError, BlockingIOError):
            self._client.poll.modify(self.number, select.EPOLLIN | (select.EPOLLOUT if self._out else 0))
        except ssl.SSLWantWriteError:
            self._client.poll.modify(self.number, select.EPOLLIN | select.EPOLLOUT)
        except OSError as error:
            self.end(error.strerror or type(error).__name__)

    def send(self, data: bytes) -> None:
        """Send whole frames; what the kernel does not take now goes later."""
        if self._out:
            self._out += data
            return
        try:
            sent = self._socket.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            sent = 0
        except OSError as error:
            self.end(error.strerror or type(error).__name__)
            return
        if sent < len(data):
            self._out += data[sent:]
            self._client.poll.modify(self.number, select.EPOLLIN | select.EPOLLOUT)

    def listen(self, hook: "Callable[[Connection, bytes], None]") -> None:
        """Hand all bytes to a hook as they come, from now on: no frame is taken apart, and answering pings is the hook's."""
        self._hook = hook
        self._step = self._streaming
        self._hand_over()

    def stall(self) -> None:
        """Read no more, and let the kernel keep as little as it can."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self._client.poll.modify(self.number, 0)

    def leave(self) -> None:
        """Say goodbye; the connection ends once the server has closed it."""
        if not self.leaving:
            self.leaving = True
            self.send(_GOODBYE)

    def end(self, reason: str) -> None:
        """Be gone, and tell the client why."""
        if self.number in self._client.all:
            self._client.poll.unregister(self.number)
            self._socket.close()
            self._client.forget(self, "" if self.leaving else reason)

    def _connected(self) -> None:
        fault = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault:
            raise OSError(fault, os.strerror(fault))
        if self._client.context:
            self._socket = self._client.context.wrap_socket(
                self._socket, do_handshake_on_connect=False, server_hostname=self._client.name
            )
            self._step = self._secure
            self._secure()
        else:
            self._ask()

    def _secure(self) -> None:
        self._socket.do_handshake()  # type: ignore[attr-defined]  # only ever called on an SSLSocket
        if not self._client.negotiated:
            cipher, version, _ = self._socket.cipher()  # type: ignore[attr-defined]  # likewise
            self._client.negotiated = f"{version} {cipher}"
            self._client.trust()
        self._ask()

    def _ask(self) -> None:
        self._socket.send(self._client.request)
        self._client.poll.modify(self.number, select.EPOLLIN)
        self._step = self._answered

    def _answered(self) -> None:
        if not self._read():
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_MOST:
                self.end("an endless answer")
            return
        head = bytes(self._buffer[:end])
        del self._buffer[: end + 4]
        if not head.startswith(b"HTTP/1.1 101"):
            self.end(f"answered {head[9:12].decode(errors='replace')}")
        elif ACCEPT not in head:
            self.end("a wrong Sec-WebSocket-Accept")
        else:
            self._step = self._open
            self._client.open.add(self)
            self._client.on_open(self)
            self._take_frames()

    def _send_on(self) -> None:
        if self._out:
            del self._out[: self._socket.send(self._out)]
            if not self._out:
                self._client.poll.modify(self.number, select.EPOLLIN)

    def _open(self) -> None:
        self._send_on()
        if self._read():
            self._take_frames()

    def _streaming(self) -> None:
        self._send_on()
        if self._read():
            self._hand_over()

    def _hand_over(self) -> None:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._hook(self, data)

    def _read(self) -> bool:
        """Take what is there; tell whether the connection goes on."""
        data = self._socket.recv(READ_SIZE)
        while data:
            self._buffer += data
            if not self._client.context or not self._socket.pending():  # type: ignore[attr-defined]  # an SSLSocket, then
                return True
            data = self._socket.recv(READ_SIZE)
        self.end("closed by the other side")
        return False

    def _take_frames(self) -> None:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:  # noqa: PLR2004 (the shortest head: RFC 6455, 5.2)
            size, body = buffer[at + 1] & 0x7F, at + 2
            if size == _SHORT:
                size, body = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif size == _MEDIUM:
                size, body = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if body > len(buffer) or body + size > len(buffer):
                break
            opcode, payload = buffer[at] & 0x0F, bytes(buffer[body : body + size])
            at = body + size
            if opcode == PING:
                self.send(frame(payload, PONG))
            elif opcode == CLOSE:
                if not self.leaving:
                    self.send(frame(payload, CLOSE))
                    code = int.from_bytes(payload[:2]) if payload else 1005
                    self.end(f"closed with {code}")
                    return
            elif opcode != PONG:
                self._client.on_message(self, payload)
        del buffer[:at]


class Client:
    """All WebSockets of one process.

    Args:
        port: where on 127.0.0.1.
        path: what is asked for.
        authority: file with the certificate authority to trust; None: plain ws.
        name: the server's name.

    Attributes:
        on_open: called with each connection once it is open.
        on_message: called with a connection and each message's bytes.
        on_end: called with a connection and the reason; empty: we left.
    """

    on_open: Callable[[Connection], None]
    on_message: Callable[[Connection, bytes], None]
    on_end: Callable[[Connection, str], None]

    def __init__(self, port: int, path: str, authority: str | None, name: str = "localhost") -> None:
        self.address = ("127.0.0.1", port)
        self.name = name
        self.context = ssl.create_default_context(cafile=authority) if authority else None
        scheme = "https" if authority else "http"
        self.request = (
            f"GET {path} HTTP/1.1\r\nHost: {name}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\nOrigin: {scheme}://{name}:{port}\r\n\r\n"
        ).encode()
        self.poll = select.epoll()
        self.all: dict[int, Connection] = {}
        self.open: set[Connection] = set()
        self.ended: Counter[str] = Counter()
        self.negotiated = ""
        self.calm()

    def trust(self) -> None:
        """Check no further certificate: the first was good, and a check of each costs a sixth of a client's handshake."""
        if self.context:
            self.context.check_hostname = False
            self.context.verify_mode = ssl.CERT_NONE

    def calm(self) -> None:
        """Take all hooks off, so that one piece of work does not hear of another's connections."""
        self.on_open = self.on_message = self.on_end = _nothing

    def connect(self) -> Connection | None:
        """Begin one connection; None: the kernel refused at once, which counts as an end."""
        try:
            made = Connection(self)
        except OSError as error:
            self.ended[error.strerror or type(error).__name__] += 1
            return None
        self.all[made.number] = made
        return made

    def turn(self, seconds: float, also: int | None = None) -> bool:
        """Wait up to these seconds for something to happen, and let it; tell whether the file `also` is readable."""
        found = False
        for number, _ in self.poll.poll(max(0.0, seconds), 256):
            if number == also:
                found = True
            elif connection := self.all.get(number):
                connection.ready()
        return found

    def close(self) -> None:
        """End everything at once."""
        for connection in list(self.all.values()):
            connection.leaving = True
            connection.end("")
        self.poll.close()

    def forget(self, connection: Connection, reason: str) -> None:
        """Strike out a connection that has ended."""
        del self.all[connection.number]
        self.open.discard(connection)
        if reason:
            self.ended[reason] += 1
        self.on_end(connection, reason)

    def give_up(self, reason: str) -> None:
        """End what is not open yet."""
        for connection in [each for each in self.all.values() if each not in self.open]:
            connection.end(reason)

    def open_more(self, count: int, *, in_flight: int = 32, patience: float = 5.0) -> float:
        """Open connections and keep them, as many at a time as told; stop once nothing opens for `patience` seconds.

        Returns:
            seconds until the last one that opened.
        """
        began = last = time.monotonic()
        goal = len(self.open) + count
        left = count
        before = len(self.open)
        while len(self.open) < goal and time.monotonic() - last < patience:
            waiting = len(self.all) - len(self.open)
            while left and waiting < in_flight:
                left -= 1
                waiting += self.connect() is not None
            if not waiting:
                break
            self.turn(0.1)
            if len(self.open) > before:
                before, last = len(self.open), time.monotonic()
        self.give_up("no answer")
        return last - began
