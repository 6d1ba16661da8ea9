"""Every fault of a certificate that a user brings along has its sentence, and a good one has none."""

import base64
import os
import re
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import check
from certs.check import faults

from .issuing import DAY, NOW, Pair, issue, p256, write

ROOT = issue(common_name="the root", authority=True, begin=NOW - 9 * DAY, end=NOW + 9 * DAY)
MIDDLE = issue(common_name="the middle", authority=True, issuer=ROOT)
LEAF = issue("a.example", issuer=MIDDLE)
CHAIN = LEAF.pem + MIDDLE.pem
SERVER = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
SECOND = timedelta(seconds=1)
ISSUER_URL = x509.AuthorityInformationAccess(
    [
        x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier("http://a.example/ca")
        )
    ]
)


def judge(directory: Path, certificate: bytes, key: bytes, *names: str) -> list[str]:
    """Return the faults of files with this content, the directory's path taken out."""
    found = faults(*write(directory, certificate, key), names or ["a.example"], NOW)
    assert all("\n" not in fault for fault in found)
    return [fault.replace(f"{directory}/", "") for fault in found]


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param(issue("a.example", issuer=ROOT, extensions=[SERVER]), id="server purpose"),
        pytest.param(issue("*.example", "a.example", issuer=ROOT), id="several names"),
        pytest.param(issue("A.Example", issuer=ROOT), id="case"),
        pytest.param(issue("a.example"), id="self-signed"),
        pytest.param(issue("a.example", end=NOW), id="last second"),
        pytest.param(issue("a.example", begin=NOW), id="first second"),
        pytest.param(issue("a.example", key=rsa.generate_private_key(65537, 2048)), id="RSA 2048"),
        pytest.param(issue("a.example", key=ec.generate_private_key(ec.SECP384R1())), id="P-384"),
    ],
)
def test_good(tmp_path: Path, pair: Pair) -> None:
    """A sound pair has no fault."""
    assert judge(tmp_path, pair.pem, pair.key_pem) == []


def test_good_chain(tmp_path: Path) -> None:
    """A chain in order has no fault: with its root, with remarks between, or with the key in one file."""
    for content in (CHAIN, CHAIN + ROOT.pem, b"subject=a\n" + LEAF.pem + b"\n\n" + MIDDLE.pem):
        assert judge(tmp_path, content, LEAF.key_pem) == []
    assert judge(tmp_path, LEAF.key_pem + CHAIN, LEAF.key_pem + CHAIN) == []


def test_openssl_key_forms(tmp_path: Path) -> None:
    """A key in OpenSSL's older form is as good, with its parameters before it too."""
    old = LEAF.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    assert judge(tmp_path, CHAIN, parameters + old) == []


def altered(old: bytes, new: bytes) -> bytes:
    """Return the leaf in PEM form with some of its DER bytes replaced."""
    der = LEAF.certificate.public_bytes(Encoding.DER)
    assert old in der
    body = base64.encodebytes(der.replace(old, new, 1))
    return b"-----BEGIN CERTIFICATE-----\n%s-----END CERTIFICATE-----\n" % body


BAD: dict[str, tuple[bytes, bytes, str]] = {
    "empty certificate": (b"", LEAF.key_pem, r"server.pem: is empty; a certificate in PEM form is needed"),
    "empty key": (CHAIN, b"\n", r"server.key: is empty; a private key in PEM form is needed"),
    "text": (b"hello", LEAF.key_pem, r"server.pem: holds no certificate in PEM form"),
    "text as key": (CHAIN, b"hello", r"server.key: holds no private key in PEM form"),
    "binary": (
        LEAF.certificate.public_bytes(Encoding.DER),
        LEAF.key_pem,
        r"server.pem: is binary \(DER\), not PEM; .* openssl x509 -inform DER -in \S*server.pem -out",
    ),
    "binary key": (
        CHAIN,
        LEAF.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
        r"server.key: is binary \(DER\), not PEM; .* openssl pkey -inform DER -in \S*server.key -out",
    ),
    "swapped": (LEAF.key_pem, LEAF.key_pem, r"server.pem: holds a private key and no certificate; .*swapped"),
    "swapped key": (CHAIN, LEAF.pem, r"server.key: holds a certificate and no private key; .*swapped"),
    "public key": (
        CHAIN,
        LEAF.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        r"server.key: holds a public key; the private one is needed",
    ),
    "request": (
        b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n",
        LEAF.key_pem,
        r"server.pem: holds a request for a certificate, not the certificate",
    ),
    "trusted form": (
        LEAF.pem.replace(b"CERTIFICATE", b"TRUSTED CERTIFICATE"),
        LEAF.key_pem,
        r"server.pem: holds OpenSSL's own form .*: openssl x509 -in \S*server.pem -out",
    ),
    "PKCS #7": (
        b"-----BEGIN PKCS7-----\nAA==\n-----END PKCS7-----\n",
        LEAF.key_pem,
        r"server.pem: is PKCS #7; convert it: openssl pkcs7 -in \S*server.pem -print_certs",
    ),
    "damaged": (LEAF.pem + MIDDLE.pem[:60] + MIDDLE.pem[64:], LEAF.key_pem, r"certificate 2 of 2 is damaged"),
    "odd version": (
        altered(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x3e"),
        LEAF.key_pem,
        r"server.pem: certificate 1 of 1 is damaged or of an unknown kind; get the file again",
    ),
    "odd string type": (
        altered(b"\x0c\x08a server", b"\x4e\x08a server"),
        LEAF.key_pem,
        r"server.pem: certificate 1 of 1 is damaged or of an unknown kind; get the file again",
    ),
    "odd TLS feature": (
        issue(extensions=[x509.UnrecognizedExtension(x509.TLSFeature.oid, b"\x30\x03\x02\x01\x4e")]).pem,
        LEAF.key_pem,
        r"server.pem: certificate 1 of 1 is damaged or of an unknown kind; get the file again",
    ),
    "cut off": (LEAF.pem[:-40], LEAF.key_pem, r"server.pem: holds no certificate in PEM form"),
    "damaged key": (
        CHAIN,
        LEAF.key_pem[:60] + LEAF.key_pem[64:],
        r"server.key: the private key is damaged or of an unknown kind; see: openssl pkey -in \S+ -noout",
    ),
    "encrypted key": (
        CHAIN,
        LEAF.encrypted_key_pem,
        r"server.key: the key is encrypted, .*; decrypt it: openssl pkey -in \S*server.key -out plain.key",
    ),
    "encrypted old form": (
        CHAIN,
        b"-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA==\n-----END EC PRIVATE KEY-----\n",
        r"server.key: the key is encrypted",
    ),
    "another key": (
        CHAIN,
        MIDDLE.key_pem.replace(MIDDLE.key_pem, ROOT.key_pem),
        r"server.key: the key does not belong to the certificate in server.pem; name the key",
    ),
    "leaf last": (
        MIDDLE.pem + LEAF.pem,
        LEAF.key_pem,
        r"server.pem: the key belongs to certificate 2 of the file; put the server's own certificate first",
    ),
    "wrong intermediate": (
        LEAF.pem + ROOT.pem,
        LEAF.key_pem,
        r"server.pem: certificate 2 \(CN=the root\) did not issue certificate 1 \(CN=a server\); put",
    ),
    "same name, other key": (
        LEAF.pem + issue(common_name="the middle", authority=True).pem,
        LEAF.key_pem,
        r"server.pem: certificate 2 \(CN=the middle\) did not issue certificate 1",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_content(tmp_path: Path, name: str) -> None:
    """What is wrong with a file, or with two that do not fit, is one sentence and the only one."""
    certificate, key, expected = BAD[name]
    (fault,) = judge(tmp_path, certificate, key)
    assert re.search(expected, fault)


def bad(*names: str, **options: object) -> Pair:
    """Issue for a.example what has one fault."""
    return issue(*(names or ("a.example",)), issuer=ROOT, **options)  # type: ignore[arg-type]


BAD_PAIRS: dict[str, tuple[Pair, str]] = {
    "expired": (
        bad(begin=NOW - 9 * DAY, end=NOW - SECOND),
        r"certificate 1 \(CN=a server\) expired on 2030-06-01 11:59 UTC; renew it",
    ),
    "early": (
        bad(begin=NOW + SECOND, end=NOW + 9 * DAY),
        r"is not valid before 2030-06-01 12:00 UTC; wait, or set the clock .* \(2030-06-01 12:00 UTC\)",
    ),
    "RSA 1024": (
        bad(key=rsa.generate_private_key(65537, 1024)),  # noqa: S505 -- the fault
        r"the server's key is RSA 1024, and clients want RSA of 2048 .* openssl genpkey -algorithm EC",
    ),
    "P-521": (bad(key=ec.generate_private_key(ec.SECP521R1())), r"the server's key is ECDSA P-521"),
    "Ed25519": (bad(key=ed25519.Ed25519PrivateKey.generate()), r"the server's key is Ed25519"),
    "client purpose": (
        bad(extensions=[x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])]),
        r"is not for servers \(its extendedKeyUsage lacks serverAuth\)",
    ),
    "Must-Staple": (
        bad(extensions=[x509.TLSFeature([x509.TLSFeatureType.status_request])]),
        r"demands OCSP stapling",
    ),
    "other name": (bad("b.example"), r"does not cover a.example \(it carries b.example\); have it issued"),
    "no names": (
        issue(common_name="a.example", issuer=ROOT),
        r"does not cover a.example \(it carries no name in subjectAltName, where clients look\)",
    ),
    "steers a terminal": (bad("b\x1b[2J\n.example"), r"\(it carries b\?\[2j\?.example\)"),
}


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_bad_pair(tmp_path: Path, name: str) -> None:
    """What is wrong with a readable, matching pair is one sentence and the only one."""
    pair, expected = BAD_PAIRS[name]
    (fault,) = judge(tmp_path, pair.pem, pair.key_pem)
    assert fault.startswith("server.pem: ")
    assert re.search(expected, fault)


def test_uncovered_names(tmp_path: Path) -> None:
    """All names that a certificate does not cover are told in one sentence."""
    pair = bad("*.example", "192.0.2.1")
    (fault,) = judge(tmp_path, pair.pem, pair.key_pem, "a.example", "b.a.example", "192.0.2.1", "192.0.2.2")
    assert "does not cover b.a.example, 192.0.2.2 (it carries *.example, 192.0.2.1)" in fault


def test_expired_intermediate(tmp_path: Path) -> None:
    """An issuer that has expired is named, though the leaf is good."""
    middle = issue(common_name="old", authority=True, issuer=ROOT, begin=NOW - 2 * DAY, end=NOW - DAY)
    leaf = issue("a.example", issuer=middle)
    (fault,) = judge(tmp_path, leaf.pem + middle.pem, leaf.key_pem)
    assert fault.startswith("server.pem: certificate 2 (CN=old) expired on 2030-05-31 12:00 UTC")


def test_all_at_once(tmp_path: Path) -> None:
    """Several faults come together, in a stable order."""
    pair = bad("b.example", begin=NOW - 2 * DAY, end=NOW - DAY, key=ed25519.Ed25519PrivateKey.generate())
    found = judge(tmp_path, pair.pem, p256_pem(), "a.example", "bad name")
    assert [re.search("belong|expired|Ed25519|bad name|cover", fault).group() for fault in found] == [  # type: ignore[union-attr]
        "belong",
        "expired",
        "Ed25519",
        "bad name",
        "cover",
    ]


def p256_pem() -> bytes:
    """Make the PEM of a key that belongs to nothing."""
    return p256().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_both_missing(tmp_path: Path) -> None:
    """Both files are reported when neither is there."""
    found = faults(tmp_path / "a.pem", tmp_path / "a.key", ["a.example"], NOW)
    assert found == [
        f"{tmp_path}/{name}: there is no such file; correct the path" for name in ("a.pem", "a.key")
    ]


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda path: path.mkdir(), "is a directory; name the PEM file in it"),
        (os.mkfifo, "is no regular file; name a PEM file"),
        (
            lambda path: path.symlink_to(path),
            "cannot be read: Too many levels of symbolic links; name a PEM file",
        ),
        (lambda path: path.write_bytes(b"x" * 2_000_000), "has 2000000 bytes, far more than it should"),
    ],
    ids=["directory", "pipe", "loop", "large"],
)
def test_unreadable(tmp_path: Path, make: Callable[[Path], object], expected: str) -> None:
    """A path that holds no readable file is told apart from a bad file, and never blocks."""
    _, key = write(tmp_path, b"", LEAF.key_pem)
    odd = tmp_path / "odd.pem"
    make(odd)
    (fault,) = faults(odd, key, ["a.example"], NOW)
    assert fault.startswith(f"{odd}: {expected}")


def test_unreadable_path(tmp_path: Path) -> None:
    """A path that no system accepts is a sentence too."""
    _, key = write(tmp_path, b"", LEAF.key_pem)
    (fault,) = faults(Path("a\0b"), key, ["a.example"], NOW)
    assert "cannot be read: embedded null byte" in fault


def test_permission(tmp_path: Path) -> None:
    """A file that this user may not read says so and names the remedy."""
    certificate, key = write(tmp_path, CHAIN, LEAF.key_pem)
    key.chmod(0)
    judged = as_nobody if os.geteuid() == 0 else faults  # root may read everything
    found = judged(certificate, key, ["a.example"], NOW)
    assert found == [
        f"{key}: may not be read by this user; run as a user who may, or change its owner or mode"
    ]


def as_nobody(certificate: Path, key: Path, names: Sequence[str], now: datetime) -> list[str]:
    """Return what `faults` finds without root's rights."""
    for folder in list(key.parents)[:3]:  # what pytest makes for root alone
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        return faults(certificate, key, names, now)
    finally:
        os.seteuid(0)


def roots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *known: Pair) -> None:
    """Let these be the roots that the machine trusts."""
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(b"".join(one.pem for one in known))
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    check._roots.cache_clear()


@pytest.fixture(autouse=True)
def _forget_roots() -> Sequence[None]:
    check._roots.cache_clear()
    return ()


def test_missing_intermediate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone leaf of an authority that offers its intermediate for download lacks it."""
    roots(monkeypatch, tmp_path, ROOT)
    leaf = issue("a.example", issuer=MIDDLE, extensions=[ISSUER_URL])
    (fault,) = judge(tmp_path, leaf.pem, leaf.key_pem)
    assert "its issuer's certificate (CN=the middle) is not in the file" in fault
    assert "fullchain.pem" in fault
    assert judge(tmp_path, leaf.pem + MIDDLE.pem, leaf.key_pem) == []


def test_issued_by_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lone leaf is whole when the machine knows its issuer as a root, and when nothing can be known."""
    leaf = issue("a.example", issuer=ROOT, extensions=[ISSUER_URL])
    roots(monkeypatch, tmp_path, MIDDLE, ROOT)
    assert judge(tmp_path, leaf.pem, leaf.key_pem) == []
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setattr(check, "BUNDLES", ())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    check._roots.cache_clear()
    assert judge(tmp_path, leaf.pem, leaf.key_pem) == []


@settings(deadline=None)
@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, certificate: bytes, key: bytes) -> None:
    """Whatever bytes the two files hold, the answer is one sentence for each."""
    assert len(judge(tmp_path_factory.mktemp("any"), certificate, key)) == 2


@settings(deadline=None)
@given(st.data())
def test_any_damage(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """A chain with any byte replaced is judged without an exception."""
    place = data.draw(st.integers(0, len(CHAIN) - 1))
    other = data.draw(st.integers(0, 255))
    damaged = CHAIN[:place] + bytes([other]) + CHAIN[place + 1 :]
    judge(tmp_path_factory.mktemp("any"), damaged, LEAF.key_pem)
