"""Ask the running Apache itself, on loopback: does it answer, and what does mod_status say where it is on.

One request, which leaves a line in the access log.
"""

import contextlib
import re
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass

from .configuration import Configuration
from .reading import Section

_SECONDS = 2.0
_MOST = 1 << 16
_ANY = {"*", "0.0.0.0", "[::]", "_default_", ""}  # noqa: S104 (nothing is bound here)


@dataclass(frozen=True)
class Answer:
    """Hold what came back.

    Attributes:
        answers: whether anything did; None where nobody listens on loopback.
        busy: workers at work, by mod_status; None where it is not on.
        idle: workers that wait.
    """

    answers: bool | None = None
    busy: int | None = None
    idle: int | None = None


@dataclass(frozen=True)
class _Place:
    host: str
    port: int
    is_tls: bool
    name: str = ""
    path: str = ""


def asked(configuration: Configuration) -> Answer:
    """Return what Apache answers: by its status page where there is one that may be asked, else by `OPTIONS *`."""
    plain = [place for place in _listens(configuration) if not place.is_tls]
    for place in list(_status_pages(configuration, plain))[:1]:
        page = _page(
            place, f"GET {place.path}?auto HTTP/1.1\r\nHost: {place.name}\r\nConnection: close\r\n\r\n"
        )
        if page == b"":
            return Answer(answers=False)
        numbers = dict(re.findall(rb"^(Busy|Idle)Workers: (\d+)\r?$", page or b"", re.MULTILINE))
        if len(numbers) == 2:  # noqa: PLR2004 (both)
            return Answer(answers=True, busy=int(numbers[b"Busy"]), idle=int(numbers[b"Idle"]))
    for place in [*plain, *(place for place in _listens(configuration) if place.is_tls)]:
        page = _page(place, "OPTIONS * HTTP/1.0\r\nConnection: close\r\n\r\n")
        if page is not None:
            return Answer(answers=bool(page))
    return Answer()


def _listens(configuration: Configuration) -> list[_Place]:
    """Return where Apache can be asked from here: those that speak no TLS first."""
    secured = {
        vhost.words[0].rpartition(":")[2]
        for each in configuration.named("sslengine")
        if each.word(0).lower() == "on" and (vhost := each.inside("virtualhost")) and vhost.words
    }
    everywhere = any(
        each.word(0).lower() == "on" and not each.inside("virtualhost")
        for each in configuration.named("sslengine")
    )
    found = []
    for directive in configuration.named("listen"):
        host, _, port = directive.word(0).rpartition(":")
        if port.isdigit() and int(port) < 1 << 16:
            is_tls = everywhere or port in secured or directive.word(1).lower() == "https"
            name = "127.0.0.1" if host in _ANY else host.strip("[]")
            found.append(_Place(name, int(port), is_tls))
    return found


def _status_pages(configuration: Configuration, places: list[_Place]) -> Iterator[_Place]:
    """Yield where mod_status may be asked, as configured."""
    names = {each.inside("virtualhost"): each.word(0) for each in configuration.named("servername")}
    for directive in configuration.named("sethandler"):
        location = directive.inside("location")
        if directive.word(0).lower() != "server-status" or not location or not location.words:
            continue
        vhost = directive.inside("virtualhost")
        for place in places:
            if _serves(vhost, place):
                name = names.get(vhost, "").rpartition("://")[2] if vhost else "localhost"
                yield _Place(
                    place.host, place.port, is_tls=False, name=name or place.host, path=location.words[0]
                )


def _serves(vhost: Section | None, place: _Place) -> bool:
    if vhost is None:
        return True
    for word in vhost.words:
        host, _, port = word.rpartition(":") if re.search(r":(\d+|\*)$", word) else (word, "", "*")
        if port in {str(place.port), "*"} and (host in _ANY or host.strip("[]") == place.host):
            return True
    return False


def _page(place: _Place, request: str) -> bytes | None:
    """Return what came back within the time; nothing where Apache is silent, None where nobody listens."""
    deadline = time.monotonic() + _SECONDS
    try:
        line = socket.create_connection((place.host, place.port), _SECONDS)
    except OSError:
        return None
    page = b""
    with contextlib.closing(line), contextlib.suppress(OSError):
        if place.is_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            try:
                line = context.wrap_socket(line)
            except ssl.SSLError:
                # Whatever it is that it does not like, it answers.
                return b"TLS"
        line.sendall(request.encode("latin-1", "replace"))
        while len(page) < _MOST and (left := deadline - time.monotonic()) > 0:
            line.settimeout(left)
            part = line.recv(_MOST)
            if not part:
                return page or b"closed"
            page += part
    return page
