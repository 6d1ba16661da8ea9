"""What follows from what was seen on a machine: a pure function, which asks nobody.

A cause stands once, with what else it explains; the gravest and most explaining first.
"""

from collections.abc import Sequence
from dataclasses import replace

from apache.versions import FLOOR, MENDED_SILENTLY, at_least, flaws

from .examination import Check, Examination, Outcome
from .findings import SEVERITIES, Finding
from .findings.logged import LOGGED
from .server_backend_verdicts import backends
from .server_certificates import Certificate, is_soon
from .server_load_verdicts import load
from .server_seen import Seen

_FLAWS_SHOWN = 4
# With these no socket gets through, so that they are why a path has none.
_IN_THE_WAY = {
    *("proxypass-order", "proxypass-slash", "proxypass-upgrade-missing"),
    *("rewrite-client-picks-host", "rewrite-missing-percent", "rewrite-no-proxy-flag"),
    *("rewrite-engine-missing", "rewrite-swallowed", "htaccess-ignored", "htaccess-no-links"),
}


def judged(seen: Seen) -> Examination:
    """Return what is wrong, and what was asked to know it."""
    found = Examination(f"{seen.apache.banner} on this machine", not_checked=list(seen.not_seen))
    _version(seen, found)
    if seen.told.refused:
        _refused(seen, found)
        found.findings = in_order(found.findings)
        return found
    _running(seen, found)
    _configuration(seen, found)
    _path(seen, found)
    backends(seen, found)
    load(seen, found)
    _certificates(seen, found)
    _logs(seen, found)
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
    found.checks.append(Check("configured", "bad", "Apache refuses it"))
    found.findings.append(Finding("server-refused", seen.main_file, 0, seen.told.refused))
    found.not_checked.append("anything of the configuration that Apache refuses")


def _running(seen: Seen, found: Examination) -> None:
    if seen.apache.main is None:
        found.checks.append(Check("running", "bad", "no Apache runs with this configuration"))
        found.findings.append(Finding("server-not-running", seen.main_file, 0, "no process"))
    else:
        found.checks.append(Check("running", "good", f"process {seen.apache.main}"))


def _configuration(seen: Seen, found: Examination) -> None:
    outcome: Outcome = "good"
    if seen.linted:
        outcome = "bad" if any(each.entry.severity == "error" for each in seen.linted) else "odd"
    count = len(seen.linted)
    words = "nothing found" if not count else "1 finding" if count == 1 else f"{count} findings"
    found.checks.append(Check("configured", outcome, words))
    found.findings += seen.linted


def _certificates(seen: Seen, found: Examination) -> None:
    good = []
    for each in seen.certificates:
        finding = _certificate(seen, each)
        if finding:
            found.findings.append(finding)
            outcome: Outcome = "bad" if finding.entry.severity == "error" else "odd"
            found.checks.append(Check("certificate", outcome, f"{finding.entry.title}: {each.file}"))
        elif each.ends:
            good.append(each.ends)
    if good:
        words = (
            f"until {min(good):%Y-%m-%d}"
            if len(good) == 1
            else f"{len(good)}, the first until {min(good):%Y-%m-%d}"
        )
        found.checks.append(Check("certificate", "good", words))


def _certificate(seen: Seen, each: Certificate) -> Finding | None:
    line = each.line
    if each.fault:
        name = "md-no-certificate" if each.is_managed else "certificate-unread"
        return Finding(name, line.file, line.line, f"{each.file}: {each.fault}")
    if each.starts is None or each.ends is None:
        return None
    if each.is_matched is False:
        return Finding("certificate-mismatch", line.file, line.line, each.file)
    dates = f"{each.file}: valid from {each.starts:%Y-%m-%d %H:%M} to {each.ends:%Y-%m-%d %H:%M} UTC"
    if not each.starts <= seen.now <= each.ends:
        return Finding("certificate-expired", line.file, line.line, dates)
    return Finding("certificate-soon", line.file, line.line, dates) if is_soon(each, seen.now) else None


def _logs(seen: Seen, found: Examination) -> None:
    """Tell the log's numbers: under what explains them; alone where nothing does; not at all where it is mended by now."""
    for mention in seen.log.mentions:
        logged = LOGGED[mention.number]
        times = f"{mention.number} x{mention.count}"
        causes = [each for each in found.findings if each.id in logged.causes]
        if causes:
            at = found.findings.index(causes[0])
            told = f"{times} in the error log: {logged.entry.title}"
            found.findings[at] = replace(causes[0], symptoms=(*causes[0].symptoms, told))
            found.checks.append(Check("log", "odd", f"{times}: {logged.entry.title}"))
        elif logged.is_clients or logged.entry.severity == "note" or _is_over(seen, logged.causes):
            found.checks.append(Check("log", "good", f"{times}: {logged.entry.title}"))
        else:
            words = f"{times}, last: {mention.words}"
            found.findings.append(Finding(f"log-{mention.number.lower()}", seen.told.log, 0, words))
            outcome: Outcome = "bad" if logged.entry.severity == "error" else "odd"
            found.checks.append(Check("log", outcome, f"{times}: {logged.entry.title}"))
    for file in seen.log.overrides:
        # Those read were judged by what their folder is granted now.
        if file not in seen.htaccess:
            words = "a directive is `not allowed here`, says the error log"
            found.findings.append(Finding("htaccess-ignored", file, 0, words))
            found.checks.append(Check("log", "bad", f"{file}: {words}"))


def _is_over(seen: Seen, causes: Sequence[str]) -> bool:
    """Tell whether what a number told of was asked for just now, and is well."""
    is_asked = any(cause.startswith("backend-") for cause in causes)
    return is_asked and bool(seen.reached) and all(each.status is not None for each in seen.reached)


def _path(seen: Seen, found: Examination) -> None:
    """Tell which line answers for the path, in each vhost that proxies it at all."""
    for vhost, passes, line in seen.answering:
        if line:
            found.checks.append(Check("path", "good" if passes else "odd", f"{seen.path} at {vhost}: {line}"))
    if seen.path and not seen.has_way and not any(each.id in _IN_THE_WAY for each in found.findings):
        lines = tuple(f"{vhost} answers by {line}" for vhost, _, line in seen.answering if line)
        found.findings.append(Finding("path-without-socket", seen.main_file, 0, seen.path, symptoms=lines))
        if not lines:
            found.checks.append(Check("path", "bad", f"nothing passes {seen.path} on"))


def _few(names: Sequence[str]) -> str:
    more = len(names) - _FLAWS_SHOWN
    return ", ".join(names[:_FLAWS_SHOWN]) + (f" and {more} more" if more > 0 else "")
