"""The test hosts themselves: real systems that come, reboot and go, and leave nothing behind."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hosts import roots
from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.machines import CGROUPS
from tests.hosts.plays import DEBIANS, OURS, ROOT
from tests.hosts.runs import RUNS
from tests.processes import processes_of
from tests.waiting import SECOND, until

# Boots a machine, says its run's name, and waits to be killed.
VICTIM = """
import sys
from tests.hosts.lab import lab
with lab() as made, made.machine("trixie", "victim.test") as machine:
    print(made.network.name, flush=True)
    sys.stdin.read()
"""


def leftovers(name: str) -> list[str]:
    """Return what bears a run's name: files, networks, cgroups, processes."""
    places = (
        RUNS / name,
        Path("/run/netns") / name,
        *(path for each in CGROUPS for path in each.glob(f"{name}.*")),
    )
    mounts = [line for line in Path("/proc/mounts").read_text().splitlines() if name in line]
    return [*(str(path) for path in places if path.exists()), *mounts, *map(str, processes_of(RUNS / name))]


@pytest.mark.parametrize("suite", roots.SUITES)
def test_machine_is_a_real_server(boot: Boot, suite: str) -> None:
    """A machine has a full systemd, answers on both addresses, installs packages, and has no way out."""
    machine = boot(suite, f"{suite}.test")
    assert machine.run("systemctl", "is-system-running").strip() == "running"
    assert f"VERSION_CODENAME={suite}" in machine.run("cat", "/etc/os-release")
    for address in (machine.ipv4, machine.ipv6):
        socket.create_connection((address, 22), 5 * SECOND).close()
    machine.run("apt-get", "-qq", "update")
    assert "acl" in machine.run("apt-get", "-qq", "-y", "install", "acl")
    assert "default" not in machine.run("ip", "route")
    assert (
        machine.run(
            "find", "/etc/apt", "-type", "f", "-exec", "grep", "-l", "http", "{}", "+", is_checked=False
        )
        == ""
    )


def test_files_survive_a_reboot_and_a_power_cut(boot: Boot) -> None:
    """What was written is there after a reboot, a shutdown and a power cut; what a machine writes, no other one sees."""
    machine = boot("trixie", "one.test")
    machine.run("tee", "/root/kept", stdin="kept")
    machine.reboot()
    machine.power_off()
    machine.boot()
    machine.cut()
    machine.boot()
    assert machine.run("cat", "/root/kept") == "kept"
    assert not boot("trixie", "two.test").path("/root/kept").exists()


@pytest.mark.parametrize("program", [DEBIANS, OURS], ids=["Debian's Ansible", "our Ansible"])
def test_ansible_reaches_a_machine_by_ssh(lab: Lab, boot: Boot, program: Path, tmp_path: Path) -> None:
    """Either Ansible runs a playbook, and its counts are read."""
    machine = boot("bookworm", "one.test")
    playbook = tmp_path / "play.yml"
    playbook.write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n"
        "    - name: Write\n      ansible.builtin.copy: {content: x, dest: /root/written, mode: '0600'}\n"
    )
    ansible = lab.ansible(program)
    first, second = (ansible.play(machine, playbook=str(playbook)) for _ in range(2))
    assert (first.tasks_changed, first.changed) == (["Write"], 1)
    assert (second.tasks_changed, second.changed) == ([], 0)
    assert second.hosts["one.test"]["ok"] == 1


def test_what_a_killed_run_leaves_is_cleared_away(lab: Lab) -> None:
    """The machines of a run that is killed end with it; the next start removes the rest, and nothing of a living run's."""
    command = [sys.executable, "-c", VICTIM]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        name = victim.stdout.readline().strip()
        assert processes_of(RUNS / name) != []
        os.kill(victim.pid, signal.SIGKILL)
    until(lambda: processes_of(RUNS / name) == [], 10)
    assert leftovers(name) != []
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as another:
        assert another.stdout is not None
        other = another.stdout.readline().strip()
        assert leftovers(name) == []
        assert another.stdin is not None
        another.stdin.close()
    assert leftovers(other) == []
    assert (RUNS / lab.network.name / "lock").exists()
    assert lab.network.path.exists()
