"""Make the local authority and the leaves it signs.

Knows no files and keeps no clock: keys and moments come in, certificates go out.
"""

import ipaddress
import re
import socket
from collections.abc import Iterable
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from .names import Name, Subtree, narrowest, subtree, within

LOOPBACK: tuple[Subtree, ...] = (
    "localhost",
    ipaddress.IPv4Network("127.0.0.0/8"),
    ipaddress.IPv6Network("::1/128"),
)
ALWAYS: tuple[Name, ...] = ("localhost", ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))

AUTHORITY_LIFETIME = timedelta(days=3650)
LEAF_LIFETIME = timedelta(days=90)  # the most that Mozilla's guideline 6.0 recommends
BACKDATED = timedelta(hours=1)  # for clients whose clock is slow
SECOND = timedelta(seconds=1)  # both ends of the validity belong to it: RFC 5280 section 4.1.2.5

AUTHORITY_ORGANIZATION = "wsfront local authority"
LEAF_ORGANIZATION = "wsfront local certificate"


def make_authority(key: ec.EllipticCurvePrivateKey, names: Iterable[Name], now: datetime) -> x509.Certificate:
    """Return a self-signed authority that can speak for these names, what is below them, and loopback.

    A stolen key can vouch for nothing else: no other site by the name constraints, and no mail or code by
    the only purpose given (RFC 5280 sections 4.2.1.10 and 4.2.1.12).
    """
    public = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    host = re.sub(r"[^A-Za-z0-9.-]", "", socket.gethostname())[:20]
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, AUTHORITY_ORGANIZATION),
            # Two keys under one name would confuse clients, hence the identifier; X.520 allows 64 characters.
            x509.NameAttribute(
                NameOID.COMMON_NAME, f"wsfront {host} {now:%Y-%m-%d} {public.digest.hex()[:12]}"
            ),
        ]
    )
    permitted = [_general(one) for one in narrowest([*LOOPBACK, *map(subtree, names)])]
    return (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True
        )
        .add_extension(public, critical=False)
        .sign(key, hashes.SHA256())
    )


def make_leaf(
    public_key: ec.EllipticCurvePublicKey,
    names: Iterable[Name],
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    now: datetime,
) -> x509.Certificate:
    """Return a server's certificate for these names and loopback, signed by the authority."""
    names = list(names)
    # Apache as a client looks for addresses among the common names, and never among the alternative ones:
    # httpd modules/ssl/ssl_util_ssl.c, getIDs.
    attributes = [
        x509.NameAttribute(NameOID.ORGANIZATION_NAME, LEAF_ORGANIZATION),
        *(x509.NameAttribute(NameOID.COMMON_NAME, str(one)) for one in names if not isinstance(one, str)),
    ]
    subject = x509.Name(attributes)
    issuer_id = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        _builder(subject, authority.subject, public_key, now, LEAF_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.SubjectAlternativeName([_general(one) for one in leaf_names(names)]), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer_id), critical=False
        )
        .sign(authority_key, hashes.SHA256())
    )


def leaf_names(names: Iterable[Name]) -> list[Name]:
    """Return what a leaf for these names carries: each once, and loopback at the end."""
    return list(dict.fromkeys([*names, *ALWAYS]))


def carried(certificate: x509.Certificate) -> list[Name]:
    """Return the DNS names and IP addresses in a certificate's subjectAltName, if it has one."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    hosts = [host.lower() for host in names.get_values_for_type(x509.DNSName)]
    addresses = names.get_values_for_type(x509.IPAddress)
    return [
        *hosts,
        *(one for one in addresses if isinstance(one, ipaddress.IPv4Address | ipaddress.IPv6Address)),
    ]


def permitted(authority: x509.Certificate) -> list[Subtree]:
    """Return what the authority may speak for; empty for a certificate without such constraints."""
    try:
        constraints = authority.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return []
    values = [one.value for one in constraints.permitted_subtrees or ()]
    return [one for one in values if isinstance(one, str | ipaddress.IPv4Network | ipaddress.IPv6Network)]


def may_issue(authority: x509.Certificate, names: Iterable[Name]) -> bool:
    """Tell whether all of these names lie within the authority's constraints."""
    outer = permitted(authority)
    return all(any(within(subtree(name), one) for one in outer) for name in names)


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    start = now.replace(microsecond=0) - BACKDATED
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + lifetime - SECOND)
    )


def _general(name: Name | Subtree) -> x509.GeneralName:
    return x509.DNSName(name) if isinstance(name, str) else x509.IPAddress(name)


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
