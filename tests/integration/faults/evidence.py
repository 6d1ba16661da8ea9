"""What a client sees of a fault: each a question to a living site, answered true where the fault is there."""

import contextlib
import functools
import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from tests.htaccess import echoes
from tests.integration.faults.backends import forgetful_front
from tests.integration.faults.places import NAME, Place
from tests.raw import Line
from tests.waiting import SECOND, until

Evidence = Callable[[Place], bool]
FIREFOX = "keep-alive, Upgrade"
_PATIENCE = 2 * SECOND  # after which an answer that did not come is said to hang
_KEY = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")


def opens(place: Place, connection: str = "Upgrade") -> bool:
    """Tell whether the site's own page gets a socket whose frames come back."""
    with place.front.line(NAME, "https") as line:
        answer = line.shake(place.path, f"Origin: {place.origin}", connection=connection)
        return answer.status == 101 and echoes(line)


def is_healthy(place: Place) -> bool:
    """Tell whether sockets open as Chrome asks for them, and as Firefox does."""
    return opens(place) and opens(place, FIREFOX)


def answers(*statuses: int, path: str = "", scheme: str = "https", marks: str = "") -> Evidence:
    """Return whether a handshake is answered by one of these, and the log has this said of it; 101 where the fault is not there."""

    def evidence(place: Place) -> bool:
        found = place.shake(path=path, scheme=scheme).status
        assert found in {*statuses, 101}, found
        return found in statuses and marks in place.httpd.log_text()

    return evidence


def lets_through(path: str) -> Evidence:
    """Return whether a handshake for a path is not forbidden."""

    def evidence(place: Place) -> bool:
        return place.shake(path=path).status != 403

    return evidence


def refuses_to_start(place: Place) -> bool:
    """Tell whether Apache does not start at all."""
    return bool(place.refused)


def hangs(place: Place) -> bool:
    """Tell whether a handshake gets no answer at all."""
    try:
        with _connected(place, _PATIENCE) as line:
            line.shake(place.path, f"Origin: {place.origin}")
    except TimeoutError:
        return True
    return False


def goes_idle(place: Place) -> bool:
    """Tell whether a socket that is silent for a moment is cut, without a close frame."""
    with _connected(place, 3 * SECOND) as line:
        if line.shake(place.path, f"Origin: {place.origin}").status != 101:
            return False
        try:
            return line.connection.recv(64) == b""
        except TimeoutError:
            return False


def firefox_is_refused(place: Place) -> bool:
    """Tell whether Chrome gets a socket and Firefox does not."""
    return opens(place) and not opens(place, FIREFOX)


def foreign_page_opens(place: Place) -> bool:
    """Tell whether a page of somebody else's gets a socket."""
    return (
        place.front.shake(NAME, "/ws/echo", "Origin: https://elsewhere.example", scheme="https").status == 101
    )


def strips_headers(place: Place) -> bool:
    """Tell whether a handshake passes whose Connection header names a header to take away."""
    headers = (
        "Connection: Upgrade, X-Forwarded-Proto",
        "Upgrade: websocket",
        f"Origin: {place.origin}",
        *_KEY,
    )
    return place.ask(place.path, *headers).status == 101


def method_passes(place: Place) -> bool:
    """Tell whether the backend, and not Apache, answers a handshake by another method."""
    answer = place.shake(method="DELETE")
    return answer.status not in {403, 404}


def upgrades_to(protocol: str) -> Evidence:
    """Return whether what is no WebSocket is tunnelled."""

    def evidence(place: Place) -> bool:
        return place.shake(upgrade=protocol).status == 101

    return evidence


def is_carried_past_the_rules(place: Place) -> bool:
    """Tell whether a request behind a refused handshake reaches the backend past every rule (CVE-2019-17567)."""
    with _connected(place, _PATIENCE) as line, contextlib.suppress(TimeoutError, OSError):
        assert line.shake(place.path, f"Origin: {place.origin}").status == 403
        line.connection.sendall(b"GET /behind HTTP/1.1\r\nHost: x\r\n\r\n")
        return b"GET /behind" in line.connection.recv(4096)
    return False


def page_connects_to(other: str) -> Evidence:
    """Return whether a request makes Apache look for the port where nobody is (AH00957)."""

    def evidence(place: Place) -> bool:
        position = len(place.httpd.log_text())
        with contextlib.suppress(OSError):
            place.shake(path=place.filled(other))
        return f"connect to 127.0.0.1:{place.nobody}" in place.httpd.log_text()[position:]

    return evidence


def page_says(wanted: bytes, path: str) -> Evidence:
    """Return whether a page holds these bytes."""

    def evidence(place: Place) -> bool:
        return wanted in place.ask(path).body

    return evidence


def is_let_in_by(header: str, path: str = "/inside/") -> Evidence:
    """Return whether a folder that is closed opens to who sends a header."""

    def evidence(place: Place) -> bool:
        assert place.ask(path).status == 403
        return place.ask(path, header).status == 200

    return evidence


def negotiates(version: ssl.TLSVersion) -> Evidence:
    """Return whether the site speaks a version of TLS."""

    def evidence(place: Place) -> bool:
        context = _trusting()
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings(category=DeprecationWarning, action="ignore"):
            context.minimum_version = context.maximum_version = version
        try:
            with (
                socket.create_connection(("127.0.0.1", place.https_port), 5 * SECOND) as connection,
                context.wrap_socket(connection, server_hostname=NAME) as encrypted,
            ):
                return encrypted.version() is not None
        except (ssl.SSLError, OSError):
            return False

    return evidence


def is_untrusted(name: str) -> Evidence:
    """Return whether a browser that trusts its authority does not take the site's certificate for this name's."""

    def evidence(place: Place) -> bool:
        context = ssl.create_default_context(cafile=place.ca)
        with socket.create_connection(("127.0.0.1", place.https_port), 5 * SECOND) as connection:
            try:
                context.wrap_socket(connection, server_hostname=name).close()
            except ssl.SSLCertVerificationError:
                return True
        return False

    return evidence


def logs(mark: str) -> Evidence:
    """Return whether Apache, since it was started the last time, said this."""

    def evidence(place: Place) -> bool:
        return mark in place.httpd.log_text(place.started)

    return evidence


def name_is_missed(place: Place) -> bool:
    """Tell whether a handshake for another name than the first is misdirected, where TLS does not say that name (421)."""
    with (
        socket.create_connection(("127.0.0.1", place.https_port), 5 * SECOND) as connection,
        _trusting().wrap_socket(connection) as encrypted,
    ):
        host = f"shop.test:{place.https_port}"
        return Line(encrypted, host).shake(place.path, f"Origin: https://{host}").status == 421


@contextmanager
def front_without_names(place: Place) -> Iterator[None]:
    """Run a proxy by TLS before the site, at the port where nobody else is, that says no name to it."""
    with forgetful_front(place.nobody, place.https_port, place.server_context(), _trusting()):
        yield


def announces_sockets_over_http2(place: Place) -> bool:
    """Tell whether the server's settings say that sockets may come over HTTP/2 (RFC 8441, 3: SETTINGS_ENABLE_CONNECT_PROTOCOL)."""
    context = _trusting()
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", place.https_port), 5 * SECOND) as connection,
        context.wrap_socket(connection, server_hostname=NAME) as encrypted,
    ):
        encrypted.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        received = b""
        while len(received) < 9 or len(received) < 9 + int.from_bytes(received[:3]):
            received += encrypted.recv(4096)
        settings = received[9 : 9 + int.from_bytes(received[:3])]
    return b"\0\x08\0\0\0\x01" in [settings[at : at + 6] for at in range(0, len(settings), 6)]


@contextmanager
def _connected(place: Place, seconds: float) -> Iterator[Line]:
    """Open a connection to the site on which nothing takes longer than this."""
    context = _trusting()
    with (
        socket.create_connection(("127.0.0.1", place.https_port), seconds) as connection,
        context.wrap_socket(connection, server_hostname=NAME) as encrypted,
    ):
        yield Line(encrypted, f"{NAME}:{place.https_port}")


def _trusting() -> ssl.SSLContext:
    """Return what takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@contextmanager
def tunnels(place: Place, count: int) -> Iterator[None]:
    """Hold sockets open until the block ends."""
    with ExitStack() as stack:
        for _ in range(count):
            line = stack.enter_context(place.front.line(NAME, "https"))
            assert line.shake(place.path, f"Origin: {place.origin}").status == 101
        yield


@contextmanager
def every_worker_taken(place: Place) -> Iterator[None]:
    """Hold two sockets."""
    with tunnels(place, 2):
        yield


def _resumed(place: Place, position: int) -> bool:
    return "resuming normal operations" in place.httpd.log_text()[position:]


@contextmanager
def old_generations(place: Place) -> Iterator[None]:
    """Hold a socket over each of two reloads."""
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(tunnels(place, 1))
            position = len(place.httpd.log_text())
            place.httpd.reload()
            until(functools.partial(_resumed, place, position), 10)
        yield
