"""Machines that the playbook has made into servers, and what a person would type to do that."""

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.hosts.clients import Visitor
from tests.hosts.lab import Lab
from tests.hosts.machines import Machine
from tests.hosts.plays import Ansible, Recap

NAME = "chat.test"
METRICS = "127.0.0.1:9888"
DESCRIPTION = f"server_name: {NAME}\nmetrics: {METRICS}\nwebsockets: [{{path: /ws/, connections: 500}}]\n"


@dataclass(frozen=True)
class Server:
    """A machine, the Ansible that looks after it, and those who visit the name that it serves."""

    machine: Machine
    ansible: Ansible
    folder: Path

    def play(self, *arguments: str | Path, also: Sequence[Machine] = (), **options: Any) -> Recap:
        """Run the playbook on the machine, and on others, to its end; see `Ansible.play`."""
        return self.ansible.play(self.machine, *also, arguments=[*self._given, *arguments], **options)

    def start(self, *arguments: str | Path, **options: Any) -> subprocess.Popen[str]:
        """Start a run of the playbook on the machine; see `Ansible.start`."""
        return self.ansible.start(self.machine, arguments=[*self._given, *arguments], **options)

    @property
    def _given(self) -> list[str]:
        """Return the arguments that say which description and which authority are meant."""
        return [
            "-e",
            json.dumps(
                {
                    "wsfront_sites": [str(self.description)],
                    "certificates_store": str(self.store),
                    "wsfront_doctor_address": self.machine.ipv4,
                }
            ),
        ]

    @property
    def description(self) -> Path:
        """Return where the description is."""
        return self.folder / "wsfront.yaml"

    @property
    def store(self) -> Path:
        """Return the folder of the local authority."""
        return self.folder / "certs"

    @property
    def visitor(self) -> Visitor:
        """Return somebody who comes over IPv4."""
        return Visitor(NAME, self.machine.ipv4, self.store / "ca" / "ca.pem")

    def main_process(self, unit: str) -> int:
        """Return the number of a service's main process, as the machine counts."""
        return int(self.machine.run("systemctl", "show", "--value", "--property=MainPID", unit))


def describe(lab: Lab, machine: Machine, program: Path, text: str = DESCRIPTION) -> Server:
    """Return a server-to-be, with its description written."""
    folder = lab.folder / f"server-{machine.ipv4}"
    folder.mkdir()
    server = Server(machine, lab.ansible(program), folder)
    server.description.write_text(text)
    return server


@dataclass
class Installed:
    """A server that was made from a bare Debian by one command, and is off for good: others start as it was."""

    suite: str
    server: Server
    first: Recap
    second: Recap

    @contextmanager
    def running(self, lab: Lab, **options: str) -> Iterator[Server]:
        """Boot a machine that is as this one was, with a description and an authority of its own; see `Lab.machine`."""
        with lab.machine(self.server.machine, NAME, **options) as machine:
            copy = describe(lab, machine, self.server.ansible.program)
            shutil.copytree(self.server.store, copy.store)
            yield copy


@contextmanager
def installed(lab: Lab, suite: str, program: Path) -> Iterator[Installed]:
    """Make a server from a bare Debian, run the playbook again, and turn the machine off."""
    with lab.machine(suite, NAME) as machine:
        server = describe(lab, machine, program)
        first, second = server.play(), server.play()
        machine.power_off()
        yield Installed(suite, server, first, second)
