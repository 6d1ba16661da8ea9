"""Say in a few words what a certificate is: for `certs show`, and for sentences that must name one.

Does not judge it: `check.py` does.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from .authority import carried, permitted

CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


@dataclass(frozen=True, slots=True)
class Summary:
    """Hold the facts about a certificate as text that is safe to print; fingerprints as OpenSSL has them."""

    subject: str
    issuer: str
    authority: bool
    names: tuple[str, ...]
    permitted: tuple[str, ...]
    key: str
    not_before: datetime
    not_after: datetime
    days_left: int
    sha256: str
    sha1: str


def summary(certificate: x509.Certificate, now: datetime | None = None) -> Summary:
    """Return the facts about a certificate; `days_left` is negative once it has expired."""
    now = now or datetime.now(UTC)
    return Summary(
        subject=distinguished(certificate.subject),
        issuer=distinguished(certificate.issuer),
        authority=is_authority(certificate),
        names=tuple(printable(str(name)) for name in carried(certificate)),
        permitted=tuple(printable(str(one)) for one in permitted(certificate)),
        key=key_kind(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        days_left=(certificate.not_valid_after_utc - now).days,
        sha256=fingerprint(certificate, hashes.SHA256()),
        sha1=fingerprint(certificate, hashes.SHA1()),  # noqa: S303 -- how Windows and macOS name a certificate
    )


def fingerprint(certificate: x509.Certificate, algorithm: hashes.HashAlgorithm) -> str:
    """Return the fingerprint as upper-case pairs joined by colons."""
    return certificate.fingerprint(algorithm).hex(":").upper()


def is_authority(certificate: x509.Certificate) -> bool:
    """Tell whether the certificate may sign others (RFC 5280 section 4.2.1.9)."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def key_kind(certificate: x509.Certificate) -> str:
    """Return the kind and size of a certificate's key, such as `ECDSA P-256` or `RSA 2048`."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"ECDSA {CURVES.get(key.curve.name, key.curve.name)}"
    return type(key).__name__.removesuffix("PublicKey")


def distinguished(name: x509.Name) -> str:
    """Return a name as one printable line (RFC 4514), or `(empty)`."""
    return printable(name.rfc4514_string()) or "(empty)"


def printable(text: str) -> str:
    """Return the text without what breaks a line or steers a terminal: certificates come from strangers."""
    return "".join(one if one.isprintable() else "?" for one in text)
