"""The form of an entry of the catalogue."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Entry:
    """Describe one cause.

    Attributes:
        severity: error: it does not work, or lets somebody in; warning: it works until something happens; note: it is better otherwise.
        title: what it is, in a few words.
        cause: why that is bad, and what one sees of it.
        remedy: what to write instead.
    """

    severity: Severity
    title: str
    cause: str
    remedy: str
