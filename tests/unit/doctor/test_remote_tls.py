"""Certificates of every kind, served by a real TLS server, as `doctor` sees them."""

import ssl
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID

from apache.httpd import free_ports
from doctor.remote import examine
from doctor.remote_tls import Certificate, read_certificate
from tests.scripted import answering, scripted
from tests.unit.certs.issuing import Pair, issue, write

NOW = datetime.now(UTC)
DAY = timedelta(days=1)
ROOT = issue(common_name="a root", authority=True, begin=NOW - DAY, end=NOW + 9 * DAY)
MIDDLE = issue(common_name="a middle", issuer=ROOT, authority=True, begin=NOW - DAY, end=NOW + 9 * DAY)
FETCHED = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS,
            x509.UniformResourceIdentifier("http://ca.example/m.der"),
        )
    ]
)


def leaf(*names: str, issuer: Pair | None = ROOT, days: tuple[float, float] = (-1, 9), fetched: bool = False) -> Pair:  # fmt: skip
    """Issue a certificate for a server."""
    begin, end = (NOW + DAY * each for each in days)
    extensions = [FETCHED] if fetched else []
    return issue(*(names or ("localhost",)), issuer=issuer, begin=begin, end=end, extensions=extensions)


async def found(folder: Path, pair: Pair, others: Sequence[Pair] = ()) -> list[str]:
    """Serve with a certificate and what is sent behind it; return what is found, with the root trusted."""
    chain = pair.pem + b"".join(each.pem for each in others)
    certificate, key = write(folder, chain, pair.key_pem)
    (folder / "root.pem").write_bytes(ROOT.pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    (port,) = free_ports(1)
    with scripted(port, answering("404 Not Found", body=b"no"), context=context):
        examination = await examine(
            f"wss://localhost:{port}/ws", address="127.0.0.1", ca_file=str(folder / "root.pem")
        )
    return [finding.id for finding in examination.findings if finding.id != "backend-not-found"]


@pytest.mark.parametrize(
    ("pair", "others", "names"),
    [
        (leaf(), [], []),
        (leaf(issuer=MIDDLE), [MIDDLE], []),
        (leaf("*.example", "127.0.0.1"), [], ["certificate-other-name"]),
        (leaf(days=(-9, -1)), [], ["certificate-expired"]),
        (leaf(days=(1, 9)), [], ["certificate-not-yet"]),
        (leaf(days=(-9, 1)), [], ["certificate-soon"]),
        (leaf(issuer=None), [], ["certificate-self-signed"]),
        (leaf(issuer=MIDDLE, fetched=True), [], ["certificate-chain-incomplete"]),
        (leaf(issuer=MIDDLE), [], ["certificate-unknown-authority"]),
        (leaf("x.example", issuer=None), [], ["certificate-other-name", "certificate-self-signed"]),
    ],
)  # fmt: skip
async def test_certificate(tmp_path: Path, pair: Pair, others: Sequence[Pair], names: list[str]) -> None:
    """Each fault of a certificate has its name, also beside others."""
    assert await found(tmp_path, pair, others) == names


@pytest.mark.parametrize(
    ("names", "host", "is_for"),
    [
        (("example.org",), "example.org", True),
        (("Example.org",), "EXAMPLE.ORG.", True),
        (("*.example.org",), "a.example.org", True),
        (("*.example.org",), "a.b.example.org", False),
        (("*.example.org",), "example.org", False),
        (("::1", "127.0.0.1"), "127.0.0.1", True),
        (("::1",), "0:0:0:0:0:0:0:1", True),
        (("*.0.0.1",), "127.0.0.1", False),
        ((), "example.org", False),
    ],
)
def test_names(names: tuple[str, ...], host: str, is_for: bool) -> None:  # noqa: FBT001 (a column)
    """A name covers itself, a wildcard one label, and an address is compared as one."""
    assert Certificate(names, "", NOW, NOW).is_for(host) == is_for


def test_what_is_no_certificate() -> None:
    """What cannot be read is none, and no error."""
    assert read_certificate(b"x") is None
    read = read_certificate(ROOT.certificate.public_bytes(Encoding.DER))
    assert read
    assert (read.issuer, read.is_own_issuer, read.is_fetchable, read.names) == ("a root", True, False, ())
