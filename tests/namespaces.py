"""A network of a test's own: this thread, and what it starts, see no other until the block ends.

Needs root, on Linux (`needs("namespaces")`); the namespace goes with the last process in it, also after a crash.
"""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apache.httpd import die_with_parent
from tests.waiting import until

_CLONE_NEWNET = 0x40000000  # linux/sched.h
_CONNECT = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 5):
        print("accepted")
except ConnectionRefusedError:
    print("refused")
"""


@dataclass(frozen=True)
class Neighbour:
    """Another machine: the process that keeps its network, the address at its end of the cable, and the device at ours."""

    process: int
    address: str
    device: str

    def command(self, *words: str) -> str:
        """Run a command there that must succeed, and return what it prints."""
        return command("nsenter", "-t", str(self.process), "-n", *words)

    def cut(self) -> None:
        """Let nothing more go there, without a word to anybody."""
        command("ip", "route", "replace", "blackhole", self.address)

    def mend(self) -> None:
        """Let it go there again."""
        command("ip", "route", "replace", self.address, "dev", self.device)

    def connects(self, host: str, port: int) -> bool:
        """Tell whether a connection from there is accepted, and not refused."""
        said = self.command(sys.executable, "-c", _CONNECT, host, str(port)).strip()
        return {"accepted": True, "refused": False}[said]


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
def neighbour(own: str, theirs: str) -> Iterator[Neighbour]:
    """Have another machine beside this network, by a cable of its own.

    Args:
        own: our address on the cable.
        theirs: the other machine's.
    """
    process = subprocess.Popen(["unshare", "-n", "sleep", "infinity"], preexec_fn=die_with_parent)  # noqa: PLW1509 (a prctl)
    try:
        mine = f"n{process.pid}"
        there = Neighbour(process.pid, theirs, mine)
        here = Path("/proc/thread-self/ns/net").readlink()
        until(lambda: Path(f"/proc/{process.pid}/ns/net").readlink() != here)
        command("ip", "link", "add", mine, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid))
        for run, device, source, target in (
            (command, mine, own, theirs),
            (there.command, "eth0", theirs, own),
        ):
            run("ip", "address", "add", source, "dev", device, *(["nodad"] if ":" in source else []))
            run("ip", "link", "set", device, "up")
            run("ip", "route", "add", target, "dev", device)
        yield there
    finally:
        process.kill()
        process.wait()


def command(*words: str) -> str:
    """Run a command that must succeed, and return what it prints."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def _must(result: int) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
