"""What the backend can be told. `environment.py` reads it."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .origins import Policy

Workers = int | Literal["forked"]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingsError(ValueError):
    """What is wrong with the settings: one line for each fault, with its remedy."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Address:
    """Where to listen: host and port, or the path of a unix socket."""

    host: str = ""
    port: int = 0
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class Socket:
    """A path of WebSockets, as the backend and as the browser sees it, the origins that may use it, and how many one address may hold.

    An IPv6 address stands for its network of 64 bits; 0 is no limit.
    """

    path: str = "/ws/"
    public_path: str = "/ws/"
    origins: Policy = "same"
    per_address: int = 0


@dataclass(frozen=True)
class ProcessLimits:
    """What the process of one connection may take; 0 is no limit.

    Attributes:
        memory: address space, in MiB.
        cpu: CPU time over its life, in seconds.
        files: open files.
        processes: processes and threads of its user in all (Linux counts by user, and never root's).
    """

    memory: int = 512
    cpu: int = 600
    files: int = 64
    processes: int = 4096


@dataclass(frozen=True)
class Settings:
    """All that the backend can be told. Times are in seconds."""

    listen: tuple[Address, ...] = (Address("127.0.0.1", 8888),)
    sockets: tuple[Socket, ...] = (Socket(),)
    ping_interval: float = 25.0
    connections: int = 10_000
    leave_seconds: float = 0.0
    drain_seconds: float = 5.0
    fronts: tuple[Network, ...] = ()
    certificate: Path | None = None
    key: Path | None = None
    status: Address | None = None
    drain_window: float = 10.0
    reloads: int = 4
    metrics: Address | None = None
    log: Literal["text", "json"] = "text"
    workers: Workers = 1
    program: tuple[str, ...] = ()
    handler: str = ""
    process_limits: ProcessLimits = ProcessLimits()
    exit_when_idle: float = 0.0
    bus: Literal["memory", "redis"] = "memory"
    redis: Address = Address("127.0.0.1", 6380)
    redis_password: str | None = field(default=None, repr=False)
    history_file: Path | None = None
