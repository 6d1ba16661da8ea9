"""`vagrant up` for real, and what a user then finds at the forwarded ports."""

import json
import re
import ssl
from pathlib import Path

import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.vagrant.conftest import Lab
from tests.vagrant.vagrant import HTTP_PORT, HTTPS_PORT, changed
from tests.waiting import SECOND

ORIGIN = f"https://localhost:{HTTPS_PORT}"
UNITS = ("apache2.service", "wsfront-backend.socket", "wsfront-backend.service")


@pytest.fixture(scope="module")
def authority(lab: Lab, upped: str) -> Path:
    """Return the certificate of the authority, which lies where `./wsfront certs trust` looks."""
    assert upped
    return lab.vagrant.state / "wsfront" / "certs" / "ca" / "ca.pem"


def opened(authority: Path, path: str, origin: str = ORIGIN) -> ClientConnection:
    """Open a socket as a page of this origin would."""
    return connect(
        f"wss://localhost:{HTTPS_PORT}{path}",
        ssl=ssl.create_default_context(cafile=authority),
        additional_headers={"Origin": origin},
        open_timeout=30 * SECOND,
        proxy=None,
    )


def test_up_ends_with_the_address_and_how_to_trust_it(upped: str) -> None:
    """The last lines of `vagrant up` say where it is, by the port of this host, and how to trust the authority."""
    assert changed(upped)
    address, trust = upped.strip().splitlines()[-2:]
    assert address.split() == ["wsfront:", "ready", f"{ORIGIN}/"]
    assert trust.endswith("until it trusts the authority: ./wsfront certs trust says how")


def test_page_and_its_certificate(authority: Path) -> None:
    """The page comes by TLS that the authority vouches for."""
    answer = requests.get(f"{ORIGIN}/", verify=str(authority), timeout=30 * SECOND)
    assert (answer.status_code, "wsfront-socket" in answer.text) == (200, True)


def test_plain_http_leads_to_the_forwarded_port(upped: str) -> None:
    """Plain HTTP redirects to the port of this host that leads to TLS, not to the machine's own."""
    assert upped
    answer = requests.get(f"http://localhost:{HTTP_PORT}/a?b=c", allow_redirects=False, timeout=30 * SECOND)
    assert (answer.status_code, answer.headers["Location"]) == (301, f"{ORIGIN}/a?b=c")


def test_echo_and_chat(authority: Path) -> None:
    """Sockets open from a page at the forwarded port: one echoes, and of two others one hears what the other says."""
    with opened(authority, "/ws/echo") as echo:
        echo.send("?")
        assert echo.recv(20 * SECOND) == "?"
    with opened(authority, "/ws/chat?room=r") as ada, opened(authority, "/ws/chat?room=r") as bob:
        ada.send(json.dumps({"type": "usermsg", "name": "Ada", "message": "Hello", "color": "#7c3aed"}))
        heard = json.loads(bob.recv(20 * SECOND))
    assert (heard["type"], heard["name"], heard["message"]) == ("usermsg", "Ada", "Hello")


@pytest.mark.parametrize("origin", ["https://evil.test", "https://localhost"])
def test_foreign_origin_is_refused(authority: Path, origin: str) -> None:
    """A page of somebody else's, or of another port, cannot open sockets."""
    with pytest.raises(InvalidStatus) as refused:
        opened(authority, "/ws/echo", origin)
    assert refused.value.response.status_code == 403


def test_units_are_active(lab: Lab, upped: str) -> None:
    """Apache, the backend and its socket are active, start with the machine, and nothing else has failed."""
    assert upped
    assert lab.vagrant.ssh(f"systemctl is-active {' '.join(UNITS)}").split() == ["active"] * 3
    assert set(lab.vagrant.ssh(f"systemctl is-enabled {' '.join(UNITS)}").split()) == {"enabled"}
    assert lab.vagrant.ssh("systemctl --failed --quiet --no-legend").strip() == ""


@pytest.mark.parametrize("unit", ["apache2.service", "wsfront-backend.service"])
def test_limits_are_in_force(lab: Lab, upped: str, unit: str) -> None:
    """What the units ask of systemd, the kernel holds: memory, tasks, and open files of the very process."""
    assert upped
    said = lab.vagrant.ssh(LIMITS.format(unit=unit)).replace("\r", "").splitlines()
    pairs = [line.split() for line in said]
    assert [name for name, *_ in pairs] == ["memory", "tasks", "files"]
    for name, asked, holds in pairs:
        assert asked.replace("infinity", "max") == holds, name
    # Without these two the test above would hold for a unit that asks for nothing.
    assert pairs[1][1] != "infinity"
    assert int(pairs[2][1]) > 1024


# Every line: what is limited, what the unit asks for, what the kernel says.
LIMITS = """
show() {{ systemctl show --value --property=$1 {unit}; }}
group=/sys/fs/cgroup$(show ControlGroup)
echo memory $(show MemoryMax) $(cat $group/memory.max)
echo tasks $(show TasksMax) $(cat $group/pids.max)
echo files $(show LimitNOFILESoft) $(sudo sed -n "s/^Max open files *[0-9]* *\\([0-9]*\\).*/\\1/p" /proc/$(show MainPID)/limits)
"""


def test_provisioning_again_changes_nothing(lab: Lab, upped: str) -> None:
    """`vagrant provision` changes nothing, and says once more where it is."""
    assert upped
    said = lab.vagrant.run("provision", seconds=600)
    assert changed(said) == [0]
    assert f"ready {ORIGIN}/" in said


def test_host_without_ansible(lab: Lab, upped: str) -> None:
    """Where the host has no Ansible, one inside runs the same playbook, in environments outside the shared folder."""
    assert upped
    # All of the playbook takes ten minutes where the processor is emulated; by these the machine is looked at and tried.
    lab.vagrant.ssh("echo ANSIBLE_RUN_TAGS=verify | sudo tee --append /etc/environment")
    # `vagrant rsync` knows the folders of the last start alone, and then there were none.
    lab.vagrant.run("reload", "--no-provision", has_ansible=False, seconds=400)
    said = lab.vagrant.run("provision", has_ansible=False, seconds=600)
    assert changed(said) == [0]
    trust = said.strip().splitlines()[-1]
    [command] = re.findall(r'vagrant ssh -c "(.+)" >wsfront-ca.pem', trust)
    assert "BEGIN CERTIFICATE" in lab.vagrant.ssh(command)
    assert lab.vagrant.ssh("ls /opt/wsfront-playbook").split() == ["ansible", "wsfront"]
    assert lab.vagrant.ssh("find /vagrant -name .venv -o -name __pycache__").strip() == ""


def test_destroy_leaves_nothing(lab: Lab, upped: str) -> None:
    """`vagrant destroy` takes the machine and its disk away, and frees the ports."""
    assert upped
    lab.vagrant.run("destroy", "--force", seconds=120)
    assert lab.hypervisor.virsh("list", "--all", "--name") == ""
    assert "project_wsfront" not in lab.hypervisor.virsh("vol-list", "default")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://localhost:{HTTP_PORT}/", timeout=5 * SECOND)
