"""The verb `lint`: read configuration files and .htaccess files, say what is wrong in them, and mend what is safe to mend.

Does not know what is wrong with what (`doctor/` does); it prints, and changes files.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from doctor.configuration import UnreadableError
from doctor.findings import Edit, Finding
from doctor.lint import Report, diff, lint, mended

from .errors import UsageFault
from .replacing import replace
from .showing import counted, is_coloured, painted, print_advice, printable, wrapped

SUMMARY = "find what is wrong in configuration files and .htaccess files, without running anything"
_DEFAULTS = ("/etc/apache2/apache2.conf", "/etc/httpd/conf/httpd.conf")


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `lint`."""
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help=f"files, read with all they include (default: {_DEFAULTS[0]}, or where others have it)",
    )
    parser.add_argument(
        "--fix", action="store_true", help="make the changes that are safe; a copy of each file is kept"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, as doctor/README.md tells"
    )


def run(args: argparse.Namespace) -> int:
    """Read, mend where asked, and print; return 1 when something is found, or left."""
    paths = list(dict.fromkeys(args.paths or _default()))
    try:
        fixed = _fix(paths) if args.fix else []
        report = lint(paths)
    except UnreadableError as error:
        raise UsageFault(str(error)) from None
    if args.json:
        json.dump(_as_json(report, fixed), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print(report, is_rest=args.fix)
    return 1 if report.findings else 0


def _default() -> list[str]:
    found = [path for path in _DEFAULTS if Path(path).exists()]
    if not found:
        raise UsageFault("there is no Apache configuration in its usual place: name the files to read")
    return found[:1]


def _fix(paths: list[str]) -> list[str]:
    """Make the safe changes, each file whole or not at all; return the files changed."""
    notes = dict.fromkeys(
        finding.edit.note for finding in lint(paths).findings if finding.edit and finding.edit.is_safe
    )
    changed = mended(paths)
    # Behind a link of sites-enabled stands the file itself, which may have been named too.
    files = {Path(name).resolve(): after for name, after in changed.items()}
    for path in files:
        if not os.access(path, os.W_OK) or not path.stat().st_mode & 0o222:
            raise UsageFault(
                f"{path}: is read-only: make it writable first, `chmod u+w {path}`; nothing was changed"
            )
    for path, after in files.items():
        replace(path, path.read_bytes(), after)
    for note in filter(None, notes):
        sys.stderr.write(f"{note}\n")
    return list(changed)


def _as_json(report: Report, fixed: list[str]) -> dict[str, object]:
    return {
        "files": list(report.files),
        "fixed": fixed,
        "findings": [
            finding.as_json()
            | {
                "diff": diff(finding.edit, report.contents[finding.edit.file]) if finding.edit else None,
                "fixable": bool(finding.edit and finding.edit.is_safe),
                "note": finding.edit.note or None if finding.edit else None,
            }
            for finding in report.findings
        ],
        "not_checked": report.not_checked,
    }


def _print(report: Report, *, is_rest: bool) -> None:
    """Print findings for people; a change that mends several of them is shown once, behind the last."""
    coloured = is_coloured()
    last = {finding.edit: number for number, finding in enumerate(report.findings) if finding.edit}
    for number, finding in enumerate(report.findings):
        _print_finding(finding, coloured=coloured)
        if finding.edit and last[finding.edit] == number:
            _print_diff(finding.edit, report, coloured=coloured)
        print()
    for sentence in report.not_checked:
        print(wrapped(f"not checked: {sentence}", ""))
    counts = counted(finding.entry.severity for finding in report.findings)
    safe = sum(bool(finding.edit and finding.edit.is_safe) for finding in report.findings)
    words = counts + (" left" if is_rest else "") if counts else "nothing found"
    print(f"{words} in {_counted(len(report.contents))}" + (f"; --fix mends {safe} of them" if safe else ""))


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _print_finding(finding: Finding, *, coloured: bool) -> None:
    severity = painted(finding.entry.severity, finding.entry.severity, coloured=coloured)
    print(f"{printable(finding.file)}:{finding.line}: {severity}: {finding.id}")
    if finding.seen:
        print(f"    | {finding.seen}")
    print_advice(finding)


def _print_diff(edit: Edit, report: Report, *, coloured: bool) -> None:
    told = (
        "The safe form, which --fix writes:" if edit.is_safe else "What it could be; look before you take it:"
    )
    print(f"    {told}")
    if edit.note:
        print(wrapped(f"({edit.note}.)"))
    print()
    for line in diff(edit, report.contents[edit.file]).splitlines():
        text = printable(line)
        print(painted(line[:1], text, coloured=coloured))
