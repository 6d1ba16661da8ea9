"""Machines for the tests of this folder, and what drives them. Each test runs inside the machines' network."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.hosts.lab import Lab
from tests.hosts.lab import lab as set_up
from tests.hosts.machines import Machine

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
