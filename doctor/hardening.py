"""From a copied rule that tunnels sockets to the rules that wsfront renders for the same path and backend.

What a rule means beyond that is not guessed at: where anything else is in it, the reason is said and nothing is written.
"""

import json
import re
from collections.abc import Sequence
from itertools import pairwise

from pydantic import ValidationError

from apache import block
from apache.errors import ApacheError
from apache.render import render
from apache.site import Site
from apache.target import Target

from .configuration import Configuration
from .findings import Edit
from .rewriting import Rule, header_of, is_alternative, rules_of

_TARGET = re.compile(
    r"(?:unix:(?P<socket>/[^|]*)\|)?ws://(?P<authority>[^/$%]+)(?P<path>(?:/[\w./-]*)?)(?P<rest>\$1|%\{REQUEST_URI\})",
    re.IGNORECASE,
)
_PATTERN = re.compile(r"\^?(?:/\??)?(?P<path>(?:[\w-]+/)*)(?P<last>[\w-]*)(?:/\?)?\(\.\*\)\$?")
_ANY = {"^", ".*", "^.*", "^.*$", "(.*)"}
_HARMLESS_FLAGS = {"p", "l", "nc", "end", "qsa"}
_TUNNELS_LIMIT = 64
_NOTE = (
    "the file is taken for the one in the site's root folder, and pages of the site's own name for those that may open "
    "sockets: otherwise `./wsfront htaccess --site DESCRIPTION --into FILE`"
)
_DEAD = {"noconntimeout", "noabort"}


class UnclearError(Exception):
    """Say in half a sentence why a rule is not replaced."""


def dead_variables(rule: Rule) -> list[str]:
    """Return those of LiteSpeed's variables that a rule sets."""
    return [
        value.partition(":")[0]
        for name, value in rule.flags
        if name == "e" and value.partition(":")[0].lower() in _DEAD
    ]


def hardened(configuration: Configuration, rule: Rule, before: Rule | None = None) -> Edit:
    """Return the change that puts rendered rules in a rule's place: in an .htaccess a block at its top for all such rules, else just there.

    Args:
        configuration: where it is.
        rule: the rule.
        before: a rule that takes its requests, before which it is put where it is in no .htaccess.

    Raises:
        UnclearError: the rule, or the file, says more than that.
    """
    file = rule.directive.file
    content = configuration.contents.get(file)
    if content is None:
        raise UnclearError("the file itself was not read")
    tunnels = [each for each in rules_of(configuration) if each.is_tunnel and each.directive.file == file]
    if len(tunnels) > _TUNNELS_LIMIT:
        raise UnclearError("the file has more such rules than a description takes")
    if re.search(rb"%\{HTTP:Origin\}|%\{HTTP_ORIGIN\}", content, re.IGNORECASE):
        raise UnclearError(
            "the file has checks of Origin of its own, which the rules of wsfront would stand beside"
        )
    if configuration.is_htaccess:
        return Edit(file, ((0, len(content), _htaccess(content, tunnels)),), note=_NOTE)
    if rule.directive.inside("location", "locationmatch"):
        raise UnclearError("rules inside <Location> are not supported by Apache: move it out of there first")
    if rule.directive.inside("macro"):
        raise UnclearError("it is inside a <Macro>")
    lines = [*rule.conditions, rule.directive]
    if any(first.end != second.start for first, second in pairwise(lines)):
        raise UnclearError("other lines stand between its conditions")
    indent = re.match(rb"[ \t]*", content[rule.start :])
    newline = b"\r\n" if content[: rule.directive.end].endswith(b"\r\n") else b"\n"
    body = _rendered([rule]).partition("RewriteEngine On\n")[2].strip("\n")
    new = b"".join(
        (indent[0] if indent and line else b"") + line.encode() + newline for line in body.split("\n")
    )
    if before and before.directive.file == file and before.directive.sections == rule.directive.sections:
        return Edit(file, ((before.start, before.start, new), (rule.start, rule.directive.end, b"")))
    return Edit(file, ((rule.start, rule.directive.end, new),))


def _htaccess(content: bytes, tunnels: Sequence[Rule]) -> bytes:
    if block.BEGIN in content:
        raise UnclearError(
            "the file has a block of wsfront already: `./wsfront htaccess --into FILE --replace` knows its description"
        )
    try:
        clean = block.without_copied(content)
        gone = content.lower().count(b"rewriterule") - clean.lower().count(b"rewriterule")
        if gone != len(tunnels):
            raise UnclearError(
                "it is not alone in what it says: take it out by hand, then `./wsfront htaccess --into FILE`"
            )
        return block.insert(clean, _rendered(tunnels))
    except block.BlockError as error:
        raise UnclearError(f"the file {error}") from None


def _rendered(rules: Sequence[Rule]) -> str:
    entries = [_described(rule) for rule in rules]
    try:
        site = Site.model_validate_json(json.dumps({"websockets": entries}))
        (text,) = render([site], Target(layout="htaccess")).values()
    except ValidationError as error:
        raise UnclearError(f"it is not what a description can say: {error.errors()[0]['msg']}") from None
    except ApacheError as error:
        raise UnclearError(str(error)) from None
    return text


def _described(rule: Rule) -> dict[str, str]:
    """Return the entry of `websockets` in a description that a rule comes to."""
    _require_plain(rule)
    target = _TARGET.fullmatch(rule.target)
    if not target:
        raise UnclearError("its target is not a ws:// URL of a fixed host with the path behind it")
    backend = f"unix:{target['socket']}" if target["socket"] else target["authority"]
    if not target["socket"] and not re.search(r":\d+$", backend):
        backend += ":80"
    if target["rest"].startswith("%"):
        if target["path"] or rule.pattern not in _ANY:
            raise UnclearError("its pattern and its target name paths apart from each other")
        return {"path": "/", "backend": backend}
    pattern = _PATTERN.fullmatch(rule.pattern)
    if not pattern:
        raise UnclearError("its pattern is more than a path and what is below it")
    path = f"/{pattern['path']}{pattern['last']}"
    behind = target["path"] or "/"
    if path.endswith("/") and not behind.endswith("/"):
        raise UnclearError("its pattern ends in a slash and its target does not")
    return {"path": path, "backend": backend, "backend_path": behind}


def _require_plain(rule: Rule) -> None:
    """Refuse a rule that says more than: handshakes go there."""
    for condition in rule.conditions:
        is_method = (condition.word(0).upper(), condition.word(1).upper()) == ("%{REQUEST_METHOD}", "=GET")
        if header_of(condition) not in {"upgrade", "connection"} and not is_method:
            raise UnclearError(f"it has a condition of its own, on {condition.word(0)[:40]}")
        if is_alternative(condition):
            raise UnclearError("its conditions are alternatives ([OR])")
    dead = len(dead_variables(rule))
    if sum(name == "e" for name, _ in rule.flags) != dead or {name for name, _ in rule.flags} - {
        *_HARMLESS_FLAGS,
        "e",
    }:
        raise UnclearError("it has flags that mean more than a tunnel")
