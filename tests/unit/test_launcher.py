"""The launcher: what it installs and says, and that it then gets out of the way.

The real script runs on a project of its own, whose locked list holds one tiny wheel. Programs that would
change the machine, such as apt-get, are stand-ins on a PATH that holds little else.
"""

import hashlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import SECOND, until

ROOT = Path(__file__).parents[2]
PYTHON = Path(sys.executable).resolve()
TOOLS = ("cat", "chmod", "cmp", "cp", "dirname", "env", "flock", "grep", "ln", "ls", "readlink", "rm", "tail")
VERB = """
import json, os, sys
import thing
told = {"arguments": sys.argv[1:], "pid": os.getpid(), "folder": os.getcwd(), "thing": thing.VERSION}
print(json.dumps(told), flush=True)
sys.exit(sys.stdin.read().count("!"))
"""


@dataclass
class Project:
    """A copy of the launcher with a small project around it, and all that its starts see of the world."""

    root: Path
    tools: Path
    wheels: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def venv(self) -> Path:
        """The Python environment that the launcher makes."""
        return self.root / ".venv"

    def lock(self, version: str, digest: str | None = None) -> None:
        """Make a wheel of this version, and the lists that ask for it with its digest or a wrong one."""
        wheel = self.wheels / f"thing-{version}-py3-none-any.whl"
        info = f"thing-{version}.dist-info"
        files = {
            "thing.py": f"VERSION = {version!r}\n",
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": f"thing.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, text in files.items():
                archive.writestr(zipfile.ZipInfo(name), text)  # of a fixed date, so that the digest is too
        digest = digest or hashlib.sha256(wheel.read_bytes()).hexdigest()
        for name in ("run", "test"):
            (self.root / "requirements" / f"{name}.txt").write_text(
                f"thing=={version} --hash=sha256:{digest}\n"
            )

    def put(self, name: str, script: str) -> None:
        """Put a stand-in for a program on the PATH."""
        program = self.tools / name
        program.unlink(
            missing_ok=True
        )  # it may be a link to the real one, which must never be written through
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    def popen(self, *arguments: str, launcher: Path | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start the launcher in a session of its own."""
        settings: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "env": self.environment,
            "start_new_session": True,
        }
        command: list[Path | str] = [launcher or self.root / "wsfront", *arguments]
        return subprocess.Popen(command, text=True, **(settings | options))

    def start(self, *arguments: str, **options: Any) -> tuple[int, str, str]:
        """Start the launcher and wait for it; status, standard output, standard error."""
        with self.popen(*arguments, **options) as process:
            output, errors = process.communicate(timeout=100 * SECOND)
        return process.returncode, output, errors

    def is_made(self) -> bool:
        """Tell whether a start now succeeds and has nothing to say."""
        status, _, errors = self.start("render")
        return (status, errors) == (0, "")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make one environment for all tests to copy, since making one takes seconds."""
    project = empty_project(tmp_path_factory.mktemp("made"))
    status, _, errors = project.start("render")
    assert status == 0, errors
    return project.venv


@pytest.fixture
def fresh(tmp_path: Path) -> Project:
    """Lay out a project that was never started."""
    return empty_project(tmp_path)


@pytest.fixture
def project(fresh: Project, made: Path) -> Project:
    """Lay out a project that was started before."""
    shutil.copytree(made, fresh.venv, symlinks=True)
    return fresh


@pytest.fixture
def bare(fresh: Project) -> Project:
    """Lay out a project on a machine without Python, whose apt-get installs it and notes its calls."""
    (fresh.tools / "python3").unlink()
    fresh.put("id", "echo 0")
    fresh.put(
        "apt-get",
        f'echo "apt-get $DEBIAN_FRONTEND $*" >>"{fresh.root}/calls"\n'
        f'case "$*" in *python3-venv*) ln -s {PYTHON} "{fresh.tools}/python3" ;; esac',
    )
    return fresh


def empty_project(folder: Path) -> Project:
    """Lay out a project in this folder: the launcher, a verb, lists, a PATH."""
    project = Project(folder / "my project", folder / "bin", folder / "wheels")
    for each in (project.root / "requirements", project.root / "cli", project.tools, project.wheels):
        each.mkdir(parents=True)
    shutil.copy(ROOT / "wsfront", project.root)
    (project.root / "cli" / "__main__.py").write_text(VERB)
    project.lock("1.0")
    for tool in TOOLS:
        path = shutil.which(tool)
        assert path is not None, tool
        (project.tools / tool).symlink_to(path)
    (project.tools / "id").symlink_to(str(shutil.which("id")))
    (project.tools / "python3").symlink_to(PYTHON)
    project.environment = {
        "PATH": str(project.tools),
        "HOME": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(project.wheels),
        "PIP_CONFIG_FILE": os.devnull,
    }
    return project


def calls(project: Project) -> list[str]:
    """Read the calls that the stand-ins noted."""
    path = project.root / "calls"
    return path.read_text().splitlines() if path.exists() else []


def test_first_start_makes_the_environment(fresh: Project) -> None:
    """The first start says what it does on standard error alone, and passes over a useless Python."""
    fresh.put("python3.13", "echo 'a shim that leads nowhere' >&2; exit 127")
    old = "import sys; sys.version_info, sys.executable = (3, 10), '/nonexistent'"
    fresh.put("python3.12", f'exec {PYTHON} -I -c "{old}\n$3"')
    status, output, errors = fresh.start("render", "--site", "a b", "")
    assert status == 0
    assert json.loads(output)["arguments"] == ["render", "--site", "a b", ""]
    assert [line.split(": ")[0] for line in errors.splitlines()] == ["wsfront"] * 2
    assert fresh.is_made()


def test_environment_elsewhere(fresh: Project, tmp_path: Path) -> None:
    """WSFRONT_VENV says where the environment lies; the project's own folder stays as it was."""
    fresh.environment["WSFRONT_VENV"] = str(tmp_path / "else where" / "venv")
    status, output, _ = fresh.start("render")
    assert (status, json.loads(output)["thing"]) == (0, "1.0")
    assert (tmp_path / "else where" / "venv" / "bin" / "python").exists()
    assert not fresh.venv.exists()
    assert fresh.is_made()


def test_folder_that_is_no_environment_stays(fresh: Project, tmp_path: Path) -> None:
    """A folder named by WSFRONT_VENV that holds anything but an environment is not emptied."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter").touch()
    fresh.environment["WSFRONT_VENV"] = str(tmp_path / "mine")
    status, _, errors = fresh.start("render")
    assert (status, errors) == (
        1,
        f"wsfront: WSFRONT_VENV: {tmp_path / 'mine'} holds something else; name a folder that is not there yet\n",
    )
    assert (tmp_path / "mine" / "letter").exists()


def test_process_is_the_commands(project: Project) -> None:
    """The process that was started is the command: same id, its standard input, its exit status."""
    with project.popen("up", stdin=subprocess.PIPE) as process:
        output, errors = process.communicate("!!!")
        assert json.loads(output)["pid"] == process.pid
    assert (process.returncode, errors) == (3, "")


def test_folder_of_the_caller(project: Project, tmp_path: Path) -> None:
    """Through symbolic links, from a folder with a `cli` of its own: the folder stays, its `cli` rests."""
    elsewhere = tmp_path / "else where"
    (elsewhere / "cli").mkdir(parents=True)
    (elsewhere / "cli" / "__main__.py").write_text("raise SystemExit(9)")
    (elsewhere / "first").symlink_to("../my project/wsfront")
    (elsewhere / "second").symlink_to(elsewhere / "first")
    status, output, errors = project.start("render", launcher=elsewhere / "second", cwd=elsewhere)
    assert (status, errors) == (0, "")
    assert json.loads(output)["folder"] == str(elsewhere)


def test_warm_start_is_quick(project: Project) -> None:
    """A start with all in place adds less than 50 ms to that of the command itself."""
    (project.root / "cli" / "__main__.py").write_text("")
    environment = project.environment | {"PYTHONPATH": str(project.root)}

    def once(*command: Path | str) -> float:
        begin = time.perf_counter()
        subprocess.run(command, env=environment, check=True, cwd="/")
        return time.perf_counter() - begin

    # By turns, so that what else the machine does holds up both.
    times = [
        (once(project.venv / "bin" / "python", "-m", "cli"), once(project.root / "wsfront", "render"))
        for _ in range(20)
    ]
    direct, started = map(min, zip(*times, strict=True))
    assert started - direct < 0.05 * SECOND


def test_changed_list_is_installed(project: Project) -> None:
    """A list that changed is installed at the next start."""
    project.lock("2.0")
    status, output, _ = project.start("render")
    assert (status, json.loads(output)["thing"]) == (0, "2.0")
    assert project.is_made()


def test_list_for_tests_covers_the_list_for_running(project: Project) -> None:
    """After `test` has made its environment, the other verbs have nothing to add."""
    (project.root / "requirements" / "run.txt").write_text("thing==1.0 --hash=sha256:" + "0" * 64)
    status, _, errors = project.start("test")
    assert status == 0, errors
    assert project.is_made()


def test_wrong_hash_is_refused(project: Project) -> None:
    """A package with another hash than the locked one is not installed, and the next start tries again."""
    project.lock("2.0", digest="0" * 64)
    status, output, errors = project.start("render")
    assert (status, output) == (1, "")
    assert errors.splitlines()[-1].startswith("wsfront: pip: a package is not the one that was locked; ")
    project.lock("2.0")
    assert project.start("render")[0] == 0


def test_no_network_is_told(project: Project) -> None:
    """Without a network the last line says so, and what to do."""
    project.lock("2.0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        project.environment |= {
            "PIP_INDEX_URL": f"http://127.0.0.1:{nobody.getsockname()[1]}/",
            "PIP_RETRIES": "1",
        }
        del project.environment["PIP_NO_INDEX"], project.environment["PIP_FIND_LINKS"]
        status, _, errors = project.start("render")
    assert status == 1
    assert errors.splitlines()[-1] == (
        "wsfront: pip: the packages cannot be reached; "
        "check the network and its proxy settings, and start again"
    )


def test_start_that_was_killed_is_made_good(project: Project) -> None:
    """A start that was killed while pip ran leaves nothing that the next start would take for whole."""
    project.lock("2.0")
    good = dict(project.environment)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        project.environment["PIP_INDEX_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        del project.environment["PIP_NO_INDEX"], project.environment["PIP_FIND_LINKS"]
        with project.popen("render") as process:
            silent.settimeout(100 * SECOND)
            connection, _ = silent.accept()
            os.killpg(process.pid, signal.SIGKILL)
            connection.close()
    (project.venv / "half-made").touch()
    project.environment = good
    assert project.start("render")[0] == 0
    assert not (project.venv / "half-made").exists()
    assert project.is_made()


def test_python_that_is_gone_is_replaced(project: Project) -> None:
    """An environment whose Python was removed from the system is made anew."""
    (project.venv / "bin" / "python").unlink()
    (project.venv / "bin" / "python").symlink_to("/nonexistent/python3")
    status, _, errors = project.start("render")
    assert status == 0, errors
    assert project.is_made()


def test_two_first_starts_at_once(fresh: Project) -> None:
    """Two first starts at once both reach their verb, and one environment is made."""
    with fresh.popen("render") as one, fresh.popen("check") as two:
        results = [process.communicate(timeout=100 * SECOND) for process in (one, two)]
    assert [one.returncode, two.returncode] == [0, 0]
    assert "".join(errors for _, errors in results).count("making a Python environment") == 1


def test_root_installs_by_apt_get(bare: Project) -> None:
    """As root, away from a terminal, the missing packages are named and installed without a question."""
    status, _, errors = bare.start("render")
    assert status == 0
    assert errors.splitlines()[0].endswith("by apt-get: python3-venv")
    assert calls(bare)[-1].startswith("apt-get noninteractive -qq ")
    assert calls(bare)[-1].endswith(" install -y --no-install-recommends python3-venv")


def test_user_installs_by_sudo(project: Project) -> None:
    """Anybody else installs through sudo; here what the tests need beyond the environment."""
    project.put("id", "echo 1000")
    project.put("apt-get", f'echo "apt-get $*" >>"{project.root}/calls"')
    project.put("sudo", f'echo "sudo $*" >>"{project.root}/calls"\nexec "$@"')
    status, _, errors = project.start("test")
    assert status == 0
    assert "by sudo apt-get: chromium php-cli redis-server prometheus nodejs openssl curl patch" in errors
    assert [call.split()[0] for call in calls(project)[-2:]] == ["sudo", "apt-get"]


def test_neither_root_nor_sudo(bare: Project) -> None:
    """With neither root nor sudo the command to type is named, and nothing is done."""
    bare.put("id", "echo 1000")
    status, _, errors = bare.start("render")
    assert status == 1
    assert errors == (
        "wsfront: missing, and there is neither root nor sudo; as root, type: apt-get install python3-venv\n"
    )
    assert calls(bare) == []


@contextmanager
def on_terminal(project: Project) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start the launcher on a terminal; the process, and the descriptor of the terminal's other side."""
    controller, terminal = pty.openpty()
    with project.popen("render", stdin=terminal, stderr=terminal) as process:
        os.close(terminal)
        try:
            yield process, controller
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            os.close(controller)


@pytest.mark.parametrize(
    ("answer", "is_installed"), [("\n", True), ("y\n", True), ("n\n", False), ("\4", False)]
)
def test_question_on_a_terminal(bare: Project, answer: str, is_installed: bool) -> None:  # noqa: FBT001 -- a case
    """On a terminal nothing is installed before the answer, and nothing after a no or an end of input."""
    with on_terminal(bare) as (process, controller):
        shown = b""
        while not shown.endswith(b"[Y/n] "):
            shown += os.read(controller, 1024)
        assert calls(bare) == []
        os.write(controller, answer.encode())
        until(lambda: calls(bare) or process.poll() is not None, 20)
    assert bool(calls(bare)) == is_installed


def test_answer_given_beforehand(bare: Project) -> None:
    """WSFRONT_YES=1 answers the question on a terminal."""
    bare.environment["WSFRONT_YES"] = "1"
    with on_terminal(bare):
        until(lambda: calls(bare), 20)


def test_failure_of_apt_get(bare: Project) -> None:
    """When apt-get fails, its lists are updated and it is asked once more; then its last line is told."""
    bare.put("apt-get", f'echo "$*" >>"{bare.root}/calls"\necho "E: No such thing" >&2\nexit 100')
    status, _, errors = bare.start("render")
    assert status == 1
    assert errors.splitlines()[1:] == ["wsfront: apt-get: E: No such thing; mend that, and start again"]
    assert [line.split()[3] for line in calls(bare)][-2:] == ["update", "install"]


@pytest.mark.parametrize(
    ("manager", "command"),
    [("dnf", "dnf install python3 httpd mod_ssl"), ("brew", "brew install python httpd")],
)
def test_other_systems_are_told_what_to_type(bare: Project, manager: str, command: str) -> None:
    """Without apt-get, the one command for the system's own manager is named."""
    (bare.tools / "apt-get").unlink()
    bare.put(manager, "exit 9")
    status, _, errors = bare.start("render")
    assert status == 1
    assert errors == f"wsfront: Python 3.11 or newer and Apache 2.4.47 or newer are needed; type: {command}\n"


def test_machines_need_more(project: Project) -> None:
    """The packages for virtual machines are installed where `--vagrant` asks for these, and nowhere else."""
    project.put("apt-get", f'echo "apt-get $*" >>"{project.root}/calls"')
    project.put("id", "echo 0")
    assert project.start("test")[0] == 0
    assert "vagrant" not in calls(project)[-1]
    assert project.start("test", "-x", "--vagrant")[0] == 0
    assert " vagrant " in calls(project)[-1]
    assert " qemu-system-x86 " in calls(project)[-1]
    assert "systemd-container" not in calls(project)[-1]


def test_programs_for_tests_may_be_missing(project: Project) -> None:
    """`test` runs even where the programs that some tests need cannot be installed, and names them."""
    project.put("apt-get", "exit 9")
    project.put("id", "echo 1000")
    status, output, errors = project.start("test", "-k", "x")
    assert (status, json.loads(output)["arguments"]) == (0, ["test", "-k", "x"])
    assert "apt-get install chromium php-cli redis-server prometheus nodejs openssl curl patch" in errors
