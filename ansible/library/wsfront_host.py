#!/usr/bin/python
"""Look at a machine, changing nothing: what a plan for it is made from, and what stands in the way.

Runs on the machine, bare as it may be: Python's standard library alone.
"""

from __future__ import annotations  # a Python that is too old has to come as far as saying so

import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: wsfront_host
short_description: Look at a machine, changing nothing
description: Tells which Apache, Python and memory there are or would be, and who listens on the ports that Apache needs.
options:
  ports:
    description: Ports that Apache is to listen on.
    type: list
    elements: int
    default: [80, 443]
author: wsfront
"""

RETURN = """
target:
  description: What `./wsfront render --target` reads.
  type: dict
  returned: always
"""

EXAMPLES = """
- name: Look at the machine
  wsfront_host:
  register: host
"""

APACHE = Path("/usr/sbin/apache2ctl")
MODULES = Path("/etc/apache2/mods-available")
ENABLED = Path("/etc/apache2/mods-enabled")
MPMS = ("event", "worker", "prefork")
LISTENING = "0A"  # include/net/tcp_states.h: TCP_LISTEN
STARTED_BY_SYSTEMD = Path("/run/systemd/system")  # sd_booted(3)
# That will do: what apt would install is not known before its lists have been fetched.
OLDEST_APACHE = "2.4.47"
# Bytes: packages and a release; a release alone, where Apache is there already.
FREE_NEEDED, FREE_NEEDED_LATER = 300 << 20, 100 << 20


def main() -> None:
    """Answer with facts; never change anything."""
    module = AnsibleModule(
        argument_spec={
            "ports": {"type": "list", "elements": "int", "default": [80, 443]},
        },
        supports_check_mode=True,
    )
    module.exit_json(
        changed=False,
        target=target(),
        python={"version": "{}.{}".format(*sys.version_info[:2]), "apt": has_python_apt()},
        machine=platform.machine(),
        apt=shutil.which("apt-get") is not None,
        systemd=STARTED_BY_SYSTEMD.is_dir(),
        apache_installed=APACHE.exists(),
        ports={str(port): name for port, name in listeners(module.params["ports"]).items()},
        free={place: free(place) for place in ("/etc", "/opt", "/var/lib")},
        free_needed=FREE_NEEDED_LATER if APACHE.exists() else FREE_NEEDED,
    )


def target() -> dict[str, object]:
    """Return the facts of this machine, as far as they can be known before Apache is there."""
    facts: dict[str, object] = {
        "memory": memory(),
        "cores": len(os.sched_getaffinity(0)),
        "mpm": mpm(),
        "addresses": addresses(),
    }
    for key, package in (("apache", "apache2-bin"), ("openssl", "libssl3t64"), ("openssl", "libssl3")):
        found = version(package)
        if found:
            facts.setdefault(key, found)
    facts.setdefault("apache", OLDEST_APACHE)
    if MODULES.is_dir():
        facts["modules"] = sorted(path.stem for path in MODULES.glob("*.load"))
        # What Debian links in has no .load file.
        facts["static_modules"] = [
            "core",
            "so",
            "watchdog",
            "http",
            "log_config",
            "logio",
            "version",
            "unixd",
        ]
    return facts


def addresses() -> list[str]:
    """Return the addresses and names that this machine has for others."""
    found = re.findall(r"inet6? ([0-9a-f.:]+)", output("ip", "-o", "address", "show", "scope", "global"))
    return sorted({*found, platform.node(), socket.getfqdn()})


def version(package: str) -> str | None:
    """Return upstream's version of a Debian package: the installed one, else the one apt would install."""
    said = output("dpkg-query", "-W", "-f=${db:Status-Status} ${Version}", package)
    found = said.partition(" ")[2] if said.startswith("installed ") else ""
    if not found:
        match = re.search(r"^ +Candidate: (\S+)", output("apt-cache", "policy", package), re.MULTILINE)
        found = match.group(1) if match else ""
    match = re.match(r"(?:\d+:)?(\d+\.\d+\.\d+)", found)
    return match.group(1) if match else None


def mpm() -> str:
    """Return the MPM in use; event, Debian's own choice, where Apache is not there yet."""
    return next((name for name in MPMS if (ENABLED / f"mpm_{name}.load").exists()), "event")


def memory() -> int:
    """Return the bytes of RAM, or less where a container is allowed less."""
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no such limit, or `max`
        found = min(found, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return found


def installed(package: str) -> bool:
    """Tell whether a Debian package is installed."""
    return output("dpkg-query", "-W", "-f=${db:Status-Status}", package) == "installed"


def has_python_apt() -> bool:
    """Tell whether Ansible's apt module can work without installing anything."""
    return installed("python3-apt")


def listeners(ports: list[int]) -> dict[int, str]:
    """Return who listens on these ports, by port: a program's name, or `?`."""
    inodes: dict[str, int] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            port = int(words[1].rpartition(":")[2], 16)
            if words[3] == LISTENING and port in ports:
                inodes.setdefault(words[9], port)
    found = dict.fromkeys(inodes.values(), "?")
    for link in Path("/proc").glob("[0-9]*/fd/*") if inodes else ():
        try:
            name = os.readlink(link)  # noqa: PTH115 (Path.readlink is of Python 3.9)
            if name.startswith("socket:[") and name[8:-1] in inodes:
                found[inodes[name[8:-1]]] = (link.parents[1] / "comm").read_text().strip()
        except OSError:
            continue
    return found


def free(place: str) -> int:
    """Return the bytes that are free where a folder is or would be."""
    path = Path(place)
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free


def output(*command: str) -> str:
    """Return what a command says on standard output; nothing where it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


if __name__ == "__main__":
    main()
