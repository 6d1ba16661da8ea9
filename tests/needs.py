"""The programs that tests need beyond the Python environment: which are here, and how to get the rest.

Does not know pytest: tests/conftest.py makes a skip or a failure of what is missing.
"""

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

# Where apache/httpd.py looks too: Debian keeps servers out of a user's PATH.
_FOLDERS = [
    *os.get_exec_path(),
    *("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/apache2/bin"),
]

NODE_PATH = "/usr/share/nodejs"  # where Debian's node-* packages live, and node does not look by itself


@dataclass(frozen=True, slots=True)
class Need:
    """What a test may need: any one of these programs, answering these arguments with its version."""

    programs: tuple[str, ...]
    version: tuple[str, ...]
    remedy: str


NEEDS = {
    "ansible": Need(("/usr/bin/ansible-playbook",), ("--version",), "apt-get install ansible-core"),
    "apache": Need(("apache2", "httpd"), ("-v",), "apt-get install apache2-bin"),
    "browser": Need(
        ("chromium", "chromium-browser", "google-chrome"),
        ("--version",),
        "apt-get install chromium, on Ubuntu snap install chromium",
    ),
    "curl": Need(("curl",), ("--version",), "apt-get install curl"),
    "dnsmasq": Need(("dnsmasq",), ("--version",), "apt-get install dnsmasq-base"),
    "ip": Need(("ip",), ("-V",), "apt-get install iproute2"),
    "libvirt": Need(
        ("libvirtd",), ("--version",), "apt-get install libvirt-daemon-system libvirt-clients vagrant-libvirt"
    ),
    "mmdebstrap": Need(("mmdebstrap",), ("--version",), "apt-get install mmdebstrap"),
    "mounts": Need(("unshare",), ("-m", "echo", "mount namespaces"), "run as root, on Linux with unshare(1)"),
    "namespaces": Need(
        ("unshare",), ("-n", "ip", "-V"), "run as root, on Linux with unshare(1) and apt-get install iproute2"
    ),
    "nft": Need(("nft",), ("--version",), "apt-get install nftables"),
    "node": Need(
        ("node",),
        ("-p", "`Node ${process.version}, ws ${require('ws/package.json').version}`"),
        "apt-get install nodejs node-ws",
    ),
    "nspawn": Need(("systemd-nspawn",), ("--version",), "apt-get install systemd-container"),
    "openssl": Need(("openssl",), ("version",), "apt-get install openssl"),
    "patch": Need(("patch",), ("--version",), "apt-get install patch"),
    "pebble": Need(("pebble",), ("-h",), "apt-get install pebble"),
    "php": Need(("php",), ("-n", "-r", "echo 'PHP ', PHP_VERSION;"), "apt-get install php-cli"),
    "prometheus": Need(("prometheus",), ("--version",), "apt-get install prometheus"),
    "qemu": Need(("qemu-system-x86_64",), ("--version",), "apt-get install qemu-system-x86 qemu-utils"),
    "redis": Need(("redis-server", "valkey-server"), ("--version",), "apt-get install redis-server"),
    "ssh": Need(("ssh",), ("-V",), "apt-get install openssh-client"),
    "systemd": Need(("systemd-analyze",), ("--version",), "apt-get install systemd"),
    "vagrant": Need(("vagrant",), ("--version",), "apt-get install vagrant vagrant-libvirt rsync"),
}


def find(name: str) -> Path | None:
    """Return the program that fills a need, or None."""
    found = (shutil.which(each, path=os.pathsep.join(_FOLDERS)) for each in NEEDS[name].programs)
    return next((Path(each) for each in found if each), None)


@functools.cache
def version(name: str) -> str | None:
    """Return the first line that the program says of its version; None where it is missing or broken."""
    program = find(name)
    if program is None:
        return None
    environment = os.environ | {"NODE_PATH": NODE_PATH}
    done = subprocess.run(
        [program, *NEEDS[name].version], env=environment, capture_output=True, text=True, check=False
    )
    lines = (done.stdout or done.stderr).strip().splitlines()
    return lines[0].removeprefix("Server version: ") if done.returncode == 0 and lines else None
