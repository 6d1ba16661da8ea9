"""Mistakes and mishaps: the playbook names the cause and the remedy, and what was running goes on."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.plays import DEBIANS, OURS, ROOT
from tests.hosts.servers import DESCRIPTION, NAME, Installed, Server, describe


@pytest.fixture(params=[("trixie", OURS)], ids=["trixie"])
def bare(lab: Lab, boot: Boot, request: pytest.FixtureRequest) -> Server:
    """Return a bare Debian that is to be a server."""
    suite, program = request.param
    return describe(lab, boot(suite, NAME), program)


@pytest.fixture
def running(lab: Lab, trixie: Installed) -> Iterator[Server]:
    """Return a running server of the test's own; one Debian is enough for what has nothing to do with it."""
    with trixie.running(lab) as server:
        yield server


def footprints(server: Server) -> str:
    """Return what lies where a playbook of ours would write, without what Debian's own timers write at midnight."""
    return server.machine.run(
        "find", "/etc", "/opt", "/srv", "/usr/local", "/var/lib", "-newer", "/etc/hostname", "-type", "f",
        "!", "-path", "/var/lib/systemd/*", "!", "-path", "/var/lib/logrotate/*", "!", "-name", "machine-id",
    )  # fmt: skip


@pytest.mark.parametrize(
    "bare", [("bookworm", DEBIANS), ("trixie", OURS)], ids=["bookworm", "trixie"], indirect=True
)
def test_check_on_a_bare_machine(bare: Server) -> None:
    """`--check --diff` on a bare machine says what it would do, does not fail, and leaves the machine as it was."""
    before = footprints(bare)
    recap = bare.play("--check", "--diff")
    assert f"ServerName {NAME}" in recap.output
    assert recap.changed > 0
    assert footprints(bare) == before


def test_fault_in_the_description(bare: Server) -> None:
    """A fault in the description stops the play before the machine is touched, in the words of the command line."""
    bare.description.write_text("server_name: chat.test\nwebsocket: []\n")
    bare.machine.run("systemctl", "stop", "ssh")
    recap = bare.play(is_checked=False)
    command = [sys.executable, "-m", "cli", "render", "--site", str(bare.description)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stderr
    assert recap.status == 2
    assert said.startswith("wsfront")
    assert all(" ".join(line.split()) in recap.said for line in said.splitlines())


def test_no_python(bare: Server) -> None:
    """A machine without Python is told what to install."""
    bare.machine.run("sh", "-c", "rm /usr/bin/python3*")
    recap = bare.play(is_checked=False)
    assert "apt-get install -y python3" in recap.said


def test_no_way_to_become_root(bare: Server) -> None:
    """A user who cannot become root is told what to do."""
    bare.machine.run("useradd", "--create-home", "ada")
    bare.machine.run("cp", "-r", "/root/.ssh", "/home/ada/.ssh")
    bare.machine.run("chown", "-R", "ada:", "/home/ada/.ssh")
    bare.machine.run("rm", "/usr/bin/sudo")
    recap = bare.play(user="ada", is_checked=False)
    assert "is not root" in recap.said
    assert "apt-get install -y sudo" in recap.said


def test_system_that_is_not_debians(bare: Server) -> None:
    """A system without apt-get is told what else there is."""
    bare.machine.run("rm", "/usr/bin/apt-get")
    recap = bare.play(is_checked=False)
    assert "./wsfront render" in recap.said


def test_port_that_nginx_has(bare: Server) -> None:
    """Where nginx has port 80 the play says so, and nginx goes on."""
    bare.machine.run("apt-get", "-qq", "-y", "install", "nginx-light")
    bare.machine.run("systemctl", "start", "nginx")
    recap = bare.play(is_checked=False)
    assert "port 80 is taken by nginx" in recap.said
    assert "systemctl disable --now nginx" in recap.said
    assert bare.visitor.page(is_plain=True)[0] == 200


def test_user_with_sudo(lab: Lab, trixie: Installed) -> None:
    """A user who can become root by sudo does as well as root."""
    with trixie.running(lab) as server:
        server.machine.run("useradd", "--create-home", "ada")
        server.machine.run("cp", "-r", "/root/.ssh", "/home/ada/.ssh")
        server.machine.run("chown", "-R", "ada:", "/home/ada/.ssh")
        server.machine.run("tee", "/etc/sudoers.d/ada", stdin="ada ALL=(ALL) NOPASSWD: ALL\n")
        assert server.play(user="ada").tasks_changed == []


def test_certificate_for_another_name(running: Server, tmp_path: Path) -> None:
    """A certificate for another name is refused before Apache is given it."""
    issue = [sys.executable, "-m", "cli", "certs", "issue", "--dir", str(tmp_path), "other.test"]
    subprocess.run(issue, cwd=ROOT, check=True, capture_output=True)
    place = "/etc/ssl/other"
    running.machine.run("mkdir", place)
    for name in ("certificate.pem", "key.pem"):
        found = next(tmp_path.rglob(name))
        running.machine.run("tee", f"{place}/{name}", stdin=found.read_text())
    running.machine.run("chmod", "600", f"{place}/key.pem")
    files = f"{{certificate: {place}/certificate.pem, key: {place}/key.pem}}"
    running.description.write_text(f"{DESCRIPTION}tls: {{mode: files, files: {files}}}\n")
    recap = running.play(is_checked=False)
    assert f"{place}/certificate.pem" in recap.said
    assert NAME in recap.said
    assert recap.status == 2
    assert running.visitor.page()[0] == 200


async def test_backend_that_is_not_there(running: Server) -> None:
    """Where nobody is at the backend's address the play says so, and pages of other names go on."""
    running.description.write_text(DESCRIPTION.replace("path: /ws/", "path: /ws/, backend: '127.0.0.1:9999'"))
    recap = running.play("-e", "backend_managed=false", is_checked=False)
    assert recap.status == 2
    assert "127.0.0.1:9999" in recap.said
    running.description.write_text(DESCRIPTION)
    running.play()
    assert await running.visitor.is_served()


async def test_full_disk(lab: Lab, trixie: Installed) -> None:
    """On a full disk the play says so, the site goes on, and once there is room the play goes through."""
    with trixie.running(lab, disk="300M") as server:
        server.machine.run("sh", "-c", "cat /dev/zero >/root/filler || :", is_checked=False)
        server.description.write_text(f"{DESCRIPTION}server_aliases: [www.{NAME}]\n")
        recap = server.play(is_checked=False)
        assert recap.status != 0
        assert "disk is full" in recap.said or "No space left" in recap.said
        assert server.visitor.page()[0] == 200
        assert await server.visitor.is_served()
        server.machine.run("rm", "/root/filler")
        assert server.play().changed > 0
        assert server.play().tasks_changed == []


async def test_interrupted_play(bare: Server) -> None:
    """A play that is cut off half-way, while packages are installed too, is made good by the next one."""
    for task in ("Install Apache", "Start Apache with the machine"):
        process = bare.start()
        assert process.stdout is not None
        for line in process.stdout:
            if task in line:
                break
        process.terminate()
        process.communicate()
    bare.play()
    assert await bare.visitor.is_served()
    assert bare.play().tasks_changed == []
