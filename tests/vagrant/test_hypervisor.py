"""The run's own libvirt: it comes, and nothing of it outlives the run."""

import signal
import subprocess
import sys
from pathlib import Path

from tests.hosts.network import Network
from tests.hosts.runs import RUNS, sweep
from tests.processes import processes_of
from tests.vagrant.conftest import Lab
from tests.vagrant.vagrant import ROOT
from tests.waiting import SECOND, until

# Says its run's name and how far it is, and waits to be killed.
VICTIM = """
import sys
from tests.hosts import runs
from tests.vagrant.hypervisor import hypervisor
with runs.run() as (folder, network), hypervisor(folder, network):
    print(folder.name, flush=True)
    sys.stdin.read()
"""


def test_killed_run_leaves_nothing() -> None:
    """When a run is killed, its libvirt ends at once, and its files and its network go with the next start."""
    command = [sys.executable, "-c", VICTIM]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as victim:
        assert victim.stdout is not None
        name = victim.stdout.readline().strip()
        assert name
        assert processes_of(RUNS / name)
        victim.send_signal(signal.SIGKILL)
        victim.wait(10 * SECOND)
    until(lambda: not processes_of(RUNS / name), 10)
    sweep()
    assert not (RUNS / name).exists()
    assert not Network(name).path.exists()


def test_own_libvirt_is_out_of_sight(lab: Lab) -> None:
    """The run's libvirt has its sockets, networks and images for itself."""
    assert lab.hypervisor.virsh("pool-list", "--all", "--name").strip() in {"", "default"}
    seen = lab.hypervisor.run("ls", "/var/lib/libvirt/images", seconds=10).stdout
    here = {path.name for path in Path("/var/lib/libvirt/images").iterdir()}
    assert here.isdisjoint(seen.split())
