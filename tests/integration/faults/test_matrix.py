"""The fault matrix on live Apaches: what is wrong is named first, the remedy as printed cures it, and nothing false is said beside it."""

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from doctor import remote, server
from doctor.findings import Finding
from doctor.lint import lint
from tests.integration.faults.evidence import is_healthy
from tests.integration.faults.live_rows import LIVE_ROWS
from tests.integration.faults.pairs import PAIRS
from tests.integration.faults.places import NAME, Place, Site, place
from tests.integration.faults.row import Fault, Row
from tests.integration.faults.rows import FILE_ROWS
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")


ROWS = [*FILE_ROWS, *LIVE_ROWS, *PAIRS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    """The fault is there, its cause is named first and nothing beside it, and the remedy makes the site a healthy one."""
    site, url = row.site, row.url
    with place(site) as found, row.around(found):
        found.path = row.path
        for number, fault in enumerate(row.faults):
            with found.behind(site.backend), found.running():
                with fault.during(found):
                    assert fault.shows(found)
                    findings = said(found, url, fault)
                later = {name for each in row.faults[number + 1 :] for name in each.names}
                judge(fault, findings, later)
            site = mended(found, site, fault, findings)
            url = fault.mend.url if fault.mend and fault.mend.url else url
        with found.behind(site.backend), found.running():
            assert found.refused == ""
            assert url != row.url or not any(fault.shows(found) for fault in row.faults)
            if not row.then:
                assert_healthy(found, url)
        if row.then:
            with found.behind(row.then), found.running():
                assert_healthy(found, url)


def said(found: Place, url: str, fault: Fault) -> dict[str, list[Finding]]:
    """Return what each examiner finds, one after the other: what one of them does, another might see."""
    return {
        "lint": linted(found),
        "server": server.examine(config=str(found.config), path=found.path).findings,
        "remote": asyncio.run(asked(found, url, fault.idle, fault.patience)),
    }


def assert_healthy(found: Place, url: str) -> None:
    """Fail unless sockets open, and nobody finds anything, even while others look."""
    assert is_healthy(found)
    with ThreadPoolExecutor(1) as pool:
        machine = pool.submit(server.examine, config=str(found.config), path=found.path)
        names = {"remote": [each.id for each in asyncio.run(asked(found, url))]}
        names |= {"server": [each.id for each in machine.result().findings]}
    names |= {"lint": [each.id for each in linted(found)]}
    assert names == {"remote": [], "server": [], "lint": []}


def linted(found: Place) -> list[Finding]:
    """Return what lint finds in the server's configuration and its .htaccess."""
    files = [found.config, *([found.htaccess] if found.htaccess.exists() else [])]
    return lint([str(file) for file in files]).findings


async def asked(found: Place, url: str, idle: float = 0, patience: float = 2) -> list[Finding]:
    """Return what the doctor finds from afar."""
    where = found.filled(url) or found.url
    own = f"//{NAME}:" in where
    examination = await remote.examine(
        where,
        address="" if own else "127.0.0.1",
        ca_file=found.ca,
        idle=idle * SECOND,
        timeout=patience * SECOND,
    )
    return examination.findings


def judge(fault: Fault, findings: dict[str, list[Finding]], later: set[str]) -> None:
    """Fail unless each examiner names the fault first, and beside it only what is true."""
    for who, first in fault.first.items():
        names = [each.id for each in findings[who]]
        if first:
            assert (who, names[:1]) == (who, [first])
        assert set(names) <= {first, *fault.beside, *later}, (who, names)


def mended(found: Place, site: Site, fault: Fault, findings: dict[str, list[Finding]]) -> Site:
    """Write the remedy: the finding's own change, else its own lines where they go, else what its words come to; return the site then."""
    if fault.mend and fault.mend.url:
        assert findings["remote"][0].instead == found.filled(fault.mend.url)
        return site
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
