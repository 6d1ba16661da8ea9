"""What each Apache can do, and from which OpenSSL: the only place that knows versions.

Source: httpd's CHANGES, https://downloads.apache.org/httpd/CHANGES_2.4
"""

from collections.abc import Collection
from dataclasses import dataclass

from .errors import TargetError

Version = tuple[int, ...]

FLOOR = "2.4.47"
"""End-to-end Upgrade by mod_proxy_http, and CVE-2019-17567 fixed."""

X25519MLKEM768 = "3.5.0"
"""OpenSSL that knows the hybrid group; an unknown group makes SSLOpenSSLConfCmd fail."""

MD_CA_FILE_IN_DOMAIN = "2.4.71"
"""MDCACertificateFile inside <MDomain>; before it holds for the whole server."""

PATHS_ENCODED = "2.4.63"
"""What a rule with [P] puts into a path is encoded on its way out, so that the flag [B] does it twice."""

PROTOCOLS = {"TLSv1.3": ("2.4.36", "1.1.1")}
"""Protocol -> the Apache and the OpenSSL it takes."""

MENDED_SILENTLY = ("Ubuntu", "Red Hat", "CentOS", "AlmaLinux", "Rocky", "Oracle", "Amazon", "SUSE")
"""Distributions, by their word in the banner, that mend an old release and leave its number."""


@dataclass(frozen=True)
class Flaw:
    """Hold what is known to be unsafe or broken.

    Attributes:
        name: its CVE, or its bug.
        mended: the first release without it.
        since: the first release with it; empty: all before.
        module: the module in which it is; empty: the server itself.
        what: what it does, in a few words.
    """

    name: str
    mended: str
    what: str
    module: str = ""
    since: str = ""


FLAWS = (
    Flaw("CVE-2019-17567", "2.4.47", "requests smuggled through the old tunnel", "proxy_wstunnel"),
    Flaw("CVE-2021-40438", "2.4.49", "a client picks the host", "proxy"),
    Flaw("CVE-2021-41773", "2.4.50", "files outside of the site", since="2.4.49"),
    Flaw("CVE-2021-42013", "2.4.51", "files outside of the site", since="2.4.49"),
    Flaw("CVE-2021-44790", "2.4.52", "memory overwritten", "lua"),
    Flaw("CVE-2022-22720", "2.4.53", "requests smuggled"),
    Flaw("CVE-2022-31813", "2.4.54", "X-Forwarded-* dropped by a client's Connection header", "proxy"),
    Flaw("CVE-2023-25690", "2.4.56", "requests split by rules with [P]", "rewrite"),
    Flaw("CVE-2024-38474", "2.4.60", "an encoded question mark in a rule", "rewrite"),
    Flaw("CVE-2024-38475", "2.4.60", "files outside of the site by a rule", "rewrite"),
    Flaw("CVE-2024-38473", "2.4.60", "encoded paths past a check", "proxy"),
    Flaw("CVE-2024-36387", "2.4.60", "a crash by sockets over HTTP/2", "http2"),
    Flaw("CVE-2024-42516", "2.4.64", "answers split"),
    Flaw("CVE-2025-49812", "2.4.64", "a session taken over by a TLS upgrade", "ssl"),
    Flaw("CVE-2025-54090", "2.4.65", "every `RewriteCond expr` is true", "rewrite", since="2.4.64"),
    Flaw("CVE-2025-66200", "2.4.66", "more than meant by RequestHeader in an .htaccess", "suexec"),
    Flaw("CVE-2025-55753", "2.4.66", "failed renewals asked for without pause", "md"),
    Flaw("CVE-2026-23918", "2.4.67", "memory freed twice", "http2", since="2.4.66"),
    Flaw("CVE-2026-33523", "2.4.67", "answers split by a backend", "proxy_http"),
    Flaw("CVE-2026-24072", "2.4.67", "files read by an expression in an .htaccess"),
    Flaw("CVE-2026-49975", "2.4.68", "memory filled by one client", "http2"),
    Flaw("CVE-2026-57941", "2.4.69", "memory used after it was freed", "http2"),
    Flaw("CVE-2026-56154", "2.4.69", "memory used after it was freed by `LA-U:HTTP:`", "rewrite"),
)
"""What is known of releases, as far as it touches sockets and what carries them, by the release that mended it."""


def flaws(apache: str, modules: Collection[str]) -> list[Flaw]:
    """Return what is known of an Apache with these modules, by its number alone."""
    return [
        flaw
        for flaw in FLAWS
        if not at_least(apache, flaw.mended)
        and (not flaw.since or at_least(apache, flaw.since))
        and (not flaw.module or flaw.module in modules)
    ]


def parse(text: str) -> Version:
    """Return `2.4.71` as (2, 4, 71); letters after a number (1.1.1w) are left out."""
    parts = []
    for part in text.split("."):
        digits = ""
        for character in part:
            if not character.isdigit():
                break
            digits += character
        parts.append(int(digits or 0))
    return tuple(parts)


def at_least(version: str, wanted: str) -> bool:
    """Tell whether one version is another or newer."""
    return parse(version) >= parse(wanted)


def require_floor(apache: str) -> None:
    """Refuse an Apache that cannot do the upgrade safely.

    Raises:
        TargetError: it is older than FLOOR.
    """
    if not at_least(apache, FLOOR):
        raise TargetError(
            f"Apache {apache} is older than {FLOOR}, which first carried WebSockets end to end (and fixed CVE-2019-17567): "
            "upgrade it, on Debian by `apt-get install --only-upgrade apache2-bin`"
        )
