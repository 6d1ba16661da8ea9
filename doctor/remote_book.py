"""Where verdicts on a living site are written down."""

from .examination import Check, Examination, Outcome
from .findings import Finding
from .remote_seen import Observations

_MOST = 300  # characters: a site may say as much of itself as it likes


class Book:
    """Collect checks and findings; a check is as bad as the gravest finding it brings."""

    def __init__(self, seen: Observations) -> None:
        self.url = str(seen.asked)
        self.examination = Examination(self.url)

    def check(self, name: str, seen: str, *found: Finding | None) -> None:
        """Note what a question gave, and what is wrong with it."""
        findings = [each for each in found if each]
        is_bad = any(each.entry.severity == "error" for each in findings)
        outcome: Outcome = "bad" if is_bad else "odd" if findings else "good"
        self.examination.checks.append(Check(name, outcome, seen[:_MOST]))
        self.examination.findings += findings

    def finding(self, name: str, seen: str) -> Finding:
        """Make a finding on the URL; it is noted with a check."""
        return Finding(name, self.url, 0, seen[:_MOST])

    def unchecked(self, sentence: str) -> None:
        """Note what could not be asked."""
        self.examination.not_checked.append(sentence)


def milliseconds(seconds: float) -> str:
    """Return a time for people: `12 ms`."""
    return f"{max(1, round(seconds * 1000)):,} ms"
