"""A network of a test run's own: a bridge in a network namespace, out of reach of everything else, and cut off from it.

Machines hang on the bridge; Ansible, browsers and all other clients run inside the namespace. Knows nothing of what
machines are.
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

BRIDGE = "wsfront"
IPV4, IPV4_LENGTH = IPv4Address("10.77.0.0"), 24
IPV6, IPV6_LENGTH = IPv6Address("fd77::"), 64

_CLONE_NEWNET = 0x40000000  # linux/sched.h


class Network:
    """A namespace with a bridge in it, whose own addresses are number 1 of each kind."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name

    def open(self) -> None:
        """Make the namespace and the bridge."""
        ip("netns", "add", self.name)
        self.ip("link", "set", "lo", "up")
        self.ip("link", "add", BRIDGE, "type", "bridge", "mcast_snooping", "0")
        for address in addresses(1):
            self.ip("address", "add", address, "dev", BRIDGE, *(["nodad"] if ":" in address else []))
        self.ip("link", "set", BRIDGE, "up")

    def close(self) -> None:
        """Remove the namespace, and all that is in it, once nothing runs there."""
        ip("netns", "delete", self.name)

    def unplug(self, device: str) -> None:
        """Take out a cable that may be gone already: the kernel leaves those of a machine that was killed for a while."""
        subprocess.run(
            ["ip", "-netns", self.name, "link", "delete", device], capture_output=True, check=False
        )

    def ip(self, *arguments: str) -> None:
        """Configure the inside, as the program of that name does."""
        ip("-n", self.name, *arguments)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread, and what it starts, live inside; sockets stay where they were made."""
        with Path("/proc/thread-self/ns/net").open() as outside, self.path.open() as inside:
            _enter(inside.fileno())
            try:
                yield
            finally:
                _enter(outside.fileno())


def addresses(number: int) -> tuple[str, str]:
    """Return a machine's addresses of both kinds, with the length of the network."""
    return f"{IPV4 + number}/{IPV4_LENGTH}", f"{IPV6 + number}/{IPV6_LENGTH}"


def ip(*arguments: str) -> None:
    """Configure networks, as the program of that name does."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _enter(namespace: int) -> None:
    # Python itself has setns from 3.12 on.
    library = ctypes.CDLL(None, use_errno=True)
    if library.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
