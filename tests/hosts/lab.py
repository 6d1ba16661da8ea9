"""What a test run has for its machines: built roots, a folder, a network, a key, and the next free number."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts import roots, runs
from tests.hosts.machines import Machine
from tests.hosts.network import Network
from tests.hosts.plays import ROOT, Ansible

# Where the playbook finds what it packs for the machines, and which is got before: inside the network nothing can be.
STATE = roots.cache_directory().with_name("state")


class Lab:
    """Makes machines, and Ansibles that reach them."""

    def __init__(self, folder: Path, network: Network, built: dict[str, Path]) -> None:
        """Take the run's folder and network, and the root of each suite."""
        self.folder, self.network = folder, network
        self._roots = built
        self._numbers = itertools.count(10)
        self._key = folder / "key"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(self._key)]
        subprocess.run(command, check=True)

    @contextmanager
    def machine(self, start: str | Machine, name: str, **options: str) -> Iterator[Machine]:
        """Boot a fresh machine, and discard it in the end.

        Args:
            start: the suite of a bare Debian, or a machine that is off for good: then as that one was.
            name: by which Ansible knows it.
            options: those of `Machine`.
        """
        number = next(self._numbers)
        machine = Machine(
            name=name,
            layers=start.layers if isinstance(start, Machine) else [self._roots[start]],
            number=number,
            folder=self.folder / str(number),
            network=self.network,
            **options,
        )
        try:
            machine.prepare(self._key.with_suffix(".pub").read_text())
            machine.boot()
            yield machine
        finally:
            machine.discard()

    def ansible(self, program: Path) -> Ansible:
        """Return an Ansible that reaches the machines."""
        folder = self.folder / f"ansible-{next(self._numbers)}"
        return Ansible(program, network=self.network, folder=folder, key=self._key, state=STATE)


@contextmanager
def lab() -> Iterator[Lab]:
    """Set up, and clear away, all that a run needs."""
    built = {suite: roots.build(suite) for suite in roots.SUITES}
    for root in built.values():
        _bundle(root)
    with runs.run() as (folder, network):
        yield Lab(folder, network, built)


def _bundle(root: Path) -> None:
    """Pack the backend once for the Python of a root, so that the wheels for it are here."""
    asked = ["chroot", str(root), "python3", "-c", "import platform; print(platform.python_version())"]
    version = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    command = [sys.executable, "-m", "cli", "bundle", "--python", version]
    environment = os.environ | {"XDG_STATE_HOME": str(STATE)}
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
