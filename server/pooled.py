"""A process of the pool from within: its limits, and the jobs that it reads and answers.

A frame is four bytes of length, then the bytes; the first byte of an answer says what it is. Knows nothing of what the jobs do.
"""

import contextlib
import ctypes
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

LENGTH = struct.Struct("!I")
DONE, REJECTED = b"+", b"-"
PR_SET_PDEATHSIG = 1  # linux/prctl.h
NICE = 10
AUTOGROUP = Path("/proc/self/autogroup")


class Rejected(Exception):  # noqa: N818  # an answer to who sent the job, not an error of ours
    """What a job brought is not as it should be; says why in one line."""


def work(do: Callable[[bytes], bytes], arguments: Sequence[str]) -> int:
    """Answer jobs from standard input on standard output until that closes; return the exit status.

    Anything but `Rejected` that comes out of a job ends the process: after a failed allocation nothing in it can be relied on.

    Args:
        do: what is done with a job.
        arguments: the parent's process id, the memory in bytes and the processor's seconds for each job.
    """
    parent, memory, seconds = map(int, arguments)
    _confine(parent, memory)
    jobs, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints breaks no frame
    while (job := _read(jobs)) is not None:
        spent = resource.getrusage(resource.RUSAGE_SELF)
        _lower(resource.RLIMIT_CPU, int(spent.ru_utime + spent.ru_stime) + 1 + seconds, soft_only=True)
        try:
            answer = DONE + do(job)
        except Rejected as fault:
            answer = REJECTED + str(fault).encode()
        except Exception as fault:  # noqa: BLE001  # whatever it is, this process ends with it
            sys.stderr.write(f"a job failed: {type(fault).__name__}: {fault}\n")
            return 1
        answers.write(LENGTH.pack(len(answer)) + answer)
        answers.flush()
    return 0


def _read(jobs: BinaryIO) -> bytes | None:
    head = jobs.read(LENGTH.size)
    return jobs.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else None


def _confine(parent: int, memory: int) -> None:
    """End with the parent, step back behind it, and take no more than is allowed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before we asked
        signal.raise_signal(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    _lower(resource.RLIMIT_AS, memory)
    _lower(resource.RLIMIT_CORE, 0)
    if os.getpgrp() != os.getpid():
        os.setsid()
    try:
        os.nice(NICE)
    except PermissionError:  # a sandbox without setpriority(2): slower for the others, and no less safe
        sys.stderr.write("this process may not lower its priority; allow setpriority(2)\n")
    # Linux weighs session against session, and a process only within its own (sched(7), "The autogroup feature").
    with contextlib.suppress(OSError):  # it does not, or not now
        AUTOGROUP.write_text(str(NICE))


def _lower(limit: int, most: int, *, soft_only: bool = False) -> None:
    _, hard = resource.getrlimit(limit)
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(limit, (most, hard if soft_only else most))
