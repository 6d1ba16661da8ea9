"""What threads, children and sockets take of a machine: memory, files, tasks, ports, and the kernel's settings for them.

The figures were measured; measured.json has them with their date. Knows nothing of directives, nor of who asks.
"""

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

OTHER_THREADS = 2
"""Of each child beside its workers, also while it lingers: the main thread and the listener (event.c, child_main)."""

TASKS_LIMIT = 4_194_304
"""PID_MAX_LIMIT on 64 bits, include/linux/threads.h."""

FILES_LIMIT = 1 << 30
"""What fs.nr_open can be raised to: sysctl_nr_open_max, fs/file.c."""

PORTS_NARROW = 60999 - 32768 + 1
"""Linux's own net.ipv4.ip_local_port_range."""

_WIDE_FROM, _WIDE_TO = 16384, 65535
PORTS_WIDE = _WIDE_TO - _WIDE_FROM + 1
"""What the range can be widened to, above the ports on which services usually listen."""

_BACKLOG = 4096  # net.core.somaxconn since Linux 5.4
_PID_MAX = 32768  # the kernel's own; systemd raises it on some systems
_NR_OPEN = 1 << 20
_THREAD_BYTES = (
    16384 * 8
)  # by which the kernel divides the memory for kernel.threads-max: kernel/fork.c, set_max_threads
_DEBIAN_FILES = 8192  # what systemd and apachectl give without being asked
_SYSTEM_TASKS = 4096  # for everything else on the machine


@dataclass(frozen=True)
class Measured:
    """Hold the figures, in KiB where nothing else is said."""

    date: str
    conditions: str
    apache_base_kib: int
    apache_child_kib: int
    apache_thread_kib: int
    apache_connection_tls_kib: int
    apache_connection_plain_kib: int
    backend_base_kib: int
    backend_connection_kib: int
    backend_process_kib: int
    kernel_thread_kib: int
    kernel_connection_kib: int
    descriptors_per_tunnel: int
    handshakes_per_core: int
    prefork_process_kib: int


MEASURED = Measured(**json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8")))


@dataclass(frozen=True)
class Memory:
    """Hold what all sockets take when they are open and idle, in MiB, and what the machine has for it."""

    apache_mib: int
    backend_mib: int
    kernel_mib: int
    total_mib: int
    has_mib: int


def memory(
    *,
    plain: int,
    encrypted: int,
    backend: int,
    forked: bool = False,
    idle_threads: int,
    children: int,
    has: int,
) -> Memory:
    """Return what sockets take.

    Args:
        plain: sockets by ws.
        encrypted: sockets by wss.
        backend: those of them that our backend holds.
        forked: each in a process of its own.
        idle_threads: workers that stand by.
        children: of all generations.
        has: bytes that the machine has for it.
    """
    sockets = plain + encrypted
    apache = (
        MEASURED.apache_base_kib
        + children * MEASURED.apache_child_kib
        + (sockets + idle_threads) * MEASURED.apache_thread_kib
        + encrypted * MEASURED.apache_connection_tls_kib
        + plain * MEASURED.apache_connection_plain_kib
    )
    each = MEASURED.backend_process_kib if forked else MEASURED.backend_connection_kib
    ours = (MEASURED.backend_base_kib + backend * each) if backend else 0
    kernel = (sockets + idle_threads) * MEASURED.kernel_thread_kib + sockets * MEASURED.kernel_connection_kib
    apache, ours, kernel = (math.ceil(kib / 1024) for kib in (apache, ours, kernel))
    return Memory(apache, ours, kernel, apache + ours + kernel, max(0, has) >> 20)


_TASKS_FLOOR = 1 << 16


def apache_files(threads: int) -> int:
    """Return the files that one child may open: those of its tunnels, of connections kept alive, of logs and modules."""
    return max(_DEBIAN_FILES, _rounded(threads * (MEASURED.descriptors_per_tunnel + 3) + 1024, 1024))


def backend_files(connections: int, pages: int, *, forked: bool = False) -> int:
    """Return the files that the backend may open: a socket for each connection and each page, and three pipes to a process of its own."""
    return max(_DEBIAN_FILES, _rounded(connections * (4 if forked else 1) + pages + 1024, 1024))


def tasks_max(slots: int, threads: int) -> int:
    """Return a ceiling for apache2.service that even full children in all slots stay below.

    It holds at once, while slots and threads are read at Apache's next start; so a smaller plan must not be too low for the one before.
    """
    return max(_TASKS_FLOOR, _rounded(slots * (threads + OTHER_THREADS) + 1024, 1024))


def ports(connections: int, pages: int) -> int:
    """Return the local ports that connections to one TCP address take, with a tenth for those just closed (TIME_WAIT, 1 s on loopback)."""
    return math.ceil((connections + pages) * 1.1)


def sysctls(
    *, backlog: int, ports: int, listening: Collection[int], tasks: int, files: int, memory: int
) -> dict[str, str]:
    """Return the kernel's settings that have to be raised; those that suffice by themselves are left alone.

    Args:
        backlog: of the listening sockets.
        ports: local ports to one address.
        listening: ports of the backends, which nobody else may be given.
        tasks: threads of Apache.
        files: of one process.
        memory: bytes of RAM, from which the kernel makes threads-max.
    """
    found: dict[str, str] = {}
    if files > _NR_OPEN:
        found["fs.nr_open"] = str(files)
    if tasks + _SYSTEM_TASKS > _PID_MAX:
        found["kernel.pid_max"] = str(TASKS_LIMIT)
    if tasks + _SYSTEM_TASKS > memory // _THREAD_BYTES:
        found["kernel.threads-max"] = str(_rounded(tasks + _SYSTEM_TASKS, 1024))
    if backlog > _BACKLOG:
        found["net.core.somaxconn"] = str(backlog)
    if ports > PORTS_NARROW:
        first = max(_WIDE_FROM, (_WIDE_TO + 1 - ports) // 1024 * 1024)
        found["net.ipv4.ip_local_port_range"] = f"{first} {_WIDE_TO}"
        reserved = sorted(port for port in listening if port >= first)
        if reserved:
            found["net.ipv4.ip_local_reserved_ports"] = ",".join(map(str, reserved))
    return found


def _rounded(number: int, step: int) -> int:
    return math.ceil(number / step) * step
