"""`doctor URL` against real sites: nothing is found where nothing is wrong, and what is wrong has its name, within its time."""

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from apache.httpd import free_ports
from certs.store import Store
from doctor.examination import Examination
from doctor.remote import examine
from tests.htaccess import MODULES, Vhost, front
from tests.integration.conftest import FORMS
from tests.scripted import Request, Script, answering, scripted
from tests.stacks import Running, running
from tests.waiting import SECOND

LIMIT = 1
"""How long the doctor waits for an answer, in units of `SECOND`; shorter than this a healthy server may be silent on a busy machine."""

MOST = 6 * LIMIT + 1


def found(examination: Examination) -> list[str]:
    """Return what was found, in its order."""
    return [finding.id for finding in examination.findings]


async def timed(url: str, seconds: float, **options: object) -> Examination:
    """Examine a site; it must not take longer than this."""
    begun = time.monotonic()
    examination = await examine(url, **options)  # type: ignore[arg-type] # each test's own
    assert time.monotonic() - begun < seconds * SECOND
    return examination


def healthy(examination: Examination) -> None:
    """Fail unless nothing was found and everything was asked."""
    assert not examination.findings
    assert {check.outcome for check in examination.checks} == {"good"}
    assert {"handshake", "Origin", "targets", "ping", "close"} <= {check.name for check in examination.checks}


@pytest.mark.needs("apache")
@pytest.mark.parametrize("path", ["/ws/echo", "/ws/"])
async def test_our_authority(stack: Running, path: str) -> None:
    """The plain case is healthy where its authority is trusted, in less than 3 s."""
    stack.allow("AH01630")  # a foreign page is refused
    url = f"wss://localhost:{stack.https_port}{path}"
    healthy(await timed(url, 3, ca_file=str(stack.stack.store.ca)))


@pytest.mark.needs("apache")
async def test_our_authority_not_trusted(stack: Running) -> None:
    """Where it is not, that is the one finding, and all the rest is asked all the same."""
    stack.allow("AH01630")
    examination = await examine(f"wss://localhost:{stack.https_port}/ws/echo")
    assert found(examination) == ["certificate-local-authority"]
    assert [check.name for check in examination.checks if check.outcome == "bad"] == ["certificate"]
    assert "close" in {check.name for check in examination.checks}


@pytest.mark.needs("apache")
async def test_certificate_of_a_user(tmp_path: Path) -> None:
    """A certificate brought along is as good."""
    store = Store(tmp_path / "certs")
    issued = store.ensure("localhost", ["localhost"])
    tls = f"tls:\n  mode: files\n  files: {{certificate: {issued.certificate}, key: {issued.key}}}\n"
    with running(tls) as instance:
        instance.allow("AH01630")
        url = f"wss://localhost:{instance.https_port}/ws/echo"
        healthy(await timed(url, 3, ca_file=str(store.ca)))


@pytest.mark.needs("apache")
async def test_without_tls() -> None:
    """So is a site without TLS, and one that everybody's pages may use, when that is meant."""
    with running(f"tls: {{mode: none}}\n{FORMS}") as instance:
        url = f"ws://localhost:{instance.http_port}"
        healthy(await timed(f"{url}/ws/echo", 3, any_origin=True))
        assert found(await examine(f"{url}/tunnel/echo")) == ["origin-unchecked"]


@pytest.mark.needs("apache")
async def test_backend_that_is_down(alone: Running) -> None:
    """One cause is said once, and names what else it explains."""
    alone.allow("AH00957", "AH01114")
    ca_file = str(alone.stack.store.ca)
    examination = await examine(f"wss://localhost:{alone.https_port}/ws/", ca_file=ca_file)
    (finding,) = examination.findings
    assert finding.id == "backend-unreachable"
    assert len(finding.symptoms) == 3
    alone.check_log()


@pytest.mark.needs("apache")
@pytest.mark.parametrize(
    ("url", "name", "instead"),
    [
        ("wss://localhost:{https}/ws", "path-slash", "wss://localhost:{https}/ws/"),
        ("wss://localhost:{https}/static/style.css", "handshake-answered-page", ""),
        ("wss://localhost:{https}/ws/nothing", "backend-not-found", ""),
        ("ws://localhost:{http}/ws/", "handshake-redirected-tls", "wss://localhost:{https}/ws/"),
        ("ws://localhost:{https}/ws/", "plain-to-tls", "wss://localhost:{https}/ws/"),
        ("wss://localhost:{http}/ws/", "tls-not-spoken", ""),
        ("wss://other.test:{https}/ws/", "certificate-other-name", ""),
    ],
)
async def test_wrong_address(stack: Running, url: str, name: str, instead: str) -> None:
    """An address that is not quite right is told from one that is, and the right one is written out where it is known."""
    ports = {"https": stack.https_port, "http": stack.http_port}
    stack.allow("AH01630", "AH02032")
    examination = await examine(url.format(**ports), ca_file=str(stack.stack.store.ca), address="127.0.0.1")
    assert found(examination)[:1] == [name]
    assert examination.findings[0].instead == instead.format(**ports)


def silent(connection: socket.socket, _request: Request) -> None:
    """Never answer."""
    while connection.recv(4096):
        pass


def endless(connection: socket.socket, _request: Request) -> None:
    """Send ten megabytes of headers."""
    connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"X-Padding: " + b"x" * 10_000_000)


def saying(content: bytes) -> Script:
    """Send this and nothing else."""
    return lambda connection, _request: connection.sendall(content)


def hung_up(_connection: socket.socket, _request: Request) -> None:
    """Close in the middle of the handshake."""


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"

BAD = {
    "server-hangs": silent,
    "not-http": saying(b"SSH-2.0-OpenSSH_10.0\r\n"),
    "answer-endless": endless,
    "connection-cut": hung_up,
    "accept-wrong": saying(SWITCHED + b"Sec-WebSocket-Accept: AAAA\r\n\r\n"),
    "upgrade-incomplete": saying(b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
    "upgrade-not-forwarded": answering("426 Upgrade Required", "Upgrade: websocket"),
    "handshake-needs-login": answering("401 Unauthorized", 'WWW-Authenticate: Basic realm="x"'),
    "handshake-redirected": answering("302 Found", "Location: /login"),
    "too-many-requests": answering("429 Too Many Requests"),
    "path-forbidden": answering("403 Forbidden"),
    "sni-mismatch": answering("421 Misdirected Request"),
    "edge-error": answering("522 Origin Connection Time-out"),
    "handshake-refused": answering("405 Method Not Allowed"),
}


@pytest.mark.parametrize(("name", "script"), BAD.items(), ids=BAD)
async def test_bad_server(name: str, script: Script) -> None:
    """Whatever a server does, it has its one name, within six limits."""
    (port,) = free_ports(1)
    with scripted(port, script):
        examination = await timed(f"ws://127.0.0.1:{port}/ws/", MOST, timeout=LIMIT * SECOND)
    assert found(examination) == [name]


@contextmanager
def listening(first: bytes) -> Iterator[int]:
    """Hold a port where connections are taken by the kernel; answer the first bytes of each with these, or leave it."""
    if first:
        (port,) = free_ports(1)
        with scripted(port, saying(first)):
            yield port
        return
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("wss://127.0.0.1:{port}/", "tls-silent"),
        ("ws://127.0.0.1:{port}/", "server-hangs"),
    ],
)
async def test_connections_that_nobody_takes(url: str, name: str) -> None:
    """A server without a free worker is told by its silence, by TLS and without."""
    with listening(b"") as port:
        examination = await timed(url.format(port=port), MOST, timeout=LIMIT * SECOND)
    assert found(examination) == [name]


async def test_nobody_there() -> None:
    """A port where nobody listens, a name that nobody has, and one that cannot be one."""
    (port,) = free_ports(1)
    assert found(await timed(f"wss://127.0.0.1:{port}/", 2)) == ["port-refused"]
    assert found(await timed("wss://wsfront-doctor.invalid/", 6)) == ["name-unknown"]
    assert found(await timed(f"wss://{'a' * 64}.example/", 6)) == ["name-unknown"]


async def test_garbage_in_the_place_of_tls() -> None:
    """A server that speaks neither TLS nor HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading  # noqa: PLC0415

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = server.getsockname()[1]
        assert found(await timed(f"wss://127.0.0.1:{port}/", MOST, timeout=LIMIT * SECOND)) == ["tls-failed"]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


HTTP2 = "Protocols h2 http/1.1\n{}\nProxyPass /ws/ http://127.0.0.1:{}/ws/ upgrade=websocket"


@pytest.mark.needs("apache")
@pytest.mark.parametrize(
    ("directive", "told"), [("", "for pages; sockets by HTTP/1.1"), ("H2WebSockets on", "for sockets too: pong in ")]
)  # fmt: skip
async def test_http2(plain: Running, directive: str, told: str) -> None:
    """Where HTTP/2 is spoken a socket is opened over it only if it is announced."""
    own = HTTP2.format(directive, plain.backend_port)
    with front({"localhost": Vhost({"index.html": "page"}, own=own)}, modules=(*MODULES, "http2")) as server:
        url = f"wss://localhost:{server.https_port}/ws/echo"
        ca_file = str(server.httpd.directory / "certs/ca/ca.pem")
        examination = await timed(url, 3, ca_file=ca_file)
    healthy(examination)
    assert next(check.seen for check in examination.checks if check.name == "HTTP/2").startswith(told)


RULES = """RewriteEngine On
RewriteCond %{{HTTP:Upgrade}} ^websocket$ [NC]
RewriteCond %{{HTTP:Connection}} {} [NC]
RewriteRule ^(.*)$ ws://127.0.0.1:{}/$1 [P]
"""


@pytest.mark.needs("apache")
@pytest.mark.parametrize(
    ("connection", "names"),
    [
        (r"^(?:keep-alive\s*,\s*)?upgrade$", []),
        ("^upgrade$", ["handshake-firefox"]),
        ("^keep-alive,", ["handshake-chrome"]),
    ],
)
async def test_browsers(plain: Running, connection: str, names: list[str]) -> None:
    """Rules that let Chrome or Firefox pass alone are told, once; all the rest is asked as the other one does."""
    rules = RULES.format(connection, plain.backend_port)
    with front({"rules.test": Vhost({".htaccess": rules, "index.html": "page"})}) as server:
        url = f"ws://rules.test:{server.http_port}/ws/echo"
        examination = await timed(url, 3, address="127.0.0.1")
    assert found(examination) == names
    assert {"ping", "messages", "close"} <= {check.name for check in examination.checks}


@pytest.mark.needs("apache")
@pytest.mark.parametrize(("interval", "names"), [(None, ["idle-cut"]), (0.3 * SECOND, [])])
async def test_silence(interval: float | None, names: list[str]) -> None:
    """Apache cuts a socket after its Timeout unless the backend pings; with --idle both are seen."""

    async def echo(socket: ServerConnection) -> None:
        async for message in socket:
            await socket.send(message)

    async with serve(echo, "127.0.0.1", 0, ping_interval=interval) as backend:
        port = backend.sockets[0].getsockname()[1]
        own = f"Timeout 1\nProxyPass /ws/ http://127.0.0.1:{port}/ws/ upgrade=websocket timeout=1"
        with front({"localhost": Vhost({"index.html": "page"}, own=own)}) as server:
            url = f"ws://localhost:{server.http_port}/ws/"
            examination = await timed(url, 8, idle=3, any_origin=True)
    assert found(examination) == names
    words = next(check.seen for check in examination.checks if check.name == "idle")
    assert re.match("cut after [12] s" if names else "alive after [34] s", words)
