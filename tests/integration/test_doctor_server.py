"""`doctor --server` on live Apaches: what is wrong is named, once, and what is well is let be."""

import contextlib
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from certs.store import Store
from doctor.examination import Examination
from doctor.server import ServerError, examine
from tests.htaccess import MODULES, Front, Vhost, front, held_ports
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

NAME = "doctor.test"
CHECKED = "Require expr \"%{HTTP:Origin} == '' || %{HTTP:Origin} == 'http://%{HTTP_HOST}'\""
FEW = "ServerLimit 8\nThreadLimit 2\nStartServers 1\nThreadsPerChild 2\nMinSpareThreads 1\nMaxSpareThreads 2\nMaxRequestWorkers 2"


def ids(found: Examination) -> list[str]:
    """Return what was found, in its order."""
    return [finding.id for finding in found.findings]


def look(site: Front, **options: str) -> Examination:
    """Examine an Apache of ours."""
    return examine(config=str(site.httpd.config), **options)


@contextmanager
def backend(answer: Callable[[socket.socket], None], *, port: int) -> Iterator[None]:
    """Run a backend that does this with each connection, all at once."""
    held: list[socket.socket] = []

    def serve(listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listener.accept()[0]
                held.append(connection)
                threading.Thread(target=quietly, args=(connection,), daemon=True).start()

    def quietly(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError), connection:
            answer(connection)

    with socket.create_server(("127.0.0.1", port), reuse_port=False, backlog=64) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5 * SECOND)
            for each in held:
                each.close()


def upgrading(connection: socket.socket) -> None:
    """Take every handshake, by RFC 6455's own example key where that was sent, and keep the socket open."""
    from websockets.utils import accept_key  # noqa: PLC0415

    head = b""
    while b"\r\n\r\n" not in head:
        part = connection.recv(4096)
        if not part:
            return
        head += part
    key = next(
        line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")
    )
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
        + accept_key(key.decode()).encode()
        + b"\r\n\r\n"
    )
    while connection.recv(4096):
        pass


def saying(answer: bytes) -> Callable[[socket.socket], None]:
    """Return what gives every request this answer and hangs up."""

    def give(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(answer)
        connection.close()

    return give


@contextmanager
def site(
    lines: str = "", *, server: str = "", port: int, modules: tuple[str, ...] = MODULES
) -> Iterator[Front]:
    """Run an Apache that passes /ws/ on to a port."""
    own = f'<Location "/ws/">\n{CHECKED}\n</Location>\n' + (
        lines or f"ProxyPreserveHost On\nProxyPass /ws/ http://127.0.0.1:{port}/ws/ upgrade=websocket retry=0"
    )
    with front({NAME: Vhost({"index.html": "page"}, own=own)}, own=server, modules=modules) as instance:
        yield instance


@contextmanager
def tunnels(instance: Front, count: int) -> Iterator[None]:
    """Hold so many sockets open through an Apache."""
    with contextlib.ExitStack() as lines:
        for _ in range(count):
            assert lines.enter_context(instance.line(NAME)).shake("/ws/").status == 101
        yield


@pytest.fixture
def port() -> Iterator[int]:
    """Lend a port that nobody listens at."""
    with held_ports(1) as (port,):
        yield port


@pytest.mark.parametrize(
    "description",
    [
        "{}",
        "websockets: [{path: /ws/, tunnel: ws}]",
        "tls: {mode: none}",
        "websockets: [{path: /chat/, origins: any}]",
    ],
)
def test_sites_of_ours_are_healthy(description: str) -> None:
    """On a site that we set up nothing is found, all could be checked, and it takes less than five seconds."""
    with running(description) as stack:
        begun = time.monotonic()
        found = examine(config=str(stack.stack.httpd.config))
        assert time.monotonic() - begun < 5 * SECOND
        assert ids(found) == []
        assert {check.outcome for check in found.checks} == {"good"}
        assert os.geteuid() or found.not_checked == []
        assert any("101" in check.seen for check in found.checks)


def test_site_of_somebody_is_healthy(port: int) -> None:
    """A site that is not of our making, with a backend that takes every handshake, has nothing to be found."""
    with backend(upgrading, port=port), site(port=port) as instance, tunnels(instance, 2):
        found = look(instance)
        assert ids(found) == []
        seen = {check.name: check.seen for check in found.checks}
        assert "2 connections" in seen["workers"]


def test_path_asked_about(plain: Running) -> None:
    """The vhost and the line that answer for a path are named; for a path without sockets, that it has none."""
    config = str(plain.stack.httpd.config)
    found = examine(config=config, path="/ws/echo")
    assert ids(found) == []
    line = next(check.seen for check in found.checks if check.name == "path")
    assert line.startswith(f'/ws/echo at localhost: ProxyPass "http://127.0.0.1:{plain.backend_port}/ws/"')
    assert f"{config}:" in line
    assert ids(examine(config=config, path="/nowhere")) == ["path-without-socket"]


def test_all_workers_in_sockets(port: int) -> None:
    """Where sockets hold every worker, that is said, once, and the log's words are its symptoms; with places left it is over."""
    few = FEW.replace("ServerLimit 8", "ServerLimit 4")
    with backend(upgrading, port=port), site(server=few, port=port) as instance:
        with tunnels(instance, 2):
            until(lambda: "AH00484" in instance.httpd.log_text(), 10)
            found = look(instance)
        assert ids(found) == ["workers-exhausted"]
        assert any("AH00484" in symptom for symptom in found.findings[0].symptoms)
        assert any("no answer" in symptom for symptom in found.findings[0].symptoms)
        until(lambda: instance.ask(NAME, "/").status == 200)
        assert ids(look(instance)) == ["workers-were-exhausted"]


def test_old_generations_hold_all_slots(port: int) -> None:
    """Where children of older generations hold all slots, that is the cause, and not the number of workers."""
    few = FEW.replace("ServerLimit 8", "ServerLimit 2")
    with (
        backend(upgrading, port=port),
        site(server=few, port=port) as instance,
        contextlib.ExitStack() as held,
    ):
        for number in range(2):
            held.enter_context(tunnels(instance, 1))
            position = len(instance.httpd.log_text())
            assert instance.httpd.pid
            os.kill(instance.httpd.pid, signal.SIGUSR1)
            until(lambda at=position: "resuming normal" in instance.httpd.log_text(at))  # type: ignore[misc] # bound now
            if number == 0:
                until(lambda: instance.ask(NAME, "/").status == 200)
        until(lambda: "AH03490" in instance.httpd.log_text(), 10)
        found = look(instance)
        assert ids(found) == ["slots-exhausted"]
        assert any("AH03490" in symptom for symptom in found.findings[0].symptoms)


def test_nobody_behind(port: int) -> None:
    """A backend that is down is named with its address, and Apache's own words of it are its symptoms; once it is up, all is well."""
    with site(port=port) as instance:
        with instance.line(NAME) as line:
            assert line.shake("/ws/").status == 503
        found = look(instance)
        assert ids(found) == ["backend-down"]
        assert f"127.0.0.1:{port} refused" in found.findings[0].seen
        assert any("AH00957" in symptom for symptom in found.findings[0].symptoms)
        with backend(upgrading, port=port):
            assert ids(look(instance)) == []


PAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
WRONG = {
    "page": (saying(PAGE), "/ws/", "backend-not-websocket"),
    "HTTP/1.0": (
        saying(b"HTTP/1.0 404 Not Found\r\nServer: SimpleHTTP/0.6\r\n\r\n"),
        None,
        "backend-not-websocket",
    ),
    "closes": (lambda connection: connection.close(), None, "backend-closes"),
    "silent": (lambda connection: time.sleep(5 if connection else 0), None, "backend-silent"),
    "redis": (saying(b"-ERR wrong number of arguments for 'get' command\r\n"), None, "backend-not-websocket"),
    "wrong accept": (
        saying(
            b"HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
        ),
        None,
        "backend-not-websocket",
    ),
}


@pytest.mark.parametrize(("answer", "path", "name"), WRONG.values(), ids=WRONG)
def test_backend_of_another_kind(
    answer: Callable[[socket.socket], None], path: str | None, name: str, port: int
) -> None:
    """A backend that speaks no WebSocket is told apart from one that is down, by asking it straight."""
    with backend(answer, port=port), site(port=port) as instance:
        assert ids(examine(config=str(instance.httpd.config), path=path)) == [name]


def test_page_at_a_folder_is_no_proof(port: int) -> None:
    """What answers 200 at a folder of an application may have sockets elsewhere: it is said that this was not checked."""
    with backend(saying(PAGE), port=port), site(port=port) as instance:
        found = look(instance)
        assert ids(found) == []
        assert any("name the path of a socket by --path" in each for each in found.not_checked)


def test_backend_that_speaks_tls(port: int, tmp_path: Path) -> None:
    """A backend that speaks TLS, and is spoken to without, is named as such."""
    issued = Store(tmp_path).ensure("localhost", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)

    def secured(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as over:
            saying(PAGE)(over)

    with backend(secured, port=port), site(port=port) as instance:
        assert ids(look(instance)) == ["backend-speaks-tls"]


def test_backend_that_minds_its_host(port: int) -> None:
    """A backend that compares Origin with Host, which Apache has changed, is understood; the directive mends it."""

    def minding(connection: socket.socket) -> None:
        head = connection.recv(4096, socket.MSG_PEEK)
        if f"Host: {NAME}".encode() in head:
            upgrading(connection)
        else:
            saying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")(connection)

    lines = f"ProxyPass /ws/ ws://127.0.0.1:{port}/ws/ retry=0"
    with backend(minding, port=port):
        with site(lines, port=port) as instance:
            assert ids(look(instance)) == ["host-not-preserved"]
        with site(f"ProxyPreserveHost On\n{lines}", port=port) as instance:
            assert ids(look(instance)) == []


def test_tunnel_of_old(port: int) -> None:
    """mod_proxy_wstunnel without mod_proxy_http is found in the modules that are loaded."""
    modules = tuple(name if name != "proxy_http" else "proxy_wstunnel" for name in MODULES)
    lines = f"ProxyPreserveHost On\nProxyPass /ws/ ws://127.0.0.1:{port}/ws/"
    with backend(upgrading, port=port), site(lines, port=port, modules=modules) as instance:
        assert ids(look(instance)) == ["websocket-legacy"]


def test_configuration_that_apache_refuses(port: int) -> None:
    """A configuration that Apache refuses is found in Apache's own words, and nothing else is guessed at."""
    with site(port=port) as instance:
        with instance.httpd.config.open("a") as file:
            file.write("Bogus On\n")
        found = look(instance)
        assert ids(found) == ["server-refused"]
        assert "Invalid command 'Bogus'" in found.findings[0].seen
        assert found.not_checked


def test_certificate_that_is_gone(port: int) -> None:
    """A certificate that was removed under a running Apache, which would not start again, is found in Apache's own words."""
    with site(port=port) as instance:
        next(instance.httpd.directory.glob("certs/sites/*/certificate.pem")).unlink()
        found = look(instance)
        assert ids(found) == ["server-refused"]
        assert "does not exist or is empty" in found.findings[0].seen


def test_apache_that_does_not_run() -> None:
    """A configuration with which no Apache runs is read all the same."""
    with running() as stack:
        stack.stack.httpd.stop()
        assert ids(examine(config=str(stack.stack.httpd.config))) == ["server-not-running"]


def test_no_apache(tmp_path: Path) -> None:
    """What is no Apache is refused in one line."""
    (program := tmp_path / "apache2").write_text("#!/bin/sh\necho nginx\n")
    program.chmod(0o755)
    for name in (str(program), str(tmp_path / "none")):
        with pytest.raises(ServerError) as refused:
            examine(apache=name, config=str(tmp_path / "httpd.conf"))
        assert "\n" not in str(refused.value)
        assert "--apache" in str(refused.value)


def test_backend_not_for_apaches_user(folder: Path) -> None:
    """A unix socket that root may use and Apache's user may not is found."""
    if os.geteuid():
        pytest.skip("only root can ask as another user")
    path = folder / "backend.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        path.chmod(0o600)
        lines = f"ProxyPreserveHost On\nProxyPass /ws/ unix:{path}|http://localhost/ws/ upgrade=websocket"
        with site(lines, port=0) as instance:
            assert ids(look(instance)) == ["backend-denied"]
