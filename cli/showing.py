"""Words on a terminal, for the verbs that tell people what they found."""

import os
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable

from doctor.findings import SEVERITIES, Finding, Severity

_COLOURS = {"error": "31", "warning": "33", "note": "36", "good": "32", "-": "31", "+": "32"}
_WIDTH = 80


def is_coloured() -> bool:
    """Tell whether standard output takes colours (https://no-color.org/)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(kind: str, text: str, *, coloured: bool) -> str:
    """Return text in the colour of a severity, of what is good, or of a line of a diff."""
    return f"\033[{_COLOURS[kind]}m{text}\033[0m" if coloured and kind in _COLOURS else text


def printable(text: str) -> str:
    """Return text that tells a terminal nothing."""
    return "".join(character if character.isprintable() or character == "\t" else "?" for character in text)


def wrapped(text: str, indent: str = "    ", *, first: str | None = None, most: int | None = None) -> str:
    """Return text in lines of 80 columns, or of as many as the terminal has where it has less.

    Args:
        text: of a sentence or more.
        indent: before each line but the first where that has its own; none: two blanks before all but the first.
        first: before the first line.
        most: how many lines; the rest is left out.
    """
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns)
    return textwrap.fill(
        printable(text),
        max(width, 40),
        initial_indent=indent if first is None else first,
        subsequent_indent=indent or "  ",
        break_on_hyphens=False,
        break_long_words=most is not None,
        max_lines=most,
        placeholder=" …",
    )


def print_advice(finding: Finding) -> None:
    """Print what a finding is, why it is bad, and what to write instead."""
    entry = finding.entry
    print(wrapped(f"{entry.title[0].upper()}{entry.title[1:]}. {entry.cause}"))
    if finding.symptoms:
        print(wrapped(f"It explains too: {'; '.join(finding.symptoms)}."))
    print(wrapped(f"Instead: {entry.remedy}"))
    for line in finding.instead.splitlines():
        print(f"        {printable(line)}")
    if finding.left:
        print(wrapped(f"Left to you: {finding.left}."))


def counted(severities: Iterable[Severity]) -> str:
    """Return how many there are of each: `2 errors, 1 note`; empty for none."""
    counts = Counter(severities)
    return ", ".join(
        f"{counts[severity]} {severity}{'s' if counts[severity] > 1 else ''}"
        for severity in SEVERITIES
        if counts[severity]
    )
