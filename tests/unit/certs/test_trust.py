"""Every way of trusting an authority is complete, can be pasted, and can be undone."""

import shlex
import subprocess
from pathlib import Path

import pytest

from certs.pem import certificates
from certs.store import Store
from certs.summary import Summary, summary
from certs.trust import WAYS, steps


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    """Return an authority whose path needs quoting, and its facts."""
    store = Store(tmp_path_factory.mktemp("trust") / "it's a store")
    store.ensure_authority()
    return store.ca, summary(certificates(store.ca)[0])


@pytest.mark.parametrize("undo", [False, True], ids=["trust", "untrust"])
@pytest.mark.parametrize("system", WAYS)
def test_filled_in(authority: tuple[Path, Summary], system: str, undo: bool) -> None:  # noqa: FBT001 -- a column
    """No field is left open, and what is to be pasted into a shell is something that it can read."""
    lines = steps(system, *authority, undo=undo)
    assert lines
    assert not any("{ca}" in line or "{name}" in line or "{sha1}" in line or "{{" in line for line in lines)
    for line in lines:
        if line.startswith("$ "):
            subprocess.run(["sh", "-n", "-c", line[2:]], check=True)


@pytest.mark.parametrize("system", WAYS)
def test_names_the_authority(authority: tuple[Path, Summary], system: str) -> None:
    """Trusting names the authority's own file or the name to give its copy."""
    path, facts = authority
    said = "\n".join(steps(system, path, facts))
    own = f"wsfront-{facts.sha256.replace(':', '')[:12].lower()}"
    assert shlex.quote(str(path)) in said or own in said


@pytest.mark.parametrize("system", ["debian", "fedora", "chrome", "firefox", "macos", "windows", "arch"])
def test_undoes_the_same(authority: tuple[Path, Summary], system: str) -> None:
    """Taking the trust back names exactly this authority, so that no other one goes."""
    path, facts = authority
    fingerprint = facts.sha256.replace(":", "")[:12].lower()
    said = "\n".join(steps(system, path, facts, undo=True))
    assert (
        f"wsfront-{fingerprint}" in said
        or facts.sha1.replace(":", "") in said
        or shlex.quote(str(path)) in said
    )


def test_relative_path(authority: tuple[Path, Summary], monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is made absolute, since the lines are pasted anywhere."""
    path, facts = authority
    monkeypatch.chdir(path.parent)
    assert steps("node", Path("ca.pem"), facts) == steps("node", path, facts)
