"""What is read from the kernel of processes."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench import proc
from tests.waiting import until

MIB = 1 << 20
# Says a line once it and a child of its own hold what they were told to, and holds it until its input ends.
HOLDER = """
import os, socket, sys
ready, tell = os.pipe()
child = os.fork()
held = b"x" * {bytes}
sockets = [socket.socket() for _ in range({sockets})]
total = sum(range({work}))
if child == 0:
    os.write(tell, b"!")
    sys.stdin.read()
    os._exit(0)
os.read(ready, 1)
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def holder(**holds: int) -> Iterator[int]:
    """Run a process and a child that each hold something; yield their session."""
    values = {"bytes": 0, "sockets": 0, "work": 0, **holds}
    script = HOLDER.format(**values)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.communicate()


def test_memory_is_that_of_all_processes_of_a_session() -> None:
    """What a process and its child hold is counted, each once, and nobody else's."""
    with holder() as small, holder(bytes=50 * MIB) as large:
        assert 95 * MIB < proc.memory([large]).pss - proc.memory([small]).pss < 105 * MIB
        assert proc.memory([small]).threads == 2


def test_sockets_are_counted_and_weighed() -> None:
    """Sockets of a process and its child are counted, and the kernel's share grows with them."""
    with holder() as none, holder(sockets=10) as some:
        without, with_them = proc.memory([none]), proc.memory([some])
        assert with_them.sockets - without.sockets == 20
        # Page tables differ from run to run by where the kernel puts what is mapped (randomize_va_space).
        weighed = [memory.kernel - memory.page_tables for memory in (without, with_them)]
        assert weighed[1] - weighed[0] == 20 * proc.socket_bytes() >= 20 * 3000


def test_cpu_time_is_counted() -> None:
    """Work shows in the CPU time of a session, and in the machine's."""
    before = proc.machine_seconds()
    with holder() as idle, holder(work=5_000_000) as busy:
        assert proc.cpu_seconds([busy]) > proc.cpu_seconds([idle])
        assert proc.machine_seconds() - before >= proc.cpu_seconds([busy]) / 2


def test_nobody_takes_nothing() -> None:
    """No session at all takes nothing."""
    assert proc.memory([]) == proc.Memory(0, 0, 0, 0)
    assert proc.cpu_seconds([]) == 0


def test_sessions_of() -> None:
    """A process's sessions are its own and those of what it started, however deep."""
    program = "import subprocess, sys; subprocess.run(['setsid', '--wait', 'cat'])"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, start_new_session=True
    ) as popen:
        until(lambda: len(proc.sessions_of(popen.pid)) == 2)
        assert popen.pid in proc.sessions_of(popen.pid)
        popen.communicate()
    assert proc.sessions_of(popen.pid) == set()
