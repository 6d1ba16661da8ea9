"""The fault matrix on live Apaches: what is wrong is named first, the remedy as printed cures it, and nothing false is said beside it."""

import asyncio
import re

import pytest

from doctor import remote, server
from doctor.findings import Finding
from doctor.lint import lint
from tests.integration.faults.evidence import is_healthy
from tests.integration.faults.places import Place, Site, place
from tests.integration.faults.row import Fault, Row
from tests.integration.faults.rows import ROWS
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

_PATIENCE = 1.5 * SECOND  # for an answer; Apache and its backend are on this machine


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    """The fault is there, its cause is named first and nothing beside it, and the remedy makes the site a healthy one."""
    site = row.site
    with place(site) as found:
        found.path = row.path
        for number, fault in enumerate(row.faults):
            with found.behind(site.backend), found.running():
                with fault.during(found):
                    assert fault.shows(found)
                    findings = said(found, row.url, fault.idle * SECOND)
                later = {name for each in row.faults[number + 1 :] for name in each.names}
                judge(fault, findings, later)
            site = mended(found, site, fault, findings)
        with found.behind(site.backend), found.running():
            assert found.refused == ""
            assert not any(fault.shows(found) for fault in row.faults)
            if not row.then:
                assert_healthy(found)
        if row.then:
            with found.behind(row.then), found.running():
                assert_healthy(found)


def said(found: Place, url: str = "", idle: float = 0) -> dict[str, list[Finding]]:
    """Return what each examiner finds."""
    files = [found.config, *([found.htaccess] if found.htaccess.exists() else [])]
    return {
        "lint": lint([str(file) for file in files]).findings,
        "server": server.examine(config=str(found.config), path=found.path).findings,
        "remote": asyncio.run(
            remote.examine(found.filled(url) or found.url, ca_file=found.ca, timeout=_PATIENCE, idle=idle)
        ).findings,
    }


def assert_healthy(found: Place) -> None:
    """Fail unless sockets open, and nobody finds anything."""
    assert is_healthy(found)
    assert {who: [each.id for each in findings] for who, findings in said(found).items() if findings} == {}


def judge(fault: Fault, findings: dict[str, list[Finding]], later: set[str]) -> None:
    """Fail unless each examiner names the fault first, and beside it only what is true."""
    names = {who: [each.id for each in each_said] for who, each_said in findings.items()}
    expected = {who: [fault.first[who]] if fault.first[who] else [] for who in names}
    assert {who: [each for each in names[who] if each not in later][:1] for who in names} == expected
    for who, wanted in expected.items():
        assert set(names[who]) <= {*wanted, *fault.beside, *later}, who


def mended(found: Place, site: Site, fault: Fault, findings: dict[str, list[Finding]]) -> Site:
    """Write the remedy: the finding's own change, else its own lines where they go, else what its words come to; return the site then."""
    if fault.mend and fault.mend.site:
        found.write(fault.mend.site)
        return fault.mend.site
    first = [each[0] for who, each in findings.items() if each and fault.first[who]]
    if fault.mend and fault.mend.instead_of:
        lines = next(each.instead for each in first if each.instead)
        text, count = re.subn(
            fault.mend.instead_of, lambda _: f"{lines}\n", found.config.read_text(), count=1
        )
        assert count == 1
        found.config.write_text(text)
        return site
    edit = next(each.edit for each in first if each.edit)
    file = found.config if edit.file == str(found.config) else found.htaccess
    assert edit.file == str(file)
    file.write_bytes(edit.applied(file.read_bytes()))
    return site
