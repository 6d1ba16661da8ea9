"""A Vagrant box for libvirt, made of a Debian root: its disk, its kernel, and how to boot that without a boot loader.

Knows nothing of what will be provisioned. Under KVM where a kernel really boots by it, under QEMU's own emulation elsewhere.
"""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from cli.wheels import Package, Server, collect, select
from tests.hosts import roots
from tests.waiting import SECOND

NAME = "wsfront-test"
SUITE, PYTHON = "trixie", "3.13"
USER = 1000

# What a box has beside a fresh server: a kernel, and what the usual ones bring for Vagrant and Ansible.
_INCLUDE = (*roots.SERVER, "linux-image-cloud-amd64", "initramfs-tools", "zstd", "rsync", "python3-apt")
_ARCHIVE = ("apache2", "ssl-cert", "python3-venv", "nftables", "acl")
_SIZE = "8G"
# What guards one guest against another is slow to emulate, and guards nothing here.
_COMMAND_LINE = "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet mitigations=off"
_WHEELS = "/srv/wheels"  # inside

# All that can be emulated costs twice as much as what is old enough: wide vectors, more levels of pages.
_PROCESSORS = {
    "kvm": 'libvirt.driver, libvirt.cpu_mode = "kvm", "maximum"',
    "qemu": 'libvirt.driver, libvirt.cpu_mode, libvirt.cpu_model = "qemu", "custom", "Nehalem"',
}

_VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.ssh.private_key_path = File.expand_path("key", __dir__)
  config.vm.provider :libvirt do |libvirt|
    {processor}
    libvirt.kernel = File.expand_path("vmlinuz", __dir__)
    libvirt.initrd = File.expand_path("initrd.img", __dir__)
    libvirt.cmd_line = {command_line}
    libvirt.graphics_type = "none"
  end
end
"""


def build(folder: Path) -> Path:
    """Make the box in a folder, which is to hold half a gigabyte, and return it."""
    root = roots.build(SUITE, _INCLUDE, _ARCHIVE)
    box = folder / "box"
    box.mkdir(parents=True)
    kernel, initrd = (next((root / "boot").glob(f"{name}*")) for name in ("vmlinuz", "initrd.img"))
    shutil.copy(kernel, box / "vmlinuz")
    shutil.copy(initrd, box / "initrd.img")
    # Of a kind that every net-ssh reads; the well-known key of Vagrant would be replaced first, which is slow.
    _run("ssh-keygen", "-q", "-t", "ecdsa", "-m", "PEM", "-N", "", "-C", "", "-f", box / "key")
    driver = "kvm" if _is_kvm_usable(kernel) else "qemu"
    print(f"the virtual machine runs on {driver}", file=sys.stderr)  # noqa: T201 # it explains how long all takes
    settings = {"processor": _PROCESSORS[driver], "command_line": json.dumps(_COMMAND_LINE)}
    (box / "Vagrantfile").write_text(_VAGRANTFILE.format(**settings))
    (box / "metadata.json").write_text(
        json.dumps({"provider": "libvirt", "format": "qcow2", "virtual_size": int(_SIZE.rstrip("G"))})
    )
    _make_disk(root, folder, box)
    with tarfile.open(folder / "test.box", "w") as archive:
        archive.add(box, arcname=".")
    shutil.rmtree(box)
    return folder / "test.box"


def _make_disk(root: Path, folder: Path, box: Path) -> None:
    """Write a disk with the root's files, and what makes a box of them."""
    system, image = folder / "system", folder / "disk"
    _run("cp", "-a", "--reflink=auto", root, system)
    texts = {
        "etc/hostname": "box\n",
        "etc/hosts": "127.0.0.1 localhost\n::1 localhost\n127.0.1.1 box\n",
        "etc/fstab": "/dev/vda / ext4 errors=remount-ro 0 1\n",
        "etc/machine-id": "",
        "etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
        "etc/systemd/network/10-box.network": "[Match]\nName=e*\n\n[Network]\nDHCP=yes\n",
        "etc/pip.conf": f"[global]\nno-index = true\nfind-links = {_WHEELS}\n",
        "home/vagrant/.ssh/authorized_keys": (box / "key.pub").read_text(),
    }
    for name, text in texts.items():
        (system / name).parent.mkdir(parents=True, exist_ok=True)
        (system / name).write_text(text)
    _run(
        "chroot",
        system,
        "useradd",
        "--home-dir",
        "/home/vagrant",
        "--shell",
        "/bin/bash",
        "--uid",
        USER,
        "vagrant",
    )
    _run("chroot", system, "chown", "-R", "vagrant:vagrant", "/home/vagrant")
    _run("chroot", system, "systemctl", "--quiet", "enable", "systemd-networkd")
    (system / _WHEELS.lstrip("/")).mkdir()
    for wheel in wheels().values():
        shutil.copy(wheel, system / _WHEELS.lstrip("/"))
    _run("mkfs.ext4", "-q", "-d", system, image, _SIZE)
    _run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", image, box / "box.img")
    shutil.rmtree(system)
    image.unlink()


def wheels() -> dict[Package, Path]:
    """Return what is installed inside by pip, where the host has no Ansible: Ansible, and what the launcher needs."""
    server = Server(PYTHON, "x86_64")
    locks = [Path(__file__).parents[2] / "requirements" / f"{name}.txt" for name in ("ansible", "run")]
    packages = {package for lock in locks for package in select(lock.read_text(), server)}
    return collect(sorted(packages, key=str), server, roots.cache_directory().with_name("wheels"))


def _is_kvm_usable(kernel: Path) -> bool:
    """Tell whether this kernel boots by KVM: some machines have the device, and no guest that lives."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    command = [
        "qemu-system-x86_64",
        "-accel",
        "kvm",
        "-cpu",
        "max",
        "-m",
        "256",
        "-nodefaults",
        "-display",
        "none",
    ]
    # Without a root it panics at once, which ends the emulator.
    command += ["-no-reboot", "-kernel", str(kernel), "-append", "panic=-1"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=10 * SECOND)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _run(*command: str | Path | int) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{command[0]} failed with status {done.returncode}:\n{done.stderr or done.stdout}"
        )
    return done.stdout
