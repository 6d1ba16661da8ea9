"""Keep a local authority and its leaves in a directory, and bring them up to date.

    ca/ca.pem              the authority, to be trusted
    ca/<id>.key            its key; the certificate names it, so replacing ca.pem alone changes both at once
    ca/former-<id>.pem     authorities before it, their keys gone: for taking the trust back
    sites/<site>/key.pem   stays as long as its folder, so that a renewal replaces one file
    sites/<site>/certificate.pem

Does not know who trusts the authority, nor which server has loaded which leaf.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from os.path import lexists
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from . import pem
from .authority import (
    AUTHORITY_ORGANIZATION,
    LEAF_LIFETIME,
    carried,
    leaf_names,
    make_authority,
    make_leaf,
    may_issue,
    permitted,
)
from .errors import NameFault, PemFault, StoreFault
from .files import File, locked, replace
from .names import Name, parse

SITE = re.compile(r"[a-z0-9_*-][a-z0-9_.:*-]{0,252}")
IDENTIFIER = re.compile(r"[0-9a-f]{12}")
OTHERS = 0o077

Content = TypeVar("Content")


@dataclass(frozen=True, slots=True)
class Issued:
    """Hold where a site's files are, and what had to be made: after `new_ca` the trust must be renewed."""

    certificate: Path
    key: Path
    ca: Path
    renewed: bool
    new_ca: bool


@dataclass(frozen=True, slots=True)
class _Authority:
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


def _now() -> datetime:
    return datetime.now(UTC)


class Store:
    """Keep one authority and one leaf for each site in a directory.

    Args:
        directory: made on first use, with mode 0700; nothing outside it is written.
        clock: returns the moment to judge by, with a timezone.
    """

    def __init__(self, directory: Path, clock: Callable[[], datetime] = _now) -> None:
        self.directory = directory
        self.ca = directory / "ca" / "ca.pem"
        self._clock = clock

    def ensure(self, site: str, names: Sequence[str]) -> Issued:
        """Return a good certificate and key for a site; the same ones as long as they are good.

        Args:
            site: names the folder; a server name as a rule.
            names: A-labels, wildcards or IP addresses, beside localhost and the loopback addresses.

        Raises:
            NameFault: for a name that no certificate can carry, or a site that names no folder.
            StoreFault: for a store that is broken, holds foreign files, is locked or cannot be written.
        """
        return self.ensure_all({site: names})[site]

    def ensure_all(self, sites: Mapping[str, Sequence[str]]) -> dict[str, Issued]:
        """Do as `ensure` for several sites, so that at most one new authority is made for all of them."""
        parsed = {site: [parse(name) for name in names] for site, names in sites.items()}
        wanted = {self._folder(site): names for site, names in parsed.items()}
        written, new_ca = self._update(wanted)
        return {
            site: Issued(
                certificate=(folder := self._folder(site)) / "certificate.pem",
                key=folder / "key.pem",
                ca=self.ca,
                renewed=folder in written,
                new_ca=new_ca,
            )
            for site in sites
        }

    def ensure_authority(self) -> bool:
        """Make the authority, for loopback alone, unless there is a good one; tell whether one was made."""
        _, new_ca = self._update({})
        return new_ca

    def leaves(self) -> list[Path]:
        """Return the certificates of all sites that have one."""
        return sorted((self.directory / "sites").glob("*/certificate.pem"))

    def former(self) -> list[Path]:
        """Return the authorities that this one replaced, as files; some client may trust them still."""
        return sorted(self.ca.parent.glob("former-*.pem"))

    def _folder(self, site: str) -> Path:
        if not SITE.fullmatch(site.lower()):
            raise NameFault(f"{site!r}: cannot name a site's folder; use a name such as chat.example.org")
        return self.directory / "sites" / site.lower().replace("*", "_")

    def _update(self, wanted: Mapping[Path, Sequence[Name]]) -> tuple[set[Path], bool]:
        """Write what is missing or stale; return the renewed sites' folders, and if the authority is new."""
        with locked(self.directory):
            now = self._clock()
            authority = self._authority(now)
            files: list[File] = []
            new_ca = authority is None or not _fit(authority, wanted, now)
            if authority is None or new_ca:
                # One authority for all, so the other sites' leaves must hang from the new one too.
                wanted = {**self._carried(), **wanted}
                authority, files = self._renewed_authority(authority, wanted, now)
            renewed = set()
            for folder, names in wanted.items():
                if made := self._renewed_leaf(folder, names, authority, now):
                    files += made
                    renewed.add(folder)
            if files:
                replace(files)
            if new_ca:
                self._forget_keys_but(_identifier(authority.certificate))
            return renewed, new_ca

    def _carried(self) -> dict[Path, list[Name]]:
        """Return the names of every site that has a leaf, by folder."""
        known = {path.parent: self._leaf(path.parent)[0] for path in self.leaves()}
        return {folder: carried(leaf) for folder, leaf in known.items() if leaf}

    def _authority(self, now: datetime) -> _Authority | None:
        """Return the authority there is, if any, having made sure that it is one of ours and whole."""
        if not lexists(self.ca):
            return None
        anew = f"move {self.ca.parent} away for a new authority, which must then be trusted anew"
        certificate = self._certificate(self.ca, anew)
        if _organization(certificate.subject) != AUTHORITY_ORGANIZATION or not permitted(certificate):
            raise StoreFault(f"{self.ca}: is no authority made by wsfront; {anew}")
        path = self._key_path(certificate)
        if not lexists(path):
            raise StoreFault(f"{path}: the authority's key is missing; bring it back, or {anew}")
        key = self._key(path, anew)
        if key.public_key() != certificate.public_key():
            raise StoreFault(f"{path}: does not belong to {self.ca}; bring the right key back, or {anew}")
        if now < certificate.not_valid_before_utc:
            raise StoreFault(
                f"{self.ca}: begins on {certificate.not_valid_before_utc:%Y-%m-%d}, and the clock here "
                f"says {now:%Y-%m-%d}; set the clock right"
            )
        return _Authority(certificate, key)

    def _renewed_authority(
        self, old: _Authority | None, sites: Mapping[Path, Sequence[Name]], now: datetime
    ) -> tuple[_Authority, list[File]]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = make_authority(key, [name for names in sites.values() for name in names], now)
        files = [
            File(self._key_path(certificate), _key_pem(key), 0o600),
            File(self.ca, certificate.public_bytes(Encoding.PEM), 0o644),
        ]
        if old:
            former = self.ca.with_name(f"former-{_identifier(old.certificate)}.pem")
            files.insert(0, File(former, old.certificate.public_bytes(Encoding.PEM), 0o644))
        return _Authority(certificate, key), files

    def _leaf(self, folder: Path) -> tuple[x509.Certificate | None, ec.EllipticCurvePrivateKey | None]:
        """Return the leaf and the key in a site's folder, having made sure that they are ours and whole.

        A key alone is what an interrupted first issue leaves behind.
        """
        certificate_path, key_path = folder / "certificate.pem", folder / "key.pem"
        anew = f"move {folder} away to have both made anew"
        key = self._key(key_path, anew) if lexists(key_path) else None
        if not lexists(certificate_path):
            return None, key
        certificate = self._certificate(certificate_path, anew)
        if _organization(certificate.issuer) != AUTHORITY_ORGANIZATION:
            raise StoreFault(f"{certificate_path}: was not issued by wsfront; {anew}")
        if key is None:
            raise StoreFault(f"{key_path}: is missing beside its certificate; bring it back, or {anew}")
        if key.public_key() != certificate.public_key():
            raise StoreFault(f"{key_path}: does not belong to the certificate beside it; {anew}")
        return certificate, key

    def _renewed_leaf(
        self, folder: Path, names: Sequence[Name], authority: _Authority, now: datetime
    ) -> list[File]:
        """Return the files to write for a site; none while what is there is good."""
        old, key = self._leaf(folder)
        if old and _good(old, names, authority, now):
            return []
        files = []
        if key is None:
            key = ec.generate_private_key(ec.SECP256R1())
            files = [File(folder / "key.pem", _key_pem(key), 0o600)]
        leaf = make_leaf(key.public_key(), names, authority.certificate, authority.key, now)
        return [*files, File(folder / "certificate.pem", leaf.public_bytes(Encoding.PEM), 0o644)]

    def _key_path(self, authority: x509.Certificate) -> Path:
        return self.ca.with_name(f"{_identifier(authority)}.key")

    def _certificate(self, path: Path, anew: str) -> x509.Certificate:
        certificate, *others = self._read(pem.certificates, path, anew)
        if others:
            raise StoreFault(f"{path}: holds more than the one certificate that wsfront wrote; {anew}")
        return certificate

    def _key(self, path: Path, anew: str) -> ec.EllipticCurvePrivateKey:
        key = self._read(pem.private_key, path, anew)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise StoreFault(f"{path}: is no ECDSA key and so was not made by wsfront; {anew}")
        mode = path.stat().st_mode & 0o777
        if mode & OTHERS:
            raise StoreFault(
                f"{path}: is open to other users (mode {mode:04o}); "
                f"chmod 600 it if nobody can have read it, or {anew}"
            )
        return key

    @staticmethod
    def _read(read: Callable[[Path], Content], path: Path, anew: str) -> Content:
        try:
            return read(path)
        except PemFault as problem:
            raise StoreFault(f"{problem}; or {anew}") from None

    def _forget_keys_but(self, identifier: str) -> None:
        """Remove the keys of former authorities: whoever still trusts one is then in no danger from it."""
        for path in self.ca.parent.glob("*.key"):
            if path.stem != identifier and IDENTIFIER.fullmatch(path.stem):
                path.unlink(missing_ok=True)


def _fit(authority: _Authority, sites: Mapping[Path, Sequence[Name]], now: datetime) -> bool:
    """Tell whether the authority may issue for all of these sites, and outlives what is issued now."""
    certificate = authority.certificate
    lasts = now + LEAF_LIFETIME <= certificate.not_valid_after_utc
    return lasts and all(may_issue(certificate, names) for names in sites.values())


def _good(leaf: x509.Certificate, names: Sequence[Name], authority: _Authority, now: datetime) -> bool:
    """Tell whether a leaf carries the names, hangs from the authority and has a third of its life left."""
    begin, end = leaf.not_valid_before_utc, leaf.not_valid_after_utc
    try:
        leaf.verify_directly_issued_by(authority.certificate)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return begin <= now < end - (end - begin) / 3 and set(carried(leaf)) == set(leaf_names(names))


def _identifier(authority: x509.Certificate) -> str:
    """Return the head of the key's identifier, as the authority's name has it (RFC 5280 section 4.2.1.2)."""
    return x509.SubjectKeyIdentifier.from_public_key(authority.public_key()).digest.hex()[:12]


def _organization(name: x509.Name) -> str | bytes:
    return next((one.value for one in name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)), "")


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
