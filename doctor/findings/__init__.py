"""All that can be found, as data: one entry for each cause, whoever finds it.

An id is for ever: scripts, and what people wrote down, name it.
"""

from dataclasses import dataclass

from . import files, remote, server
from .entry import SEVERITIES, Entry, Severity

__all__ = ["CATALOGUE", "SEVERITIES", "Edit", "Entry", "Finding", "Severity"]


@dataclass(frozen=True)
class Edit:
    """Change one file: spans of its bytes, apart from one another, and what to put there.

    Attributes:
        file: the file.
        changes: first byte, byte behind the last, new bytes; in order.
        is_safe: whether nothing that works as meant stops doing so, so that it may be applied unasked.
        note: what it takes for granted.
    """

    file: str
    changes: tuple[tuple[int, int, bytes], ...]
    is_safe: bool = True
    note: str = ""

    def applied(self, content: bytes) -> bytes:
        """Return the content with the changes made."""
        for start, end, new in reversed(self.changes):
            content = content[:start] + new + content[end:]
        return content


@dataclass(frozen=True)
class Finding:
    """Hold one cause in one place.

    Attributes:
        id: its entry in the catalogue.
        file: the file; or the URL, or the thing of the machine, that was asked.
        line: its first line, from 1; 0 where there are none.
        seen: what stands there.
        edit: the safe form, where it can be written without knowing more.
        left: why there is none, where somebody could expect one.
        instead: the lines to write, where they are known to the letter.
        symptoms: what else was seen that this explains, a sentence each.
    """

    id: str
    file: str
    line: int
    seen: str
    edit: Edit | None = None
    left: str = ""
    instead: str = ""
    symptoms: tuple[str, ...] = ()

    @property
    def entry(self) -> Entry:
        """Return what the catalogue says of it."""
        return CATALOGUE[self.id]

    def as_json(self) -> dict[str, object]:
        """Return what programs are told of it, whoever found it."""
        return {
            "id": self.id,
            "severity": self.entry.severity,
            "file": self.file,
            "line": self.line,
            "seen": self.seen,
            "title": self.entry.title,
            "cause": self.entry.cause,
            "remedy": self.entry.remedy,
            "instead": self.instead or None,
            "left": self.left or None,
        }


CATALOGUE: dict[str, Entry] = {**files.ENTRIES, **remote.ENTRIES, **server.ENTRIES}
"""Finding id -> what is known of it."""
