"""Machines for the tests of this folder, and what drives them. Each test runs inside the machines' network."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hosts import servers
from tests.hosts.lab import Lab
from tests.hosts.lab import lab as set_up
from tests.hosts.machines import Machine
from tests.hosts.plays import DEBIANS, OURS
from tests.hosts.servers import Installed, Server

Boot = Callable[..., Machine]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name what every test here needs, and give it time to boot and to install."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.needs("mounts", "mmdebstrap", "nspawn", "ip", "ssh", "ansible"))
            item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """Set up what all machines of the run share."""
    with set_up() as instance:
        yield instance


@pytest.fixture(autouse=True)
def inside(lab: Lab) -> Iterator[None]:
    """Run the test inside the network: clients and browsers reach the machines, and nothing else."""
    with lab.network.entered():
        yield


@pytest.fixture
def boot(lab: Lab) -> Iterator[Boot]:
    """Boot fresh machines for one test alone; the arguments are those of `Lab.machine`."""
    with ExitStack() as machines:
        yield lambda *args, **options: machines.enter_context(lab.machine(*args, **options))


@pytest.fixture(scope="session")
def bookworm(lab: Lab) -> Iterator[Installed]:
    """Make a server of Debian 12, with Debian's own Ansible."""
    with servers.installed(lab, "bookworm", DEBIANS) as instance:
        yield instance


@pytest.fixture(scope="session")
def trixie(lab: Lab) -> Iterator[Installed]:
    """Make a server of Debian 13, with our Ansible."""
    with servers.installed(lab, "trixie", OURS) as instance:
        yield instance


@pytest.fixture(scope="session")
def bookworm_server(lab: Lab, bookworm: Installed) -> Iterator[Server]:
    """Run one for all tests that only look."""
    with bookworm.running(lab) as server:
        yield server


@pytest.fixture(scope="session")
def trixie_server(lab: Lab, trixie: Installed) -> Iterator[Server]:
    """Run one for all tests that only look."""
    with trixie.running(lab) as server:
        yield server


@pytest.fixture(params=["bookworm", "trixie"])
def installed(request: pytest.FixtureRequest) -> Installed:
    """Return what the playbook made, on each Debian."""
    made: Installed = request.getfixturevalue(request.param)
    return made


@pytest.fixture
def shared(request: pytest.FixtureRequest, installed: Installed) -> Server:
    """Return a running server, to look at and leave as it is."""
    server: Server = request.getfixturevalue(f"{installed.suite}_server")
    return server


@pytest.fixture
def server(lab: Lab, installed: Installed) -> Iterator[Server]:
    """Return a running server of the test's own."""
    with installed.running(lab) as server:
        yield server
