"""Vagrant, as a person with a fresh copy of the project would type it: with or without an Ansible on the host."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.vagrant import box
from tests.vagrant.hypervisor import Hypervisor

ROOT = Path(__file__).parents[2]
HTTPS_PORT, HTTP_PORT = 8443, 8080  # the network is the run's own, so nobody else has them

_NOT_OURS = shutil.ignore_patterns(
    ".git", ".venv*", ".vagrant", "__pycache__", ".*_cache", ".hypothesis", "build"
)
_COUNTS = re.compile(r"\bchanged=(\d+)\b.*\bunreachable=0\b.*\bfailed=0\b")


class Vagrant:
    """A copy of the project, and a user with a home and a state of its own."""

    def __init__(self, folder: Path, hypervisor: Hypervisor) -> None:
        """Copy the project; nothing is started.

        Args:
            folder: for the copy and for what Vagrant keeps.
            hypervisor: where it runs.
        """
        self.project, self.state = folder / "project", folder / "state"
        self._folder, self._hypervisor = folder, hypervisor
        shutil.copytree(ROOT, self.project, ignore=_NOT_OURS, symlinks=True)
        (self.project / "wsfront.yaml").unlink(missing_ok=True)
        for name in ("home", "tools"):
            (folder / name).mkdir()
        for program in _programs():
            (folder / "tools" / program.name).symlink_to(program)

    def run(
        self, *arguments: str, has_ansible: bool = True, is_checked: bool = True, seconds: float = 60
    ) -> str:
        """Type a command, and return what it printed on both outputs.

        Args:
            arguments: what follows `vagrant`.
            has_ansible: whether the host has an Ansible: the one of our own environment.
            is_checked: fail where it fails.
            seconds: how long it may take.
        """
        command = ["vagrant", "--no-color", "--no-tty", *arguments]
        done = self._hypervisor.run(
            *command, seconds=seconds, environment=self.environment(has_ansible=has_ansible), cwd=self.project
        )
        output = re.sub(r"[^\n]*\r(?!\n)", "", done.stdout)  # what a progress bar had shown
        if is_checked and done.returncode:
            raise AssertionError(f"status {done.returncode} of vagrant {' '.join(arguments)}:\n{output}")
        return output

    def ssh(self, command: str) -> str:
        """Run a command inside the machine, and return what it printed."""
        return self.run("ssh", "--no-tty", "--command", command)

    def environment(self, *, has_ansible: bool) -> dict[str, str]:
        """Return all that a command sees of the environment."""
        tools = [Path(sys.executable).parent] if has_ansible else []
        return {
            "PATH": os.pathsep.join(map(str, [*tools, self._folder / "tools"])),
            "HOME": str(self._folder / "home"),
            "XDG_STATE_HOME": str(self.state),
            "LC_ALL": "C.UTF-8",
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "WSFRONT_BOX": box.NAME,
            "WSFRONT_MEMORY": "1536",
            "WSFRONT_VENV": str(ROOT / ".venv"),
        }

    def prepare_wheels(self) -> None:
        """Download what the playbook packs for the machine: Vagrant itself runs where there is no way out."""
        command: list[str | Path] = [ROOT / "wsfront", "bundle", "--python", box.PYTHON]
        subprocess.run(
            command, env=os.environ | self.environment(has_ansible=True), check=True, capture_output=True
        )


def _programs() -> list[Path]:
    """Return this host's programs but for Ansible's, as PATH would find them."""
    found: dict[str, Path] = {}
    for folder in map(Path, os.environ["PATH"].split(os.pathsep)):
        if folder.is_dir() and folder != Path(sys.executable).parent:
            for program in folder.iterdir():
                found.setdefault(program.name, program)
    return [program for name, program in found.items() if not name.startswith("ansible")]


def changed(output: str) -> list[int]:
    """Return how much each playbook in an output changed; nothing of those that failed."""
    return [int(count) for count in _COUNTS.findall(output)]
