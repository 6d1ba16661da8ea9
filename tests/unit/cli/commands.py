"""Run the command as a user does, and see what it leaves behind."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from apache.httpd import free_ports
from tests.processes import processes_of
from tests.waiting import SECOND, until

ROOT = Path(__file__).parents[3]
COMMAND = (sys.executable, "-m", "cli")


def wsfront(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end."""
    command = [*COMMAND, *map(str, arguments)]
    options = {"capture_output": True, "text": True, "timeout": 60 * SECOND, "cwd": ROOT, **options}
    return subprocess.run(command, check=False, **options)


def in_its_own_mounts(setup: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a verb after some lines of shell, in a mount namespace that nobody else sees (unshare(1))."""
    script = f'set -e\n{setup}\nexec "$@"\n'
    command = ["unshare", "-m", "sh", "-c", script, "sh", *COMMAND, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60 * SECOND)


def own_ports() -> list[str]:
    """Return the options that take free ports: for https, http and the backend."""
    options = ("--https-port", "--http-port", "--backend-port")
    return [str(word) for pair in zip(options, free_ports(3), strict=True) for word in pair]


class Up:
    """Hold a running `up`: its process, folder and ports.

    Attributes:
        process: what the launcher would have become.
        folder: its --dir.
        ports: https, http and backend.
    """

    def __init__(self, folder: Path, *arguments: str | Path, site: str = "server_name: localhost\n") -> None:
        self.folder = folder / "up"
        options = own_ports()
        self.ports = [int(port) for port in options[1::2]]
        description = folder / "site.yaml"
        description.write_text(site, encoding="utf-8")
        self.process = subprocess.Popen(
            [*COMMAND, "up", "--site", description, "--dir", self.folder, *options, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )

    @property
    def url(self) -> str:
        """Return the address that `up` prints."""
        return f"https://localhost:{self.ports[0]}/"

    def ready(self) -> str:
        """Return the first line of its standard output."""
        assert self.process.stdout
        return self.process.stdout.readline()

    def children(self) -> dict[str, int]:
        """Return its children, by what they are."""
        names = {"-DFOREGROUND": "apache", "server": "backend"}
        found: dict[str, int] = {}
        for number in processes_of(self.folder):
            try:
                words = Path(f"/proc/{number}/cmdline").read_text().split("\0")
                parent = int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == self.process.pid:
                found |= {name: number for word, name in names.items() if word in words}
        return found

    def end(self) -> tuple[int, str, str]:
        """Wait for its end; return its status and what else it said."""
        out, err = self.process.communicate(timeout=30 * SECOND)
        return self.process.returncode, out, err

    def nothing_left(self) -> bool:
        """Tell whether no process and no port of it is left."""
        listening = {int(line.split()[1].rpartition(":")[2], 16) for line in _listening()}
        return not processes_of(self.folder) and not listening & set(self.ports)


def _listening() -> Iterator[str]:
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            if line.split()[3] == "0A":  # TCP_LISTEN
                yield line


@contextmanager
def up(folder: Path, *arguments: str | Path, site: str = "server_name: localhost\n") -> Iterator[Up]:
    """Start `up` in a folder, and leave nothing of it behind whatever the test does."""
    running = Up(folder, *arguments, site=site)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        for stream in (running.process.stdout, running.process.stderr):
            if stream:
                stream.close()
        until(running.nothing_left, 15)


def environment(**more: str) -> dict[str, str]:
    """Return this environment with a few variables changed."""
    return {**os.environ, **more}
