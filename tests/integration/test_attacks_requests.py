"""Requests made to be understood twice: each is one request, of one name, to one place, or refused; copied rules let some through."""

import re
import socket
from collections.abc import Callable, Iterator

import pytest

from tests.htaccess import MODULES, Vhost, front, held_ports
from tests.namespaces import command, neighbour, network
from tests.raw import line
from tests.scripted import Request, Script, answering, scripted
from tests.stacks import Running, running
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

SECRET = b"GET /internal-admin HTTP/1.1\r\nHost: internal\r\n\r\n"
ROOT = "websockets: [{path: /, backend: 127.0.0.1:8888, origins: any, tunnel: ws}]\npages: {proxy: 127.0.0.1:8888}\n"
TWO = (
    "server_name: one.test\nwebsockets: [{origins: any}]\n",
    "server_name: two.test\nwebsockets: [{backend_path: /two/}]\n",
)
HEAD = (
    "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def kept(seen: list[bytes]) -> Script:
    """Return a script of a web server that knows no upgrades: it answers 200, keeps the line, and remembers what comes on it next."""

    def script(connection: socket.socket, _request: Request) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        connection.settimeout(1)
        try:
            while data := connection.recv(4096):
                seen.append(data)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret")
        except TimeoutError:
            pass

    return script


def test_legacy_tunnel_smuggles() -> None:
    """The copied `a2enmod proxy proxy_wstunnel`, without proxy_http, passes a second request on as it came, whatever the first got."""
    seen: list[bytes] = []
    modules = [name for name in MODULES if name != "proxy_http"] + ["proxy_wstunnel"]
    with held_ports(1) as (port,), scripted(port, kept(seen)):
        own = f'ProxyPass "/ws/" "ws://127.0.0.1:{port}/"'
        with (
            front({"copied.test": Vhost({}, own=own)}, modules=modules) as copied,
            copied.line("copied.test") as opened,
        ):
            assert opened.shake("/ws/").status == 200
            opened.connection.sendall(SECRET)
            assert b"secret" in opened.connection.recv(4096)
    assert seen == [SECRET]


@pytest.mark.parametrize(
    "status", ["200 OK", "403 Forbidden", "426 Upgrade Required", "503 Service Unavailable"]
)
def test_what_follows_a_refusal_is_a_request_of_its_own(front: Running, path: str, status: str) -> None:
    """By both forms, what comes after an answer other than 101 is judged by Apache: the backend sees no second request unmarked."""
    with scripted(front.backend_port, answering(status)) as seen, line(front) as opened:
        assert opened.shake(path + "x").status == int(status[:3])
        opened.connection.sendall(SECRET)
        received = opened.connection.recv(4096)
        assert received.startswith(b"HTTP/1.1 ") or (status.startswith("503") and not received)
    assert [request.path for request in seen] in ([path + "x"], [path + "x", "/internal-admin"])
    assert all(request.headers["X-Forwarded-For"] == "127.0.0.1" for request in seen)


@pytest.mark.parametrize(
    ("framing", "empty"),
    [
        (f"Content-Length: {len(SECRET)}", False),
        ("Transfer-Encoding: chunked", True),
        (f"Content-Length: {len(SECRET)}\r\nTransfer-Encoding: chunked", True),
        (f"Content-Length: 0\r\nContent-Length: {len(SECRET)}", False),
        ("Transfer-Encoding: xchunked", True),
        ("Transfer-Encoding: chunked, identity", True),
    ],
)
def test_handshake_with_a_body(both: Running, path: str, framing: str, empty: bool) -> None:  # noqa: FBT001 (a column of the table)
    """However a body is announced, what comes with a handshake is never a request: it is refused, or frames in an open tunnel."""
    with line(both) as opened:
        body = b"0\r\n\r\n" * empty + SECRET
        opened.connection.sendall(f"GET {path}echo HTTP/1.1\r\n{HEAD}{framing}\r\n\r\n".encode() + body)
        opened.connection.settimeout(5 * SECOND)
        received = b""
        while data := opened.connection.recv(65536):
            received += data
    if received.startswith(b"HTTP/1.1 101 "):
        assert empty
        assert received.endswith(b"\r\n\r\n\x88\x10\x03\xeainvalid opcode")
    else:
        assert re.match(rb"HTTP/1\.1 (400|501) ", received)
    assert received.count(b"HTTP/1.1 ") == 1


@pytest.fixture(scope="module")
def root() -> Iterator[Running]:
    """Run a socket at / by a rewritten URL, and pages by ProxyPass, with nothing behind."""
    with running(ROOT, backend=False) as instance:
        yield instance


@pytest.mark.parametrize("is_upgrade", [True, False])
@pytest.mark.parametrize(
    "path",
    [
        "/x%20HTTP/1.1%0d%0aHost:%20127.0.0.1%0d%0a%0d%0aGET%20/internal-admin",
        "/x%0d%0aX-Injected:%201",
        "/x%0aX-Injected:%201",
        "/x%3fa%0d%0aX-Injected:%201",
        "/x?a=%20HTTP/1.1%0d%0aX-Injected:%201",
        "/%5cx%09y",
    ],
)
def test_request_splitting(root: Running, path: str, is_upgrade: bool) -> None:  # noqa: FBT001 (a column of the table)
    """No decoded line end or space reaches the backend: at most one request, with the headers that Apache made (CVE-2023-25690)."""
    root.allow("AH10508", "AH10411", "AH10410")
    with scripted(root.backend_port) as seen, line(root) as opened:
        opened.shake(path) if is_upgrade else opened.ask(path)
    assert len(seen) <= 1
    for request in seen:
        assert "X-Injected" not in request.headers
        assert request.path.isprintable()
        assert " " not in request.path
    root.check_log()


@pytest.mark.parametrize(
    ("sni", "host", "status"),
    [
        ("one.test", "one.test", 101),
        ("two.test", "two.test", 101),
        ("one.test", "two.test", 421),
        ("two.test", "one.test", 421),
        ("", "two.test", 421),
        ("evil.test", "two.test", 421),
    ],
)
def test_name_in_tls_and_in_host(names: Running, sni: str, host: str, status: int) -> None:
    """A connection for one name carries no request for another, nor does one for none: each name has rules of its own."""
    names.allow("AH02032")
    path = "/two/../ws/chat" if host == "two.test" else "/ws/chat"
    with line(names, name=sni) as opened:
        assert opened.shake(path, host=f"{host}:{names.https_port}").status == status
    names.check_log()


@pytest.fixture(scope="module")
def names() -> Iterator[Running]:
    """Run two names on the same ports."""
    with running(*TWO) as instance:
        yield instance


@pytest.mark.needs("namespaces", "curl")
def test_from_outside_there_is_neither_status_nor_health() -> None:
    """Another machine is refused Apache's status and our backend's health by every name; this machine gets both."""
    here = "192.0.2.1"
    with (
        network(),
        neighbour(f"{here}/32", "192.0.2.2/32") as there,
        running(facts={"listen": (here, "127.0.0.1")}) as stack,
    ):
        stack.allow("AH01630")

        def status(run: Callable[..., str], address: str, host: str, url: str, *, plain: bool) -> str:
            port = stack.http_port if plain else stack.https_port
            place = f"http{'' if plain else 's'}://{host}:{port}{url}"
            words = [
                "curl",
                "-sko/dev/null",
                "-w%{http_code}",
                "--resolve",
                f"{host}:{port}:{address}",
                place,
            ]
            return run(*words)

        for name in ("status.wsfront.invalid", "localhost"):
            for url in ("/server-status", "/?auto", "/healthz", "/metrics"):
                outside = status(there.command, here, name, url, plain=True)
                assert outside in {"403", "301"}, (name, url)
        assert status(there.command, here, "localhost", "/healthz", plain=False) == "403"
        assert status(there.command, here, "localhost", "/metrics", plain=False) == "404"
        assert status(there.command, here, "localhost", "/server-status", plain=False) == "404"
        assert status(there.command, here, "localhost", "/", plain=False) == "200"
        assert status(command, "127.0.0.1", "localhost", "/healthz", plain=False) == "200"
        assert status(command, "127.0.0.1", "status.wsfront.invalid", "/?auto", plain=True) == "200"
