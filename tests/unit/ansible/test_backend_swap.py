"""The module that brings a release of the backend to life, with systemd played by the test."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.cli.commands import ROOT, environment, wsfront

ROLE = ROOT / "ansible" / "roles" / "backend"
SOCKET, SERVICE = "wsfront-backend.socket", "wsfront-backend.service"


def load(path: Path, name: str) -> Any:
    """Import a file as Ansible will name it."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def releases(tmp_path: Path) -> Iterator[Any]:
    """Give the module of releases, its folder a test's own."""
    name = "ansible.module_utils.backend_release"
    module = load(ROLE / "module_utils" / "backend_release.py", name)
    module.ROOT, module.RELEASES = tmp_path / "opt", tmp_path / "opt" / "releases"
    yield module
    del sys.modules[name]


class Machine:
    """A machine with a systemd that does as the test says."""

    def __init__(self, folder: Path, releases: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ansible.module_utils.backend_release", releases, raising=False)
        self.module: Any = load(ROLE / "library" / "wsfront_backend.py", "wsfront_backend")
        self.folder, self.releases = folder, releases
        self.health = "HTTP/1.1 200 OK"
        places = {"UNITS": "units", "TRIAL_UNITS": "trial", "STATE": "state", "SETTINGS": "etc/backend.env"}
        places |= {"TRIAL_SETTINGS": "etc/trial.env", "CURRENT": "opt/current", "PREVIOUS": "opt/previous"}
        places |= {"PENDING": "state/pending"}
        for key, place in places.items():
            setattr(self.module, key, folder / place)
        self.module.GROUP = "root"
        self.module._systemctl = self.systemctl
        self.module._words = lambda *_: "I am unwell"
        self.module._health = lambda: self.health
        releases.make = self.make
        self.active: set[str] = set()
        self.enabled: set[str] = set()
        self.calls: list[tuple[str, ...]] = []
        self.bad: set[tuple[str, str]] = set()
        self.made = 0

    def systemctl(self, *words: str) -> Any:
        """Do what systemctl would, or fail where (verb, release that is current) is bad."""
        verb, units = words[0], [word for word in words[1:] if not word.startswith("-")]
        fine = True
        if verb in {"is-active", "is-enabled"}:
            fine = set(units) <= (self.active if verb == "is-active" else self.enabled)
        else:
            self.calls.append(words)
        on_trial = "".join(units).partition("@")[2].removesuffix(".service")
        if verb in {"start", "restart"}:
            fine = (verb, on_trial or self.current) not in self.bad
            self.active |= set(units) if fine else set()
        elif verb == "stop":
            self.active -= set(units)
        elif verb == "enable":
            self.enabled |= set(units)
        return subprocess.CompletedProcess(words, 0 if fine else 1, "", "")

    @property
    def current(self) -> str:
        """Return the name of the release that lives."""
        link = self.folder / "opt" / "current"
        return link.resolve().name if link.is_symlink() else ""

    def make(self, _archive: Path, identity: str, _pip: str) -> Path:
        """Make a release without anything in it."""
        self.made += 1
        folder: Path = self.releases.RELEASES / f"2026-01-{self.made:02}T000000-{identity}"
        (folder / "venv/bin").mkdir(parents=True)
        (folder / "venv/bin/python").touch()
        (folder / self.releases.SEAL).touch()
        return folder

    def run(
        self, identity: str = "a", *, listen: str = "127.0.0.1:8888", check: bool = False, **params: Any
    ) -> Any:
        """Run the module; return its result, and forget what systemctl was asked before."""
        self.calls.clear()
        files = {
            f"etc/systemd/system/{SOCKET}": f"ListenStream={listen}\n",
            f"etc/systemd/system/{SERVICE}": "ExecStart=\n",
            "run/systemd/system/wsfront-backend-trial@.service": "trial\n",
            "etc/wsfront/backend.env": f"WSFRONT_LISTEN={listen}\n",
        }
        wanted = {"files": files, "release": "latest", "id": identity, "archive": "", "pip": "", "keep": 5}
        return self.module.Swap(wanted | params).run(check=check)

    def asked(self, verb: str) -> list[str]:
        """Return the units for which a verb was asked."""
        return [unit for words in self.calls if words[0] == verb for unit in words[1:]]

    def fails(self, *arguments: Any, **options: Any) -> str:
        """Run the module, which must fail; return its words."""
        with pytest.raises((self.module.SwapError, self.releases.ReleaseError)) as caught:
            self.run(*arguments, **options)
        return str(caught.value)

    def files(self) -> dict[str, str]:
        """Return all that is on the machine, links by what they name."""
        paths = [path for path in self.folder.rglob("*") if path.is_file() or path.is_symlink()]
        return {
            str(path.relative_to(self.folder)): str(path.readlink())
            if path.is_symlink()
            else path.read_text()
            for path in paths
        }


@pytest.fixture
def machine(tmp_path: Path, releases: Any, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Give a bare machine."""
    return Machine(tmp_path, releases, monkeypatch)


def test_first(machine: Machine) -> None:
    """On a bare machine the release is tried, both units are started and enabled; again: nothing is asked of systemd."""
    assert machine.run()["changed"]
    assert machine.current.endswith("-a")
    assert machine.enabled == machine.active == {SOCKET, SERVICE}
    assert machine.asked("start")[0].startswith("wsfront-backend-trial@")
    assert sorted(machine.files()) == [
        "etc/backend.env",
        "opt/current",
        *(f"opt/releases/{machine.current}/{name}" for name in ("release.json", "venv/bin/python")),
        f"units/{SERVICE}",
        f"units/{SOCKET}",
    ]
    assert machine.run() == {"changed": False, "release": machine.current, "removed": [], "diff": []}
    assert machine.calls == []


def test_next(machine: Machine) -> None:
    """A new release takes the old one's place behind the open port; the old one is the one to go back to."""
    machine.run("a")
    old = machine.current
    assert machine.run("b")["changed"]
    assert machine.current.endswith("-b")
    assert machine.asked("restart") == [SERVICE]
    assert SOCKET not in machine.asked("stop")
    assert machine.files()["opt/previous"] == f"releases/{old}"


def test_other_address(machine: Machine) -> None:
    """Another address is listened on: that alone closes the port."""
    machine.run()
    assert len(machine.run(listen="127.0.0.1:9999")["diff"]) == 2
    assert SOCKET in machine.asked("stop")
    assert machine.active == {SOCKET, SERVICE}


def test_address_elsewhere(machine: Machine) -> None:
    """An address that this machine has not is a fault before anything is made: systemd would not mind."""
    assert "cannot listen on 192.0.2.1 here" in machine.fails(listen="192.0.2.1:8888")
    assert machine.files() == {}


@pytest.mark.parametrize("way", ["start", "health"])
def test_trial_fails(machine: Machine, way: str) -> None:
    """A release that does not start, or is not well, leaves all as it was, and is not kept."""
    machine.run("a")
    before = machine.files()
    machine.bad = {("start", "2026-01-02T000000-b")} if way == "start" else set()
    machine.health = "HTTP/1.1 503 Service Unavailable" if way == "health" else machine.health
    words = machine.fails("b", listen="127.0.0.1:9999")
    assert f"{machine.current} goes on" in words
    assert ("I am unwell" if way == "start" else "503") in words
    assert machine.files() == before
    assert machine.asked("restart") == []


def test_live_fails(machine: Machine) -> None:
    """A release that passed its trial and does not start in earnest: old link, old files, old service, and a failure."""
    machine.run("a")
    before = machine.files()
    machine.bad = {("restart", "2026-01-02T000000-b")}
    words = machine.fails("b", listen="127.0.0.1:9999")
    assert f"{machine.current} is back: I am unwell" in words
    assert machine.files() == before
    assert machine.asked("restart") == [SERVICE, SERVICE]
    assert machine.active == {SOCKET, SERVICE}


def test_first_live_fails(machine: Machine) -> None:
    """The first release that does not start leaves nothing behind."""
    machine.bad = {("restart", "2026-01-01T000000-a")}
    assert "nothing was put in place: I am unwell" in machine.fails()
    assert (machine.files(), machine.active, machine.enabled) == ({}, set(), set())


def test_cut_off(machine: Machine) -> None:
    """A play that was cut off after the files were new and before the service was is made good by the next."""
    machine.run()
    machine.module.PENDING.touch()
    assert machine.run()["changed"]
    assert machine.asked("restart") == [SERVICE]
    assert not machine.module.PENDING.exists()


def test_cut_off_after_the_link(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A play that was cut off while the new release started leaves a way back to the old one."""
    machine.run("a")
    old = machine.current

    def cut_off(_swap: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(machine.module.Swap, "_restart", cut_off)
        with pytest.raises(KeyboardInterrupt):
            machine.run("b")
    assert machine.run("b")["release"].endswith("-b")
    assert machine.run(release="previous")["release"] == old


def test_trial_of_a_play_that_was_cut_off(machine: Machine) -> None:
    """A trial that nobody ended is ended first: it has the trial's socket."""
    machine.run()
    assert machine.asked("stop")[0] == "wsfront-backend-trial@*.service"


def test_systemd_fails(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where systemd itself fails in the swap the old release is back, and no link names one that is gone."""
    machine.run("a")
    before = machine.files()

    def fail(_swap: object) -> bool:
        monkeypatch.undo()
        raise machine.module.SwapError("systemctl restart took longer than 120 s")

    monkeypatch.setattr(machine.module.Swap, "_restart", fail)
    words = machine.fails("b", listen="127.0.0.1:9999")
    assert f"{machine.current} is back: systemctl restart took longer" in words
    assert machine.files() == before


def test_stopped(machine: Machine) -> None:
    """A service that was stopped by hand runs again."""
    machine.run()
    machine.active.clear()
    assert machine.run()["changed"]
    assert machine.active == {SOCKET, SERVICE}


def test_back_and_forth(machine: Machine) -> None:
    """`previous` goes back, once; `latest` goes forward again to the release that is there still."""
    assert "no release before" in machine.fails(release="previous")
    machine.run("a")
    machine.run("b")
    assert machine.run(release="previous")["release"].endswith("-a")
    assert not machine.run(release="previous")["changed"]
    assert machine.run("b")["release"].endswith("-b")
    assert machine.made == 2
    assert machine.run(release="2026-01-01T000000-a")["changed"]
    words = machine.fails(release="2025")
    assert words == "there is no release 2025; there are: 2026-01-01T000000-a, 2026-01-02T000000-b"


def test_old_ones_go(machine: Machine) -> None:
    """As many releases are kept as asked for, and always the living one and the one before it."""
    for identity in "abcd":
        machine.run(identity)
    assert machine.run("d", keep=3)["removed"] == ["2026-01-01T000000-a"]
    machine.run("b", keep=3)
    assert machine.run("b", keep=1)["removed"] == ["2026-01-03T000000-c"]
    assert not machine.run("b", keep=1)["changed"]


def test_check(machine: Machine) -> None:
    """In check mode it says what it would do, and does nothing: on a bare machine too."""
    assert machine.run(check=True)["changed"]
    assert (machine.files(), machine.calls) == ({}, [])
    machine.run("a")
    before = machine.files()
    assert machine.run("b", check=True)["changed"]
    assert machine.files() == before


def test_remove(machine: Machine) -> None:
    """All is taken out, once."""
    machine.run()
    assert machine.module._remove(check=True)["changed"]
    assert machine.module._remove(check=False)["changed"]
    assert machine.files() == {}
    assert not machine.module._remove(check=False)["changed"]


def test_release_is_whole(releases: Any, tmp_path: Path) -> None:
    """A real bundle becomes a release that runs, without a package index; one that was cut off is nobody's."""
    away = environment(PIP_INDEX_URL="http://127.0.0.1:9/", PIP_NO_INDEX="1")
    done = wsfront("bundle", "--json", "--out", tmp_path)
    found = json.loads(done.stdout)
    (releases.RELEASES / "2026-01-01T000000-cut").mkdir(parents=True)
    release = releases.make(Path(found["archive"]), found["id"], found["pip"])
    assert releases.whole() == [release]
    assert releases.of(found["id"]) == release
    assert not (release.parent / "2026-01-01T000000-cut").exists()
    command = [release / "venv/bin/python", "-m", "server", "--help"]
    subprocess.run(command, cwd=release, env=away, check=True, capture_output=True)
    assert {path.stat().st_mode & 0o022 for path in release.rglob("*") if not path.is_symlink()} == {0}


def test_release_cannot_be(releases: Any, tmp_path: Path) -> None:
    """An archive that is not the one that was sent leaves nothing behind."""
    archive = tmp_path / "backend.tar"
    archive.write_bytes(b"half")
    with pytest.raises(releases.ReleaseError, match="did not arrive as it was sent"):
        releases.make(archive, "0123456789ab", "pip.whl")
    assert releases.whole() == []
    assert list(releases.RELEASES.rglob("*")) == []
