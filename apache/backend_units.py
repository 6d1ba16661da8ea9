"""systemd's units for our own backend: a socket that stays open, and a service that lives in as little as it needs.

Source: systemd.socket(5), systemd.service(5), systemd.exec(5). Knows nothing of how a release gets onto the machine, but its place.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TypeVar

from . import resources
from .errors import TargetError
from .hop import back_end, listens
from .parts import Bus, Redis
from .quoting import join, literal
from .site import Site, Workers
from .status import status_address
from .target import Target
from .values import Address

UNITS = (("etc", "backend.socket"), ("etc", "backend.service"), ("run", "backend-trial@.service"))
"""The units by their templates' names, and whether they stay or are there for a trial alone."""

USER = "wsfront"
"""Whom the backend runs as."""

APACHE_GROUP = "www-data"
"""Debian's name for Apache's group (base-passwd, gid 33), which may use a unix socket."""

CURRENT, RELEASES = "/opt/wsfront/current", "/opt/wsfront/releases"
"""The link to the release that lives, and where all releases are."""

DRAIN_SECONDS = 5
"""How long a stop may take: WSFRONT_DRAIN_SECONDS, and the service's TimeoutStopSec is above it."""

_STOP_RESERVE = 10  # seconds above the drain, before systemd kills
_BACKLOG = 4096  # net.core.somaxconn's default since Linux 5.4; the backend asks for more itself
_Value = TypeVar("_Value")
_TASKS = 64  # of one process: its pool, and what its event loop starts


def view(sites: Sequence[Site], target: Target) -> SimpleNamespace | None:
    """Return what the units' templates see; None where it is on other machines, or has a name, which systemd does not resolve."""
    addresses = [_number(address) for address in listens(sites, target)]
    if not addresses or not all(address.socket or address.is_number for address in addresses):
        return None
    hop = back_end(sites, target)
    connections = sum(
        socket.connections
        for site in sites
        for socket in site.websockets
        if set(socket.backends) & set(site.own_backend)
    )
    workers = shared_workers(sites)
    return SimpleNamespace(
        listen=[literal(address.socket or address.authority) for address in addresses],
        free_bind=any(address.is_remote for address in addresses),
        # The machine itself may ask at that address, too.
        believed=join(" ", [literal(text) for text in (*hop.names, *hop.fronts)]) if hop else None,
        asks=status_address(sites, target) is not None,
        tells=shared_metrics(sites) is not None,
        redis=_redis(shared_bus(sites).redis),
        has_file=any(address.socket for address in addresses),
        user=literal(USER),
        apache_group=literal(APACHE_GROUP),
        current=literal(CURRENT),
        releases=literal(RELEASES),
        backlog=_BACKLOG,
        open_files=resources.backend_files(connections, target.http_reserve, forked=workers == "forked"),
        # A process of a connection's own is a task.
        tasks=connections + _TASKS if workers == "forked" else workers * _TASKS,
        drain_seconds=DRAIN_SECONDS,
        stop_seconds=DRAIN_SECONDS + _STOP_RESERVE,
    )


def shared_bus(sites: Sequence[Site]) -> Bus:
    """Return the bus of our backend.

    Raises:
        TargetError: two descriptions want it to have different ones.
    """
    return _shared(sites, "bus", Bus())


def shared_workers(sites: Sequence[Site]) -> Workers:
    """Return who serves the connections of our backend.

    Raises:
        TargetError: two descriptions want it otherwise.
    """
    return _shared(sites, "workers", 1)


def shared_metrics(sites: Sequence[Site]) -> str | None:
    """Return where our backend tells its metrics.

    Raises:
        TargetError: two descriptions want it otherwise.
    """
    return _shared(sites, "metrics", None)


def shared_log(sites: Sequence[Site]) -> str:
    """Return the form of our backend's log.

    Raises:
        TargetError: two descriptions want it otherwise.
    """
    return _shared(sites, "log", "text")


def _shared(sites: Sequence[Site], key: str, absent: _Value) -> _Value:
    """Return the value of a key that all who share our backend must give alike."""
    wanted = {getattr(site, key): site for site in sites if site.own_backend}
    if len(wanted) > 1:
        one, two = (site.server_name for site in list(wanted.values())[:2])
        raise TargetError(
            f"{one} and {two} share the backend, and differ in {key}: write the same {key} in both"
        )
    return next(iter(wanted), absent)


def _redis(redis: Redis | None) -> SimpleNamespace | None:
    if redis is None:
        return None
    address = Address.parse(redis.address)
    return SimpleNamespace(
        address=literal(address.host) if address.host else None,
        family=literal("AF_INET6" if ":" in address.host else "AF_INET"),
        password_file=literal(redis.password_file) if redis.password_file else None,
    )


def _number(address: Address) -> Address:
    return Address("127.0.0.1", address.port) if address.host == "localhost" else address
