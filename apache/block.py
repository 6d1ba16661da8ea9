"""A block of rules inside a file that is somebody else's: put in, found again, taken out, every other byte kept.

Works on bytes, so that any encoding in which ASCII is ASCII survives. Knows nothing of files on disk.
"""

import hashlib
import re
from dataclasses import dataclass

from .errors import ApacheError

BEGIN, END = b"# BEGIN wsfront", b"# END wsfront"
_BOM = b"\xef\xbb\xbf"
_DIGEST_LENGTH = 16

# The rule that people copy: a RewriteRule to a ws:// URL by [P], and the conditions right before it.
_COPIED = re.compile(rb"[ \t]*RewriteRule[ \t]+\S+[ \t]+\"?(?:unix:[^ \t|]*\|)?wss?://", re.IGNORECASE)
_CONDITION = re.compile(rb"[ \t]*RewriteCond[ \t]", re.IGNORECASE)
_OFF = re.compile(rb"[ \t]*RewriteEngine[ \t]+\"?off\b", re.IGNORECASE)
_LINES = re.compile(rb"[^\n]*\n|[^\n]+\Z")


class BlockError(ApacheError):
    """Say in one sentence why a file is left as it is."""


@dataclass(frozen=True)
class Found:
    """Hold where a block stands: its bytes from `start` to `end`, both markers within."""

    start: int
    end: int


def insert(content: bytes, rules: str) -> bytes:
    """Return the content with the rules in a block of ours at its top, before whatever rule would swallow an upgrade.

    A block that is there already is replaced where it stands; the same rules change nothing.

    Raises:
        BlockError: the content cannot take a block, or its block was edited by hand.
    """
    _require_text(content)
    found = _find(content)
    rest = content if found is None else content[: found.start] + content[found.end :]
    _require_engine(rest)
    newline = b"\r\n" if b"\r\n" in rest.split(b"\n", 1)[0] + b"\n" else b"\n"
    block = _block(rules, newline)
    if found is not None:
        return content[: found.start] + block + content[found.end :]
    start = len(_BOM) if content.startswith(_BOM) else 0
    return content[:start] + block + content[start:]


def remove(content: bytes) -> bytes:
    """Return the content without our block: the bytes that were there before it came.

    Raises:
        BlockError: there is no whole block, or it was edited by hand.
    """
    _require_text(content)
    found = _find(content)
    if found is None:
        raise BlockError(
            f"has no block between {BEGIN.decode()} and {END.decode()}: there is nothing to take out"
        )
    return content[: found.start] + content[found.end :]


def without_copied(content: bytes) -> bytes:
    """Return the content without copied rules that tunnel WebSockets, and their conditions; our own block stays."""
    found = _find(content)
    lines, kept, position = _LINES.findall(content), [], 0
    conditions: list[bytes] = []
    for line in lines:
        ours = found is not None and found.start <= position < found.end
        position += len(line)
        if not ours and _CONDITION.match(line):
            conditions.append(line)
            continue
        if not ours and _COPIED.match(line):
            conditions.clear()
            continue
        kept += [*conditions, line]
        conditions.clear()
    return b"".join([*kept, *conditions])


def _block(rules: str, newline: bytes) -> bytes:
    body = rules.strip("\n") + "\n"
    text = f"{BEGIN.decode()} {_digest(body.encode())}\n{body}{END.decode()}\n".encode()
    return text.replace(b"\n", newline)


def _digest(body: bytes) -> str:
    return hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()[:_DIGEST_LENGTH]


def _find(content: bytes) -> Found | None:
    """Find the one whole, untouched block.

    Raises:
        BlockError: half a block, two of them, or one edited by hand.
    """
    starts = _line_starts(content, BEGIN)
    ends = _line_starts(content, END)
    if not starts and not ends:
        return None
    if len(starts) > 1 or len(ends) > 1:
        raise BlockError(f"has {max(len(starts), len(ends))} blocks of wsfront: leave one, or none")
    if not starts or not ends or ends[0] < starts[0]:
        missing = END if starts else BEGIN
        raise BlockError(
            f"has half a block of wsfront, without `{missing.decode()}`: take the rest of it out by hand"
        )
    body = content.index(b"\n", starts[0]) + 1
    stop = content.find(b"\n", ends[0])
    marked = content[starts[0] : body].split()[3:]
    if [word.decode("latin-1") for word in marked] != [_digest(content[body : ends[0]])]:
        raise BlockError(
            "was edited between the markers of wsfront: move your lines outside of them, or take the markers out and keep it as yours"
        )
    return Found(starts[0], len(content) if stop < 0 else stop + 1)


def _line_starts(content: bytes, marker: bytes) -> list[int]:
    pattern = rb"(?:^|(?<=\n)|(?<=\A\xef\xbb\xbf))" + re.escape(marker) + rb"(?=[ \t\r\n]|\Z)"
    return [match.start() for match in re.finditer(pattern, content)]


def _require_text(content: bytes) -> None:
    if b"\0" in content or content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise BlockError("is not text that Apache reads (UTF-16, or no text at all): save it as UTF-8")


def _require_engine(content: bytes) -> None:
    for number, line in enumerate(content.split(b"\n"), 1):
        if _OFF.match(line):
            raise BlockError(
                f"has `RewriteEngine Off` in line {number}, which would switch the rules off too: take it out first"
            )
