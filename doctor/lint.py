"""Read configurations, find what is wrong in them, and make the changes that are safe.

Runs nothing and writes nothing: contents in, findings and new contents out.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from apache.versions import PATHS_ENCODED, at_least

from .configuration import Configuration, read
from .findings import SEVERITIES, Edit, Finding
from .folder_checks import folder_findings, is_seen_to
from .proxy_checks import proxy_findings
from .reading import BYTE_ORDER_MARK
from .rewrite_checks import rewrite_findings
from .server_checks import server_findings

_ROUNDS = 20  # one change may make another possible
_NO_SOCKET = {"htaccess-ignored", "htaccess-no-links", "module-missing", "rewrite-engine-missing"}


@dataclass
class Report:
    """Hold what was found.

    Attributes:
        files: the files given.
        findings: the gravest first, of these what explains the most, then in the order of files and lines.
        not_checked: what could not be followed or told, a sentence each.
        contents: every file read -> its bytes.
    """

    files: tuple[str, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    not_checked: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)


def lint(paths: Sequence[str], *, given: Mapping[str, bytes] | None = None, version: str = "") -> Report:
    """Read files and all they include, and return what is wrong in them.

    Args:
        paths: configuration files and .htaccess files.
        given: contents to take instead of those on the disk.
        version: of the Apache that reads them, as 2.4.71, where it is known.

    Raises:
        UnreadableError: one of them cannot be read.
    """
    configurations = [read(path, given=given) for path in paths]
    report = Report(tuple(paths))
    found: dict[tuple[str, str, int], Finding] = {}
    for configuration in configurations:
        report.contents |= configuration.contents
        report.not_checked += [each for each in configuration.unchecked if each not in report.not_checked]
        for finding in [*_found(configuration), *folder_findings(configuration, configurations)]:
            if finding.id == "rewrite-encoded-twice" and version and not at_least(version, PATHS_ENCODED):
                continue
            if is_seen_to(finding, configuration, configurations):
                continue
            found.setdefault((finding.id, str(Path(finding.file).resolve()), finding.line), finding)
    report.findings = sorted(
        found.values(),
        key=lambda finding: (
            SEVERITIES.index(finding.entry.severity),
            _reach(finding.id),
            finding.file,
            finding.line,
        ),
    )
    return report


def mended(paths: Sequence[str]) -> dict[str, bytes]:
    """Return the files that safe changes make others of: file -> new bytes. What it returns has no safe change left.

    Raises:
        UnreadableError: as lint().
    """
    changed: dict[str, bytes] = {}
    for _ in range(_ROUNDS):
        report = lint(paths, given=changed)
        edits = dict.fromkeys(
            finding.edit for finding in report.findings if finding.edit and finding.edit.is_safe
        )
        if not edits:
            break
        for file in {edit.file for edit in edits if edit}:
            changed[file] = _together([edit for edit in edits if edit and edit.file == file]).applied(
                report.contents[file]
            )
    return changed


def _reach(name: str) -> int:
    """Return how much a cause explains: 0 where Apache takes nothing of the file, 1 where no socket of a folder or server opens."""
    if name.startswith("config-") or name == "loglevel-module-missing":
        return 0
    return 1 if name in _NO_SOCKET else 2


def _together(edits: Sequence[Edit]) -> Edit:
    """Return those changes of one file that do not touch one another, as one."""
    taken: list[tuple[int, int, bytes]] = []
    for edit in edits:
        if all(end < begin or start > stop for start, end, _ in edit.changes for begin, stop, _ in taken):
            taken += edit.changes
    return Edit(edits[0].file, tuple(sorted(taken)))


def diff(edit: Edit, content: bytes) -> str:
    """Return a change as a unified diff."""
    before, after = _lines(content), _lines(edit.applied(content))
    lines = difflib.unified_diff(before, after, edit.file, edit.file, n=1)
    return "".join(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )


def _lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))


def _found(configuration: Configuration) -> list[Finding]:
    refused = [_mendable(configuration, finding) for finding in configuration.findings]
    checks = (rewrite_findings, proxy_findings, server_findings)
    return [*refused, *(finding for check in checks for finding in check(configuration))]


def _mendable(configuration: Configuration, finding: Finding) -> Finding:
    content = configuration.contents.get(finding.file, b"")
    if finding.id != "config-byte-order-mark" or not content.startswith(BYTE_ORDER_MARK):
        return finding
    return Finding(
        finding.id, finding.file, 1, finding.seen, Edit(finding.file, ((0, len(BYTE_ORDER_MARK), b""),))
    )
