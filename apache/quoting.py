r"""The one door from text to a directive: whatever a template prints is a number or went through here.

Apache reads a line, replaces `${…}`, then splits it at blanks, honouring double quotes in which `\"` and `\\` are escapes
(httpd server/util.c, ap_getword_conf; server/core.c, ap_resolve_env). Knows nothing of what a text is for.
"""

import re
from collections.abc import Mapping, Sequence

from .errors import ApacheError

_LITERAL = re.compile(r"[A-Za-z0-9._~:/\[\]@*+=,-]*")


class QuotingError(ApacheError, ValueError):
    """Refuse a text that no quoting makes safe."""


class Quoted(str):
    """Mark text that is safe where a directive's arguments stand."""

    __slots__ = ()


def argument(text: str) -> Quoted:
    """Return one argument of a directive, in double quotes.

    Raises:
        QuotingError: it holds a control character (a newline is a new directive) or `${`, which Apache expands even inside quotes.
    """
    _require_one_line(text)
    if "${" in text or "%{" in text:
        raise QuotingError(f"{text!r} has ${{ or %{{, which Apache expands")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return Quoted(f'"{escaped}"')


def literal(text: str) -> Quoted:
    """Return text of unreserved characters as it is: host names, addresses, paths, origins inside expressions and names.

    Raises:
        QuotingError: it holds anything else.
    """
    if not _LITERAL.fullmatch(text):
        raise QuotingError(f"{text!r} has characters other than letters, digits and ._~:/[]@*+=,-")
    return Quoted(text)


def pattern(text: str) -> Quoted:
    """Return a regular expression (PCRE) that matches the text and nothing else, free of blanks and quotes.

    Raises:
        QuotingError: as literal().
    """
    return Quoted(re.sub(r"[.\[\]*+]", lambda match: "\\" + match[0], literal(text)))


def join(separator: str, parts: Sequence[Quoted]) -> Quoted:
    """Return quoted parts put together."""
    return Quoted(separator.join(parts))


def comment(text: str) -> Quoted:
    """Return text for a comment line: printable, on one line, never ending in the backslash that joins lines."""
    return Quoted(
        "".join(character if character.isprintable() else "?" for character in text)
        .rstrip("\\ ")
        .replace("${", "$ {")
    )


def environment(values: Mapping[str, str]) -> str:
    r"""Return an environment file that systemd and a shell read alike: each value in double quotes, `\`, `"`, `$` and backquote escaped.

    Source: systemd.exec(5), EnvironmentFile=.

    Raises:
        QuotingError: a value holds a control character or is not valid Unicode.
    """
    lines = []
    for key, value in values.items():
        _require_one_line(value)
        escaped = re.sub(r'([\\"$`])', r"\\\1", value)
        lines.append(f'{key}="{escaped}"\n')
    return "".join(lines)


def _require_one_line(text: str) -> None:
    """Refuse what some reader takes for the end of a line or of the text, and what no file can hold."""
    for character in text:
        if ord(character) < 32 or 127 <= ord(character) < 160 or character in "\u2028\u2029":  # noqa: PLR2004 (C0 and C1 controls)
            raise QuotingError(f"{text!r} has a control character")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise QuotingError(f"{text!r} is not valid Unicode") from None
