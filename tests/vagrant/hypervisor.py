"""A libvirt of a test run's own, in namespaces of its own: no other libvirt sees it, and all of it ends with the run.

Mounts, processes and the network are the run's; when its first process ends, by whatever, the kernel ends the rest, virtual
machines included. Knows nothing of Vagrant.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.hosts.network import Network
from tests.waiting import SECOND, until

URI = "qemu:///system"

# Argument: the folder of the run. The shell stays as first process, so that QEMU, which detaches itself, is reaped.
_SUPERVISOR = """
# The network's own view of devices, which bridges need; cgroups are out of sight then, and libvirt does without.
mount -t sysfs sysfs /sys
for folder in /run /etc/libvirt /var/lib/libvirt /var/log/libvirt /var/cache/libvirt; do
    mount -t tmpfs tmpfs "$folder"
done
mkdir -p /run/lock /var/lib/libvirt/images "$1/images"
mount --bind "$1/images" /var/lib/libvirt/images
cat >/etc/libvirt/qemu.conf <<EOF
user = "root"
group = "root"
dynamic_ownership = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
EOF
cat >/etc/libvirt/libvirtd.conf <<EOF
auth_unix_rw = "none"
auth_unix_ro = "none"
EOF
libvirtd
exit
"""


class Hypervisor:
    """A running libvirt, and the way to run programs beside it."""

    def __init__(self, leader: int) -> None:
        """Take the first process of the namespaces."""
        self._leader = leader

    def run(
        self,
        *command: str | Path,
        seconds: float,
        environment: Mapping[str, str] | None = None,
        cwd: Path = Path("/"),
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; both its outputs are one stream.

        Args:
            command: the program and its arguments.
            seconds: how long it may take, in units of `SECOND`.
            environment: all that it has of that.
            cwd: where it starts.
        """
        nsenter = ["nsenter", f"--target={self._leader}", "--mount", "--net", "--pid", f"--wd={cwd}"]
        try:
            return subprocess.run(
                [*nsenter, *command],
                env=dict(environment or {"PATH": os.environ["PATH"]}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                check=False,
                timeout=seconds * SECOND,
            )
        except subprocess.TimeoutExpired as error:
            said = (error.stdout or b"").decode(errors="replace")
            raise AssertionError(f"{' '.join(map(str, command))}: not within {seconds} s:\n{said}") from None

    def virsh(self, *arguments: str) -> str:
        """Ask libvirt."""
        done = self.run("virsh", "--connect", URI, "--quiet", *arguments, seconds=30)
        if done.returncode:
            raise OSError(f"virsh {' '.join(arguments)}: {done.stdout.strip()}")
        return done.stdout.strip()


@contextmanager
def hypervisor(folder: Path, network: Network) -> Iterator[Hypervisor]:
    """Run libvirt, with its images in a folder, inside a network."""
    command = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--mount",
        "--propagation=private",
        "--pid",
        "--fork",
    ]
    command += ["--kill-child", "--mount-proc", "sh", "-euc", _SUPERVISOR, "sh", str(folder)]
    log = folder / "libvirtd.log"
    with network.entered(), log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ["PATH"]},
        )
    try:
        yield _await(process, log)
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace"))
        raise
    finally:
        # The first process ignores all but this; the rest goes with it.
        process.kill()
        process.wait()


def _await(process: subprocess.Popen[bytes], log: Path) -> Hypervisor:
    """Return once libvirt answers."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

    def up() -> Hypervisor | None:
        if process.poll() is not None:
            raise RuntimeError(f"libvirtd did not start:\n{log.read_text(errors='replace')}")
        child = children.read_text()
        if not child:
            return None
        found = Hypervisor(int(child))
        return found if found.run("virsh", "--connect", URI, "uri", seconds=10).returncode == 0 else None

    found = until(up, 60)
    assert found is not None
    return found
