"""The folder of a test run with machines, and what runs that died have left behind.

A run holds a lock on its folder for as long as it lives. Whatever bears the name of a folder that nobody holds is
removed; what a living run has is never touched.
"""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.machines import CGROUPS, clear_cgroup
from tests.hosts.network import Network

RUNS = Path("/var/tmp/wsfront-hosts")  # noqa: S108 # on a disk, and short enough for sockets
PREFIX = "wsfront-"


@contextmanager
def run() -> Iterator[tuple[Path, Network]]:
    """Give a run its folder and its network, and clear away both; first clear away what dead runs have left."""
    RUNS.mkdir(mode=0o700, exist_ok=True)
    with (RUNS / "lock").open("w") as door:
        fcntl.flock(door, fcntl.LOCK_EX)
        sweep()
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=RUNS))
        lock = (folder / "lock").open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    network = Network(folder.name)
    try:
        network.open()
        yield folder, network
    finally:
        lock.close()
        with (RUNS / "lock").open("w") as door:
            fcntl.flock(door, fcntl.LOCK_EX)
            sweep()


def sweep() -> None:
    """Remove all that belongs to runs that are over."""
    for folder in RUNS.glob(f"{PREFIX}*"):
        with (folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            for parent in CGROUPS:
                for cgroup in parent.glob(f"{folder.name}.*"):
                    clear_cgroup(cgroup)
            if Network(folder.name).path.exists():
                _end_clients(folder.name)
                Network(folder.name).close()
            shutil.rmtree(folder)


def _end_clients(namespace: str) -> None:
    """End what still runs in a network: browsers, ssh's lingering connections."""
    found = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=True)
    for process in found.stdout.split():
        # It may have ended by itself meanwhile.
        subprocess.run(["kill", "-KILL", process], capture_output=True, check=False)
