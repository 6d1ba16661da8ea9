"""`doctor --server` on a real Debian that the playbook made: all is well there, and what no longer is gets named."""

import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.machines import Machine
from tests.hosts.plays import ROOT
from tests.hosts.servers import Server
from tests.waiting import SECOND

SUITES = {(3, 11): "bookworm", (3, 13): "trixie"}
PLACE = "/opt/doctor"
FOLDERS = ("apache", "certs", "cli", "doctor", "server", "bench")
LOCKED = re.compile(r"^([a-z0-9-]+)==", re.MULTILINE)


@pytest.fixture
def suite() -> str:
    """Name the Debian whose Python is the one that runs this: what is installed here runs there."""
    suite = SUITES.get(sys.version_info[:2])
    if suite is None:
        pytest.skip(f"the packages here are for a Python that is none of {SUITES}")
    return suite


@pytest.fixture
def server(lab: Lab, suite: str, request: pytest.FixtureRequest) -> Iterator[Server]:
    """Run a server with the command laid on it."""
    with request.getfixturevalue(suite).running(lab) as made:
        lay(made.machine)
        yield made


def lay(machine: Machine) -> None:
    """Lay the command on a machine, and all that it needs."""
    place = machine.path(PLACE)
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, place / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in LOCKED.findall((ROOT / "requirements/run.txt").read_text()):
        packages(name, place)


def packages(name: str, place: Path) -> None:
    """Lay a package on a machine, as it is installed here."""
    try:
        files = importlib.metadata.files(name) or []
    except importlib.metadata.PackageNotFoundError:
        return  # for another Python than this
    for file in files:
        if ".." not in file.parts and file.suffix != ".pyc":
            target = place.joinpath(*file.parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(file.locate()), target)


def examined(machine: Machine) -> dict[str, Any]:
    """Return what `doctor --server --json` says on a machine."""
    command = f"cd {PLACE} && PYTHONDONTWRITEBYTECODE=1 python3 -m cli doctor --server --json"
    found: dict[str, Any] = json.loads(machine.run("sh", "-c", command, is_checked=False))
    return found


def test_server_on_itself(server: Server) -> None:
    """On the machine nothing is found, all is checked, and it takes less than five seconds; a backend that is stopped is named."""
    found = examined(server.machine)
    print(json.dumps(found, indent=1))  # noqa: T201 # what is read when it fails
    assert found["findings"] == []
    assert found["not_checked"] == []
    assert found["seconds"] < 5 * SECOND
    seen = {check["name"]: check["seen"] for check in found["checks"]}
    assert "101 Switching Protocols" in seen["backend"]
    assert seen["reloads"].startswith("logrotate, daily")
    server.machine.run("sh", "-c", "systemctl stop 'wsfront*.socket' 'wsfront*.service'")
    assert [finding["id"] for finding in examined(server.machine)["findings"]] == ["backend-down"]


def test_stock_apache(boot: Boot, suite: str) -> None:
    """Apache as Debian installs it, without sockets, has nothing to be found; one that is stopped is named."""
    machine = boot(suite, "stock")
    machine.run("sh", "-c", "apt-get -qq update && apt-get -qq install -y --no-install-recommends apache2")
    lay(machine)
    found = examined(machine)
    assert found["findings"] == []
    machine.run("systemctl", "stop", "apache2")
    assert [finding["id"] for finding in examined(machine)["findings"]] == ["server-not-running"]
