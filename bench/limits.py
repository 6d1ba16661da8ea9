"""What this machine allows: files, ports, threads and memory, each asked before anything is started."""

import resource
from dataclasses import dataclass
from pathlib import Path

from .errors import LimitFault
from .stacks.base import Stack

_SPARE_FILES = 300
_SPARE_PORTS = 1000
_SPARE_THREADS = 1000
_SPARE_MEMORY = 512 << 20
_MEMORY_EACH = (
    400 << 10
)  # the dearest proxy, the backend, the kernel and the load generator, measured 2026-11
_WANTED_FILES = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Hold what there is to use."""

    files: int
    ports: int
    threads: int
    memory: int

    def require(self, connections: int) -> None:
        """Refuse a count that no stack could be measured with.

        Raises:
            LimitFault: with the limit, and how far it goes.
        """
        # From one address to one other there is one connection for each port: the proxy's to the backend, and the clients'.
        _require(connections, "ports", self.ports - _SPARE_PORTS, "net.ipv4.ip_local_port_range")
        _require(connections, "open files", self.files - _SPARE_FILES, "`ulimit -Hn`")
        _require(connections, "memory", (self.memory - _SPARE_MEMORY) // _MEMORY_EACH, "MemAvailable")

    def require_for(self, stack: type[Stack], connections: int) -> None:
        """Refuse a count that one stack cannot be measured with.

        Raises:
            LimitFault: with the limit, and how far it goes.
        """
        _require(
            connections,
            "open files in one process",
            int((self.files - _SPARE_FILES) / stack.files_each),
            "`ulimit -Hn`",
        )
        if stack.threads_each:
            _require(
                connections,
                "threads",
                int((self.threads - _SPARE_THREADS) / stack.threads_each),
                "kernel.pid_max",
            )


def probe() -> Limits:
    """Raise our own limit of open files as far as it goes, and return what there is."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = hard
    if hard != resource.RLIM_INFINITY and hard < _WANTED_FILES:
        try:  # root may go above it
            resource.setrlimit(resource.RLIMIT_NOFILE, (_WANTED_FILES, _WANTED_FILES))
            files = _WANTED_FILES
        except (ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    else:
        files = _WANTED_FILES
        resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    low, high = map(int, _text("/proc/sys/net/ipv4/ip_local_port_range", "32768 60999").split())
    threads = min(
        int(_text("/proc/sys/kernel/pid_max", "32768")), int(_text("/proc/sys/kernel/threads-max", "32768"))
    )
    memory = next(
        (
            int(line.split()[1]) << 10
            for line in _text("/proc/meminfo", "").splitlines()
            if line.startswith("MemAvailable")
        ),
        1 << 40,
    )
    return Limits(files, high - low + 1, threads, memory)


def _require(connections: int, what: str, most: int, where: str) -> None:
    if connections > most:
        raise LimitFault(
            f"{connections} connections need more {what} than {where} allows here: this machine goes up to {max(0, most)}"
        )


def _text(path: str, default: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return default
