"""A private Apache: found, probed, written, tested, started, and gone when it should be."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from apache import httpd
from apache.errors import HttpdError
from apache.httpd import Httpd
from apache.target import Target
from tests.processes import processes_of
from tests.waiting import until

pytestmark = pytest.mark.needs("apache")

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that Apache's children, who are another user, can pass through."""
    with tempfile.TemporaryDirectory(prefix="wsfront-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def target() -> Target:
    """Return the facts of this machine."""
    return httpd.probe("private")


def config(target: Target, port: int, more: str = "") -> str:
    """Return the least configuration that listens on a port."""
    modules = [name for name in ("mpm_event", "unixd", "authz_core") if name not in target.static_modules]
    return "".join(
        [
            *(f"LoadModule {name}_module {target.modules_directory}/mod_{name}.so\n" for name in modules),
            f"ServerName localhost\nListen 127.0.0.1:{port}\nPidFile run/httpd.pid\nErrorLog logs/error.log\n",
            f"User {target.user}\nGroup {target.group}\n" if target.user else "",
            more,
        ]
    )


def made(folder: Path, target: Target, more: str = "", port: int = 0) -> tuple[Httpd, int]:
    """Return an Apache with its least configuration written, and its port."""
    port = port or httpd.free_ports(1)[0]
    server = Httpd(folder)
    server.write({"httpd.conf": config(target, port, more)})
    return server, port


def accepts(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_probe_tells_the_truth(target: Target) -> None:
    """The facts agree with what Apache says of itself and with the files there are."""
    said = subprocess.run([httpd.find(), "-v"], capture_output=True, text=True, check=True).stdout
    assert f"Apache/{target.apache}" in said
    assert (Path(target.modules_directory) / "mod_proxy_http.so").exists()
    assert {"proxy", "proxy_http", "ssl", "rewrite"} <= set(target.modules)
    assert target.mpm == "event"
    assert bool(target.user) == (os.geteuid() == 0)


def test_probe_refuses_other_programs() -> None:
    """A program that is no Apache is named."""
    with pytest.raises(HttpdError, match="/bin/true does not say its version: is it an Apache httpd"):
        httpd.probe("private", binary=Path("/bin/true"))
    with pytest.raises(HttpdError, match="does not answer"):
        httpd.probe("private", binary=Path("/nowhere/apache2"))


def test_openssl_is_the_one_of_mod_ssl(target: Target) -> None:
    """The version of OpenSSL is that of the library mod_ssl is linked with."""
    listing = subprocess.run(
        ["ldd", f"{target.modules_directory}/mod_ssl.so"], capture_output=True, text=True, check=True
    ).stdout
    library = re.search(r"libcrypto\S* => (\S+)", listing)
    assert library
    assert f"OpenSSL {target.openssl} ".encode() in Path(library[1]).read_bytes()


def test_free_ports_are_free_and_different() -> None:
    """Each port can be bound on every loopback address."""
    ports = httpd.free_ports(5)
    assert len(set(ports)) == 5
    for port in ports:
        for address in httpd.loopback_addresses():
            family = socket.AF_INET6 if address.startswith("[") else socket.AF_INET
            with socket.socket(family) as probe:
                probe.bind((address.strip("[]"), port))


def test_write_is_whole_or_nothing(folder: Path) -> None:
    """A file that cannot be written leaves the old one as it was, and nothing beside it."""
    server = Httpd(folder)
    server.write({"httpd.conf": "old\n"})
    with pytest.raises(UnicodeEncodeError):
        server.write({"httpd.conf": "new \ud800\n"})
    assert server.config.read_text() == "old\n"
    assert sorted(path.name for path in folder.iterdir()) == ["empty", "httpd.conf", "logs", "run"]


def test_test_says_apaches_words(folder: Path, target: Target) -> None:
    """What Apache finds wrong is said in its own words, with file and line, in one line."""
    server, _ = made(folder, target)
    server.test()
    server, _ = made(folder, target, "Frobnicate On\n")
    with pytest.raises(HttpdError, match=r"refuses the configuration: .*httpd\.conf.*'Frobnicate'") as caught:
        server.test()
    assert "\n" not in str(caught.value)


def test_start_and_stop(folder: Path, target: Target) -> None:
    """Once started it listens; once stopped there is no process, no port and no fault in its log."""
    server, port = made(folder, target)
    with server:
        assert accepts(port)
        assert server.pid in processes_of(folder)
    assert server.pid is None
    assert processes_of(folder) == []
    assert not accepts(port)
    assert {line.level for line in server.log_lines()} <= {"notice"}
    server.stop()


def test_starts_again(folder: Path, target: Target) -> None:
    """The same folder serves again after a stop, and its log goes on."""
    server, port = made(folder, target)
    with server:
        position = len(server.log_text().encode())
    with server:
        assert accepts(port)
        assert server.log_text(position)


def test_reload_keeps_the_process(folder: Path, target: Target) -> None:
    """A graceful reload reads the configuration again in the same process."""
    server, port = made(folder, target)
    with server:
        before = server.pid
        other = httpd.free_ports(1)[0]
        server.write({"httpd.conf": config(target, port, f"Listen 127.0.0.1:{other}\n")})
        server.reload()
        until(lambda: accepts(other))
        assert server.pid == before


def test_start_fails_with_apaches_words(folder: Path, target: Target) -> None:
    """An Apache that ends at its start says why, and leaves nothing running."""
    server, _ = made(folder, target, "Frobnicate On\n")
    with pytest.raises(HttpdError, match=r"ended at its start: .*'Frobnicate'"):
        server.start()
    assert server.pid is None


def test_start_fails_when_the_port_is_taken(folder: Path, target: Target) -> None:
    """A port that somebody has is named."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server, _ = made(folder, target, port=port)
        with pytest.raises(HttpdError, match=f"[Aa]ddress already in use.*127.0.0.1:{port}"):
            server.start()
    assert processes_of(folder) == []


def test_stop_ends_one_that_hangs(folder: Path, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """An Apache that does not answer to SIGTERM is killed with all its children, within bounded time."""
    monkeypatch.setattr(httpd, "_STOP_SECONDS", 0.3)
    server, port = made(folder, target)
    server.start()
    assert server.pid
    os.kill(server.pid, signal.SIGSTOP)
    server.stop()
    until(lambda: not processes_of(folder) and not accepts(port))


STARTER = """
import sys, time
from pathlib import Path
from apache.httpd import Httpd
server = Httpd(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux is missing: prctl(2) is its own")
def test_dies_with_its_parent(folder: Path, target: Target) -> None:
    """When who started it is killed outright, Apache ends with all its children."""
    made(folder, target)
    with subprocess.Popen(
        [sys.executable, "-c", STARTER, folder], stdout=subprocess.PIPE, cwd=ROOT
    ) as starter:
        assert starter.stdout
        assert int(starter.stdout.readline()) in processes_of(folder)
        starter.kill()
    until(lambda: not processes_of(folder), 5)


def test_find_looks_on_the_path_first(folder: Path) -> None:
    """Apache is looked up on PATH first."""
    shutil.copy("/bin/true", folder / "apache2")
    code = "from apache.httpd import find; print(find())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PATH": str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(folder / "apache2")
