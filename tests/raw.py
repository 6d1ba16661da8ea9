"""Requests written by hand, header by header, to an Apache under test.

Sends what no well-behaved client would. Knows nothing of frames: a handshake's answer is all it reads.
"""

import http.client
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from apache.site import Site
from tests.waiting import SECOND

_KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # RFC 6455, 1.3


@dataclass(frozen=True)
class Answer:
    """Hold what came back: status, all headers, and the body (of a 101: nothing)."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes


class Front(Protocol):
    """Say where an Apache is: on loopback, by TLS or plain as its site has it."""

    https_port: int
    http_port: int
    site: Site


class Line:
    """One connection to Apache, on which requests go out one after the other."""

    def __init__(self, connection: socket.socket, host: str) -> None:
        self.connection = connection
        self.host = host

    def ask(
        self,
        path: str,
        *headers: str,
        method: str = "GET",
        host: str | None = None,
        body: bytes | None = None,
    ) -> Answer:
        """Send a request and read its answer.

        Args:
            path: goes out as it is, percent signs and all.
            headers: whole lines, `Name: value`.
            method: of the request line.
            host: the Host header; default: the name and port connected to.
            body: goes out with its Content-Length; None: neither.
        """
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or self.host}", *headers]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.connection.sendall("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        response = http.client.HTTPResponse(self.connection, method=method)
        try:
            response.begin()
            return Answer(response.status, response.headers, response.read())
        finally:
            response.close()

    def shake(
        self,
        path: str,
        *headers: str,
        connection: str = "Upgrade",
        upgrade: str = "websocket",
        method: str = "GET",
        host: str | None = None,
    ) -> Answer:
        """Send a handshake (RFC 6455, 4.1) and read its answer."""
        return self.ask(
            path,
            f"Connection: {connection}",
            f"Upgrade: {upgrade}",
            f"Sec-WebSocket-Key: {_KEY}",
            "Sec-WebSocket-Version: 13",
            *headers,
            method=method,
            host=host,
        )


@contextmanager
def line(stack: Front, *, plain: bool | None = None, name: str = "", source: str = "") -> Iterator[Line]:
    """Open a connection to an Apache, and close it.

    Args:
        stack: the Apache that is meant.
        plain: to the port for plain HTTP; default: where the first site is.
        name: sent in TLS and in Host; none: only `localhost` in Host, so that Host alone chooses.
        source: the loopback address to come from; none: the kernel's choice, which is 127.0.0.1.
    """
    if plain is None:
        plain = stack.site.tls.mode == "none"
    port = stack.http_port if plain else stack.https_port
    # Without a bind to an address: that would take ports from where tests look for free ones.
    origin = (source, 0) if source else None
    with socket.create_connection(("127.0.0.1", port), 10 * SECOND, origin) as connection:
        if plain:
            yield Line(connection, f"{name or 'localhost'}:{port}")
            return
        # The certificate is judged in test_clients.py.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(connection, server_hostname=name or None) as encrypted:
            yield Line(encrypted, f"{name or 'localhost'}:{port}")


def ask(
    stack: Front,
    path: str,
    *headers: str,
    plain: bool | None = None,
    name: str = "",
    source: str = "",
    **options: Any,
) -> Answer:
    """Send one request on a connection of its own; the options are those of `Line.ask`."""
    with line(stack, plain=plain, name=name, source=source) as opened:
        return opened.ask(path, *headers, **options)


def shake(
    stack: Front,
    path: str,
    *headers: str,
    plain: bool | None = None,
    name: str = "",
    source: str = "",
    **options: Any,
) -> Answer:
    """Send one handshake on a connection of its own; the options are those of `Line.shake`."""
    with line(stack, plain=plain, name=name, source=source) as opened:
        return opened.shake(path, *headers, **options)
