"""What can be wrong with rules of mod_rewrite, seen in the file alone."""

import functools
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from .configuration import Configuration
from .findings import Edit, Finding
from .hardening import UnclearError, dead_variables, hardened
from .reading import Directive, shown, word_spans
from .rewriting import (
    Rule,
    asks_for_websocket,
    client_reference,
    header_of,
    is_alternative,
    is_anchored,
    rules_of,
)

_BARE_VARIABLE = re.compile(
    r"(?<![%$])\{(?:REQUEST_URI|QUERY_STRING|HTTP_HOST|REQUEST_FILENAME|SERVER_NAME)\}"
)
_ORIGIN = re.compile(r"\borigin\b|http_origin", re.IGNORECASE)
_UPGRADE = re.compile(r"HTTP:(?:Upgrade|Connection)|HTTP_UPGRADE", re.IGNORECASE)
_UNSAFE = ("unsafeallow3f", "unsafeprefixstat")
_FLAGS = 2  # the argument of RewriteRule that holds them
_ACCESS = (
    "require",
    "<if",
    "<elseif",
    "setenvif",
    "setenvifnocase",
    "setenvifexpr",
    "rewritecond",
    "browsermatch",
)


def rewrite_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield what is wrong with the rules."""
    rules = rules_of(configuration)
    before: dict[object, list[Rule]] = {}
    told: set[object] = set()
    for rule in rules:
        beside = before.setdefault(rule.directive.scope, [])
        yield from _target(configuration, rule)
        if rule.is_tunnel:
            vhost = rule.directive.inside("virtualhost")
            for finding in _tunnel(configuration, rule, beside):
                if finding.id != "origin-unchecked" or vhost not in told:
                    yield finding
            told.add(vhost)
        beside.append(rule)
    yield from _engine(configuration, rules)


@functools.lru_cache(maxsize=4)
def guards_upgrades(configuration: Configuration) -> bool:
    """Tell whether somebody thought of who may open sockets: a check of Origin anywhere, or one that binds upgrades alone."""
    rules = rules_of(configuration)
    if any(rule.has("f") and rule.mentions(_UPGRADE.pattern) for rule in rules):
        return True
    for directive in configuration.named(*_ACCESS):
        text = " ".join(directive.words)
        if _ORIGIN.search(text) or (directive.name in {"require", "<if"} and _UPGRADE.search(text)):
            return True
    return False


def _target(configuration: Configuration, rule: Rule) -> Iterator[Finding]:
    """Yield what is wrong with any proxied target, for sockets or not."""
    where = rule.directive
    chosen = client_reference(rule)
    if chosen:
        reference, lacks_slash = chosen
        edit = _inserted(configuration, rule, reference, "/") if lacks_slash else None
        yield _finding("rewrite-client-picks-host", where, edit)
    if not (rule.has("p") or rule.is_tunnel):
        return
    bare = _BARE_VARIABLE.search(rule.target)
    if bare:
        yield _finding("rewrite-missing-percent", where, _inserted(configuration, rule, bare[0], "%"))
    if rule.has(*_UNSAFE):
        yield _finding("rewrite-unsafe-flag", where, _without_flags(configuration, where, _UNSAFE))


def _tunnel(configuration: Configuration, rule: Rule, beside: list[Rule]) -> Iterator[Finding]:
    """Yield what is wrong with a rule for sockets; the rendered rules are the safe form of all of it at once."""
    edit, left = None, ""
    try:
        edit = hardened(configuration, rule, _swallower(beside))
    except UnclearError as error:
        left = str(error)
    binds = any(each.has("f") and each.mentions(_UPGRADE.pattern) for each in beside)
    faults = [
        *_place(rule, beside),
        *_conditions(rule, binds=binds),
        *_absent(configuration, rule, binds=binds),
    ]
    if dead_variables(rule):
        faults.append(("rewrite-dead-variables", rule.directive))
    if rule.has("b") and rule.has("p"):
        faults.append(("rewrite-encoded-twice", rule.directive))
    for name, directive in faults:
        own = edit
        if not edit and name == "rewrite-swallowed":
            own = _moved(configuration, rule, beside)
        if not edit and name == "rewrite-encoded-twice":
            own = _without_flags(configuration, directive, ("b",))
        yield Finding(name, directive.file, directive.line, shown(directive.text), own, "" if own else left)


def _place(rule: Rule, beside: list[Rule]) -> Iterator[tuple[str, Directive]]:
    """Yield a rule that no handshake is proxied by: without [P], or behind one that takes every request."""
    if rule.scheme in {"ws", "wss"} and not rule.has("p"):
        yield "rewrite-no-proxy-flag", rule.directive
    if _swallower(beside):
        yield "rewrite-swallowed", rule.directive


def _swallower(beside: list[Rule]) -> Rule | None:
    """Return the first of these rules that takes every request."""
    if any(each.has("s", "c", "n") for each in beside):
        return None
    return next(filter(_takes_all, beside), None)


def _moved(configuration: Configuration, rule: Rule, beside: list[Rule]) -> Edit | None:
    """Return the change that puts a rule as it stands before the one that takes its requests."""
    before = _swallower(beside)
    where = rule.directive
    content = configuration.contents.get(where.file)
    lines = [*rule.conditions, where]
    if (
        content is None
        or before is None
        or (before.directive.file, before.directive.sections) != (where.file, where.sections)
        or any(first.end != second.start for first, second in pairwise(lines))
    ):
        return None
    moved = content[rule.start : where.end]
    if not moved.endswith(b"\n"):
        moved += b"\n"
    return Edit(where.file, ((before.start, before.start, moved), (rule.start, where.end, b"")))


def _conditions(rule: Rule, *, binds: bool) -> Iterator[tuple[str, Directive]]:
    """Yield conditions that let too much or too little pass."""
    alternatives = [is_alternative(condition) for condition in rule.conditions]
    for number, condition in enumerate(rule.conditions):
        pattern = condition.word(1)
        if pattern.startswith("!") or alternatives[number] or (number and alternatives[number - 1]):
            continue
        if header_of(condition) == "connection" and not binds:
            bare = pattern.removeprefix("(?i)").lower().strip("^$=")
            if is_anchored(pattern) and bare == "upgrade":
                yield "rewrite-connection-exact", condition
            elif "upgrade" in bare and not is_anchored(pattern):
                yield "rewrite-connection-unanchored", condition
        if asks_for_websocket(condition) and not is_anchored(pattern):
            yield "rewrite-upgrade-unanchored", condition


def _absent(configuration: Configuration, rule: Rule, *, binds: bool) -> Iterator[tuple[str, Directive]]:
    """Yield checks that are neither among the conditions nor anywhere else they could be."""
    around = " ".join(word for section in rule.directive.sections for word in section.words)
    # Any condition, and any path, may be what sockets alone have.
    if rule.matches_all and not rule.conditions and not _UPGRADE.search(around):
        yield "rewrite-upgrade-unchecked", rule.directive
    if not (binds or rule.mentions(r"REQUEST_METHOD|THE_REQUEST") or binds_methods(configuration)):
        yield "rewrite-method-unchecked", rule.directive
    if not guards_upgrades(configuration) and not configuration.unchecked:
        yield "origin-unchecked", rule.directive


@functools.lru_cache(maxsize=4)
def binds_methods(configuration: Configuration) -> bool:
    """Tell whether access depends on the method anywhere."""
    return bool(configuration.named("<limitexcept", "<limit")) or any(
        re.search(r"\bmethod\b|REQUEST_METHOD", " ".join(each.words), re.IGNORECASE)
        for each in configuration.named("require")
    )


def _takes_all(rule: Rule) -> bool:
    if rule.conditions or not rule.matches_all:
        return False
    return rule.has("f", "g") or (rule.target != "-" and rule.has("p", "r", "end"))


def _engine(configuration: Configuration, rules: Sequence[Rule]) -> Iterator[Finding]:
    """Yield files and vhosts whose rules for sockets nothing wakes; with files unread, or rules inherited, that is not known."""
    if configuration.unchecked or any(
        word.lower().startswith("inherit")
        for options in configuration.named("rewriteoptions")
        for word in options.words
    ):
        return
    awake = {_owner(each) for each in configuration.named("rewriteengine") if each.word(0).lower() == "on"}
    told = set()
    for rule in rules:
        owner = _owner(rule.directive)
        if not rule.is_tunnel or owner in awake or owner in told or not (configuration.is_htaccess or owner):
            continue
        told.add(owner)
        others = [each for each in rules if _owner(each.directive) == owner and not each.is_tunnel]
        edit, left = None, ""
        if others:
            left = "other rules sleep there too, and would wake: look at them first"
        else:
            try:
                if configuration.is_htaccess:
                    edit = hardened(configuration, rule)
                elif rule.directive.file in configuration.contents:
                    content = configuration.contents[rule.directive.file]
                    indent = re.match(rb"[ \t]*", content[rule.start :])
                    line = (indent[0] if indent else b"") + b"RewriteEngine On\n"
                    edit = Edit(rule.directive.file, ((rule.start, rule.start, line),))
            except UnclearError as error:
                left = str(error)
        where = rule.directive
        yield Finding("rewrite-engine-missing", where.file, where.line, shown(where.text), edit, left)


def _owner(directive: Directive) -> object:
    """Return what holds an engine's switch: the vhost or folder a line is in, None for the file itself."""
    return directive.inside("virtualhost", "directory", "directorymatch", "location", "locationmatch")


def _inserted(configuration: Configuration, rule: Rule, before: str, new: str) -> Edit | None:
    """Return the change that puts text into a rule's target before a part of it, where the target stands as it was read."""
    content = configuration.contents.get(rule.directive.file, b"")
    spans = word_spans(content, rule.directive) if content else []
    if len(spans) < 2:  # noqa: PLR2004 (pattern and target)
        return None
    start, end = spans[1]
    at = content[start:end].find(rule.target.encode())
    if at < 0:
        return None
    position = start + at + len(rule.target[: rule.target.index(before)].encode())
    return Edit(rule.directive.file, ((position, position, new.encode()),))


def _without_flags(configuration: Configuration, directive: Directive, names: Sequence[str]) -> Edit | None:
    """Return the change that takes flags out."""
    content = configuration.contents.get(directive.file, b"")
    spans = word_spans(content, directive) if content else []
    if len(spans) <= _FLAGS:
        return None
    start, end = spans[_FLAGS]
    kept = [
        flag for flag in directive.word(_FLAGS).strip("[]").split(",") if flag.strip().lower() not in names
    ]
    return Edit(directive.file, ((start, end, f"[{','.join(kept)}]".encode()),), is_safe=False)


def _finding(name: str, directive: Directive, edit: Edit | None = None) -> Finding:
    return Finding(name, directive.file, directive.line, shown(directive.text), edit)
