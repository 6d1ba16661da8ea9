"""What an .htaccess with rules for sockets and the server read beside it show together, and neither of them alone."""

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from .configuration import Configuration
from .findings import Edit, Finding
from .modules import loading
from .reading import Directive, Section, shown
from .rewrite_checks import binds_methods, guards_upgrades
from .rewriting import rules_of

_NARROW = ("RewriteEngine", "RewriteCond", "RewriteRule")
_ALSO_NARROW = {"rewritebase": "RewriteBase", "rewriteoptions": "RewriteOptions"}
_LINKS = {"all", "followsymlinks", "symlinksifownermatch"}


def folder_findings(htaccess: Configuration, all_read: Sequence[Configuration]) -> Iterator[Finding]:
    """Yield what a whole server does not grant the folder, or has no modules for."""
    rules = [rule for rule in rules_of(htaccess) if rule.is_tunnel]
    for server in all_read if htaccess.is_htaccess and rules else ():
        if not server.is_whole:
            continue
        if not server.modules & {"proxy_http", "proxy_wstunnel"}:
            where = rules[0].directive
            lines = loading(server, *sorted({"proxy", "proxy_http"} - server.modules))
            yield Finding("module-missing", where.file, where.line, shown(where.text), instead=lines)
        if not _grants_by_pattern(server):
            yield from _overrides(htaccess, server)


def is_seen_to(finding: Finding, htaccess: Configuration, all_read: Sequence[Configuration]) -> bool:
    """Tell whether what is missing in an .htaccess is in the server read beside it."""
    servers = [server for server in all_read if server.is_whole] if htaccess.is_htaccess else []
    return (finding.id == "origin-unchecked" and any(map(guards_upgrades, servers))) or (
        finding.id == "rewrite-method-unchecked" and any(map(binds_methods, servers))
    )


def _overrides(htaccess: Configuration, server: Configuration) -> Iterator[Finding]:
    folder = str(Path(htaccess.file).resolve().parent)
    last = _last(server, folder)
    allowed, listed, options = (last.get(name) for name in ("allowoverride", "allowoverridelist", "options"))
    granted = {word.lower() for each in (allowed, listed) if each for word in each.words}
    if allowed and not granted & {"all", "fileinfo", "rewriterule"}:
        lines = _grant(htaccess)
        edit = _written(server, allowed, folder, lines) if lines else None
        left = "" if edit else "it has more in it than rewrite rules: grant the classes of those as well"
        yield Finding("htaccess-ignored", allowed.file, allowed.line, shown(allowed.text), edit, left)
    elif options and not any(word.startswith(("+", "-")) for word in options.words):
        own = any(each.name == "options" for each in htaccess.directives)
        if not own and not {word.lower() for word in options.words} & _LINKS:
            words = [word for word in options.words if word.lower() != "none"]
            lines = [" ".join(["Options", *words, "SymLinksIfOwnerMatch"])]
            edit = _written(server, options, folder, lines)
            yield Finding("htaccess-no-links", options.file, options.line, shown(options.text), edit)


def _last(server: Configuration, folder: str) -> dict[str, Directive]:
    """Return the directive of each name that is heard for a folder: the one of the longest folder above it."""
    above = [
        (section, each)
        for each in server.directives
        if (section := each.inside("directory")) and section.words and _is_above(section.words[0], folder)
    ]
    above.sort(key=lambda pair: len(pair[0].words[0].rstrip("/")))
    return {each.name: each for _, each in above}


def _is_above(upper: str, folder: str) -> bool:
    return f"{folder}/".startswith(upper.rstrip("/") + "/")


def _grant(htaccess: Configuration) -> list[str]:
    """Return what the folder is to be granted; nothing where that is more than its rules."""
    names = dict.fromkeys(each.name for each in htaccess.directives)
    if set(names) - {name.lower() for name in _NARROW} - set(_ALSO_NARROW):
        return []
    also = [_ALSO_NARROW[name] for name in names if name in _ALSO_NARROW]
    return ["AllowOverride None", " ".join(["AllowOverrideList", *_NARROW, *also])]


def _written(server: Configuration, governing: Directive, folder: str, lines: Sequence[str]) -> Edit | None:
    """Return the change that puts lines in a directive's place; for a folder below it, into a section of its own."""
    content = server.contents.get(governing.file)
    section = governing.inside("directory")
    if content is None or section is None:
        return None
    if section.words[0].rstrip("/") == folder:
        indent = _indent(content, governing.start)
        new = b"".join(indent + line.encode() + b"\n" for line in lines)
        return Edit(governing.file, ((governing.start, governing.end, new),), is_safe=False)
    opening = _opening(server, section)
    if opening is None or opening.file != governing.file:
        return None
    indent = _indent(content, opening.start)
    body = [f'<Directory "{folder}">', *(f"    {line}" for line in lines), "</Directory>"]
    new = b"".join(indent + line.encode() + b"\n" for line in body)
    return Edit(governing.file, ((opening.start, opening.start, new),), is_safe=False)


def _opening(server: Configuration, section: Section) -> Directive | None:
    return next(
        (
            each
            for each in server.named(f"<{section.name}")
            if (each.file, each.line) == (section.file, section.line)
        ),
        None,
    )


def _indent(content: bytes, start: int) -> bytes:
    match = re.match(rb"[ \t]*", content[start:])
    return match[0] if match else b""


@functools.lru_cache(maxsize=4)
def _grants_by_pattern(server: Configuration) -> bool:
    """Tell whether sections for folders by pattern grant anything: which folders those are is Apache's to say."""
    for directive in server.named("allowoverride", "allowoverridelist", "options"):
        section = directive.inside("directory", "directorymatch")
        if section and (
            section.name == "directorymatch" or any(set(word) & set("*?[~") for word in section.words)
        ):
            return True
    return False
