"""Mozilla's TLS guideline, kept as data beside this file and cut to what a target's Apache and OpenSSL can do.

Knows nothing of certificates, nor of Apache's directives.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import TargetError
from .versions import PROTOCOLS, X25519MLKEM768, at_least

_GUIDELINE = Path(__file__).with_name("mozilla-6.0.json")


@dataclass(frozen=True)
class Profile:
    """Hold what one profile of the guideline comes to on one machine, in OpenSSL's names."""

    protocols: tuple[str, ...]
    groups: tuple[str, ...]
    ciphers: tuple[str, ...]
    ciphersuites: tuple[str, ...]


@functools.cache
def _guideline() -> Any:
    return json.loads(_GUIDELINE.read_text())


def guideline_version() -> str:
    """Return the version of the guideline."""
    return str(_guideline()["version"])


def hsts_seconds() -> int:
    """Return the guideline's max-age for Strict-Transport-Security, in seconds."""
    return int(_guideline()["hsts_seconds"])


def profile(name: str, *, apache: str, openssl: str) -> Profile:
    """Return a profile of the guideline, less what the versions named do not know.

    Raises:
        TargetError: nothing secure is left of it.
    """
    data = _guideline()["profiles"][name]
    protocols = tuple(protocol for protocol in data["protocols"] if _supported(protocol, apache, openssl))
    if not protocols:
        raise TargetError(
            f"tls.profile: {name} needs {' or '.join(data['protocols'])}, which Apache {apache} with OpenSSL {openssl} does not speak"
        )
    groups = tuple(
        group for group in data["groups"] if group != "X25519MLKEM768" or at_least(openssl, X25519MLKEM768)
    )
    return Profile(
        protocols,
        groups,
        tuple(data["ciphers"]),
        tuple(data["ciphersuites"]) if "TLSv1.3" in protocols else (),
    )


def _supported(protocol: str, apache: str, openssl: str) -> bool:
    if protocol not in PROTOCOLS:
        return True
    wanted_apache, wanted_openssl = PROTOCOLS[protocol]
    return at_least(apache, wanted_apache) and at_least(openssl, wanted_openssl)
