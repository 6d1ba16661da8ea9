"""Judge a certificate and key that a user brings along, before any server is given them.

Does not know whether a client trusts the issuer, nor revocation: that takes a client and a network.
"""

import ssl
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from . import pem
from .authority import carried
from .errors import NameFault, PemFault
from .names import covers, parse
from .summary import distinguished, key_kind, printable

ACCEPTED_KEYS = ("ECDSA P-256", "ECDSA P-384")  # and RSA: Mozilla guideline 6.0, intermediate
SMALLEST_RSA = 2048
SERVER_PURPOSES = frozenset({ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE})
BROKEN_HASHES = ("md5", "sha1")
BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")

Loaded = TypeVar("Loaded")


def faults(
    certificate: Path, key: Path | None, names: Sequence[str], now: datetime | None = None
) -> list[str]:
    """Return all that is wrong with a certificate and its key for a server of these names, a sentence each.

    Args:
        certificate: PEM, the server's own first, then the intermediates (httpd: SSLCertificateFile).
        key: PEM, not encrypted (httpd: SSLCertificateKeyFile); None where it is not to be judged.
        names: A-labels, wildcards or IP addresses; each must be covered by the certificate.
        now: the moment to judge by, with a timezone; the clock's by default.
    """
    found: list[str] = []
    chain = _load(pem.certificates, certificate, found)
    private = _load(pem.private_key, key, found) if key else None
    if chain is None:
        return found
    place = _place_of_leaf(chain, private)
    if place is None:
        found.append(
            f"{key}: the key does not belong to the certificate in {certificate}; "
            "name the key that the certificate was requested with"
        )
    found += [
        f"{certificate}: {fault}"
        for fault in (
            *(_misplaced(place) if place else (*_order(chain), *_missing(chain))),
            *_validity(chain, now or datetime.now(UTC)),
            *_strength(chain, place or 0),
            *_purpose(chain[place or 0]),
            *_uncovered(chain[place or 0], names),
        )
    ]
    return found


def _load(read: Callable[[Path], Loaded], path: Path, found: list[str]) -> Loaded | None:
    try:
        return read(path)
    except PemFault as problem:
        found.append(str(problem))
        return None


def _place_of_leaf(chain: list[x509.Certificate], private: PrivateKeyTypes | None) -> int | None:
    """Return which certificate the key belongs to; the first when there is no key to tell by."""
    if private is None:
        return 0
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    ours = private.public_key().public_bytes(*form)
    places = (place for place, one in enumerate(chain) if one.public_key().public_bytes(*form) == ours)
    return next(places, None)


def _misplaced(place: int) -> Iterator[str]:
    yield (
        f"the key belongs to certificate {place + 1} of the file; "
        "put the server's own certificate first, then its issuers"
    )


def _order(chain: list[x509.Certificate]) -> Iterator[str]:
    for number, (one, following) in enumerate(pairwise(chain), 1):
        if not _issued(one, following):
            yield (
                f"certificate {number + 1} ({distinguished(following.subject)}) did not issue "
                f"certificate {number} ({distinguished(one.subject)}); "
                "put the server's own first, then the issuer of each after it, and nothing else"
            )
            return


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _missing(chain: list[x509.Certificate]) -> Iterator[str]:
    """Find the lone leaf of a public authority: browsers may know its issuer, other clients fail."""
    leaf = chain[0]
    roots = _roots()
    if len(chain) > 1 or not roots or leaf.issuer == leaf.subject or leaf.issuer.public_bytes() in roots:
        return
    try:
        access = leaf.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return
    for place in access:
        if place.access_method == AuthorityInformationAccessOID.CA_ISSUERS:
            yield (
                f"its issuer's certificate ({distinguished(leaf.issuer)}) is not in the file, "
                "and no root of this machine; use the full chain (certbot: fullchain.pem), or append it"
            )
            return


@cache
def _roots() -> frozenset[bytes]:
    """Return the subjects of the roots this machine trusts; empty when there is no list of them."""
    for place in (ssl.get_default_verify_paths().cafile, *BUNDLES):
        try:
            return frozenset(one.subject.public_bytes() for one in pem.certificates(Path(place or "")))
        except PemFault:
            continue
    return frozenset()


def _validity(chain: list[x509.Certificate], now: datetime) -> Iterator[str]:
    for number, one in enumerate(chain, 1):
        which = f"certificate {number} ({distinguished(one.subject)})"
        start, end = one.not_valid_before_utc, one.not_valid_after_utc
        if now > end:
            yield f"{which} expired on {end:%Y-%m-%d %H:%M} UTC; renew it"
        if now < start:
            yield (
                f"{which} is not valid before {start:%Y-%m-%d %H:%M} UTC; "
                f"wait, or set the clock of this machine right ({now:%Y-%m-%d %H:%M} UTC)"
            )


def _strength(chain: list[x509.Certificate], place_of_leaf: int) -> Iterator[str]:
    key = key_kind(chain[place_of_leaf])
    kind, _, size = key.partition(" ")
    if key not in ACCEPTED_KEYS and not (kind == "RSA" and int(size) >= SMALLEST_RSA):
        yield (
            f"the server's key is {key}, and clients want RSA of {SMALLEST_RSA} bits or more, "
            "or ECDSA on P-256 or P-384; request a certificate with a new key: "
            "openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out new.key"
        )
    for number, one in enumerate(chain, 1):
        if one.issuer != one.subject and _hash(one) in BROKEN_HASHES:
            yield (
                f"certificate {number} ({distinguished(one.subject)}) is signed with {_hash(one).upper()}, "
                "which no browser accepts; have it issued anew"
            )


def _hash(certificate: x509.Certificate) -> str:
    try:
        algorithm = certificate.signature_hash_algorithm
    except UnsupportedAlgorithm:
        return ""
    return algorithm.name if algorithm else ""


def _purpose(leaf: x509.Certificate) -> Iterator[str]:
    for extension in leaf.extensions:
        value = extension.value
        if isinstance(value, x509.ExtendedKeyUsage) and SERVER_PURPOSES.isdisjoint(value):
            yield (
                "the certificate is not for servers (its extendedKeyUsage lacks serverAuth); "
                "have it issued for TLS servers"
            )
        if isinstance(value, x509.TLSFeature) and x509.TLSFeatureType.status_request in set(value):
            yield (
                "the certificate demands OCSP stapling (Must-Staple), which is not offered; "
                "have it issued without"
            )


def _uncovered(leaf: x509.Certificate, names: Sequence[str]) -> Iterator[str]:
    patterns = carried(leaf)
    missing = []
    for text in names:
        try:
            name = parse(text)
        except NameFault as problem:
            yield str(problem)
            continue
        if not any(covers(pattern, name) for pattern in patterns):
            missing.append(str(name))
    if missing:
        carries = printable(", ".join(map(str, patterns))) or "no name in subjectAltName, where clients look"
        yield (
            f"the certificate does not cover {', '.join(missing)} (it carries {carries}); "
            "have it issued for all names, or correct the names"
        )
