"""`check`: a real Apache's judgement and a real handshake, and nothing left behind."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from apache.httpd import find, free_ports
from tests.processes import processes_of
from tests.unit.cli.commands import (
    COMMAND,
    ROOT,
    environment,
    in_its_own_mounts,
    own_ports,
    wsfront,
)
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for temporary files, in which a test has to leave nothing."""
    made = tmp_path / "temporary"
    made.mkdir()
    for path in (*list(tmp_path.parents)[:2], tmp_path, made):
        path.chmod(0o755)  # Apache's children are another user
    yield made
    assert list(made.iterdir()) == []
    assert processes_of(made) == []


def site(place: Path, text: str) -> Path:
    """Write a description."""
    path = place.parent / "site.yaml"
    path.write_text(text)
    return path


def test_good(place: Path) -> None:
    """A good description is tried on free ports, and each socket is shaken hands with."""
    text = "server_name: chat.example.org\nwebsockets: [{path: /ws/}, {path: /b, origins: [https://a.example]}]\n"
    done = wsfront("check", "--site", site(place, text), env=environment(TMPDIR=str(place)))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.partition("  ")[0] for line in done.stdout.splitlines()] == [
        "description",
        "apache -t",
        "handshake",
        "handshake",
        "good",
    ]
    assert done.stdout.count("101 Switching Protocols") == 2


def test_backend_on_another_machine(place: Path) -> None:
    """Our backend is tried here wherever it is in earnest; of somebody else's on another machine it is said that it is not."""
    text = """
hop: {fronts: [10.0.0.1]}
websockets:
- {path: /ws/, backend: ["10.0.0.2:8888", "10.0.0.3:8888"]}
- {path: /far/, backend: "192.0.2.1:9"}
"""
    done = wsfront("check", "--site", site(place, text), env=environment(TMPDIR=str(place)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "localhost/ws/: 101 Switching Protocols\n" in done.stdout
    assert "localhost/far/: not tried: " in done.stdout


def test_backend_of_somebody_else_is_down(place: Path) -> None:
    """A backend that is not ours and not there is named; the rest is tried all the same."""
    (port,) = free_ports(1)
    text = f"tls: {{mode: none}}\nwebsockets: [{{path: /ws/}}, {{path: /b/, backend: 127.0.0.1:{port}}}]\n"
    done = wsfront("check", "--site", site(place, text), env=environment(TMPDIR=str(place)))
    assert done.returncode == 1
    assert f"localhost/b/: nobody listens at 127.0.0.1:{port}" in done.stdout
    assert done.stdout.endswith("\n1 of the handshakes failed\n")


def test_certificate_that_is_none(place: Path) -> None:
    """What is no certificate is wrong input, a line for each file."""
    (place.parent / "a.pem").write_text("")
    files = f"certificate: {place.parent}/a.pem, key: {place.parent}/a.pem"
    text = f"server_name: a.example\ntls: {{mode: files, files: {{{files}}}}}\n"
    done = wsfront("check", "--site", site(place, text), env=environment(TMPDIR=str(place)))
    assert done.returncode == 2
    assert [line.partition(": ")[2].partition(": ")[0] for line in done.stderr.splitlines()] == [
        f"{place.parent}/a.pem"
    ] * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopped_in_the_middle(place: Path, number: signal.Signals) -> None:
    """A signal in the middle ends it without a trace."""
    path = site(place, "server_name: localhost\n")
    command = [*COMMAND, "check", "--site", str(path)]
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(TMPDIR=str(place)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        until(lambda: any("-DFOREGROUND" in words(number) for number in processes_of(place)), 20)
        running.send_signal(number)
        _, err = running.communicate(timeout=20 * SECOND)
    assert running.returncode == 130
    assert err == ""


def words(number: int) -> str:
    """Return the command line of a process."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text()
    except OSError:
        return ""


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("verb", ["render", "check", "up"])
def test_no_apache(tmp_path: Path, verb: str) -> None:
    """Without an Apache one line says what to install, with the status of a failed run."""
    path = tmp_path / "site.yaml"
    path.write_text("server_name: localhost\n")
    setup = (
        f'while found=$({COMMAND[0]} -c "from apache.httpd import find; print(find())" 2>/dev/null); do\n'
        "mount --bind /dev/null $(readlink -f $found)\ndone"
    )
    more: list[str | Path] = ["--dir", tmp_path / "up", *own_ports()] if verb == "up" else []
    done = in_its_own_mounts(setup, verb, "--site", path, *more)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "wsfront: there is no Apache on this machine: on Debian type `apt-get install apache2-bin`"
    )


@pytest.mark.needs("mounts")
def test_module_missing(place: Path, tmp_path: Path) -> None:
    """A module that is not there is named, with what brings it back."""
    folder = subprocess.run(
        [COMMAND[0], "-c", "from apache.httpd import probe; print(probe('private').modules_directory)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    assert find()
    setup = f"mkdir {tmp_path}/modules; cp {folder}/*.so {tmp_path}/modules; rm {tmp_path}/modules/mod_remoteip.so\n"
    setup += f"mount --bind {tmp_path}/modules {folder}; export TMPDIR={place}"
    path = site(place, "trusted_proxies: [10.0.0.0/8]\n")
    done = in_its_own_mounts(setup, "check", "--site", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(
        "wsfront: this Apache lacks mod_remoteip: on Debian `apt-get install --reinstall apache2-bin`"
    )


@pytest.mark.needs("mounts")
def test_full_disk(tmp_path: Path) -> None:
    """On a full disk one line names it and the variable that takes another."""
    path = tmp_path / "site.yaml"
    path.write_text("server_name: localhost\n")
    (tmp_path / "small").mkdir()
    setup = f"mount -t tmpfs -o size=8k none {tmp_path}/small; export TMPDIR={tmp_path}/small"
    done = in_its_own_mounts(setup, "check", "--site", path)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wsfront: {tmp_path}/small/")
    assert "No space left on device" in line
