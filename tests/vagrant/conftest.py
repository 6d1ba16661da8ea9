"""One virtual machine for all tests of this folder: brought up by `vagrant up`, with the Ansible of this host."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import runs
from tests.hosts.network import Network
from tests.vagrant import box
from tests.vagrant.hypervisor import Hypervisor, hypervisor
from tests.vagrant.vagrant import Vagrant

NEEDS = ("mounts", "mmdebstrap", "ip", "ssh", "vagrant", "libvirt", "dnsmasq", "qemu")


@dataclass(frozen=True)
class Lab:
    """What the tests share."""

    network: Network
    hypervisor: Hypervisor
    vagrant: Vagrant


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name what every test here needs, and give it time to emulate."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.needs(*NEEDS))
            item.add_marker(pytest.mark.timeout(1200))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Run libvirt, and have Vagrant know the box."""
    with runs.run() as (folder, network), hypervisor(folder, network) as libvirt:
        vagrant = Vagrant(folder, libvirt)
        vagrant.prepare_wheels()
        vagrant.run("box", "add", "--name", box.NAME, str(box.build(folder)), seconds=120)
        yield Lab(network, libvirt, vagrant)


@pytest.fixture(autouse=True)
def inside(lab: Lab) -> Iterator[None]:
    """Run the test inside the network, where the forwarded ports are."""
    with lab.network.entered():
        yield


@pytest.fixture(scope="session")
def upped(lab: Lab) -> str:
    """Type `vagrant up`, and return what it said."""
    return lab.vagrant.run("up", seconds=900)
