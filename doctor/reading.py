"""Apache's configuration text as directives: continued lines, quotes and nested sections, each with its line and its bytes.

Knows nothing of what a directive means, nor of other files. Any bytes can be read; what Apache would refuse becomes a fault.
Source: httpd server/util.c, ap_cfg_getline and ap_getword_conf; server/config.c, ap_build_config.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
LINE_LIMIT = (
    1 << 20
)  # bytes; nobody writes such a line, and Apache's own limit is of this order (VARBUF_MAX_LEN)
_DEPTH_LIMIT = 256
_FAULTS_LIMIT = 1000  # what has so many is no configuration
_CONDITIONS = {"ifmodule", "ifversion", "ifdefine", "iffile", "ifdirective", "ifsection", "requireall"}
_BLANK = b" \t\r\v\f"
_CONTROL = re.compile(rb"[\0-\x08\x0e-\x1f]")
_IN_FILE = re.compile(rb"\s*# In file: (.+)")
_AT_LINE = re.compile(rb"\s*#\s+(\d+):\s*")


@dataclass(frozen=True)
class Section:
    """Name a section that encloses a directive; two that read alike differ by where they begin."""

    name: str
    words: tuple[str, ...]
    file: str
    line: int


@dataclass(frozen=True)
class Directive:
    """Hold one directive as Apache reads it.

    Attributes:
        name: in lower case; with a `<` before it where it opens a section.
        words: its arguments, without their quotes.
        text: the whole of it as it stands, continued lines joined.
        file: the file as its reader was told of it.
        line: its first line's number, from 1.
        start: the first byte of that line.
        end: the byte behind its last line.
        sections: those around it, the outermost first.
        scope: those of them that choose requests, which mere conditions such as `<IfModule>` do not.
    """

    name: str
    words: tuple[str, ...]
    text: str
    file: str
    line: int
    start: int
    end: int
    sections: tuple[Section, ...]
    scope: tuple[Section, ...]

    def word(self, number: int) -> str:
        """Return an argument, counted from 0; empty where it is missing."""
        return self.words[number] if number < len(self.words) else ""

    def inside(self, *names: str) -> Section | None:
        """Return the innermost section around it that has one of these names."""
        return next((section for section in reversed(self.sections) if section.name in names), None)


@dataclass(frozen=True)
class ReadFault:
    """Hold what Apache would refuse in a text: the finding's id, where, and what stands there."""

    id: str
    file: str
    line: int
    seen: str


@dataclass
class Reader:
    """Read files one within another, as Include does, keeping the sections that are open.

    Attributes:
        faults: what Apache would refuse, in the order of reading.
        open: the sections open now, the outermost first.
    """

    def __init__(self) -> None:
        self.faults: list[ReadFault] = []
        self.open: list[Section] = []
        self._sections: tuple[Section, ...] = ()
        self._scope: tuple[Section, ...] = ()

    def read(self, content: bytes, file: str) -> Iterator[Directive]:
        """Yield the directives of one text; `open` may be used between them to read an included file in its place.

        A dump by Apache (`apache2ctl -t -D DUMP_CONFIG`) says itself which file and line each directive is of.
        """
        if _is_no_text(content):
            self.faults.append(ReadFault("config-not-text", file, 1, ""))
            return
        if content.startswith(BYTE_ORDER_MARK):
            self.faults.append(ReadFault("config-byte-order-mark", file, 1, ""))
        depth = len(self.open)
        is_dump = bool(_IN_FILE.match(content))
        where = file
        marked = 0
        for number, start, end, line in _lines(content):
            if not line or line.startswith(b"#"):
                where, marked = _marked(line, where, marked) if is_dump else (where, 0)
                continue
            at = marked if is_dump else number
            if len(self.faults) > _FAULTS_LIMIT:
                break
            if len(line) > LINE_LIMIT:
                self.faults.append(ReadFault("config-line-too-long", where, at, shown(_text(line[:60]))))
                continue
            if line.startswith(b"</"):
                self._close(line, where, at, depth)
                continue
            directive = self._directive(line, where, at, start, end)
            yield directive
            if directive.name.startswith("<"):
                self._enter(directive)
        self._end(depth)

    def _end(self, depth: int) -> None:
        """Leave what is still open where a text ends."""
        for section in self.open[depth:]:
            told = f"<{section.name}{''.join(f' {word}' for word in section.words[:3])}>"
            self.faults.append(ReadFault("config-section-unclosed", section.file, section.line, shown(told)))
        del self.open[depth:]
        self._changed()

    def _directive(self, line: bytes, file: str, number: int, start: int, end: int) -> Directive:
        name, _, rest = line.partition(b" ") if b"\t" not in line else _partition(line)
        if line.startswith(b"<"):
            # As Apache does: what is behind the last `>` is left out.
            name, rest = (name[:-1], b"") if name.endswith(b">") else (name, rest.rpartition(b">")[0])
        return Directive(
            _text(name).lower(),
            tuple(_text(word) for word in _words(rest)),
            _text(line),
            file,
            number,
            start,
            end,
            self._sections,
            self._scope,
        )

    def _enter(self, directive: Directive) -> None:
        section = Section(directive.name[1:], directive.words, directive.file, directive.line)
        if len(self.open) < _DEPTH_LIMIT:
            self.open.append(section)
            self._changed()
        elif not any(fault.id == "config-too-deep" for fault in self.faults):
            self.faults.append(
                ReadFault("config-too-deep", directive.file, directive.line, shown(directive.text))
            )

    def _close(self, line: bytes, file: str, number: int, depth: int) -> None:
        name = _text(line[2:].split(b">")[0].strip()).lower()
        names = [section.name for section in self.open[depth:]]
        if not names or names[-1] != name:
            self.faults.append(
                ReadFault("config-section-crossed", file, number, shown(_text(line[:LINE_LIMIT])))
            )
        while name in names:
            self.open.pop()
            if names.pop() == name:
                break
        self._changed()

    def _changed(self) -> None:
        self._sections = tuple(self.open)
        self._scope = tuple(section for section in self.open if section.name not in _CONDITIONS)


def shown(text: str, width: int = 72) -> str:
    """Return text that stays one short line of printable characters."""
    short = text[: width * 4]
    line = " ".join("".join(c if c.isprintable() else "?" if c not in "\t\n" else " " for c in short).split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def word_spans(content: bytes, directive: Directive) -> list[tuple[int, int]]:
    """Return where each argument of a directive stands in its file, its quotes within; none where it goes over several lines."""
    raw = content[directive.start : directive.end].rstrip(b"\r\n")
    if b"\n" in raw:
        return []
    return [(directive.start + start, directive.start + end) for start, end in _spans(raw)][1:]


def _is_no_text(content: bytes) -> bool:
    return content.startswith((b"\xff\xfe", b"\xfe\xff")) or bool(_CONTROL.search(content, 0, 1 << 16))


def _marked(line: bytes, file: str, number: int) -> tuple[str, int]:
    """Return the file and the line that a dump's comment names; those known before, where it names none."""
    if mark := _IN_FILE.match(line):
        return shown(_text(mark[1].strip()), 1000), number
    mark = _AT_LINE.fullmatch(line)
    return file, int(mark[1][:9]) if mark else number


def _lines(content: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield number, first and last byte, and what Apache sees of each line; one that ends in a backslash goes on in the next."""
    position = len(BYTE_ORDER_MARK) if content.startswith(BYTE_ORDER_MARK) else 0
    number = 1
    while position < len(content):
        start, first, parts = position, number, []
        while True:
            stop = content.find(b"\n", position)
            line = content[position : stop if stop >= 0 else len(content)]
            position = stop + 1 if stop >= 0 else len(content)
            number += 1
            body = line.removesuffix(b"\r")
            if stop < 0 or not body.endswith(b"\\"):
                parts.append(line)
                break
            parts.append(body[:-1])
        yield first, start, position, b"".join(parts).strip(_BLANK)


def _partition(line: bytes) -> tuple[bytes, bytes, bytes]:
    match = re.match(rb"[^ \t]*", line)
    stop = match.end() if match else 0
    return line[:stop], line[stop : stop + 1], line[stop + 1 :]


def _spans(line: bytes) -> Iterator[tuple[int, int]]:
    """Yield where words begin and end: apart by blanks, in quotes of either kind; a quote left open goes to the end."""
    position, length = 0, len(line)
    while True:
        while position < length and line[position] in _BLANK:
            position += 1
        if position == length:
            return
        start, quote = position, line[position]
        if quote in b"\"'":
            position += 1
            while position < length and line[position] != quote:
                position += (
                    2
                    if line[position] == ord("\\") and line[position + 1 : position + 2] == bytes([quote])
                    else 1
                )
            position = min(position + 1, length)
        else:
            while position < length and line[position] not in _BLANK:
                position += 1
        yield start, position


def _words(line: bytes) -> Iterator[bytes]:
    for start, end in _spans(line):
        word = line[start:end]
        quote = word[:1]
        if quote in {b'"', b"'"}:
            body = word[1:-1] if len(word) > 1 and word.endswith(quote) else word[1:]
            word = body.replace(b"\\" + quote, quote)
        yield word


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
