"""What each Apache can do, and from which OpenSSL: the only place that knows versions.

Source: httpd's CHANGES, https://downloads.apache.org/httpd/CHANGES_2.4
"""

from .errors import TargetError

Version = tuple[int, ...]

FLOOR = "2.4.47"
"""End-to-end Upgrade by mod_proxy_http, and CVE-2019-17567 fixed."""

X25519MLKEM768 = "3.5.0"
"""OpenSSL that knows the hybrid group; an unknown group makes SSLOpenSSLConfCmd fail."""

MD_CA_FILE_IN_DOMAIN = "2.4.71"
"""MDCACertificateFile inside <MDomain>; before it holds for the whole server."""

PROTOCOLS = {"TLSv1.3": ("2.4.36", "1.1.1")}
"""Protocol -> the Apache and the OpenSSL it takes."""


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
