"""The catalogue: one entry for each id, fit to be printed."""

import re

import pytest

from doctor.findings import CATALOGUE, SEVERITIES, Entry, files, remote, server


def test_an_id_means_one_thing() -> None:
    """No id stands in two of the lists, where one would hide the other."""
    assert len(CATALOGUE) == len(files.ENTRIES) + len(remote.ENTRIES) + len(server.ENTRIES)


@pytest.mark.parametrize("name", CATALOGUE)
def test_entry(name: str) -> None:
    """Each has an id for scripts, a severity, and sentences that begin and end as sentences do; the title is a part of one."""
    entry: Entry = CATALOGUE[name]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", name)
    assert entry.severity in SEVERITIES
    assert entry.title
    assert not entry.title.endswith(".")
    assert entry.cause.endswith((".", "?", ")", "`"))
    assert entry.remedy.endswith((".", "?", ")", "`"))
