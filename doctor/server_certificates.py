"""The certificates that Apache's configuration names, and what mod_md has got: as they lie on the disk."""

import datetime as dt
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from .configuration import Configuration
from .reading import Directive, shown

_SIZE_LIMIT = 1 << 20
_MOST = 64
_SOON_DAYS = 7


@dataclass(frozen=True)
class Certificate:
    """Hold one certificate as it is configured.

    Attributes:
        file: where it is; for mod_md, where it would be.
        line: the line that names it.
        starts: when it becomes valid; None where it could not be read.
        ends: when it no longer is.
        is_matched: whether its key is its own; None where that is not known.
        fault: why it cannot be read; empty: it can.
        is_managed: whether mod_md is to get it.
    """

    file: str
    line: Directive
    starts: dt.datetime | None = None
    ends: dt.datetime | None = None
    is_matched: bool | None = None
    fault: str = ""
    is_managed: bool = False


def certificates(configuration: Configuration, root: str) -> tuple[list[Certificate], list[str]]:
    """Return the certificates, and what could not be read of them for want of rights."""
    engines = {
        each.inside("virtualhost")
        for each in configuration.named("sslengine")
        if each.word(0).lower() == "on"
    }
    keys: dict[object, list[str]] = {}
    for each in configuration.named("sslcertificatekeyfile"):
        keys.setdefault(each.inside("virtualhost"), []).append(each.word(0))
    found: dict[str, Certificate] = {}
    denied: list[str] = []
    counts: dict[object, int] = {}
    for line in configuration.named("sslcertificatefile"):
        vhost = line.inside("virtualhost")
        if vhost not in engines and vhost is not None:
            continue
        number = counts[vhost] = counts.get(vhost, -1) + 1
        file = _absolute(line.word(0), root)
        own = keys.get(vhost, [])
        key = _absolute(own[number], root) if number < len(own) else file
        if file and file not in found and len(found) < _MOST:
            found[file] = _one(line, file, key, denied)
    found |= {each.file: each for each in _managed(configuration, root, denied)}
    return list(found.values()), denied


def is_soon(certificate: Certificate, now: dt.datetime) -> bool:
    """Tell whether a certificate should have been renewed by now: a week before its end, or a sixth of a short life."""
    if certificate.starts is None or certificate.ends is None:
        return False
    early = min(dt.timedelta(days=_SOON_DAYS), (certificate.ends - certificate.starts) / 6)
    return certificate.ends - early <= now < certificate.ends


def _one(line: Directive, file: str, key: str, denied: list[str]) -> Certificate:
    try:
        certificate = x509.load_pem_x509_certificate(_content(file))
    except PermissionError:
        denied.append(f"{file}: not readable to this user; run it as root, by sudo")
        return Certificate(file, line)
    except OSError as error:
        return Certificate(file, line, fault=f"{error.strerror}")
    except ValueError:
        return Certificate(file, line, fault="no certificate in PEM")
    matched = None
    try:
        private = load_pem_private_key(_content(key), None)
        matched = _spki(private.public_key()) == _spki(certificate.public_key())
    except PermissionError:
        denied.append(
            f"{key}: whether it is the key of {file}: not readable to this user; run it as root, by sudo"
        )
    except OSError as error:
        return Certificate(key, line, fault=f"{error.strerror}")
    except (ValueError, TypeError):
        denied.append(
            f"{key}: whether it is the key of {file}: it has a passphrase, or is of a kind not known here"
        )
    return Certificate(file, line, certificate.not_valid_before_utc, certificate.not_valid_after_utc, matched)


def _managed(configuration: Configuration, root: str, denied: list[str]) -> Iterator[Certificate]:
    """Yield what mod_md has for each of its domains, and its last error where it has none."""
    stores = configuration.named("mdstoredir")
    store = Path(_absolute(stores[-1].word(0) if stores else "md", root))
    for line in configuration.named("mdomain", "<mdomain", "<mdomainset"):
        name = line.word(0)
        if not name or "/" in name:
            continue
        file = store / "domains" / name / "pubcert.pem"
        try:
            certificate = x509.load_pem_x509_certificate(_content(str(file)))
        except PermissionError:
            denied.append(f"{file}: not readable to this user; run it as root, by sudo")
        except FileNotFoundError:
            yield Certificate(
                str(file), line, fault=_last_error(store / "staging" / name / "job.json"), is_managed=True
            )
        except (OSError, ValueError):
            yield Certificate(str(file), line, fault="no certificate in PEM")
        else:
            yield Certificate(
                str(file),
                line,
                certificate.not_valid_before_utc,
                certificate.not_valid_after_utc,
                is_managed=True,
            )


def _last_error(job: Path) -> str:
    """Return what mod_md notes of its last try."""
    try:
        last = json.loads(_content(str(job))).get("last", {})
        words = " ".join(str(last.get(key) or "") for key in ("problem", "detail"))
    except (OSError, ValueError, AttributeError):
        return "not asked for yet"
    return shown(words, 200) or "asked for, not issued yet"


def _content(file: str) -> bytes:
    with Path(file).open("rb") as opened:
        return opened.read(_SIZE_LIMIT)


def _absolute(file: str, root: str) -> str:
    if not file or file.startswith("/") or re.match(r"[a-z0-9]+:", file):
        return file if file.startswith("/") else ""
    return f"{root.rstrip('/')}/{file}"


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
