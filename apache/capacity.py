"""From the connections declared to the numbers of MPM event: a tunnel holds one worker thread for its whole life.

Source: httpd 2.4, server/mpm/event/event.c. A lingering generation keeps every child that holds at least one tunnel,
so the reserve of slots is reloads x active children. Knows nothing of sites but their connections.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from .errors import TargetError
from .site import Site
from .target import Target

SERVER_LIMIT_MAX = 20000
"""MAX_SERVER_LIMIT, server/mpm/event/event.c."""

THREADS_MIN, THREADS_MAX = 25, 250
"""Debian's children below; above it one crash takes too many sockets along, and few large children cost the least memory."""


@dataclass(frozen=True)
class Plan:
    """Hold the numbers for the whole server, named as their directives are."""

    connections: int
    threads_per_child: int
    server_limit: int
    max_request_workers: int
    start_servers: int
    min_spare_threads: int
    max_spare_threads: int
    listen_backlog: int


def plan(sites: Sequence[Site], target: Target) -> Plan:
    """Size the server for all sockets of all sites at once.

    Workers: one for each socket, and http_reserve for pages. Children of at most 250 threads, about eight at work.
    Slots: the children at work, as many again for each reload a socket may outlive, and two to spare.

    Raises:
        TargetError: the MPM or its limits cannot hold that many.
    """
    connections = sum(socket.connections for site in sites for socket in site.websockets)
    if target.mpm == "prefork":
        raise TargetError(
            "this Apache runs mpm_prefork, a whole process for each socket (mod_php forces it): "
            "run PHP by php-fpm and switch, `a2dismod php* mpm_prefork && a2enmod mpm_event proxy_fcgi && a2enconf php*-fpm`"
        )
    workers = connections + target.http_reserve
    threads = min(THREADS_MAX, max(THREADS_MIN, math.ceil(workers / 8 / 5) * 5))
    children = math.ceil(workers / threads)
    slots = children * (1 + target.reloads) + 2
    if slots > SERVER_LIMIT_MAX:
        most = (SERVER_LIMIT_MAX - 2) // (1 + target.reloads) * THREADS_MAX - target.http_reserve
        raise TargetError(
            f"{connections} connections are more than one Apache can hold (ServerLimit {SERVER_LIMIT_MAX}): this one goes up to {most}"
        )
    return Plan(
        connections=connections,
        threads_per_child=threads,
        server_limit=slots,
        # Workers of older generations count as active, so there is room for every socket twice: before and after a reload.
        max_request_workers=min(slots, children * 2) * threads,
        start_servers=max(1, children // 4),
        min_spare_threads=threads,
        max_spare_threads=min(slots, children * 2) * threads,
        listen_backlog=511,
    )
