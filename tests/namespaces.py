"""A network of a test's own: this thread, and what it starts, see no other until the block ends.

Needs root, on Linux (`needs("namespaces")`); the namespace goes with the last process in it, also after a crash.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_CLONE_NEWNET = 0x40000000  # linux/sched.h


@contextmanager
def network(*addresses: str) -> Iterator[None]:
    """Be in a network with nothing but a loopback interface, which has these addresses (with a prefix length) too."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    try:
        _must(libc.unshare(_CLONE_NEWNET))
        try:
            command("ip", "link", "set", "lo", "up")
            for address in addresses:
                command("ip", "address", "add", address, "dev", "lo", *(["nodad"] if ":" in address else []))
            yield
        finally:
            _must(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(before)


@contextmanager
def entered(name: str) -> Iterator[None]:
    """Be in a namespace that has a name (ip-netns(8))."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        _must(libc.setns(there, _CLONE_NEWNET))
        try:
            yield
        finally:
            _must(libc.setns(before, _CLONE_NEWNET))
    finally:
        os.close(there)
        os.close(before)


def command(*words: str) -> str:
    """Run a command that must succeed, and return what it prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
