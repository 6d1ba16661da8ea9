"""Which directive of which vhost answers for a socket's path, and where it leads to.

Source: mod_proxy.c, proxy_trans: what a `<Location>` says goes first, then ProxyPass lines in their order, a vhost's own before the
server's; mod_rewrite's rules for the whole server run before both.
"""

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from .configuration import Configuration
from .proxying import Mapped, mappings_of, seconds, worker_parameters
from .reading import Directive, Section
from .rewriting import Rule, rules_of

_UNIX = re.compile(r"unix:([^|]*)\|(.*)", re.IGNORECASE | re.DOTALL)
_SECURED = {"wss", "https"}
_TIMEOUT = 60  # Apache's own, where nothing is written down
_FIXED = re.compile(r"[^$%?]*")


@dataclass(frozen=True)
class Hop:
    """Hold the way of a socket from Apache to a backend.

    Attributes:
        directive: the line that leads there.
        path: as browsers ask for it; empty where the line has a pattern.
        vhost: the ServerName of its vhost; empty for the server itself.
        host: the backend's name or address; empty for a unix socket.
        port: its port.
        socket: the path of its unix socket.
        scheme: ws, wss, http or https.
        target: the path that the backend is asked for.
        is_exact: whether that is the path of a socket, and not of a folder that may have some.
        keeps_host: whether the backend is told the Host of the browser.
        is_encrypted: whether browsers come to it by TLS.
        idle: seconds of silence after which Apache cuts a socket.
        front: host and port as browsers have them; empty where no ServerName tells.
    """

    directive: Directive
    path: str
    vhost: str
    host: str
    port: int
    socket: str
    scheme: str
    target: str
    is_exact: bool
    keeps_host: bool = False
    is_encrypted: bool = False
    idle: int = 0
    front: str = ""

    @property
    def is_tls(self) -> bool:
        """Tell whether Apache is to speak TLS to it."""
        return self.scheme in _SECURED

    @property
    def address(self) -> str:
        """Return where the backend is, as a user would write it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"unix:{self.socket}" if self.socket else f"{host}:{self.port}"


def hops(configurations: Sequence[Configuration], path: str | None) -> list[Hop]:
    """Return the ways of all sockets, or of those that ask for one path; each target and path once.

    Args:
        configurations: the server's own first; then .htaccess files, whose vhost is the one with their DocumentRoot.
        path: as browsers ask for it; None: all.
    """
    found: dict[tuple[str, str], Hop] = {}
    for configuration in configurations:
        for line, public, target in _tunnels(configuration, path):
            vhost = (
                _home(configurations[0], configuration)
                if configuration.is_htaccess
                else line.inside("virtualhost")
            )
            for each in _members(configurations, target):
                hop = _hop(configurations[0], vhost, line, public, each, is_exact=path is not None)
                if hop:
                    found.setdefault((hop.address, hop.target), hop)
    return list(found.values())


def answering(configuration: Configuration, path: str) -> list[tuple[str, Mapped | Rule | None]]:
    """Return what answers for a path in each vhost, by its ServerName; None where nothing is proxied.

    Rules of .htaccess files, and conditions of rules, are left out.
    """
    vhosts = _vhosts(configuration)
    return [
        (_value(configuration, vhost, "servername"), _answer(configuration, vhost, path))
        for vhost in vhosts or [None]
    ]


def _tunnels(configuration: Configuration, path: str | None) -> Iterator[tuple[Directive, str, str]]:
    """Yield the lines that pass sockets on: the line, its public path, its target for that path."""
    if path is None:
        for mapped in mappings_of(configuration):
            if mapped.is_tunnel and mapped.target != "!":
                yield mapped.directive, "" if mapped.is_pattern else mapped.path, mapped.target
        for rule in rules_of(configuration):
            if rule.is_tunnel:
                yield rule.directive, "", rule.target
    elif configuration.is_htaccess:
        yield from _of_folder(configuration, path)
    else:
        for _, answer in answering(configuration, path):
            if isinstance(answer, Rule) and (match := _match(answer.pattern, path, answer)):
                yield answer.directive, path, _filled(answer.target, match)
            elif isinstance(answer, Mapped) and answer.is_tunnel:
                yield answer.directive, path, _mapped(answer, path)


def _of_folder(configuration: Configuration, path: str) -> Iterator[tuple[Directive, str, str]]:
    """Yield the rules of an .htaccess for a path; whatever folder it is in, its patterns see some end of it."""
    ends = [path[start:] for start in range(1, len(path) + 1) if path[start - 1] == "/"]
    for rule in rules_of(configuration):
        match = next(filter(None, (_match(rule.pattern, end, rule) for end in ends)), None)
        if rule.is_tunnel and match:
            yield rule.directive, path, _filled(rule.target, match)


def _mapped(mapped: Mapped, path: str) -> str:
    """Return the URL that a ProxyPass makes of a path."""
    if not mapped.is_pattern:
        return mapped.target + path[len(mapped.path) :]
    match = _match(mapped.path, path)
    return _filled(mapped.target, match) if match else mapped.target


def _answer(configuration: Configuration, vhost: Section | None, path: str) -> Mapped | Rule | None:
    def is_own(directive: Directive) -> bool:
        return directive.inside("virtualhost") == vhost

    for rule in rules_of(configuration):
        is_ours = is_own(rule.directive) and not rule.is_per_directory and rule.is_tunnel
        if is_ours and _match(rule.pattern, path, rule):
            return rule
    here = [each for each in mappings_of(configuration) if is_own(each.directive) and _takes(each, path)]
    above = [
        each
        for each in mappings_of(configuration)
        if vhost and not each.directive.inside("virtualhost") and _takes(each, path)
    ]
    in_location = [each for each in [*above, *here] if each.in_location]
    lines = [each for each in [*here, *above] if not each.in_location]
    return in_location[-1] if in_location else lines[0] if lines else None


def _takes(mapped: Mapped, path: str) -> bool:
    if mapped.is_pattern:
        return bool(_match(mapped.path, path))
    return path.startswith(mapped.path) and (
        mapped.path.endswith("/") or path[len(mapped.path) :][:1] in {"", "/"}
    )


def _match(pattern: str, path: str, rule: Rule | None = None) -> re.Match[str] | None:
    try:
        return re.search(pattern, path, re.IGNORECASE if rule and rule.has("nc") else 0)
    except re.error:
        return None


def _filled(target: str, match: re.Match[str]) -> str:
    def group(found: re.Match[str]) -> str:
        number = int(found[1])
        return (match[number] or "") if number <= (match.re.groups or 0) else ""

    filled = re.sub(r"\$(\d)", group, target)
    return filled.replace(
        "%{REQUEST_URI}", match.string if match.string.startswith("/") else f"/{match.string}"
    )


def _members(configurations: Sequence[Configuration], target: str) -> list[str]:
    """Return the targets behind a balancer; a target that is none, itself."""
    if not target.lower().startswith("balancer://"):
        return [target]
    balancer = urlsplit(target).netloc
    found = []
    for configuration in configurations:
        for directive in configuration.named("balancermember"):
            section = directive.inside("proxy")
            words = list(directive.words)
            if words and words[0].lower().startswith("balancer://"):
                name = words.pop(0)
            else:
                name = section.words[0] if section and section.words else ""
            if words and urlsplit(name).netloc == balancer:
                found.append(words[0].rstrip("/") + (urlsplit(target).path or "/"))
    return found


def _hop(
    server: Configuration, vhost: Section | None, line: Directive, path: str, target: str, *, is_exact: bool
) -> Hop | None:
    unix = _UNIX.fullmatch(target)
    url = unix[2] if unix else target
    fixed = (_FIXED.match(url) or [""])[0]
    try:
        parts = urlsplit(fixed)
        port = parts.port or (443 if parts.scheme.lower() in _SECURED else 80)
        host = parts.hostname or ""
    except ValueError:
        return None
    if not host and not unix:
        return None
    is_encrypted = _value(server, vhost, "sslengine").lower() == "on"
    name = _value(server, vhost, "servername")
    return Hop(
        line,
        path,
        name,
        "" if unix else host,
        port,
        unix[1] if unix else "",
        parts.scheme.lower(),
        parts.path or "/",
        is_exact=is_exact and fixed == url,
        keeps_host=_keeps_host(server, vhost, line),
        is_encrypted=is_encrypted,
        idle=_idle(server, vhost, line, target),
        front=_front(name, vhost, "443" if is_encrypted else "80"),
    )


def _home(server: Configuration, htaccess: Configuration) -> Section | None:
    """Return the vhost whose DocumentRoot an .htaccess is in, or below."""
    file = Path(htaccess.file).resolve()
    for directive in _named(server, "documentroot"):
        if directive.word(0) and file.is_relative_to(Path(directive.word(0)).resolve()):
            return directive.inside("virtualhost")
    return None


def _value(server: Configuration, vhost: Section | None, name: str) -> str:
    """Return the value of a server's directive for a vhost."""
    values = _values(server, name)
    return values.get(vhost) or values.get(None, "")


@functools.lru_cache(maxsize=16)
def _values(server: Configuration, name: str) -> dict[Section | None, str]:
    return {each.inside("virtualhost"): each.word(0) for each in server.named(name) if len(each.scope) <= 1}


@functools.lru_cache(maxsize=4)
def _mapped_lines(server: Configuration) -> dict[tuple[str, int], Mapped]:
    return {(each.directive.file, each.directive.start): each for each in mappings_of(server)}


@functools.lru_cache(maxsize=4)
def _named(server: Configuration, name: str) -> tuple[Directive, ...]:
    return tuple(server.named(name))


def _keeps_host(server: Configuration, vhost: Section | None, line: Directive) -> bool:
    around = {*line.scope, vhost}
    told = [each for each in _named(server, "proxypreservehost") if around.issuperset(each.scope)]
    told.sort(key=lambda each: len(each.scope))
    return bool(told) and told[-1].word(0).lower() == "on"


def _idle(server: Configuration, vhost: Section | None, line: Directive, target: str) -> int:
    """Return after how many seconds of silence a socket is cut: the longer of Timeout and the worker's own (mod_proxy_http.c)."""
    mapped = _mapped_lines(server).get((line.file, line.start))
    worker = mapped.parameters if mapped else worker_parameters(server, target)
    client = seconds(_value(server, vhost, "timeout")) or _TIMEOUT
    told = worker.get("timeout") or _value(server, vhost, "proxytimeout")
    return max(client, seconds(told) or client)


def _front(name: str, vhost: Section | None, usual: str) -> str:
    """Return what browsers send as Host: the name, with the port where it is not the usual one."""
    host = name.rpartition("://")[2]
    port = vhost.words[0].rpartition(":")[2] if vhost and vhost.words else ""
    if not host or not port.isdigit() or port == usual or re.search(r":\d+$", host):
        return host
    return f"{host}:{port}"


def _vhosts(configuration: Configuration) -> list[Section | None]:
    found = dict.fromkeys(each.inside("virtualhost") for each in configuration.directives)
    return [vhost for vhost in found if vhost]
