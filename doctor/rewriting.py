"""Rules of mod_rewrite as data: each with its conditions, its flags, and what a client may put into its target.

Source: https://httpd.apache.org/docs/2.4/rewrite/flags.html; modules/mappers/mod_rewrite.c.
"""

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .configuration import Configuration
from .reading import Directive

_LONG_FLAGS = {
    "proxy": "p",
    "last": "l",
    "forbidden": "f",
    "gone": "g",
    "redirect": "r",
    "env": "e",
    "skip": "s",
    "chain": "c",
    "nocase": "nc",
    "ornext": "or",
    "next": "n",
    "noescape": "ne",
    "qsappend": "qsa",
}
_TARGET = re.compile(
    r"(?:unix:(?P<socket>[^|]*)\|)?(?P<scheme>[a-z][a-z0-9+]*)://(?P<authority>[^/]*)(?P<path>.*)",
    re.IGNORECASE | re.DOTALL,
)
_REFERENCE = re.compile(r"(?P<kind>[$%])(?P<number>\d)|%\{(?P<variable>[^}]*)\}")
_FROM_CLIENT = re.compile(
    r"HTTP_HOST|HTTP:.*|QUERY_STRING|PATH_INFO|THE_REQUEST|REQUEST_FILENAME|HTTP_[A-Z_]+", re.IGNORECASE
)
_PER_DIRECTORY = {
    "directory",
    "directorymatch",
    "files",
    "filesmatch",
    "location",
    "locationmatch",
    "if",
    "elseif",
    "else",
}
_ALL = {"^", ".*", "^.*", "^.*$", "(.*)", "^(.*)", "^(.*)$", "^/?(.*)", "^/?(.*)$", "^/?", "^/?.*$"}
_ALL_OF_SERVER = {"/", "^/", "^/(.*)", "^/(.*)$", "^/.*", "^/.*$", "/(.*)", "/(.*)$"}


@dataclass(frozen=True)
class Rule:
    """Hold a RewriteRule with the conditions before it.

    Attributes:
        conditions: its RewriteCond lines.
        directive: the RewriteRule itself.
        flags: their short names in lower case, with what is behind the `=`.
        is_per_directory: whether the pattern is matched against a path without its leading slash.
    """

    conditions: tuple[Directive, ...]
    directive: Directive
    flags: tuple[tuple[str, str], ...]
    is_per_directory: bool

    @property
    def pattern(self) -> str:
        """Return what it matches."""
        return self.directive.word(0)

    @property
    def target(self) -> str:
        """Return what it substitutes."""
        return self.directive.word(1)

    @property
    def scheme(self) -> str:
        """Return the target's scheme, in lower case; empty where it is no URL."""
        match = _TARGET.fullmatch(self.target)
        return match["scheme"].lower() if match else ""

    @property
    def is_tunnel(self) -> bool:
        """Tell whether it is for sockets: to a ws:// URL, or proxied for upgrades alone."""
        if self.has("f", "g", "r"):
            return False
        return self.scheme in {"ws", "wss"} or (
            self.has("p") and any(map(asks_for_websocket, self.conditions))
        )

    @property
    def matches_all(self) -> bool:
        """Tell whether its pattern takes every path."""
        return self.pattern in _ALL or (not self.is_per_directory and self.pattern in _ALL_OF_SERVER)

    @property
    def start(self) -> int:
        """Return the first byte of its first line."""
        return (self.conditions or (self.directive,))[0].start

    def has(self, *names: str) -> bool:
        """Tell whether it has one of these flags."""
        return any(name in names for name, _ in self.flags)

    def mentions(self, pattern: str) -> bool:
        """Tell whether a condition's test matches a pattern."""
        return any(
            re.search(pattern, condition.word(0) + condition.word(1), re.IGNORECASE)
            for condition in self.conditions
        )


@functools.lru_cache(maxsize=4)
def rules_of(configuration: Configuration) -> tuple[Rule, ...]:
    """Return the rules in the order of reading."""
    pending: dict[tuple[object, ...], list[Directive]] = {}
    rules = []
    for directive in configuration.directives:
        if directive.name == "rewritecond":
            pending.setdefault(directive.scope, []).append(directive)
        elif directive.name == "rewriterule":
            conditions = tuple(pending.pop(directive.scope, ()))
            inside = configuration.is_htaccess or directive.inside(*_PER_DIRECTORY) is not None
            rules.append(Rule(conditions, directive, tuple(_flags(directive.word(2))), inside))
    return tuple(rules)


def header_of(condition: Directive) -> str:
    """Return the name of the header that a condition tests, in lower case; empty where it tests something else."""
    match = re.fullmatch(r"%\{HTTP:([\w-]+)\}", condition.word(0), re.IGNORECASE)
    if match:
        return match[1].lower()
    return "connection" if condition.word(0).upper() == "%{HTTP_CONNECTION}" else ""


def asks_for_websocket(condition: Directive) -> bool:
    """Tell whether a condition lets upgrades alone pass."""
    pattern = condition.word(1).lower()
    return header_of(condition) == "upgrade" and "websocket" in pattern and not pattern.startswith("!")


def is_alternative(condition: Directive) -> bool:
    """Tell whether the next condition does as well."""
    return any(name == "or" for name, _ in _flags(condition.word(2)))


def is_anchored(pattern: str) -> bool:
    """Tell whether a pattern is held at both of its ends, and lets nothing in between that is not in it."""
    bare = pattern.removeprefix("(?i)")
    if bare.startswith("="):
        return True
    return bare.startswith("^") and bare.endswith("$") and ".*" not in bare and ".+" not in bare


def client_reference(rule: Rule) -> tuple[str, bool] | None:
    """Return what of a proxied target's host a client can choose, and whether it only lacks a slash; None where nothing."""
    match = _TARGET.fullmatch(rule.target)
    if not match or not (rule.has("p") or match["scheme"].lower() in {"ws", "wss"}) or rule.has("r"):
        return None
    authority = match["authority"]
    if "${" in authority:
        return None
    for reference in _REFERENCE.finditer(authority):
        fixed = authority[: reference.start()]
        follows_host = bool(re.fullmatch(r"(?:\[[0-9a-f:.]+\]|[\w.-]+)(?::\d+)?", fixed, re.IGNORECASE))
        if reference["variable"] is not None:
            if _FROM_CLIENT.fullmatch(reference["variable"]) and not rule.mentions(r"%\{HTTP_HOST\}"):
                return reference[0], False
        elif _is_open(rule, reference["kind"], int(reference["number"]), follows_host=follows_host):
            return reference[0], follows_host
    return None


def _is_open(rule: Rule, kind: str, number: int, *, follows_host: bool) -> bool:
    """Tell whether a back-reference can hold what makes another host of the one before it."""
    pattern, is_whole_path = rule.pattern, not rule.is_per_directory
    if kind == "%":
        if not rule.conditions:
            return False
        condition = rule.conditions[-1]
        pattern, is_whole_path = condition.word(1), condition.word(0).upper() == "%{REQUEST_URI}"
    if pattern.startswith("!"):
        return False
    begin, group = (0, pattern) if number == 0 else _group(pattern, number)
    if not re.search(r"(?<!\\)\.|\[\^|\\[SDW]", group):
        return False
    if not follows_host:
        return True
    # A path begins with a slash, and so does a group that takes it from its beginning.
    return not (group.lstrip("^").startswith("/") or (is_whole_path and pattern[:begin] in {"", "^"}))


def _group(pattern: str, number: int) -> tuple[int, str]:
    """Return where a capturing group begins, and what is in it; nothing where there is no such group."""
    opened: list[tuple[int, int]] = []
    count, position, in_class = 0, 0, False
    while position < len(pattern):
        character = pattern[position]
        if character == "\\":
            position += 1
        elif in_class:
            in_class = character != "]"
        elif character == "[":
            in_class = True
        elif character == "(":
            captures = pattern[position + 1 : position + 2] != "?"
            count += captures
            opened.append((count if captures else 0, position))
        elif character == ")" and opened:
            which, begin = opened.pop()
            if which == number:
                return begin, pattern[begin + 1 : position]
        position += 1
    return 0, ""


def _flags(text: str) -> Iterator[tuple[str, str]]:
    for flag in text.strip("[]").split(","):
        name, _, value = flag.strip().partition("=")
        if name:
            yield _LONG_FLAGS.get(name.lower(), name.lower()), value
