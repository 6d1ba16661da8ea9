"""Apache's error log as data: a line's level, its AH number, its words.

Source: ErrorLogFormat's default, https://httpd.apache.org/docs/2.4/mod/core.html#errorlogformat
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

_LINE = re.compile(r"\[[^\]]+\] \[(?P<module>[^:\]]*):(?P<level>[a-z0-9]+)\] \[pid [^\]]+\] (?P<rest>.*)")
_NUMBER = re.compile(r"\bAH\d{5}\b")
_QUIET = frozenset({"notice", "info", "debug", *(f"trace{depth}" for depth in range(1, 9))})

HARMLESS = frozenset(
    {
        "AH01882",  # mod_ssl was built against a newer OpenSSL than it runs with: the distribution's own doing
        "AH01909",  # the certificate's name differs from ServerName: an alias or localhost serves it
    }
)


@dataclass(frozen=True)
class Line:
    """Hold one line of the log; what is no line of Apache's own (a crash, a module's print) has the level `other`."""

    level: str
    number: str
    text: str


def parse(text: str) -> list[Line]:
    """Return the lines of a log."""
    return [_line(line) for line in text.splitlines() if line.strip()]


def faults(lines: list[Line], allowed: Collection[str] = ()) -> list[Line]:
    """Return the lines at warn and above, and unknown ones, less those whose AH number is harmless or allowed."""
    known = HARMLESS | set(allowed)
    return [line for line in lines if line.level not in _QUIET and line.number not in known]


def _line(text: str) -> Line:
    number = _NUMBER.search(text)
    match = _LINE.match(text)
    return Line(
        match["level"] if match else "other", number[0] if number else "", match["rest"] if match else text
    )
