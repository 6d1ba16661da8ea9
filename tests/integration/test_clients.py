"""What clients of other makes need: a certificate they can verify, the TLS they speak, and nothing open to the outside."""

import socket
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from apache.httpd import loopback_addresses
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")

NAMED = """
server_name: chat.example.org
server_aliases: [www.example.org, bücher.example, "*.wild.example.org"]
tls: {profile: %s}
"""
NAMES = ["chat.example.org", "xn--bcher-kva.example", "x.wild.example.org", "localhost", "127.0.0.1", "::1"]
HAS_SIX = "[::1]" in loopback_addresses()
SIX, BRACKETED = (
    pytest.param(text, marks=pytest.mark.skipif(not HAS_SIX, reason="this machine has no ::1"))
    for text in ("::1", "[::1]")
)


@pytest.fixture(scope="module")
def named() -> Iterator[Running]:
    """Run a site with a name, aliases and a wildcard."""
    with running(NAMED % "intermediate") as instance:
        yield instance


def greeted(stack: Running, name: str, context: ssl.SSLContext, address: str = "127.0.0.1") -> str | None:
    """Return the version of TLS in which Apache and a client agree, the certificate judged by the client."""
    with (
        socket.create_connection((address, stack.https_port), 5) as connection,
        context.wrap_socket(connection, server_hostname=name) as encrypted,
    ):
        return encrypted.version()


def trusting(stack: Running) -> ssl.SSLContext:
    """Return what a client has whose user trusts the local authority."""
    return ssl.create_default_context(cafile=str(stack.stack.store.ca))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("address", ["127.0.0.1", SIX])
def test_certificate_verifies(named: Running, name: str, address: str) -> None:
    """Chain and name verify for each name of the site and for loopback, at both loopback addresses."""
    assert greeted(named, name, trusting(named), address) == "TLSv1.3"


def test_certificate_is_for_no_other_name(named: Running) -> None:
    """The certificate holds for no name that is not the site's, and for nobody who does not trust the authority."""
    for name in ("evil.example", "a.b.wild.example.org", "wild.example.org", "127.0.0.2"):
        with pytest.raises(ssl.SSLCertVerificationError):
            greeted(named, name, trusting(named))
    with pytest.raises(ssl.SSLCertVerificationError):
        greeted(named, "localhost", ssl.create_default_context())
    named.check_log()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", BRACKETED])
def test_requests_gets_the_page(stack: Running, host: str) -> None:
    """The library requests gets the page by each address of this machine, and from plain HTTP follows to it."""
    ca = str(stack.stack.store.ca)
    for url in (f"https://{host}:{stack.https_port}/", f"http://{host}:{stack.http_port}/"):
        answer = requests.get(url, verify=ca, timeout=10)
        assert (answer.status_code, answer.url) == (200, f"https://{host}:{stack.https_port}/")
        assert answer.headers["Content-Type"].startswith("text/html")


@pytest.mark.needs("curl")
@pytest.mark.parametrize("name", NAMES[:3])
def test_curl_gets_the_page(named: Running, name: str) -> None:
    """Curl gets the page by the site's names."""
    done = subprocess.run(
        [
            *("curl", "--silent", "--show-error", "--fail", "--noproxy", "*"),
            *("--cacert", str(named.stack.store.ca), "--resolve", f"{name}:{named.https_port}:127.0.0.1"),
            f"https://{name}:{named.https_port}/",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("<!doctype html>")


def listening(port: int) -> set[str]:
    """Return the addresses, in the kernel's hexadecimal, on which somebody listens at a port (proc(5), /proc/net/tcp)."""
    lines = [
        line.split()
        for table in ("tcp", "tcp6")
        for line in Path("/proc/net", table).read_text().splitlines()[1:]
    ]
    return {
        fields[1].rpartition(":")[0]
        for fields in lines
        if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port
    }


def test_all_listen_on_loopback_alone(stack: Running) -> None:
    """The backend listens on 127.0.0.1 alone, the private Apache on the loopback addresses alone."""
    four, six = "0100007F", "00000000000000000000000001000000"
    both = {four, six} if HAS_SIX else {four}
    assert listening(stack.backend_port) == {four}
    assert [listening(port) for port in (stack.https_port, stack.http_port)] == [both, both]


def speaking(stack: Running, version: ssl.TLSVersion) -> ssl.SSLContext:
    """Return a client that speaks one version of TLS, the weak ciphers of old ones too."""
    context = trusting(stack)
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    return context


def test_versions_of_tls(named: Running) -> None:
    """The profile `intermediate` accepts TLS 1.2 and 1.3, and refuses 1.1."""
    assert greeted(named, "localhost", speaking(named, ssl.TLSVersion.TLSv1_2)) == "TLSv1.2"
    assert greeted(named, "localhost", speaking(named, ssl.TLSVersion.TLSv1_3)) == "TLSv1.3"
    with pytest.deprecated_call():
        old = speaking(named, ssl.TLSVersion.TLSv1_1)
    with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
        greeted(named, "localhost", old)


def test_ciphers_of_the_guideline(named: Running) -> None:
    """In TLS 1.2 nothing but forward secrecy with authenticated encryption is agreed on."""
    weak = speaking(named, ssl.TLSVersion.TLSv1_2)
    weak.set_ciphers("AES128-SHA:AES256-SHA:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA384:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="HANDSHAKE_FAILURE"):
        greeted(named, "localhost", weak)


def test_modern() -> None:
    """The profile `modern` accepts TLS 1.3 alone."""
    with running(NAMED % "modern", backend=False) as stack:
        assert greeted(stack, "localhost", speaking(stack, ssl.TLSVersion.TLSv1_3)) == "TLSv1.3"
        with pytest.raises(ssl.SSLError, match="ALERT_PROTOCOL_VERSION"):
            greeted(stack, "localhost", speaking(stack, ssl.TLSVersion.TLSv1_2))
