"""TLS as a browser would see it: what was agreed on, the certificate, and where its chain leads.

Judges nothing.
"""

import asyncio
import ipaddress
import ssl
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID

from .remote_http import Failure, FailureError, opened, unverified
from .remote_url import Asked

ALPN = ("h2", "http/1.1")


@dataclass(frozen=True)
class Certificate:
    """Hold what a certificate says.

    Attributes:
        names: all that it is for.
        issuer: the organization and the name of who signed it.
        begin: from when it is valid.
        end: until when.
        is_own_issuer: whether it signed itself.
        is_fetchable: whether it says where its issuer's certificate can be had, as those of public authorities do.
    """

    names: tuple[str, ...]
    issuer: str
    begin: datetime
    end: datetime
    is_own_issuer: bool = False
    is_fetchable: bool = False

    def is_for(self, host: str) -> bool:
        """Tell whether a browser takes it for this host (RFC 9525, 6.3)."""
        name = host.rstrip(".").lower()
        try:
            wanted = str(ipaddress.ip_address(name))
        except ValueError:
            parent = f"*.{name.partition('.')[2]}"
            return any(each.lower() in {name, parent} for each in self.names)
        return wanted in self.names


@dataclass(frozen=True)
class TlsSeen:
    """Hold what TLS came to.

    Attributes:
        failure: why none came about, or nothing.
        detail: the failure's own words.
        version: `TLSv1.3`.
        cipher: the suite agreed on.
        alpn: the protocol that the server chose of `h2` and `http/1.1`; empty: it did not choose.
        certificate: the leaf; None where it cannot be read.
        verify_code: OpenSSL's verdict on the chain, 0 for good (openssl-verification-options(1)).
        verify_words: the same in its words.
        sent: how many certificates the server sent; 0: not known.
        seconds: how long it took.
    """

    failure: Failure = ""
    detail: str = ""
    version: str = ""
    cipher: str = ""
    alpn: str = ""
    certificate: Certificate | None = None
    verify_code: int = 0
    verify_words: str = ""
    sent: int = 0
    seconds: float = 0.0


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return what judges a chain: the system's authorities, and those of a file; names and dates are judged elsewhere.

    Raises:
        OSError: the file cannot be read, or holds no certificates.
    """
    context = ssl.create_default_context()
    if ca_file:
        context.load_verify_locations(ca_file)
    context.check_hostname = False
    context.set_alpn_protocols(list(ALPN))
    return context


async def look(asked: Asked, address: str, context: ssl.SSLContext, limit: float) -> TlsSeen:
    """Shake hands by TLS; once more without judging where the chain is not good."""
    loop = asyncio.get_running_loop()
    code, words = 0, ""
    try:
        begun = loop.time()
        try:
            line = await opened(address, asked.port, context, asked.host, limit)
        except ssl.SSLCertVerificationError as error:
            code, words = error.verify_code, error.verify_message
            begun = loop.time()
            line = await opened(address, asked.port, unverified(ALPN), asked.host, limit)
    except FailureError as failure:
        return TlsSeen(failure.answer.failure, failure.answer.detail)
    seconds = loop.time() - begun
    tls: ssl.SSLObject = line.writer.get_extra_info("ssl_object")
    cipher = tls.cipher()
    leaf = tls.getpeercert(binary_form=True)
    seen = TlsSeen(
        "",
        "",
        tls.version() or "",
        cipher[0] if cipher else "",
        tls.selected_alpn_protocol() or "",
        read_certificate(leaf) if leaf else None,
        code,
        words,
        _sent(tls),
        seconds,
    )
    await line.close()
    return seen


async def takes_old(asked: Asked, address: str, limit: float) -> str:
    """Return the withdrawn version of TLS that a server agrees to; empty where it does not."""
    context = unverified(())
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # that they are withdrawn is why they are asked for
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    try:
        line = await opened(address, asked.port, context, asked.host, limit)
    except FailureError:
        return ""
    version = line.writer.get_extra_info("ssl_object").version() or ""
    await line.close()
    return str(version)


def read_certificate(content: bytes) -> Certificate | None:
    """Return what a certificate in DER says; None where it cannot be read."""
    try:
        read = x509.load_der_x509_certificate(content)
        return Certificate(
            _names(read),
            _issuer(read.issuer),
            read.not_valid_before_utc,
            read.not_valid_after_utc,
            read.issuer == read.subject,
            _is_fetchable(read),
        )
    except (ValueError, x509.DuplicateExtension):
        return None


def now() -> datetime:
    """Return the time that certificates are held against."""
    return datetime.now(UTC)


def _names(read: x509.Certificate) -> tuple[str, ...]:
    try:
        names = read.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def _issuer(name: x509.Name) -> str:
    parts = [
        *name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME),
        *name.get_attributes_for_oid(NameOID.COMMON_NAME),
    ]
    return ", ".join(str(each.value) for each in parts) or name.rfc4514_string()


def _is_fetchable(read: x509.Certificate) -> bool:
    try:
        places = read.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except x509.ExtensionNotFound:
        return False
    return any(each.access_method == AuthorityInformationAccessOID.CA_ISSUERS for each in places)


def _sent(tls: ssl.SSLObject) -> int:
    """Count the certificates that came; only newer Pythons tell by a public name."""
    inner = getattr(tls, "get_unverified_chain", None) or getattr(
        getattr(tls, "_sslobj", None), "get_unverified_chain", None
    )
    return len(inner() or ()) if inner else 0
