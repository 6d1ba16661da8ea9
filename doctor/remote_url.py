"""What a person types, read as the address of a socket.

Asks nobody.
"""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, urljoin, urlsplit

import idna

_SECURE = {"wss": True, "https": True, "ws": False, "http": False}
_KEPT = "/%:@!$&'()*+,;=~-._?[]|"  # what a path may hold as it is; the rest is percent-encoded as browsers do
_MOST = 2048
_PORT_MOST = 65535  # RFC 9293, 3.1


class UrlError(ValueError):
    """Say what is wrong with a URL, and what would be right."""


@dataclass(frozen=True)
class Asked:
    """Hold the address of a socket.

    Attributes:
        is_secure: whether by TLS.
        host: in ASCII; an IPv6 address without its brackets.
        port: given, or the scheme's own.
        path: begins with a slash, without the query.
        query: behind the question mark.
    """

    is_secure: bool
    host: str
    port: int
    path: str = "/"
    query: str = ""

    @property
    def target(self) -> str:
        """Return what a request line asks for."""
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def authority(self) -> str:
        """Return the Host header: the port only where it is not the scheme's own (RFC 9110, 4.2.3)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_secure else 80) else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Return the Origin of a page on this very name."""
        return f"{'https' if self.is_secure else 'http'}://{self.authority}"

    def __str__(self) -> str:
        return f"{'wss' if self.is_secure else 'ws'}://{self.authority}{self.target}"


def parse(text: str) -> Asked:
    """Read a URL: wss://, ws://, or the https:// or http:// of the page on the same name.

    Raises:
        UrlError: it is none; one line.
    """
    shown = repr(text if len(text) < _MOST else text[:60] + "…")
    if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise UrlError(f"{shown} is no URL: write wss://HOST/PATH")
    if len(text) > _MOST or any(ord(character) <= ord(" ") or character == "\x7f" for character in text):
        raise UrlError(
            f"{shown} is no URL: at most {_MOST} characters, without blanks: write wss://HOST/PATH"
        )
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UrlError(f"{shown} is no URL: {error}: write wss://HOST/PATH") from None
    if parts.scheme not in _SECURE:
        raise UrlError(f"{shown}: {parts.scheme} is no scheme of a socket: write wss:// or ws://")
    if parts.username is not None:
        raise UrlError(
            f"{shown} has a name or password in it, which browsers do not send in a handshake: leave it out"
        )
    if not parts.hostname:
        raise UrlError(f"{shown} has no host: write wss://HOST/PATH")
    if port is not None and not 1 <= port <= _PORT_MOST:
        raise UrlError(f"{shown}: {port} is no port: a number from 1 to {_PORT_MOST}")
    is_secure = _SECURE[parts.scheme]
    return Asked(
        is_secure,
        _host(parts.hostname, shown),
        port or (443 if is_secure else 80),
        quote(parts.path or "/", safe=_KEPT),
        quote(parts.query, safe=_KEPT),
    )


def joined(base: str, reference: str) -> SplitResult:
    """Return where a reference in a page or a redirect leads; nowhere where it is none."""
    try:
        return urlsplit(urljoin(base, reference))
    except ValueError:
        return SplitResult("", "", "", "", "")


def _host(name: str, shown: str) -> str:
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if re.fullmatch(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*\.?", name):
        return name
    try:
        return idna.encode(name, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        raise UrlError(f"{shown}: {name!r} is no name of a host: write wss://HOST/PATH") from None
