"""What a server gets: the wheels that its own Python needs, in an archive that says by its name what is in it."""

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from cli import bundle, wheels
from cli.errors import RunFault
from cli.wheels import Package, Server
from tests.unit.cli.commands import ROOT, environment, in_its_own_mounts, wsfront

DEBIAN_12 = Server("3.11.2", "x86_64")
DEBIAN_13 = Server("3.13.5", "x86_64")
LOCK = (ROOT / "requirements" / "server.txt").read_text()


def a_wheel(
    folder: Path, name: str = "some_thing", content: str = "pass\n", tag: str = "py3-none-any"
) -> Path:
    """Write a wheel that pip takes."""
    path = folder / f"{name}-1.0-{tag}.whl"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{name}.py", content)
        file.writestr(
            f"{name}-1.0.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        )
        file.writestr(
            f"{name}-1.0.dist-info/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n"
        )
        file.writestr(f"{name}-1.0.dist-info/RECORD", "")
    return path


def locked(path: Path, marker: str = "") -> str:
    """Write the lines of a lock that ask for a wheel."""
    name = path.name.split("-")[0].replace("_", "-")
    return (
        f"{name}==1.0{marker} \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{wheels.sha256(path)}\n"
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder the only package index that pip knows."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, value in {
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(folder),
    }.items():
        monkeypatch.setenv(name, value)
    return folder


@pytest.mark.parametrize("server", [DEBIAN_12, DEBIAN_13], ids=["Debian 12", "Debian 13"])
def test_lock_holds_for(server: Server) -> None:
    """The one lock gives each Debian's Python the whole of what the backend imports."""
    names = {package.name for package in wheels.select(LOCK, server)}
    assert {"msgspec", "uvloop", "websockets"} <= names
    assert all(package.hashes for package in wheels.select(LOCK, server))


def test_markers_are_the_servers(tmp_path: Path) -> None:
    """Whether a line holds is asked of the server's Python and machine, not of those that run here."""
    lock = "".join(
        locked(a_wheel(tmp_path, name), marker)
        for name, marker in {
            "always": "",
            "early": " ; python_full_version < '3.11.3'",
            "late": " ; python_full_version >= '3.13'",
            "arm": " ; platform_machine == 'aarch64' and sys_platform == 'linux'",
            "windows": " ; sys_platform == 'win32'",
        }.items()
    )
    chosen = {
        server: [package.name for package in wheels.select(lock, server)]
        for server in (DEBIAN_12, DEBIAN_13, Server("3.11", "aarch64"))
    }
    assert chosen == {
        DEBIAN_12: ["always", "early"],
        DEBIAN_13: ["always", "late"],
        Server("3.11", "aarch64"): ["always", "early", "arm"],
    }


def test_downloaded_once(index: Path, tmp_path: Path) -> None:
    """What was downloaded once is not asked for again, unless it was damaged since."""
    source = a_wheel(index)
    packages = wheels.select(locked(source), DEBIAN_12)
    (first,) = wheels.collect(packages, DEBIAN_12, tmp_path / "cache").values()
    whole = first.read_bytes()
    source.unlink()
    (again,) = wheels.collect(packages, DEBIAN_12, tmp_path / "cache").values()
    assert again == first
    first.write_bytes(whole[:100])
    with pytest.raises(RunFault):
        wheels.collect(packages, DEBIAN_12, tmp_path / "cache")
    source.write_bytes(whole)
    wheels.collect(packages, DEBIAN_12, tmp_path / "cache")
    assert first.read_bytes() == whole


def test_other_pythons_wheels(index: Path, tmp_path: Path) -> None:
    """A wheel is taken for the server's Python and glibc, whatever runs here."""
    for tag in ("cp311-cp311-manylinux_2_28_x86_64", "cp313-cp313-manylinux_2_17_aarch64"):
        a_wheel(index, tag=tag)
    for server, tag in ((DEBIAN_12, "cp311"), (Server("3.13", "aarch64"), "cp313")):
        (path,) = (path for path in index.iterdir() if tag in path.name)
        packages = wheels.select(locked(path), server)
        assert [found.name for found in wheels.collect(packages, server, tmp_path / "cache").values()] == [
            path.name
        ]


@pytest.mark.parametrize("tag", ["cp311-cp311-musllinux_1_2_x86_64", "cp311-cp311-manylinux_2_28_riscv64"])
def test_no_wheel(index: Path, tmp_path: Path, tag: str) -> None:
    """A package without a wheel for the server is one line that names both."""
    packages = wheels.select(locked(a_wheel(index, tag=tag)), DEBIAN_12)
    with pytest.raises(
        RunFault, match=r"^some-thing==1.0 has no wheel for Python 3\.11 on x86_64; take a server of "
    ):
        wheels.collect(packages, DEBIAN_12, tmp_path / "cache")


def test_not_what_was_locked(index: Path, tmp_path: Path) -> None:
    """Another file than the locked one is one line, and is not kept."""
    lock = locked(a_wheel(index))
    a_wheel(index, content="import os\n")
    with pytest.raises(RunFault, match="is not the one that was locked"):
        wheels.collect(wheels.select(lock, DEBIAN_12), DEBIAN_12, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_no_network(tmp_path: Path) -> None:
    """Without a network and without a cache it says what to do about either."""
    away = environment(
        XDG_STATE_HOME=str(tmp_path),
        PIP_CONFIG_FILE="/dev/null",
        PIP_FIND_LINKS="",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_NO_PROXY="*",
        no_proxy="*",
    )
    done = wsfront("bundle", "--python", "3.13", env=away)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no package index can be reached" in done.stderr.splitlines()[-1]
    assert str(tmp_path / "wsfront" / "wheels") in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("given", [("--python", "3.9"), ("--python", "3"), ("--machine", "../x")])
def test_wrong_use(given: tuple[str, str]) -> None:
    """A Python that cannot run the backend, or what is no machine, is wrong use."""
    done = wsfront("bundle", *given)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


@pytest.mark.needs("mounts")
def test_disk_full(tmp_path: Path) -> None:
    """A full disk is one line with the remedy."""
    out = tmp_path / "out"
    out.mkdir()
    setup = f"mount -t tmpfs -o size=64k tmpfs {out}; export XDG_STATE_HOME={tmp_path}"
    done = in_its_own_mounts(setup, "bundle", "--out", out)
    assert done.returncode == 1
    assert "No space left on device; make room" in done.stderr.splitlines()[-1]


def test_archive(tmp_path: Path) -> None:
    """The same files are the same bytes in whatever order; the wheels in it are the ones that its lock names."""
    wheel = a_wheel(tmp_path)
    (package,) = wheels.select(locked(wheel), DEBIAN_12)
    tool = Package(package.name, "2.0", package.hashes)
    files = bundle.contents([package], {package: wheel, tool: wheel})
    assert bundle.pack(files) == bundle.pack(dict(reversed(files.items())))
    (tmp_path / "a.tar").write_bytes(bundle.pack(files))
    with tarfile.open(tmp_path / "a.tar") as tar:
        names = tar.getnames()
        assert {(entry.mtime, entry.uid, entry.uname) for entry in tar} == {(0, 0, "")}
    assert {"server/__main__.py", "server/static/index.html", f"wheels/{wheel.name}"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]
    assert files["requirements.txt"].decode() == f"some-thing==1.0 --hash=sha256:{wheels.sha256(wheel)}\n"


def test_old_archives_go(tmp_path: Path) -> None:
    """Only the archives that were asked for last are kept."""
    for number in range(bundle._KEPT + 2):
        path = tmp_path / f"wsfront-backend-{number}.tar"
        bundle._put(path, b"")
        bundle._discard_old(tmp_path)
    assert len(list(tmp_path.iterdir())) == bundle._KEPT
    assert path.exists()


def test_real_lock(tmp_path: Path) -> None:
    """For both Debians the package index has every wheel of the real lock; a second run needs no network and says the same."""
    for server in (DEBIAN_12, DEBIAN_13):
        command = ("bundle", "--python", server.python, "--machine", server.machine, "--json")
        first = wsfront(*command, env=environment(XDG_STATE_HOME=str(tmp_path)))
        assert first.returncode == 0, first.stderr
        found = json.loads(first.stdout)
        again = wsfront(
            *command, env=environment(XDG_STATE_HOME=str(tmp_path), PIP_INDEX_URL="http://127.0.0.1:9/")
        )
        assert (again.stdout, again.stderr) == (first.stdout, "")
        assert found["packages"] == {package.name: package.version for package in wheels.select(LOCK, server)}
        with tarfile.open(found["archive"]) as tar:
            wheel = next(name for name in tar.getnames() if "uvloop" in name)
        assert f"-cp{server.series.replace('.', '')}-manylinux" in wheel
