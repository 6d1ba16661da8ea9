"""What an examination of a living server comes to."""

from dataclasses import dataclass, field
from typing import Literal

from .findings import Finding

Outcome = Literal["good", "bad", "odd"]


@dataclass(frozen=True)
class Check:
    """Hold what one question to a living server gave.

    Attributes:
        name: what was asked, in a few words: `TLS certificate`.
        outcome: good: as it should be; bad: a finding of severity error tells of it; odd: a lesser finding does.
        seen: the answer, short enough for a line of 80 columns.
    """

    name: str
    outcome: Outcome
    seen: str = ""


@dataclass
class Examination:
    """Hold all that was asked and found.

    Attributes:
        subject: the URL, or the server's own name.
        checks: what was asked, in its order.
        findings: those that explain the most first; a cause stands once, with the symptoms that it explains.
        not_checked: what could not be asked or told, a sentence each.
    """

    subject: str
    checks: list[Check] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)


def as_json(examination: Examination, seconds: float) -> dict[str, object]:
    """Return an examination as `doctor/examination.schema.json` has it.

    Args:
        examination: what was asked and found.
        seconds: how long it took.
    """
    return {
        "subject": examination.subject,
        "seconds": round(seconds, 3),
        "checks": [
            {"name": check.name, "outcome": check.outcome, "seen": check.seen} for check in examination.checks
        ],
        "findings": [
            finding.as_json() | {"symptoms": list(finding.symptoms)} for finding in examination.findings
        ],
        "not_checked": examination.not_checked,
    }
