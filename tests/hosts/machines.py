"""Debian machines for tests: booted by systemd-nspawn on a run's own network, and gone with the run, however it ends.

A machine writes into a layer of its own above the root that it starts from; the layer lasts until the machine is
discarded, reboots and power cuts included. Knows nothing of playbooks.
"""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hosts.network import BRIDGE, Network, addresses
from tests.waiting import SECOND, until

CGROUPS = [path for path in map(Path, ("/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified")) if path.is_dir()]
_HAS_SYSTEMD = Path("/run/systemd/system").is_dir()

# Runs as the first process of namespaces of its own, so that no mount and no process outlives it.
# Arguments: the machine's folder, the layers it starts from, the size of its disk or nothing, the files of its cgroups,
# then systemd-nspawn and its arguments. Under --keep-unit nspawn asks by status 133 for the reboot.
_SUPERVISOR = """
folder=$1 lower=$2 size=$3 cgroups=$4
shift 4
for file in $cgroups; do echo $$ >"$file"; done
mkdir -p /run/systemd/nspawn "$folder/system"
mount -t tmpfs tmpfs /run/systemd/nspawn
# Without waiting for the disk at every sync, which is what makes apt slow; the next mount needs a new work directory.
if [ -n "$size" ]; then mount -t tmpfs -o "size=$size,mode=755" tmpfs "$folder/disk"; fi
rm -rf "$folder/disk/work"
mkdir -p "$folder/disk/files" "$folder/disk/work"
cp -a "$folder/first/." "$folder/disk/files"
layers="volatile,lowerdir=$lower,upperdir=$folder/disk/files,workdir=$folder/disk/work"
mount -t overlay -o "$layers" overlay "$folder/system"
while :; do
    status=0
    "$@" || status=$?
    [ "$status" = 133 ] || exit "$status"
done
"""

_NETWORK = """\
[Match]
Name=host0

[Network]
IPv6AcceptRA=no

[Address]
Address={}

[Address]
Address={}
DuplicateAddressDetection=none
"""


class Machine:
    """One Debian system, running or not."""

    def __init__(
        self,
        *,
        name: str,
        layers: Sequence[Path],
        number: int,
        folder: Path,
        network: Network,
        hostname: str = "",
        disk: str = "",
    ) -> None:
        """Take what the machine is made of; nothing runs yet.

        Args:
            name: by which Ansible knows it.
            layers: what it starts from: folders, an upper one before those below.
            number: its place in the network, from 2 on.
            folder: where its files go: its own.
            network: where it hangs.
            hostname: what it calls itself; none: something that is no site's name.
            disk: its size, as mount(8) writes it for a tmpfs; none: that of this machine's.
        """
        self.name, self._hostname = name, hostname or f"host{number}"
        self.ipv4, self.ipv6 = (address.partition("/")[0] for address in addresses(number))
        self._below, self._number, self._disk = layers, number, disk
        self._folder, self._network = folder, network
        self._cgroups = [] if _HAS_SYSTEMD else [path / f"{network.name}.{number}" for path in CGROUPS]
        self._process: subprocess.Popen[bytes] | None = None
        self._leader = 0
        self._notices: socket.socket | None = None

    def prepare(self, authorized_key: str) -> None:
        """Lay out what distinguishes this machine from any other with the same root."""
        first = self._folder / "first"
        (self._folder / "disk").mkdir(parents=True)
        hosts = f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {self._hostname}\n"
        texts = {
            "etc/hostname": f"{self._hostname}\n",
            "etc/hosts": hosts,
            "etc/systemd/network/10-host0.network": _NETWORK.format(*addresses(self._number)),
            "root/.ssh/authorized_keys": authorized_key,
        }
        for name, text in texts.items():
            path = first / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in ("root", "root/.ssh"):
            (first / folder).chmod(0o700)
        unit = first / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
        unit.parent.mkdir(parents=True)
        unit.symlink_to("/usr/lib/systemd/system/systemd-networkd.service")

    def boot(self) -> None:
        """Start the machine and wait until it is up.

        Has to be called in the main thread: the kernel ends the machine with the thread that started it.
        """
        for cgroup in self._cgroups:
            cgroup.mkdir(exist_ok=True)
        place = self._listen()
        nspawn = ["systemd-nspawn", "--quiet", "--boot", f"--directory={self._folder / 'system'}"]
        nspawn += [f"--machine=wsfront{self._number}", f"--hostname={self._hostname}", "--register=no"]
        nspawn += [*([] if _HAS_SYSTEMD else ["--keep-unit"]), f"--network-bridge={BRIDGE}"]
        nspawn += [
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            "--console=pipe",
            "--notify-ready=yes",
        ]
        cgroups = " ".join(str(path / "cgroup.procs") for path in self._cgroups)
        supervisor = [
            "sh",
            "-euc",
            _SUPERVISOR,
            "sh",
            str(self._folder),
            ":".join(map(str, self._below)),
            self._disk,
            cgroups,
        ]
        command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation=private", "--pid"]
        command += ["--fork", "--kill-child", "--mount-proc", *supervisor]
        with self._network.entered(), (self._folder / "console").open("ab") as console:
            self._process = subprocess.Popen(
                [*command, *nspawn],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(place)},
            )
        self._wait()

    def reboot(self) -> None:
        """Reboot from inside and wait until the machine is up again."""
        self._listen()
        self.run("systemctl", "reboot")
        self._wait()

    def power_off(self) -> None:
        """Shut down from inside and wait until the machine is off."""
        assert self._process is not None
        self.run("systemctl", "poweroff")
        self._process.wait(60 * SECOND)
        self._forget()

    def cut(self) -> None:
        """Take the power away."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._network.unplug(f"vb-wsfront{self._number}")
            self._forget()

    def discard(self) -> None:
        """Take the power away and remove the machine's files."""
        self.cut()
        for cgroup in self._cgroups:
            clear_cgroup(cgroup)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *command: str, stdin: str | None = None, is_checked: bool = True) -> str:
        """Run a command as root and return what it printed on both outputs.

        Args:
            command: the program and its arguments.
            stdin: what it reads; None: nothing.
            is_checked: fail where it fails.
        """
        environment = ["HOME=/root", "LANG=C.UTF-8", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"]
        nsenter = ["nsenter", f"--target={self._leader}", "--all", "env", "-i", *environment]
        done = subprocess.run(
            [*nsenter, *command],
            input=stdin or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=90 * SECOND,
        )
        if is_checked and done.returncode:
            raise RuntimeError(f"{self.name}: {' '.join(command)}: status {done.returncode}\n{done.stdout}")
        return done.stdout

    def path(self, name: str) -> Path:
        """Return where a file of the running machine is seen from here; links are followed here, too."""
        return Path(f"/proc/{self._leader}/root") / name.lstrip("/")

    @property
    def layers(self) -> list[Path]:
        """Return what another machine may start from once this one is off for good: all that it was and has written."""
        return [self._folder / "disk" / "files", *self._below]

    @property
    def console(self) -> str:
        """Return all that nspawn and the machine's console said."""
        return (self._folder / "console").read_text(errors="replace")

    def _listen(self) -> Path:
        """Open the socket at which nspawn and the machine tell how it goes."""
        place = self._folder / "notify"
        place.unlink(missing_ok=True)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._notices.bind(str(place))
        return place

    def _wait(self) -> None:
        """Wait for the machine's own word that it is up."""
        assert self._process is not None
        assert self._notices is not None
        self._notices.settimeout(1)
        self._leader, is_ready = 0, False

        def is_told() -> bool:
            nonlocal is_ready
            assert self._process is not None
            assert self._notices is not None
            if self._process.poll() is not None:
                raise RuntimeError(f"{self.name} did not boot:\n{self.console}")
            try:
                said, [(_, _, credentials), *_], *_ = self._notices.recvmsg(4096, 128)
            except TimeoutError:
                return False
            lines = said.decode().splitlines()
            # The number named is that of nspawn's own namespace; the sender's is translated by the kernel.
            if any(line.startswith("X_NSPAWN_LEADER_PID=") for line in lines):
                self._leader, is_ready = _child(int.from_bytes(credentials[:4], sys.byteorder)), False
            is_ready = is_ready or "READY=1" in lines
            return is_ready and self._leader > 0

        until(is_told, 60)
        # The machine goes on telling. Where nobody reads, its first process stands still once the queue is full.
        self._notices.close()
        state = self.run("systemctl", "is-system-running", "--wait", is_checked=False).strip()
        if state not in {"running", "degraded"}:
            raise RuntimeError(f"{self.name} is {state}:\n{self.console}")

    def _forget(self) -> None:
        self._process, self._leader = None, 0
        if self._notices is not None:
            self._notices.close()


def _child(process: int) -> int:
    """Return the only child of a process."""
    return int(Path(f"/proc/{process}/task/{process}/children").read_text())


def clear_cgroup(cgroup: Path) -> None:
    """Kill what runs in a cgroup and below it, and remove it."""
    if not cgroup.is_dir():
        return

    def is_empty() -> bool:
        processes = list(_processes(cgroup))
        for process in processes:
            # The process may end by itself meanwhile.
            subprocess.run(["kill", "-KILL", str(process)], capture_output=True, check=False)
        return not processes

    until(is_empty, 10)
    for folder in sorted((path for path in cgroup.rglob("*") if path.is_dir()), reverse=True):
        folder.rmdir()
    cgroup.rmdir()


def _processes(cgroup: Path) -> Iterator[int]:
    for file in (cgroup / "cgroup.procs", *cgroup.rglob("cgroup.procs")):
        yield from map(int, file.read_text().split())
