"""The end of Apache's error logs as data: its last start, its reloads, and the AH numbers since then.

Source: ErrorLogFormat's default, https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat; MPMs write AH00489, AH00292 or
AH00163 when a generation begins, AH00493, AH00297 or AH00171 when a graceful reload is asked for.
"""

import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .findings.logged import LOGGED
from .reading import shown

_TAIL = 1 << 18  # bytes of each log
_LOGS = 32
_MINUTE = 60.0  # from the word of a reload to the new generation's first
_STARTING = 2.0  # likewise of a start
_DAY = 86400.0  # seconds; what is older says nothing of today
_BEGUN = {"AH00489", "AH00292", "AH00163"}
_ASKED = {"AH00493", "AH00297", "AH00171"}
_LINE = re.compile(r"\[\w{3} (\w{3} +\d+ \d\d:\d\d:\d\d)(\.\d+)? (\d{4})\] (.*)")
_NUMBER = re.compile(r"\bAH\d{5}\b")
_OVERRIDE = re.compile(r"(\S*\.htaccess): \S+ not allowed here")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Mention:
    """Hold one AH number as a log has it: how often, when last (seconds since 1970), and the words behind it then."""

    number: str
    count: int
    last: float
    words: str


@dataclass(frozen=True)
class Log:
    """Hold what the logs say.

    Attributes:
        reloads: when graceful reloads were asked for, as far back as was read.
        mentions: known numbers since the present generation began, within a day; the latest last.
        overrides: .htaccess files with a directive that AllowOverride does not admit, since then.
    """

    reloads: tuple[float, ...] = ()
    mentions: tuple[Mention, ...] = ()
    overrides: tuple[str, ...] = ()

    def has(self, *numbers: str) -> bool:
        """Tell whether one of these is in it."""
        return any(mention.number in numbers for mention in self.mentions)


def read_logs(files: Iterable[str], *, started: float, now: float) -> tuple[Log, list[str]]:
    """Return what the logs say, and what of them could not be read.

    Args:
        files: the server's own first.
        started: when Apache's main process was, in seconds since 1970.
        now: the time, likewise.
    """
    lines: list[tuple[float, str]] = []
    unread = []
    begun = started
    reloads: list[float] = []
    for file in list(dict.fromkeys(files))[:_LOGS]:
        try:
            text = _tail(Path(file))
        except OSError as error:
            unread.append(f"{file}: the error log cannot be read: {error.strerror}")
            continue
        lines += [(at, words) for at, words in _timed(text) if at >= now - _DAY]
    for at, words in sorted(lines):
        numbers = set(_NUMBER.findall(words))
        if numbers & _ASKED and at > started:
            reloads.append(at)
        elif numbers & _BEGUN:
            begun = max(begun, at)
            # Where logs are rotated, the line that asks for the reload is in the older one.
            if at > started + _STARTING and not (reloads and at - reloads[-1] < _MINUTE):
                reloads.append(at)
    since = [(at, words) for at, words in lines if at >= min(begun, now)]
    return Log(tuple(reloads), tuple(_mentions(since)), tuple(_overrides(since))), unread


def _mentions(lines: Iterable[tuple[float, str]]) -> list[Mention]:
    found: dict[str, Mention] = {}
    for at, words in lines:
        for number in _NUMBER.findall(words)[:1]:
            before = found.get(number)
            if number in LOGGED and (before is None or before.last <= at):
                told = words.partition(f"{number}: ")[2]
                found[number] = Mention(number, (before.count if before else 0) + 1, at, shown(told, 120))
            elif before:
                found[number] = Mention(number, before.count + 1, before.last, before.words)
    return sorted(found.values(), key=lambda mention: mention.last)


def _overrides(lines: Iterable[tuple[float, str]]) -> list[str]:
    return list(dict.fromkeys(match[1] for _, words in lines if (match := _OVERRIDE.search(words))))


def _tail(path: Path) -> str:
    """Return the last lines of a log.

    Raises:
        OSError: it is not there, is not ours to read, or is no file.
    """
    with path.open("rb") as file:
        if not stat.S_ISREG(path.stat().st_mode):
            raise OSError(0, "it is no file")
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL))
        return file.read(_TAIL).decode(errors="replace")


def _timed(text: str) -> Iterable[tuple[float, str]]:
    """Yield lines with their time; one that has none goes with the line before it."""
    for line in text.splitlines():
        match = _LINE.match(line)
        if match:
            at = _time(match[1], match[2] or "", match[3])
            if at is not None:
                yield at, match[4]


def _time(date: str, fraction: str, year: str) -> float | None:
    month, day, clock = date.split()
    if month not in _MONTHS:
        return None
    hour, minute, second = (int(part) for part in clock.split(":"))
    fields = (int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second, 0, 0, -1)
    try:
        return time.mktime(fields) + float(fraction or 0)
    except (OverflowError, ValueError):
        return None
