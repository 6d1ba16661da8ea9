"""The firewall's units under a real systemd: never open without it, whatever comes first and whatever flushes it."""

import socket

import pytest

from apache.description import parse
from apache.render import render
from apache.target import Target
from tests.hosts.conftest import Boot
from tests.hosts.machines import Machine
from tests.waiting import SECOND

SOCKET = "wsfront-backend.socket"
UNITS = "etc/systemd/system/"
# Stands in for the backend: what is tried is who is let in.
SERVICE = "[Service]\nExecStart=/bin/sleep infinity\n"


def install(machine: Machine, front: str) -> None:
    """Put in what the playbook would, as far as the firewall goes, and start it in the same order."""
    text = f"hop: {{fronts: [{front}]}}\nwebsockets: [{{backend: '{machine.ipv4}:8888'}}]\n"
    files = render([parse(text, "site.yaml")], Target()) | {f"{UNITS}wsfront-backend.service": SERVICE}
    for name, content in files.items():
        if name.startswith((UNITS + "wsfront-", UNITS + "nftables", "etc/wsfront/firewall")):
            machine.path(name).parent.mkdir(parents=True, exist_ok=True)
            machine.run("sh", "-c", f"cat >/{name}", stdin=content)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "enable", "--now", "wsfront-firewall.service")
    machine.run("systemctl", "enable", "--now", SOCKET)


def is_let_in(machine: Machine) -> bool:
    """Tell whether we, who are 10.77.0.1, are accepted at the backend's port, and not refused."""
    try:
        socket.create_connection((machine.ipv4, 8888), 5 * SECOND).close()
    except ConnectionRefusedError:
        return False
    return True


def is_listening(machine: Machine) -> bool:
    """Tell whether the backend's port is open on the machine itself."""
    return "LISTEN" in machine.run("ss", "-Hltn", "sport = :8888")


@pytest.mark.parametrize("suite", ["bookworm", "trixie"])
def test_nobody_finds_the_port_open(boot: Boot, suite: str) -> None:
    """A stranger is refused after a reboot, at every turn of Debian's own firewall, and where ours cannot be."""
    machine = boot(suite, "backend.test")
    install(machine, "10.77.0.200")
    assert is_listening(machine)
    assert not is_let_in(machine)

    for verb in ("start", "restart", "reload", "stop"):
        machine.run("systemctl", verb, "nftables")
        assert not is_let_in(machine), verb
    machine.run("systemctl", "enable", "nftables")

    machine.reboot()
    assert is_listening(machine)
    assert "reject" in machine.run("nft", "list", "table", "inet", "wsfront")
    assert not is_let_in(machine)

    machine.run("systemctl", "stop", SOCKET)
    machine.run("nft", "flush", "ruleset")
    machine.run("systemctl", "start", SOCKET, is_checked=False)
    assert not is_listening(machine)
    machine.run("systemctl", "reload", "wsfront-firewall.service")
    machine.run("systemctl", "start", SOCKET)
    assert is_listening(machine)
    assert not is_let_in(machine)


def test_front_finds_it_open(boot: Boot) -> None:
    """A front is let in, at every turn of Debian's own firewall, and the port never closes to it."""
    machine = boot("trixie", "backend.test")
    install(machine, "10.77.0.1")
    for verb in ("start", "restart", "reload", "stop"):
        machine.run("systemctl", verb, "nftables")
        assert is_let_in(machine), verb
    machine.reboot()
    assert is_let_in(machine)
