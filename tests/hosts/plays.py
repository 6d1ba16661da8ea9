"""Runs of a playbook against test machines, over ssh, as a person would start them; and what came of them.

Knows nothing of what the playbook does.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.hosts.machines import Machine
from tests.hosts.network import Network
from tests.waiting import SECOND

ROOT = Path(__file__).parents[2]
DEBIANS = Path("/usr/bin/ansible-playbook")
OURS = Path(sys.executable).with_name("ansible-playbook")

_COUNTS = re.compile(r"^(\S+)\s+: ((?:\w+=\d+[ \t]*)+)$", re.MULTILINE)
_PAIR = re.compile(r"(\w+)=(\d+)")


@dataclass(frozen=True)
class Recap:
    """What a run came to: its exit status, all it printed, the seconds it took, and each host's counts."""

    status: int
    output: str
    seconds: float
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """Return how many tasks changed something, over all hosts."""
        return sum(counts["changed"] for counts in self.hosts.values())

    @property
    def said(self) -> str:
        """Return all it printed with single spaces: long lines of Ansible's are folded."""
        return " ".join(self.output.split())

    @property
    def tasks_changed(self) -> list[str]:
        """Return the names of the tasks that changed something."""
        tasks = re.split(r"^(?:TASK|RUNNING HANDLER) \[", self.output, flags=re.MULTILINE)[1:]
        return [task.partition("]")[0] for task in tasks if re.search(r"^changed: ", task, re.MULTILINE)]


class Ansible:
    """One Ansible, and the way by ssh to the machines of a network."""

    def __init__(self, program: Path, *, network: Network, folder: Path, key: Path, state: Path) -> None:
        """Take what is needed for a run.

        Args:
            program: the ansible-playbook.
            network: where it runs.
            folder: for its own files.
            key: the secret key that the machines let in.
            state: for what wsfront itself keeps where a playbook runs: here, wheels for the machines.
        """
        self.program = program
        self._state = state
        self._network, self._folder, self._key = network, folder, key
        folder.mkdir(parents=True, exist_ok=True)

    def play(
        self,
        *machines: Machine,
        arguments: Sequence[str | Path] = (),
        is_checked: bool = True,
        **options: Any,
    ) -> Recap:
        """Run a playbook to its end.

        Args:
            machines: see `start`.
            arguments: see `start`.
            is_checked: fail where the run fails.
            options: see `start`.
        """
        start = time.monotonic()
        with self.start(*machines, arguments=arguments, **options) as process:
            try:
                output, _ = process.communicate(timeout=540 * SECOND)
            except BaseException:
                process.kill()
                raise
        recap = Recap(process.returncode, output, time.monotonic() - start, _counts(output))
        self._hang_up()
        if is_checked and recap.status:
            raise AssertionError(f"status {recap.status} of {process.args!r}:\n{recap.output}")
        return recap

    def start(
        self,
        *machines: Machine,
        playbook: str = "site.yml",
        inventory: Path | None = None,
        user: str = "root",
        project: Path = ROOT,
        arguments: Sequence[str | Path] = (),
    ) -> subprocess.Popen[str]:
        """Start a run; its output is one stream of text.

        Args:
            machines: those that may be reached; without an inventory, also those that are meant.
            playbook: its name in `ansible/`.
            inventory: a file; none: the machines, by their names.
            user: who logs in.
            project: where it is run from: this project, or a changed copy of it.
            arguments: whatever else ansible-playbook takes.
        """
        where = str(inventory) if inventory else "".join(f"{machine.name}," for machine in machines)
        ssh = f"-F {self._config(machines)}"
        with self._network.entered():
            return subprocess.Popen(
                [self.program, playbook, "-i", where, "-u", user, "--ssh-common-args", ssh, *arguments],
                cwd=project / "ansible",
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def _config(self, machines: Sequence[Machine]) -> Path:
        """Write what ssh has to know."""
        blocks = [f"Host {machine.name}\n    HostName {machine.ipv4}\n" for machine in machines]
        path = self._folder / "ssh_config"
        path.write_text("".join(blocks) + _EVERY_HOST.format(key=self._key))
        return path

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
        return kept | {
            "WSFRONT_VENV": sys.prefix,
            "LC_ALL": "C.UTF-8",
            "XDG_STATE_HOME": str(self._state),
            "ANSIBLE_HOME": str(self._folder),
            "ANSIBLE_LOCAL_TEMP": str(self._folder / "tmp"),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._controls),
        }

    @property
    def _controls(self) -> Path:
        return self._folder / "ssh"

    def _hang_up(self) -> None:
        """End the connections that ssh keeps: a machine that reboots would leave them half open."""
        for path in self._controls.glob("*"):
            command = ["ssh", "-F", "none", "-o", f"ControlPath={path}", "-O", "exit", "nobody"]
            subprocess.run(command, capture_output=True, check=False)


_EVERY_HOST = """\
Host *
    IdentityFile {key}
    IdentitiesOnly yes
    StrictHostKeyChecking no
    UserKnownHostsFile /dev/null
    LogLevel ERROR
    ConnectTimeout 10
"""


def _counts(output: str) -> dict[str, dict[str, int]]:
    """Return each host's line of PLAY RECAP."""
    found = _COUNTS.findall(output.rpartition("PLAY RECAP")[2])
    return {host: {key: int(count) for key, count in _PAIR.findall(counts)} for host, counts in found}
