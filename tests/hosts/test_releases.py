"""Releases of the backend: a new one refuses nobody, a bad one never goes live, an old one comes back."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.hosts.clients import arriving, crowd
from tests.hosts.plays import ROOT
from tests.hosts.servers import Server

MARK = "<!-- another release -->"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a copy of the project that a test may change."""
    copy = tmp_path / "project"
    copy.mkdir()
    for name in ("ansible", "apache", "certs", "cli", "requirements", "server"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "wsfront", copy / "wsfront")
    return copy


@pytest.mark.parametrize("installed", ["bookworm"], indirect=True)
async def test_redeploy_and_rollback(server: Server, project: Path) -> None:
    """A changed backend goes live and refuses no handshake; those inside are asked to come back; the old one can return."""
    page = project / "server" / "static" / "index.html"
    page.write_text(page.read_text().replace("</body>", f"{MARK}</body>"))
    async with crowd(server.visitor, 200) as people, arriving(server.visitor) as newcomers:
        recap = await asyncio.to_thread(server.play, project=project)
        assert MARK in server.visitor.page()[1]
        assert recap.changed > 0
        await people.until_all_left()
        assert {code for code, _ in people.farewells} == {1012}
    assert newcomers.faults == []
    assert newcomers.well > 0

    async with arriving(server.visitor) as newcomers:
        await asyncio.to_thread(server.play, "-e", "backend_release=previous")
    assert MARK not in server.visitor.page()[1]
    assert newcomers.faults == []


@pytest.mark.parametrize("installed", ["trixie"], indirect=True)
async def test_release_that_does_not_start(server: Server, project: Path) -> None:
    """A release that cannot start never goes live: the play ends with its own words, and no socket is lost."""
    (project / "server" / "app.py").write_text("raise RuntimeError('of no use')\n")
    async with crowd(server.visitor, 20) as people:
        recap = await asyncio.to_thread(server.play, project=project, is_checked=False)
        assert recap.status == 2
        assert "of no use" in recap.said
        await people.speak()
    server.play()
    assert await server.visitor.is_served()
