"""A backend on another machine: the hop to it is by TLS, verified, and each end believes the right one.

The other machine is an address of this one, in a network of the test's own.
"""

import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from apache.hop import back_end
from certs import pem
from certs.authority import make_leaf
from certs.names import parse
from certs.store import Store
from cli.descriptions import ROOT
from server.environment import read_env_file
from tests.namespaces import network
from tests.raw import ask, shake
from tests.scripted import Request, accepting, answering, scripted
from tests.stacks import Running, running
from tests.unit.certs.issuing import p256
from tests.waiting import SECOND, until

pytestmark = [pytest.mark.needs("apache"), pytest.mark.needs("namespaces")]

HERE = "192.0.2.10"
FAR = f"{HERE}:8888"
HOP = f"""
hop: {{fronts: [192.0.2.0/24]}}
websockets:
- {{path: /ws/, backend: "{FAR}"}}
- {{path: /tunnel/, backend: "{FAR}", tunnel: ws}}
"""
DOWN = ("AH00957", "AH01114", "AH00961", "AH02039", "AH01084", "AH01097", "AH01102", "AH00898", "AH10501")
SPOOFED = (
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Proto: http",
    "X-Real-IP: 203.0.113.9",
    "Forwarded: for=203.0.113.9",
)


@pytest.fixture(scope="module")
def net() -> Iterator[None]:
    """Be in a network where other machines' addresses are ours."""
    with network(f"{HERE}/32", "192.0.2.11/32", "fd00::2/128"):
        yield


@pytest.fixture(scope="module")
def hop(net: None) -> Iterator[Running]:  # noqa: ARG001
    """Run our backend at the other end of a hop."""
    with running(HOP.replace(":8888", ":8889")) as instance:
        yield instance


@pytest.fixture
def stack(hop: Running) -> Iterator[Running]:
    """Lend it to one test, and read Apache's log."""
    yield hop
    hop.check_log()


@pytest.fixture(scope="module")
def lone(net: None) -> Iterator[Running]:  # noqa: ARG001
    """Run the front of a hop, with nobody at its other end."""
    with running(HOP, backend=False) as instance:
        yield instance


@pytest.fixture
def front(lone: Running) -> Iterator[Running]:
    """Lend it to one test, and read Apache's log."""
    yield lone
    lone.check_log()


def context(store: Store, *names: str, days_ago: int = 0) -> ssl.SSLContext:
    """Return what a backend serves TLS with: a certificate of the store's authority for these names, made some days ago."""
    (authority,) = pem.certificates(store.ca)
    (file,) = store.ca.parent.glob("*.key")
    signer = pem.private_key(file)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key = p256()
    made = datetime.now(UTC) - timedelta(days=days_ago)
    leaf = make_leaf(key.public_key(), [parse(name) for name in names], authority, signer, made)
    with tempfile.NamedTemporaryFile() as both:
        both.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        both.write(leaf.public_bytes(Encoding.PEM))
        both.flush()
        found = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        found.load_cert_chain(both.name)
    return found


@contextmanager
def far(stack: Running, *names: str, **options: Any) -> Iterator[list[Request]]:
    """Run a backend at the other end that shows a certificate for these names."""
    found = context(stack.stack.store, *names, **options)
    with scripted(8888, host=HERE, context=found) as seen:
        yield seen


@pytest.mark.parametrize("path", ["/ws/", "/tunnel/"])
async def test_sockets_and_pages(stack: Running, path: str) -> None:
    """A page and sockets, in both forms, go the whole way; the page's own origin passes and another does not."""
    assert ask(stack, "/").status == 200
    origin = stack.url.rstrip("/")
    async with stack.websocket(f"{path}echo", origin=origin, max_size=None) as socket:
        for message in ("far", "x" * 3_000_000):
            await socket.send(message)
            assert await socket.recv() == message
    stack.allow("AH01630")
    assert shake(stack, f"{path}echo", "Origin: https://evil.example").status == 403


def test_nothing_is_plain(stack: Running) -> None:
    """The backend answers nobody who does not speak TLS."""
    with socket.create_connection((HERE, 8889), 5 * SECOND) as plain:
        plain.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert not received(plain).startswith(b"HTTP")
    stack.check_log()


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the other end hangs up."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while data := connection.recv(4096):
            found += data
    return found


@pytest.mark.parametrize("url", ["/ws/x", "/tunnel/x", "/page"])
def test_backend_is_told_by_the_front_alone(front: Running, url: str) -> None:
    """What a client says of itself is replaced or gone on the hop too; its Host is in X-Forwarded-Host, and our name in Host."""
    with far(front, HERE) as seen:
        if url == "/page":
            assert ask(front, url, *SPOOFED, host="chat.example:99").status == 200
        else:
            assert shake(front, url, *SPOOFED, host="chat.example:99").status == 101
    (request,) = seen
    told = {
        name: request.headers.get_all(name) for name in ("Host", *(line.split(":")[0] for line in SPOOFED))
    }
    assert told == {
        "Host": [FAR],
        "X-Forwarded-For": ["127.0.0.1"],
        "X-Forwarded-Host": ["chat.example:99"],
        "X-Forwarded-Proto": ["https"],
        "X-Real-IP": None,
        "Forwarded": None,
    }


@pytest.mark.parametrize("name", ["other.localhost", "chat.localhost"])
def test_certificate_of_another_name_is_refused(front: Running, name: str) -> None:
    """A certificate of our authority for another name is not the backend's, though the client asks for that very name."""
    front.allow(*DOWN)
    with far(front, name) as seen:
        for host in ("localhost", "chat.localhost", HERE):
            assert shake(front, "/ws/x", host=host).status in {500, 502, 503}
            assert shake(front, "/tunnel/x", host=host).status in {500, 502, 503}
            assert ask(front, "/", host=host).status in {500, 502, 503}
    assert not seen


def test_expired_certificate_is_refused(front: Running) -> None:
    """A certificate that has run out is refused."""
    front.allow(*DOWN)
    with far(front, HERE, days_ago=91) as seen:
        assert shake(front, "/ws/x").status in {500, 502, 503}
        assert ask(front, "/").status in {500, 502, 503}
    assert not seen
    with far(front, HERE, days_ago=89):
        assert shake(front, "/ws/x").status == 101


def test_certificate_of_another_authority_is_refused(front: Running, folder: Path) -> None:
    """A certificate for the right name by an authority that is not ours is refused."""
    front.allow(*DOWN)
    issued = Store(folder / "certs").ensure("x", [HERE])
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    foreign.load_cert_chain(issued.certificate, issued.key)
    with scripted(8888, host=HERE, context=foreign) as seen:
        assert shake(front, "/ws/x").status in {500, 502, 503}
        assert ask(front, "/").status in {500, 502, 503}
    assert not seen


def test_plain_backend_is_refused(front: Running, folder: Path) -> None:
    """A backend that speaks no TLS gets no request."""
    front.allow(*DOWN)
    with backend(front, folder / "log", WSFRONT_TLS_CERTIFICATE="", WSFRONT_TLS_KEY=""):
        assert shake(front, "/ws/echo").status in {500, 502, 503}
        assert ask(front, "/").status in {500, 502, 503}


async def test_renewed_certificate(net: None, folder: Path) -> None:  # noqa: ARG001
    """A new certificate in place of the old one serves who comes next, and sockets that are open stay so."""
    with running(HOP, backend=False) as stack:
        hop = back_end(stack.stack.sites, stack.stack.target)
        assert hop
        with backend(stack, folder / "log"):
            before = serial()
            async with stack.websocket("/ws/echo", origin=stack.url.rstrip("/")) as socket:
                # Another name makes another certificate, and this one is within what the authority may sign.
                renewed = stack.stack.store.ensure(hop.site, [*hop.names, "127.0.0.9"])
                assert renewed.renewed
                assert not renewed.new_ca
                until(lambda: serial() != before, 40)
                await socket.send("still")
                assert await socket.recv() == "still"
            assert ask(stack, "/").status == 200


def serial() -> str:
    """Return the certificate that the backend shows."""
    return ssl.get_server_certificate((HERE, 8888))


def test_client_is_known_through_fronts_alone(net: None, folder: Path) -> None:  # noqa: ARG001
    """Our backend takes the client's address, and the request's id, from a front that is named, and from nobody else."""
    stranger = HOP.replace("192.0.2.0/24", "198.51.100.1")
    for description, status, client in ((HOP, 101, "127.0.0.5 as "), (stranger, 403, f"{HERE}\n")):
        with running(description, backend=False) as stack, backend(stack, folder / "log") as log:
            origin = f"Origin: {stack.url.rstrip('/')}"
            answer = shake(stack, "/ws/chat", *SPOOFED, origin, source="127.0.0.5")
            assert answer.status == status
            until(partial(log_has, log, f" from {client}"))


def log_has(log: Path, text: str) -> bool:
    """Tell whether a log has a text."""
    return text in log.read_text()


@contextmanager
def backend(stack: Running, log: Path, **changed: str) -> Iterator[Path]:
    """Run our backend with the settings that were rendered, but for those changed; yield its log."""
    settings = read_env_file(stack.stack.directory / "backend.env") | changed
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], cwd=ROOT, stderr=output, env={**os.environ, **settings}
        )
    try:
        until(lambda: "listening" in log.read_text(), 20)
        yield log
    finally:
        process.terminate()
        process.wait()


BALANCED = """
hop: {fronts: [192.0.2.0/24]}
websockets:
- path: /ws/
  origins: any
  backend: ["192.0.2.10:8888", "192.0.2.11:8888"]
pages: null
"""
ILL = ("AH03301", "AH01171", "AH00951", "AH00959", *DOWN)


@pytest.mark.parametrize("tunnel", ["upgrade", "ws"])
def test_balanced(net: None, tunnel: str) -> None:  # noqa: ARG001
    """Two members at the other end share by TLS, are checked by TLS, and one that is ill is spared until it is well."""
    description = BALANCED.replace("path: /ws/", f"path: /ws/\n  tunnel: {tunnel}")
    with running(description, backend=False) as stack:
        stack.allow(*ILL)
        ill = threading.Event()

        def script(connection: socket.socket, request: Request) -> None:
            if request.path == "/healthz" and ill.is_set():
                answering("503 Service Unavailable")(connection, request)
            else:
                accepting(connection, request)

        def reached() -> set[str]:
            before = len(one), len(two)
            for _ in range(2):
                assert shake(stack, "/ws/x").status == 101
            asked = {"one": one[before[0] :], "two": two[before[1] :]}
            return {name for name, seen in asked.items() if any(request.is_upgrade for request in seen)}

        names = context(stack.stack.store, HERE, "192.0.2.11")
        with (
            scripted(8888, host=HERE, context=names) as one,
            scripted(8888, script, host="192.0.2.11", context=names) as two,
        ):
            until(lambda: reached() == {"one", "two"}, 15)
            ill.set()
            until(lambda: reached() == {"one"}, 15)
            ill.clear()
            until(lambda: reached() == {"one", "two"}, 15)
            assert any(request.path == "/healthz" for request in one)


@pytest.mark.parametrize("address", [FAR, "[fd00::2]:8888"])
async def test_upgrades_at_the_root(net: None, folder: Path, address: str) -> None:  # noqa: ARG001
    """Where the pages at / are a directory's, upgrades there take the hop, verified as all others."""
    description = f"""
hop: {{fronts: [192.0.2.0/24, "fd00::/64"]}}
websockets: [{{path: /, backend: "{address}", origins: any}}]
pages: {{root: {folder}}}
"""
    (folder / "index.html").write_text("here")
    with running(description) as stack:
        assert ask(stack, "/").body == b"here"
        async with stack.websocket("/echo") as socket:
            await socket.send("far")
            assert await socket.recv() == "far"
    with running(description, backend=False) as stack:
        stack.allow(*DOWN)
        with scripted(
            8888,
            host=address.rpartition(":")[0].strip("[]"),
            context=context(stack.stack.store, "x.localhost"),
        ) as seen:
            assert shake(stack, "/echo").status in {500, 502, 503}
        assert not seen


async def test_ipv6(net: None) -> None:  # noqa: ARG001
    """The other end may be an IPv6 address."""
    with running(HOP.replace(FAR, "[fd00::2]:8888").replace("192.0.2.0/24", "fd00::/64")) as stack:
        assert ask(stack, "/").status == 200
        async with stack.websocket("/ws/echo", origin=stack.url.rstrip("/")) as socket:
            await socket.send("far")
            assert await socket.recv() == "far"


async def test_plain_hop(net: None) -> None:  # noqa: ARG001
    """With `tls: false` the hop is plain, for the firewall to keep, and all else is as on one machine."""
    with running(HOP.replace("24]", "24], tls: false")) as stack:
        assert ask(stack, "/").status == 200
        async with stack.websocket("/ws/echo", origin=stack.url.rstrip("/")) as socket:
            await socket.send("far")
            assert await socket.recv() == "far"
    with (
        running(HOP.replace("24]", "24], tls: false"), backend=False) as stack,
        scripted(8888, host=HERE) as seen,
    ):
        assert shake(stack, "/ws/x", *SPOOFED, host="chat.example").status == 101
    assert seen[0].headers["Host"] == "chat.example"
    assert seen[0].headers["X-Forwarded-For"] == "127.0.0.1"
