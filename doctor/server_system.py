"""What else on the machine touches Apache: SELinux, and who reloads it. Files alone; runs nothing."""

import contextlib
import re
from dataclasses import dataclass
from pathlib import Path

_LOGROTATE = re.compile(
    r"(?:reload|restart|graceful|USR1|HUP)[^\n]*(?:apache2|httpd)|(?:apache2|httpd)[^\n]*(?:reload|restart|graceful)"
)
_PERIOD = re.compile(r"^\s*(hourly|daily|weekly|monthly)\b", re.MULTILINE)


@dataclass(frozen=True)
class System:
    """Hold what the machine has around Apache.

    Attributes:
        denies: whether SELinux keeps Apache from connecting to ports that are not the web's own.
        reloaders: who reloads Apache, and how often where that is written down.
    """

    denies: bool = False
    reloaders: tuple[str, ...] = ()


def system(root: Path = Path("/")) -> System:
    """Return what the machine has around Apache."""
    return System(_denies(root / "sys/fs/selinux"), tuple(_reloaders(root)))


def _denies(folder: Path) -> bool:
    """Tell whether SELinux is enforcing, with httpd_can_network_connect off."""
    with contextlib.suppress(OSError):
        if (folder / "enforce").read_text().strip() == "1":
            return (folder / "booleans/httpd_can_network_connect").read_text().split()[:1] == ["0"]
    return False


def _reloaders(root: Path) -> list[str]:
    found = []
    usual = _PERIOD.search(_text(root / "etc/logrotate.conf"))
    for file in sorted((root / "etc/logrotate.d").glob("*")):
        text = _text(file)
        if _LOGROTATE.search(text):
            period = _PERIOD.search(text) or usual
            found.append(f"logrotate, {period[1]}" if period else "logrotate")
    certbot = [_text(file) for file in (root / "etc/letsencrypt/renewal").glob("*.conf")]
    hooks = [_text(file) for file in (root / "etc/letsencrypt/renewal-hooks/deploy").glob("*")]
    if any(
        re.search(r"^installer = apache", text, re.MULTILINE) or _LOGROTATE.search(text)
        for text in [*certbot, *hooks]
    ):
        found.append("certbot, at each renewal")
    if (root / "etc/systemd/system/wsfront-md-reload.path").exists():
        found.append("mod_md, at each renewal")
    return list(dict.fromkeys(found))


def _text(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text(errors="replace")
    return ""
