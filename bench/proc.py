"""What the kernel says of processes: CPU time, memory, threads, sockets (proc(5)).

A stack, a backend and a load process are each known by their session: every process that they start stays in it.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_THREAD_STACK = 16 << 10  # THREAD_SIZE of x86-64 and arm64
_OBJECTS = {  # bytes on Linux 6.18, for where /proc/slabinfo is not ours to read, or has a kind merged with another
    "TCP": 2368,
    "sock_inode_cache": 832,
    "filp": 192,
    "dentry": 192,
    "eventpoll_epi": 128,
    "eventpoll_pwq": 64,
}


@dataclass(frozen=True)
class Memory:
    """Hold what some processes take, in bytes."""

    pss: int
    sockets: int
    threads: int
    page_tables: int

    @property
    def kernel(self) -> int:
        """Estimate the kernel's share: objects of each socket, a stack for each thread, page tables."""
        return self.sockets * socket_bytes() + self.threads * _THREAD_STACK + self.page_tables


def processes(sessions: Iterable[int]) -> Iterator[tuple[int, list[str]]]:
    """Yield the processes of these sessions, and the fields of their stat from the third on."""
    wanted = {str(session) for session in sessions}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                # The second field is a name in brackets, which may hold anything.
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                if fields[3] in wanted:
                    yield int(path.name), fields


def sessions_of(leader: int) -> set[int]:
    """Return the sessions of a process and of all that it started, which may have sessions of their own."""
    parents: dict[int, tuple[int, int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            with contextlib.suppress(OSError):
                fields = (path / "stat").read_text().rpartition(")")[2].split()
                parents[int(path.name)] = int(fields[1]), int(fields[3])
    family = {leader}
    while more := {pid for pid, (parent, _) in parents.items() if parent in family} - family:
        family |= more
    return {parents[pid][1] for pid in family if pid in parents}


def cpu_seconds(sessions: Iterable[int]) -> float:
    """Return the CPU time of all processes of these sessions, and of those that they have waited for."""
    return sum(sum(map(int, fields[11:15])) for _, fields in processes(sessions)) / _TICKS


def machine_seconds() -> float:
    """Return the CPU time that the machine has spent on anything, all cores together."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _wait, irq, softirq = map(int, fields[:7])
    return (user + nice + system + irq + softirq) / _TICKS


def memory(sessions: Iterable[int]) -> Memory:
    """Return what the processes of these sessions take now; one that ends meanwhile is left out."""
    pss = sockets = threads = tables = 0
    for pid, _ in processes(sessions):
        folder = Path("/proc", str(pid))
        with contextlib.suppress(OSError):
            pss += _kilobytes((folder / "smaps_rollup").read_text(), "Pss")
            status = (folder / "status").read_text()
            tables += _kilobytes(status, "VmPTE")
            threads += int(re.search(r"^Threads:\s+(\d+)", status, re.MULTILINE)[1])  # type: ignore[index]  # always there
            sockets += sum(link.startswith("socket:") for link in _links(folder / "fd"))
    return Memory(pss, sockets, threads, tables)


def kernel_bytes() -> int:
    """Return what the whole machine's kernel holds in slabs, thread stacks and socket buffers; other programs are in it."""
    info = Path("/proc/meminfo").read_text()
    buffers = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    return (
        _kilobytes(info, "Slab") + _kilobytes(info, "KernelStack") + int(buffers[1] if buffers else 0) * _PAGE
    )


@cache
def socket_bytes() -> int:
    """Return the bytes of the kernel's objects for one TCP socket: itself, inode, file, directory entry, its place in an epoll."""
    sizes = dict(_OBJECTS)
    with contextlib.suppress(OSError):
        for fields in map(str.split, Path("/proc/slabinfo").read_text().splitlines()[2:]):
            if fields[0] in sizes:
                sizes[fields[0]] = int(fields[3])
    return sum(sizes.values())


def _links(folder: Path) -> Iterator[str]:
    for file in folder.iterdir():
        with contextlib.suppress(OSError):
            yield str(file.readlink())


def _kilobytes(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0
