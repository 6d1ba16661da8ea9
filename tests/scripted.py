"""A backend that does what a test says, and remembers what it was asked: real sockets, a thread for each connection.

Reads one request from each connection. Knows nothing of frames.
"""

import base64
import hashlib
import http.client
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3


@dataclass(frozen=True)
class Request:
    """Hold one request as the backend saw it."""

    method: str
    path: str
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def is_upgrade(self) -> bool:
        """Tell whether a WebSocket is asked for."""
        return self.headers.get("Upgrade", "").lower() == "websocket"


Script = Callable[[socket.socket, Request], None]


def answering(status: str, *headers: str, body: bytes = b"") -> Script:
    """Return a script that gives one answer to everything, as `200 OK`."""

    def script(connection: socket.socket, _request: Request) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
        connection.sendall("\r\n".join(lines).encode() + body)

    return script


def accepting(connection: socket.socket, request: Request) -> None:
    """Accept every upgrade and hold it until the other end goes; answer all else with 200."""
    if not request.is_upgrade:
        answering("200 OK", body=b"page")(connection, request)
        return
    digest = hashlib.sha1((request.headers["Sec-WebSocket-Key"] + _GUID).encode(), usedforsecurity=False)
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(digest.digest()) + b"\r\n\r\n"
    )
    while connection.recv(4096):
        pass


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, host: str, port: int, script: Script, context: ssl.SSLContext | None) -> None:
        self.script = script
        self.context = context
        self.seen: list[Request] = []
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection, by TLS where there is a context."""
        with self.context.wrap_socket(request, server_side=True) if self.context else request as connection:
            super().finish_request(connection, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a front that hangs up: Apache is what is tested."""


class _Handler(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        words = self.rfile.readline().decode("latin-1").split()
        if not words:
            return
        headers = http.client.parse_headers(self.rfile)
        body = self.rfile.read(int(headers.get("Content-Length", "0")))
        request = Request(words[0], words[1], headers, body)
        self.server.seen.append(request)
        self.server.script(self.connection, request)


@contextmanager
def scripted(
    port: int,
    script: Script = accepting,
    *,
    host: str = "127.0.0.1",
    context: ssl.SSLContext | None = None,
) -> Iterator[list[Request]]:
    """Run a backend until the block ends, by TLS with a context; yield the requests it sees, as they come."""
    with _Server(host, port, script, context) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.seen
        finally:
            server.shutdown()
            thread.join()
