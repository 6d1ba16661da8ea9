"""ProxyPass lines as data: path, target, parameters, and whether sockets go through.

Source: https://httpd.apache.org/docs/2.4/mod/mod_proxy.html
"""

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .configuration import Configuration
from .reading import Directive
from .rewriting import rules_of


@dataclass(frozen=True)
class Mapped:
    """Hold one ProxyPass or ProxyPassMatch.

    Attributes:
        directive: the line.
        path: the path or pattern; a section's, where it stands in one.
        target: where it leads to; `!` for nowhere.
        parameters: the worker's, by name in lower case; those of `<Proxy>` and ProxySet beside its own.
        is_pattern: whether the path is one.
        in_location: whether a `<Location>` gives the path.
    """

    directive: Directive
    path: str
    target: str
    parameters: dict[str, str]
    is_pattern: bool
    in_location: bool

    @property
    def is_tunnel(self) -> bool:
        """Tell whether sockets go through."""
        upgrade = self.parameters.get("upgrade", "")
        return bool(re.match(r"(?:unix:[^|]*\|)?wss?://", self.target, re.IGNORECASE)) or (
            bool(upgrade) and upgrade.lower() != "none"
        )

    @property
    def takes_all(self) -> bool:
        """Tell whether a pattern takes every path."""
        return self.is_pattern and self.path in {
            "^/(.*)$",
            "^/(.*)",
            "^(.*)$",
            "^(/.*)$",
            "(.*)",
            "^/",
            "/(.*)",
            ".*",
            "^/.*$",
        }


@functools.lru_cache(maxsize=4)
def mappings_of(configuration: Configuration) -> tuple[Mapped, ...]:
    """Return the ProxyPass lines in the order of reading."""
    workers = list(_workers(configuration))
    found = []
    for directive in configuration.named("proxypass", "proxypassmatch"):
        section = directive.inside("location", "locationmatch")
        words = list(directive.words)
        is_pattern = directive.name == "proxypassmatch" or bool(section and section.name == "locationmatch")
        source = list(section.words) if section else words
        path = source.pop(0) if source else ""
        if path == "~":
            continue
        target = words.pop(0) if words else ""
        own = parameters(words)
        shared: dict[str, str] = {}
        for url, more in workers:
            if url and _begins(target, url):
                shared |= more
        found.append(Mapped(directive, path, target, {**shared, **own}, is_pattern, section is not None))
    return tuple(found)


def worker_parameters(configuration: Configuration, target: str) -> dict[str, str]:
    """Return what `<Proxy>` sections and ProxySet lines say of the worker for a target."""
    found: dict[str, str] = {}
    for url, more in _workers(configuration):
        if url and _begins(target, url):
            found |= more
    return found


def parameters(words: Iterable[str]) -> dict[str, str]:
    """Return `key=value` words as a mapping, the keys in lower case."""
    pairs = (word.partition("=") for word in words if "=" in word)
    return {key.lower(): value for key, _, value in pairs}


def seconds(text: str) -> int | None:
    """Return a time as Apache reads it: seconds, or with a unit; None where it is no such thing."""
    match = re.fullmatch(r"(\d{1,9})(ms|s|mi|min|m|h|hr)?", text, re.IGNORECASE)
    if not match:
        return None
    unit = (match[2] or "s").lower()
    return (
        int(match[1]) * {"s": 1, "mi": 60, "min": 60, "m": 60, "h": 3600, "hr": 3600}[unit]
        if unit != "ms"
        else int(match[1]) // 1000
    )


def has_tunnels(configuration: Configuration) -> bool:
    """Tell whether sockets go through this configuration at all."""
    return any(each.is_tunnel for each in mappings_of(configuration)) or any(
        rule.is_tunnel for rule in rules_of(configuration)
    )


def _workers(configuration: Configuration) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield what is said of workers apart from ProxyPass: URL, parameters. A balancer has those of its members."""
    for directive in configuration.named("proxyset", "balancermember"):
        section = directive.inside("proxy")
        url = section.words[0] if section and section.words else ""
        words = list(directive.words)
        if directive.name == "proxyset":
            if words and "=" not in words[0].partition("?")[0]:
                url = words.pop(0)
            yield url.rstrip("*"), parameters(words)
            continue
        if words and words[0].lower().startswith("balancer://"):
            url = words.pop(0)
        more = parameters(words[1:])
        if words and re.match(r"(?:unix:[^|]*\|)?wss?://", words[0], re.IGNORECASE):
            more.setdefault("upgrade", "websocket")
        yield url.rstrip("*"), more


def _begins(target: str, url: str) -> bool:
    rest = target[len(url) :]
    return target.lower().startswith(url.lower()) and (not rest or url.endswith("/") or rest.startswith("/"))
