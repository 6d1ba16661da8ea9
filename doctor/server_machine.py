"""What the kernel says of Apache's processes: how many, since when, how many threads, and what they may open.

Source: proc(5), cgroups(7). Everything here can be read by anybody, but for the cgroup of a foreign container.
"""

import contextlib
import os
import re
import sys
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"


@dataclass(frozen=True)
class Child:
    """Hold one process of Apache's: when it started, in seconds since 1970, and its threads."""

    pid: int
    started: float
    threads: int


@dataclass(frozen=True)
class Processes:
    """Hold Apache's processes.

    Attributes:
        started: when the main one did, in seconds since 1970.
        children: those that serve.
        user: the id of their user.
        files: how many files each may open; None where it has no limit.
        tasks: how many tasks all may be together; None likewise.
        is_replaced: whether the program on the disk is another by now.
    """

    started: float
    children: tuple[Child, ...] = ()
    user: int | None = None
    files: int | None = None
    tasks: int | None = None
    is_replaced: bool = False


def processes(
    main: int, *, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")
) -> Processes | None:
    """Return the processes of the Apache whose main one this is; None where it has just ended."""
    boot = time.time() - float((proc / "uptime").read_text().split()[0])
    try:
        own = _stat(proc / str(main))
        limits = (proc / str(main) / "limits").read_text()
    except (OSError, ValueError, IndexError):
        return None
    children = []
    user: int | None = None
    for folder in proc.glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            name, parent, threads, ticks = _stat(folder)
            if parent == main and name == own[0]:
                children.append(Child(int(folder.name), boot + ticks / _TICKS, threads))
                user = folder.stat().st_uid
    files = re.search(r"^Max open files\s+(\d+)", limits, re.MULTILINE)
    replaced = False
    with contextlib.suppress(OSError):
        replaced = str((proc / str(main) / "exe").readlink()).endswith(" (deleted)")
    return Processes(
        boot + own[3] / _TICKS,
        tuple(sorted(children, key=lambda child: child.started)),
        user,
        int(files[1]) if files else None,
        _tasks(proc / str(main), cgroups),
        replaced,
    )


def connections(user: int, sockets: Collection[str], *, proc: Path = Path("/proc")) -> Counter[str]:
    """Count what is open: `address:port` -> connections of this user's to it, `unix:/path` -> connections of anybody's to it."""
    found: Counter[str] = Counter()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in (proc / "net" / name).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == _ESTABLISHED and int(words[7]) == user:
                    found[_address(words[2])] += 1
    with contextlib.suppress(OSError):
        for line in (proc / "net/unix").read_text().splitlines()[1:] if sockets else []:
            words = line.split()
            if words[-1] in sockets and words[5] == "03":
                found[f"unix:{words[-1]}"] += 1
    return found


def local_ports(*, proc: Path = Path("/proc")) -> int | None:
    """Return how many local ports there are for connections to one address."""
    with contextlib.suppress(OSError, ValueError):
        first, last = (proc / "sys/net/ipv4/ip_local_port_range").read_text().split()
        return int(last) - int(first) + 1
    return None


def _stat(folder: Path) -> tuple[str, int, int, int]:
    """Return a process's name, parent, number of threads, and ticks from the machine's start to its own."""
    name, _, rest = (folder / "stat").read_text(errors="replace").partition("(")[2].rpartition(")")
    words = rest.split()
    return name, int(words[1]), int(words[17]), int(words[19])


def _address(text: str) -> str:
    """Return an address as the kernel writes it, hexadecimal in words of the machine's order, as others do."""
    host, _, port = text.partition(":")
    words = [int(host[at : at + 8], 16) for at in range(0, len(host), 8)]
    raw = b"".join(word.to_bytes(4, sys.byteorder) for word in words)
    address: IPv4Address | IPv6Address = IPv6Address(raw) if words[1:] else IPv4Address(raw)
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return (
        f"[{address}]:{int(port, 16)}" if isinstance(address, IPv6Address) else f"{address}:{int(port, 16)}"
    )


def _tasks(folder: Path, cgroups: Path) -> int | None:
    """Return the least number of tasks that a process's cgroup, or one above it, allows."""
    least: int | None = None
    with contextlib.suppress(OSError):
        for line in (folder / "cgroup").read_text().splitlines():
            _, names, path = line.split(":", 2)
            if names and "pids" not in names.split(","):
                continue
            root = cgroups / "pids" if names else cgroups
            for above in [Path(path), *Path(path).parents]:
                with contextlib.suppress(OSError, ValueError):
                    number = int((root / str(above).lstrip("/") / "pids.max").read_text())
                    least = number if least is None else min(least, number)
    return least
