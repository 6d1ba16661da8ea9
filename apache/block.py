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

_ENDING = re.compile(rb"(?<!\\)(?<!\\\r)\n")
_WORD = re.compile(rb"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\S+")
_TUNNEL = re.compile(rb"(?:unix:[^|]*\|)?wss?://", re.IGNORECASE)
_UPGRADE = re.compile(rb"%\{http:(?:upgrade|connection)\}", re.IGNORECASE)
# Patterns that only an upgrade passes; `!websocket` and `^$` are for what is none, and are the pages' business.
_ASKED = re.compile(rb"[^!]*(?:ocket|pgrade).*|\^?\.\+?|!\^\$|!=(?:\"\")?", re.IGNORECASE | re.DOTALL)
_EXPRESSION = re.compile(rb"[^!|]*(?:ocket|pgrade)[^!|]*", re.IGNORECASE)


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
    """Return the content without copied rules that tunnel WebSockets, and their conditions; our own block stays.

    Such a rule leads to a ws:// URL, or proxies ([P]) upgrades alone: its conditions or an enclosing <If> ask for one.
    A proxy rule for anything else stays, and so does what is commented out.

    Raises:
        BlockError: rules skip or chain others, so that none can go without changing what the rest means.
    """
    found = _find(content)
    spans: list[tuple[int, int]] = []
    conditions: list[_Line] = []
    sections: list[bool] = []
    counted = False
    for line in _lines(content):
        if found and found.start <= line.start < found.end:
            continue
        if line.name == b"rewritecond":
            conditions.append(line)
        elif line.name in {b"<if", b"<elseif"}:
            sections.append(_asks_for_upgrade(b"expr", line.text))
        elif line.name in {b"</if>", b"</elseif>"}:
            del sections[-1:]
        elif line.name == b"rewriterule":
            flags = {
                flag.partition(b"=")[0].strip() for flag in line.word(3).lower().strip(b"[]").split(b",")
            }
            counted = counted or bool(flags & {b"s", b"skip", b"c", b"chain"})
            guarded = any(sections) or _only_upgrades(conditions)
            if _TUNNEL.match(line.word(2)) or (guarded and flags & {b"p", b"proxy"}):
                spans += [(each.start, each.end) for each in (*conditions, line)]
            conditions.clear()
    if spans and counted:
        raise BlockError(
            "has a rule that tunnels WebSockets among rules that skip or chain others ([S], [C]): take it out by hand"
        )
    for start, end in reversed(spans):
        content = content[:start] + content[end:]
    return content


@dataclass(frozen=True)
class _Line:
    """Hold one directive as Apache reads it, continued lines joined, and where it stands."""

    start: int
    end: int
    text: bytes
    words: tuple[bytes, ...]

    @property
    def name(self) -> bytes:
        return self.word(0).lower()

    def word(self, number: int) -> bytes:
        return self.words[number] if number < len(self.words) else b""


def _lines(content: bytes) -> list[_Line]:
    """Split into directives; a line that ends in a backslash goes on in the next, be it a comment (ap_cfg_getline)."""
    start = len(_BOM) if content.startswith(_BOM) else 0
    ends = [*(match.end() for match in _ENDING.finditer(content, start)), len(content)]
    lines = []
    for end in ends:
        text = re.sub(rb"\\\r?\n", b"", content[start:end])
        words = tuple(
            word[1:-1] if len(word) > 1 and word[:1] in b"\"'" and word[-1:] == word[:1] else word
            for word in _WORD.findall(text)
        )
        lines.append(_Line(start, end, text, words))
        start = end
    return lines


def _asks_for_upgrade(test: bytes, pattern: bytes) -> bool:
    if test.lower() == b"expr":
        rest, count = _UPGRADE.subn(b"", pattern)
        return bool(count and _EXPRESSION.fullmatch(rest))
    return bool(_UPGRADE.search(test) and _ASKED.fullmatch(pattern))


def _only_upgrades(conditions: list[_Line]) -> bool:
    """Tell whether conditions let upgrades alone pass: one of them asks for it, with all that it is or-ed with."""
    alternatives: list[bool] = []
    for condition in conditions:
        alternatives.append(_asks_for_upgrade(condition.word(1), condition.word(2)))
        if not {b"or", b"ornext"} & set(condition.word(3).lower().strip(b"[]").split(b",")):
            if all(alternatives):
                return True
            alternatives.clear()
    return False


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
    """Refuse where our `RewriteEngine On` would be undone by a later line, or would wake rules that sleep."""
    engines = [line for line in _lines(content) if line.name == b"rewriteengine"]
    if engines and engines[-1].word(1).lower() == b"off":
        number = content.count(b"\n", 0, engines[-1].start) + 1
        raise BlockError(
            f"has `RewriteEngine Off` in line {number}, which would switch the rules off too: take it out first"
        )
    if not engines and any(line.name == b"rewriterule" for line in _lines(content)):
        raise BlockError(
            "has rewrite rules but no `RewriteEngine On`, so they may be asleep and would wake: add that line, or take them out"
        )
