"""`up`: one line when it is ready, everything gone when it ends, one clear line when it cannot."""

import os
import re
import signal
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.certs.issuing import issue
from tests.unit.cli.commands import Up, in_its_own_mounts, own_ports, up, wsfront
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

TODAY = datetime.now(UTC)
DAY = timedelta(days=1)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that Apache's children, who are another user, can pass through."""
    with tempfile.TemporaryDirectory(prefix="wsfront-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_is_ready_and_stops(folder: Path, number: signal.Signals) -> None:
    """One line on standard output once it is ready; after a signal no process, no port, and status 0."""
    with up(folder) as running:
        assert running.ready() == f"ready {running.url}\n"
        assert set(running.children()) == {"apache", "backend"}
        running.process.send_signal(number)
        status, out, err = running.end()
        assert running.nothing_left()
    assert (status, out) == (0, "")
    assert "Traceback" not in err


def test_doctor_after_ready(folder: Path) -> None:
    """Once it is ready the doctor has a look, and says in one line that all is well, soon."""
    with up(folder) as running:
        assert running.ready()
        begun = time.monotonic()
        assert running.process.stderr
        lines = iter(running.process.stderr.readline, "")
        told = next(line for line in lines if line.startswith("doctor: "))
        assert re.fullmatch(r"doctor: /ws/ healthy, \d\.\d s\n", told)
        assert time.monotonic() - begun < 4 * SECOND
        running.process.terminate()
        assert running.end()[:2] == (0, "")


def test_doctor_finds_something(folder: Path) -> None:
    """What the doctor finds then is a line each, with where to read more; it goes on all the same."""
    own = folder / "up/sites.d/localhost/own.conf"
    own.parent.mkdir(parents=True)
    own.write_text("Header always set Content-Security-Policy \"connect-src 'none'\"\n")
    with up(folder) as running:
        assert running.ready() == f"ready {running.url}\n"
        assert running.process.stderr
        told = next(line for line in running.process.stderr if line.startswith("doctor: "))
        assert told.startswith(f"doctor: wss://localhost:{running.ports[0]}/ws/: error: the page's")
        assert told.endswith(": ./wsfront doctor --explain page-policy\n")
        running.process.terminate()
        assert running.end()[:2] == (0, "")


def test_a_second_signal_changes_nothing(folder: Path) -> None:
    """Whoever asks twice gets the same clean end."""
    with up(folder) as running:
        assert running.ready()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            running.process.send_signal(number)
        assert running.end()[:2] == (0, "")
        assert running.nothing_left()


def _lock(running: Up) -> bool:
    return (running.folder / "lock").exists()


def _authority(running: Up) -> bool:
    return (running.folder / "certs" / "ca" / "ca.pem").exists()


def _files(running: Up) -> bool:
    return (running.folder / "httpd.conf").exists()


def _backend(running: Up) -> bool:
    return "backend" in running.children()


def _apache(running: Up) -> bool:
    return "apache" in running.children()


@pytest.mark.parametrize(
    "moment", [_lock, _authority, _files, _backend, _apache], ids=lambda moment: moment.__name__
)
def test_stops_while_it_starts(folder: Path, moment: object) -> None:
    """A signal in the middle of the start ends it as cleanly."""
    assert callable(moment)
    with up(folder) as running:
        until(lambda: moment(running), 20)
        running.process.send_signal(signal.SIGTERM)
        status, _, err = running.end()
        assert running.nothing_left()
    assert status == 0
    assert "Traceback" not in err


def test_leaves_nothing_when_killed(folder: Path) -> None:
    """Killed outright, it takes Apache and the backend along, root's and others' alike."""
    with up(folder) as running:
        assert running.ready()
        running.process.kill()
        running.process.wait()
        # As a rule at once; a tunnel that was just closing outlives SIGTERM, and Apache kills it after 10 s (AH00046).
        until(running.nothing_left, 15)


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ("backend", "the backend ended by itself: see its own lines above"),
        ("apache", "Apache ended by itself: see "),
    ],
)
def test_ends_when_a_child_does(folder: Path, child: str, words: str) -> None:
    """When the backend or Apache ends, so does the rest, with status 1 and one line that says which."""
    with up(folder) as running:
        assert running.ready()
        os.kill(running.children()[child], signal.SIGKILL)
        status, out, err = running.end()
        until(running.nothing_left)  # a killed process keeps its files for a moment
    assert (status, out) == (1, "")
    assert f"wsfront: {words}" in err.splitlines()[-1]
    assert err.count("wsfront: ") == 1


def test_ends_when_nobody_reads(folder: Path) -> None:
    """With its standard output closed before it is ready it ends quietly, and leaves nothing."""
    with up(folder) as running:
        assert running.process.stdout
        running.process.stdout.close()
        running.process.wait(30)
        assert running.nothing_left()
        assert running.process.stderr
        assert "Traceback" not in running.process.stderr.read()
        assert running.process.returncode == 1


def test_runs_again_in_the_same_folder(folder: Path) -> None:
    """A second run takes the same authority, and says so."""
    told = []
    for _ in range(2):
        with up(folder) as running:
            assert running.ready()
            running.process.terminate()
            told.append(running.end()[2])
    assert "is new: trust it once" in told[0]
    assert "must be trusted once" in told[1]


def test_folder_in_use(folder: Path) -> None:
    """A second `up` in the same folder names the first one's process."""
    with up(folder) as running:
        until(lambda: (running.folder / "lock").exists() and (running.folder / "lock").read_text(), 20)
        done = wsfront("up", "--site", folder / "site.yaml", "--dir", running.folder)
        pid = running.process.pid
        assert done.returncode == 1
        assert done.stderr == (
            f"wsfront: {running.folder} is in use by another `wsfront up`, process {pid}: stop that, or choose another --dir\n"
        )


@pytest.mark.parametrize(
    ("option", "place"), [("--https-port", 0), ("--http-port", 1), ("--backend-port", 2)]
)
def test_port_in_use(folder: Path, option: str, place: int) -> None:
    """A port that somebody has is named, with who has it and which option takes another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with up(folder, option, str(port)) as running:
            status, out, err = running.end()
            running.ports[place] = 0
            assert running.nothing_left()
    assert (status, out) == (1, "")
    assert err.startswith(f"wsfront: port {port} is in use by process {os.getpid()} (")
    assert err.endswith(f": stop that, or choose another with {option}\n")


def test_one_port_twice(folder: Path) -> None:
    """Two options with the same port are wrong use."""
    done = wsfront("up", "--dir", folder, "--https-port", "9443", "--http-port", "9443")
    assert done.returncode == 2
    assert (
        done.stderr == "wsfront: --https-port and --http-port are both 9443: each needs a port of its own\n"
    )


@pytest.mark.parametrize("name", ["a*b", "${HOME}", "a\nb", "a|b"], ids=ascii)
def test_folder_that_apache_would_expand(folder: Path, name: str) -> None:
    """A folder that some directive would not take as it is, is refused before anything is written."""
    done = wsfront("up", "--dir", folder / name)
    assert done.returncode == 2
    assert done.stderr.startswith("wsfront: --dir: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(folder.iterdir()) == []


def test_folder_with_an_odd_name(folder: Path) -> None:
    """Blanks, quotes and the like in the folder's name do no harm."""
    odd = folder / "a (b) \"c\" 'd' #e é %41"
    odd.mkdir()
    with up(odd) as running:
        assert running.ready() == f"ready {running.url}\n"


def test_backend_that_cannot_start(folder: Path) -> None:
    """When the backend ends at its start, its own line says why, and ours what that means; nothing is left."""
    site = f"websockets: [{{backend: 'unix:{folder}/none/x.sock'}}]\npages: null\n"
    (folder / "site.yaml").write_text(site)
    done = wsfront("up", "--site", folder / "site.yaml", "--dir", folder / "up", *own_ports()[:4])
    assert done.returncode == 1
    backend, ours = done.stderr.splitlines()
    assert backend.startswith(
        f"server: cannot listen on unix:{folder}/none/x.sock: its folder does not exist"
    )
    assert ours == f"wsfront: the backend did not start on unix:{folder}/none/x.sock: see its own line above"


def test_backend_on_another_machine(folder: Path) -> None:
    """Our backend runs here, wherever the description has it in earnest."""
    site = "hop: {fronts: [10.0.0.1]}\nwebsockets: [{backend: '10.0.0.2:8888'}]\n"
    with up(folder, site=site) as running:
        assert running.ready() == f"ready {running.url}\n"
        assert f'"127.0.0.1:{running.ports[2]}"' in (running.folder / "backend.env").read_text()
        running.process.terminate()
        assert running.end()[0] == 0


def test_waits_for_somebody_elses_backend(folder: Path) -> None:
    """With --no-backend it says for whom it waits, and can be stopped while it does."""
    with up(folder, "--no-backend") as running:
        assert running.process.stderr
        until(lambda: "waiting for a WebSocket server at" in running.process.stderr.readline(), 20)  # type: ignore[union-attr]
        assert set(running.children()) == {"apache"}
        running.process.terminate()
        assert running.end()[:2] == (0, "")
        assert running.nothing_left()


@pytest.mark.parametrize(
    ("days", "other_key", "words"),
    [
        (-1, False, "expired on"),
        (1, True, "the key does not belong to the certificate"),
        (None, False, "there is no such file; correct the path"),
    ],
    ids=["expired", "mismatch", "missing"],
)
def test_certificate_that_will_not_do(folder: Path, days: int | None, other_key: bool, words: str) -> None:  # noqa: FBT001 (a column)
    """An expired certificate, a key of another one and a missing file are wrong input, a line each."""
    if days is not None:
        pair = issue("a.example", begin=TODAY - 9 * DAY, end=TODAY + days * DAY)
        (folder / "a.pem").write_bytes(pair.pem)
        (folder / "a.key").write_bytes(issue("a.example").key_pem if other_key else pair.key_pem)
    files = f"certificate: {folder}/a.pem, key: {folder}/a.key"
    site = f"server_name: a.example\ntls: {{mode: files, files: {{{files}}}}}\n"
    with up(folder, site=site) as running:
        status, out, err = running.end()
        assert running.nothing_left()
    assert (status, out) == (2, "")
    assert words in err
    assert all(line.startswith(f"wsfront: {folder}/a.") for line in err.splitlines())


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("kilobytes", [4, 16])
def test_full_disk(folder: Path, kilobytes: int) -> None:
    """On a full disk it ends with one line that names it, and nothing runs."""
    place = folder / "small"
    place.mkdir()
    done = in_its_own_mounts(
        f"mount -t tmpfs -o size={kilobytes}k none {place}",
        "up",
        "--dir",
        place / "up",
        *own_ports(),
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wsfront: {place}/")
    assert "No space left on device" in line
