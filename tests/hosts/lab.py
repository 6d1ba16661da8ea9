"""What a test run has for its machines: built roots, a folder, a network, a key, and the next free number."""

import itertools
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts import roots, runs
from tests.hosts.machines import Machine
from tests.hosts.network import Network
from tests.hosts.plays import Ansible


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
    def machine(self, suite: str, name: str, *, disk: str = "", is_cold: bool = False) -> Iterator[Machine]:
        """Boot a fresh machine, and discard it in the end.

        Args:
            suite: the Debian that it runs.
            name: its host name.
            disk: its size, as mount(8) writes it for a tmpfs; none: that of this machine's.
            is_cold: leave it off.
        """
        number = next(self._numbers)
        machine = Machine(
            name=name,
            root=self._roots[suite],
            number=number,
            folder=self.folder / str(number),
            network=self.network,
            disk=disk,
        )
        try:
            machine.prepare(self._key.with_suffix(".pub").read_text())
            if not is_cold:
                machine.boot()
            yield machine
        finally:
            machine.discard()

    def ansible(self, program: Path) -> Ansible:
        """Return an Ansible that reaches the machines."""
        folder = self.folder / f"ansible-{next(self._numbers)}"
        return Ansible(program, network=self.network, folder=folder, key=self._key)


@contextmanager
def lab() -> Iterator[Lab]:
    """Set up, and clear away, all that a run needs."""
    built = {suite: roots.build(suite) for suite in roots.SUITES}
    with runs.run() as (folder, network):
        yield Lab(folder, network, built)
