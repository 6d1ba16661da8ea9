"""OpenSSL, Python, curl and Node accept what the authority issued, and refuse what it may not issue."""

import os
import re
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.authority import make_leaf
from certs.check import faults
from certs.names import parse
from certs.pem import certificates
from certs.store import Issued, Store
from certs.summary import summary
from certs.trust import steps
from tests.unit.certs.issuing import Pair, issue, p256

ROOT = Path(__file__).parents[2]
BEGIN = datetime.now(UTC) - timedelta(hours=1)
END = BEGIN + timedelta(days=1)
NAMES = ["chat.example", "*.wild.example", "127.1.2.3"]


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Issued:
    """Return a leaf for `NAMES`, in a folder whose name needs quoting."""
    return Store(tmp_path_factory.mktemp("certs") / "a store").ensure("chat.example", NAMES)


def authority(issued: Issued) -> Pair:
    """Return the authority with its key, as a thief would have it."""
    (key_path,) = issued.ca.parent.glob("*.key")
    key = load_pem_private_key(key_path.read_bytes(), None)
    return Pair(certificates(issued.ca)[0], key)  # type: ignore[arg-type]


def verify(ca: Path, leaf: Path, *options: str) -> str:
    """Return what OpenSSL says of a certificate for a server, at its strictest."""
    return openssl("verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", ca, *options, leaf)


def openssl(*arguments: str | Path) -> str:
    """Return what OpenSSL says, whether good or bad."""
    command = ["openssl", *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return done.stdout


@pytest.mark.needs("openssl")
@pytest.mark.parametrize(
    "options",
    [
        *(("-verify_hostname", name) for name in ("chat.example", "a.wild.example", "localhost")),
        *(("-verify_ip", address) for address in ("127.0.0.1", "::1", "127.1.2.3")),
    ],
    ids=lambda options: options[1],
)
def test_openssl_accepts(issued: Issued, options: tuple[str, ...]) -> None:
    """OpenSSL in its strict mode accepts the leaf for every name it carries."""
    assert verify(issued.ca, issued.certificate, *options).endswith(": OK\n")


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("name", ["other.example", "sub.chat.example", "a.b.wild.example"])
def test_openssl_refuses_other_names(issued: Issued, name: str) -> None:
    """OpenSSL refuses the leaf for a name it does not carry."""
    assert "hostname mismatch" in verify(issued.ca, issued.certificate, "-verify_hostname", name)


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("name", ["bank.example", "example", "notchat.example", "192.0.2.1", "2001:db8::1"])
def test_openssl_refuses_outside(issued: Issued, tmp_path: Path, name: str) -> None:
    """A stolen authority's key is no use for other sites: OpenSSL refuses what is outside the constraints."""
    thief = authority(issued)
    key = p256()
    leaf = make_leaf(key.public_key(), [parse(name)], thief.certificate, thief.key, datetime.now(UTC))  # type: ignore[arg-type]
    path = tmp_path / "leaf.pem"
    path.write_bytes(leaf.public_bytes(Encoding.PEM))
    assert "permitted subtree violation" in verify(issued.ca, path)


@pytest.mark.needs("openssl")
def test_openssl_refuses_intermediate(issued: Issued, tmp_path: Path) -> None:
    """The authority cannot hand its power on: an intermediate below it is refused."""
    middle = issue(issuer=authority(issued), authority=True, common_name="middle", begin=BEGIN, end=END)
    leaf = issue("chat.example", issuer=middle, begin=BEGIN, end=END)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    (tmp_path / "middle.pem").write_bytes(middle.pem)
    said = openssl(
        "verify", "-CAfile", issued.ca, "-untrusted", tmp_path / "middle.pem", tmp_path / "leaf.pem"
    )
    assert "path length constraint exceeded" in said


@pytest.mark.needs("openssl")
def test_openssl_refuses_other_purposes(issued: Issued, tmp_path: Path) -> None:
    """The authority is good for servers alone: a mail certificate below it is refused."""
    mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
    leaf = issue(issuer=authority(issued), extensions=[mail], begin=BEGIN, end=END)
    (tmp_path / "leaf.pem").write_bytes(leaf.pem)
    said = openssl("verify", "-purpose", "smimesign", "-CAfile", issued.ca, tmp_path / "leaf.pem")
    assert re.search("unsuitable certificate purpose|unsupported certificate purpose", said)


@pytest.mark.needs("openssl")
def test_sha1(tmp_path: Path) -> None:
    """A certificate signed with SHA-1 is a fault."""
    root = issue(common_name="root", authority=True)
    for name, content in (("root.pem", root.pem), ("root.key", root.key_pem), ("a.key", p256_pem())):
        (tmp_path / name).write_bytes(content)
    (tmp_path / "names").write_text("subjectAltName=DNS:a.example")
    commands = (
        "openssl req -new -key a.key -subj /CN=a -out a.csr",
        "openssl x509 -req -sha1 -in a.csr -CA root.pem -CAkey root.key -CAcreateserial -extfile names -days 9 -out a.pem",
    )
    for command in commands:
        subprocess.run(shlex.split(command), cwd=tmp_path, check=True, capture_output=True)
    (fault,) = faults(tmp_path / "a.pem", tmp_path / "a.key", ["a.example"])
    assert "(CN=a) is signed with SHA1, which no browser accepts" in fault


def p256_pem() -> bytes:
    """Make a key in PEM form."""
    return issue().key_pem


@contextmanager
def server(issued: Issued) -> Iterator[int]:
    """Serve one short page over TLS to everyone who connects; yield the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            with plain:
                plain.settimeout(5)
                try:
                    with context.wrap_socket(plain, server_side=True) as connection:
                        connection.recv(4096)
                        connection.sendall(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\ngood"
                        )
                except OSError:
                    continue  # the client refused the certificate

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def handshake(port: int, name: str, ca: Path) -> None:
    """Shake hands as a strict client that expects this name."""
    context = ssl.create_default_context(cafile=ca)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=name) as connection,
    ):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert b"good" in connection.recv(4096)


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "chat.example", "a.wild.example"])
def test_python_accepts(issued: Issued, name: str) -> None:
    """A strict Python client shakes hands under every name."""
    with server(issued) as port:
        handshake(port, name, issued.ca)


def test_python_refuses(issued: Issued, tmp_path: Path) -> None:
    """A Python client refuses another name, and another authority."""
    other = Store(tmp_path / "other")
    other.ensure_authority()
    with server(issued) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            handshake(port, "other.example", issued.ca)
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(port, "localhost", other.ca)


def test_own_leaf_has_no_fault(issued: Issued) -> None:
    """What the store issues passes the check for certificates that a user brings along."""
    assert faults(issued.certificate, issued.key, [*NAMES, "localhost", "127.0.0.1"]) == []


def pasted(system: str, issued: Issued, port: int) -> list[str]:
    """Return the lines to paste for a system, for this server."""
    lines = steps(system, issued.ca, summary(certificates(issued.ca)[0]))
    return [line[2:].replace(":8443", f":{port}") for line in lines if line.startswith("$ ")]


def shell(lines: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run lines as if pasted into a shell, without any proxy or trust of this machine's own."""
    keep = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["sh", "-ec", "\n".join(lines)],
        env=keep,
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        cwd=ROOT,
    )


PYTHON = "import ssl, sys, urllib.request as r; print(r.urlopen(sys.argv[1], context={}).read().decode())"
REQUESTS = "import sys, requests; print(requests.get(sys.argv[1]).text)"
NODE = """
require('https').get(process.argv[1], {agent: false}, response => response.on('data', data => console.log(`${data}`)))
"""


@pytest.mark.parametrize(
    ("system", "command"),
    [
        pytest.param("curl", None, id="curl", marks=pytest.mark.needs("curl")),
        pytest.param(
            "python", [sys.executable, "-c", PYTHON.format("ssl.create_default_context()")], id="ssl"
        ),
        pytest.param("python", [sys.executable, "-c", REQUESTS], id="requests"),
        pytest.param("node", ["node", "-e", NODE], id="node", marks=pytest.mark.needs("node")),
    ],
)
def test_pasted_lines_work(issued: Issued, system: str, command: list[str] | None) -> None:
    """The lines that `certs trust` prints for a program make it accept the server; without them it does not."""
    with server(issued) as port:
        url = f"https://localhost:{port}/"
        call = shlex.join([*(command or ["curl", "-sS"]), url])
        trusting = pasted(system, issued, port) + ([call] if command else [])
        done = shell(trusting)
        assert done.stdout.strip() == "good", done.stderr
        assert shell([call]).returncode != 0
