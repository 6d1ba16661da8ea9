"""A plan on a live Apache: sockets outlive as many reloads as it says, and stock Debian does not."""

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from apache.capacity import plan
from tests.raw import ask
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

PLAIN = "tls: {mode: none}\nwebsockets: [{connections: %d}]"
STOCK = {
    "ThreadLimit": 64,
    "ServerLimit": 16,
    "StartServers": 2,
    "ThreadsPerChild": 25,
    "MaxRequestWorkers": 150,
    "MinSpareThreads": 25,
    "MaxSpareThreads": 75,
    "ListenBacklog": 511,
}
"""Debian's /etc/apache2/mods-available/mpm_event.conf, and httpd's own defaults where it is silent."""


def generations(stack: Running) -> int:
    """Return how often Apache has taken its configuration into use."""
    return sum(line.number == "AH00489" for line in stack.stack.httpd.log_lines())


def reload(stack: Running) -> None:
    """Reload gracefully, and wait until Apache has."""
    before = generations(stack)
    stack.stack.httpd.reload()
    until(lambda: generations(stack) > before)


def children(stack: Running) -> int:
    """Return how many children Apache has, of all generations."""
    pid = stack.stack.httpd.pid
    return len(Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split())


async def add(stack: Running, sockets: list[ClientConnection], count: int) -> None:
    """Open more sockets, ten at a time, and have each answer.

    Raises:
        TimeoutError: somebody waited for more than five seconds; those who got in are in the list.
    """
    wanted = len(sockets) + count
    while len(sockets) < wanted:
        fresh = min(10, wanted - len(sockets))
        found = await asyncio.gather(
            *(stack.websocket(open_timeout=5 * SECOND) for _ in range(fresh)), return_exceptions=True
        )
        sockets += [each for each in found if isinstance(each, ClientConnection)]
        for each in found:
            if isinstance(each, BaseException):
                raise each
    await answer(sockets[-count:])


async def answer(sockets: list[ClientConnection]) -> None:
    """Expect an echo on every socket."""
    for each in sockets:
        await each.send("still here")
        assert await each.recv() == "still here"


async def closed(sockets: list[ClientConnection]) -> None:
    """Close sockets."""
    await asyncio.gather(*(each.close() for each in sockets))


async def is_full(stack: Running) -> bool:
    """Tell whether a handshake hangs for three seconds, which is longer than Apache takes to start a child."""
    try:
        async with stack.websocket(open_timeout=3 * SECOND):
            return False
    except TimeoutError:
        return True


async def test_sockets_outlive_the_reloads_planned_for() -> None:
    """With churn, so that each generation leaves sockets in every child, all stay open and pages answer through the last reload."""
    facts = {"reloads": 3, "http_reserve": 10}
    with running(PLAIN % 60, facts=facts) as stack:
        made = plan(stack.stack.sites, stack.stack.target)
        sockets: list[ClientConnection] = []
        await add(stack, sockets, 60)
        for _ in range(made.reloads):
            reload(stack)
            await closed(sockets[:40])
            del sockets[:40]
            await add(stack, sockets, 40)
            await answer(sockets)
            assert ask(stack, "/").status == 200
        assert children(stack) <= made.server_limit
        await closed(sockets)


async def test_reloads_beyond_the_plan_fill_the_slots() -> None:
    """Where a socket of every generation stays for good, many more reloads than planned end in a scoreboard that is full."""
    facts = {"reloads": 1, "http_reserve": 10}
    with running(PLAIN % 60, facts=facts) as stack:
        made = plan(stack.stack.sites, stack.stack.target)
        sockets: list[ClientConnection] = []
        survived = 0
        while not await is_full(stack):
            await add(stack, sockets, 3)
            reload(stack)
            survived += 1
            assert survived < 60
        stack.allow("AH03490")  # scoreboard is full
        assert survived > made.reloads
        assert children(stack) == made.server_limit
        await closed(sockets)
        until(lambda: children(stack) < made.server_limit, 10)
        assert not await is_full(stack)


async def test_stock_debian_is_full_after_a_few_reloads() -> None:
    """A hundred new sockets and a reload, repeated: by the fifth round Debian's own numbers accept nobody, pages included."""
    with running(PLAIN % 1000, directives=STOCK) as stack:
        sockets: list[ClientConnection] = []
        rounds = 0
        with contextlib.suppress(TimeoutError):
            while rounds < 5:
                await add(stack, sockets, 100)
                reload(stack)
                rounds += 1
        assert await is_full(stack)
        with socket.create_connection(("127.0.0.1", stack.http_port), 3 * SECOND) as page:
            page.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with pytest.raises(TimeoutError):
                page.recv(1)
        stack.allow("AH00484", "AH10159", "AH03490")  # MaxRequestWorkers, near it, scoreboard full
        await closed(sockets)


async def test_the_plan_survives_what_stock_debian_does_not() -> None:
    """The same rounds on a plan for as many sockets: everyone gets in."""
    with running(PLAIN % 510, facts={"reloads": 5}) as stack:
        sockets: list[ClientConnection] = []
        for _ in range(5):
            await add(stack, sockets, 100)
            reload(stack)
            assert ask(stack, "/").status == 200
        assert not await is_full(stack)
        await closed(sockets)
