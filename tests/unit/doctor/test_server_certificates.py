"""Certificates as they are configured, and what mod_md has got."""

import json
from datetime import timedelta
from pathlib import Path

import pytest

from doctor.configuration import read
from doctor.server_certificates import Certificate, certificates, is_soon
from tests.unit.certs.issuing import DAY, NOW, issue


def found_in(folder: Path, text: str) -> tuple[list[Certificate], list[str]]:
    """Return the certificates of a vhost with these lines."""
    (file := folder / "a.conf").write_text(f"<VirtualHost *:443>\nSSLEngine on\n{text}\n</VirtualHost>\n")
    return certificates(read(str(file)), str(folder))


def test_certificate_and_key(tmp_path: Path) -> None:
    """Dates are read, and whether the key is the certificate's own; names below the ServerRoot are followed."""
    own, other = issue("site.test"), issue("site.test")
    (tmp_path / "own.pem").write_bytes(own.pem + own.key_pem)
    (tmp_path / "other.key").write_bytes(other.key_pem)
    (tmp_path / "locked.key").write_bytes(own.encrypted_key_pem)
    for lines, matched in (
        ("SSLCertificateFile own.pem", True),
        (f"SSLCertificateFile {tmp_path}/own.pem\nSSLCertificateKeyFile own.pem", True),
        ("SSLCertificateFile own.pem\nSSLCertificateKeyFile other.key", False),
        ("SSLCertificateFile own.pem\nSSLCertificateKeyFile locked.key", None),
    ):
        (each,), denied = found_in(tmp_path, lines)
        assert each.is_matched is matched
        assert (each.starts, each.ends) == (NOW - DAY, NOW + DAY)
        assert len(denied) == (matched is None)


@pytest.mark.parametrize(
    "content", [b"", b"\0\xff", b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n", None]
)
def test_what_is_no_certificate(tmp_path: Path, content: bytes | None) -> None:
    """A file that is missing or is no certificate has its fault named."""
    if content is not None:
        (tmp_path / "own.pem").write_bytes(content)
    (each,), _ = found_in(tmp_path, "SSLCertificateFile own.pem")
    assert each.fault


def test_vhost_without_tls(tmp_path: Path) -> None:
    """Where TLS is off its files do not matter."""
    (file := tmp_path / "a.conf").write_text(
        "<VirtualHost *:80>\nSSLCertificateFile none.pem\n</VirtualHost>\n"
    )
    assert certificates(read(str(file)), "/")[0] == []


def test_soon(tmp_path: Path) -> None:
    """A certificate should have been renewed a week before its end; one of six days, a day before."""
    own = issue("site.test", begin=NOW, end=NOW + 90 * DAY)
    (tmp_path / "own.pem").write_bytes(own.pem + own.key_pem)
    (each,), _ = found_in(tmp_path, "SSLCertificateFile own.pem")
    assert not is_soon(each, NOW + 80 * DAY)
    assert is_soon(each, NOW + 84 * DAY)
    short = Certificate(each.file, each.line, NOW, NOW + 6 * DAY)
    assert not is_soon(short, NOW + 4 * DAY)
    assert is_soon(short, NOW + 5 * DAY + timedelta(hours=1))


def test_domains_of_mod_md(tmp_path: Path) -> None:
    """What mod_md has not got yet is told with its last error; what it has is read."""
    text = "</VirtualHost>\nMDomain a.test\nMDomain b.test\n<MDomain c.test>\n</MDomain>\n<VirtualHost *:443>"
    (tmp_path / "md/staging/a.test").mkdir(parents=True)
    last = {"problem": "urn:ietf:params:acme:error:dns", "detail": "no such name"}
    (tmp_path / "md/staging/a.test/job.json").write_text(json.dumps({"last": last}))
    own = issue("b.test")
    (tmp_path / "md/domains/b.test").mkdir(parents=True)
    (tmp_path / "md/domains/b.test/pubcert.pem").write_bytes(own.pem)
    first, second, third = found_in(tmp_path, text)[0]
    assert (first.is_managed, first.fault) == (True, "urn:ietf:params:acme:error:dns no such name")
    assert (second.fault, second.ends) == ("", NOW + DAY)
    assert third.fault == "not asked for yet"
