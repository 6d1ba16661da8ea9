"""Read certificates and keys from files that anyone may have made, and say what is wrong with such a file.

Does not judge what a certificate is good for: `check.py` does.
"""

import os
import re
import shlex
import stat
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.utils import CryptographyDeprecationWarning

from .errors import PemFault

LARGEST = 1 << 20
BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)
CERTIFICATE = b"CERTIFICATE"
UNPARSABLE = (
    ValueError,
    TypeError,
    KeyError,  # a TLS feature (RFC 7633) of an unknown number
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def certificates(path: Path) -> list[x509.Certificate]:
    """Return the certificates of a PEM file in their order, at least one.

    Raises:
        PemFault: if the file cannot be read or holds none, or one that is damaged.
    """
    data = read(path)
    blocks = _blocks(data)
    found = [text for label, text in blocks if label == CERTIFICATE]
    if not found:
        raise PemFault(f"{path}: {_instead_of_certificate(path, data, {label for label, _ in blocks})}")
    chain = []
    for number, text in enumerate(found, 1):
        try:
            with warnings.catch_warnings(action="ignore", category=CryptographyDeprecationWarning):
                one = x509.load_pem_x509_certificate(text)
                _ = one.extensions, one.public_key(), one.subject, one.issuer  # all are parsed on first use
        except UNPARSABLE:
            raise PemFault(
                f"{path}: certificate {number} of {len(found)} is damaged or of an unknown kind; "
                "get the file again from who issued it"
            ) from None
        chain.append(one)
    return chain


def private_key(path: Path) -> PrivateKeyTypes:
    """Return the first private key of a PEM file.

    It must not be encrypted: Apache would ask for the password at every start.

    Raises:
        PemFault: if the file cannot be read or holds none, or one that is encrypted or damaged.
    """
    data = read(path)
    quoted = shlex.quote(str(path))
    for label, text in _blocks(data):
        if label == b"ENCRYPTED PRIVATE KEY" or (
            label.endswith(b"PRIVATE KEY") and b"Proc-Type: 4,ENCRYPTED" in text
        ):
            raise PemFault(
                f"{path}: the key is encrypted, and a server cannot type a password; "
                f"decrypt it: openssl pkey -in {quoted} -out plain.key"
            )
        if label.endswith(b"PRIVATE KEY"):
            try:
                return load_pem_private_key(text, None)
            except UNPARSABLE:
                raise PemFault(
                    f"{path}: the private key is damaged or of an unknown kind; "
                    f"see: openssl pkey -in {quoted} -noout -text"
                ) from None
    raise PemFault(f"{path}: {_instead_of_key(path, data, {label for label, _ in _blocks(data)})}")


def read(path: Path) -> bytes:
    """Return the content of a regular file of at most 1 MiB.

    Raises:
        PemFault: if there is no such file, or it may not or cannot be read.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise PemFault(f"{path}: is no regular file; name a PEM file")
            if status.st_size > LARGEST:
                raise PemFault(
                    f"{path}: has {status.st_size} bytes, far more than it should; name a PEM file"
                )
            return file.read(LARGEST)
    except IsADirectoryError:
        raise PemFault(f"{path}: is a directory; name the PEM file in it") from None
    except FileNotFoundError:
        raise PemFault(f"{path}: there is no such file; correct the path") from None
    except PermissionError:
        raise PemFault(
            f"{path}: may not be read by this user; run as a user who may, or change its owner or mode"
        ) from None
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else problem
        raise PemFault(f"{path}: cannot be read: {reason}; name a PEM file") from None


def _without_waiting(path: str, flags: int) -> int:
    """Open a file as `open` wants it; a named pipe would otherwise block until somebody writes to it."""
    return os.open(path, flags | os.O_NONBLOCK)


def _blocks(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(block[1], block[0]) for block in BLOCK.finditer(data)]


def _instead_of_certificate(path: Path, data: bytes, labels: set[bytes]) -> str:
    quoted = shlex.quote(str(path))
    if any(label.endswith(b"PRIVATE KEY") for label in labels):
        return "holds a private key and no certificate; certificate and key may have been swapped"
    if any(label.endswith(b"CERTIFICATE REQUEST") for label in labels):
        return "holds a request for a certificate, not the certificate; use what the authority sent back"
    if b"TRUSTED CERTIFICATE" in labels:
        return (
            f"holds OpenSSL's own form of a certificate; convert it: openssl x509 -in {quoted} -out plain.pem"
        )
    if b"PKCS7" in labels:
        return f"is PKCS #7; convert it: openssl pkcs7 -in {quoted} -print_certs -out chain.pem"
    return _no_pem(
        path,
        data,
        "certificate",
        f"openssl x509 -inform DER -in {quoted} -out certificate.pem",
    )


def _instead_of_key(path: Path, data: bytes, labels: set[bytes]) -> str:
    quoted = shlex.quote(str(path))
    if CERTIFICATE in labels:
        return "holds a certificate and no private key; certificate and key may have been swapped"
    if b"PUBLIC KEY" in labels:
        return "holds a public key; the private one is needed, which never left the machine it was made on"
    return _no_pem(path, data, "private key", f"openssl pkey -inform DER -in {quoted} -out plain.key")


def _no_pem(path: Path, data: bytes, wanted: str, from_der: str) -> str:
    quoted = shlex.quote(str(path))
    if not data.strip():
        return f"is empty; a {wanted} in PEM form is needed"
    if path.suffix.lower() in {".p12", ".pfx"}:
        return f"is PKCS #12, not PEM; convert it: openssl pkcs12 -in {quoted} -nodes -out both.pem"
    if data[0] == 0x30:  # noqa: PLR2004 -- a DER SEQUENCE, which all of these are
        return f"is binary (DER), not PEM; convert it: {from_der}"
    return f"holds no {wanted} in PEM form (-----BEGIN {wanted.upper()}-----); name the right file"
