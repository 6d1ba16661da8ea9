"""What follows from what was seen on a machine: a pure function, which asks nobody.

A cause stands once, with what else it explains; the gravest and most explaining first.
"""

from collections.abc import Sequence

from apache.versions import FLOOR, MENDED_SILENTLY, at_least, flaws

from .examination import Check, Examination
from .findings import SEVERITIES, Finding
from .server_seen import Seen

_FLAWS_SHOWN = 4


def judged(seen: Seen) -> Examination:
    """Return what is wrong, and what was asked to know it."""
    found = Examination(f"{seen.apache.banner} on this machine", not_checked=list(seen.not_seen))
    _version(seen, found)
    if seen.told.refused:
        _refused(seen, found)
        return found
    _running(seen, found)
    _configuration(seen, found)
    _path(seen, found)
    found.findings = in_order(found.findings)
    return found


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings, each once, the gravest first; among equals those that explain the most."""
    once = list(dict.fromkeys(findings))
    return sorted(once, key=lambda each: (SEVERITIES.index(each.entry.severity), -len(each.symptoms)))


def _version(seen: Seen, found: Examination) -> None:
    apache = seen.apache
    known = flaws(apache.version, seen.told.modules)
    if not at_least(apache.version, FLOOR):
        symptoms = tuple(f"{flaw.name}: {flaw.what}" for flaw in known)
        found.findings.append(
            Finding("apache-too-old", str(apache.binary), 0, apache.banner, symptoms=symptoms)
        )
        found.checks.append(Check("version", "bad", apache.banner))
    elif known and any(word in apache.banner for word in MENDED_SILENTLY):
        found.checks.append(Check("version", "good", apache.banner))
        found.not_checked.append(
            f"whether {apache.banner} has {', '.join(flaw.name for flaw in known)}: its distribution mends old numbers; "
            "its changelog tells"
        )
    elif known:
        symptoms = tuple(f"{flaw.name}: {flaw.what}, mended in {flaw.mended}" for flaw in known)
        newest = max((flaw.mended for flaw in known), key=lambda text: [*map(int, text.split("."))])
        found.findings.append(
            Finding(
                "apache-unsafe",
                str(apache.binary),
                0,
                f"{apache.banner}; {newest} has none of them",
                symptoms=symptoms,
            )
        )
        found.checks.append(Check("version", "odd", f"{apache.banner}: {_few([f.name for f in known])}"))
    else:
        found.checks.append(Check("version", "good", apache.banner))


def _refused(seen: Seen, found: Examination) -> None:
    found.checks.append(Check("configuration", "bad", "Apache refuses it"))
    found.findings.append(Finding("server-refused", seen.main_file, 0, seen.told.refused))
    found.not_checked.append("anything of the configuration that Apache refuses")


def _running(seen: Seen, found: Examination) -> None:
    if seen.apache.main is None:
        found.checks.append(Check("running", "bad", "no Apache runs with this configuration"))
        found.findings.append(Finding("server-not-running", seen.main_file, 0, "no process"))
    else:
        found.checks.append(Check("running", "good", f"process {seen.apache.main}"))


def _configuration(seen: Seen, found: Examination) -> None:
    faults = list(seen.linted)
    worst = "good"
    if faults:
        worst = "bad" if any(each.entry.severity == "error" for each in faults) else "odd"
    found.checks.append(
        Check("configuration", worst, f"{len(faults)} findings" if faults else "nothing found")  # type: ignore[arg-type] # one of the three
    )
    found.findings += faults


def _path(seen: Seen, found: Examination) -> None:
    """Tell which line answers for the path, in each vhost that proxies it at all."""
    for vhost, passes, line in seen.answering:
        if line:
            found.checks.append(Check(f"{seen.path} at {vhost}", "good" if passes else "odd", line))
    if seen.path and not seen.hops:
        lines = tuple(f"{vhost} answers by {line}" for vhost, _, line in seen.answering if line)
        found.findings.append(Finding("path-without-socket", seen.main_file, 0, seen.path, symptoms=lines))
        if not lines:
            found.checks.append(Check(seen.path, "bad", "nothing passes it on"))


def _few(names: Sequence[str]) -> str:
    more = len(names) - _FLAWS_SHOWN
    return ", ".join(names[:_FLAWS_SHOWN]) + (f" and {more} more" if more > 0 else "")
