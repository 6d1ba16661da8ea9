"""A plan on a live Apache: sockets outlive as many reloads as it says, whoever the backend is, and stock Debian does not."""

import asyncio
import contextlib
import socket
import time
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from apache.capacity import plan
from tests.raw import ask
from tests.stacks import ABANDONED, Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

PLAIN = "tls: {mode: none}\nwebsockets: [{connections: %d}]"
STATUS = ("status",)
"""Without it our backend sees no reload and keeps every socket, as a backend of another kind does."""
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


def children(stack: Running) -> list[int]:
    """Return Apache's children, of all generations."""
    pid = stack.stack.httpd.pid
    return [
        int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="utf-8").split()
    ]


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


def holders(stack: Running, sockets: list[ClientConnection]) -> dict[int, ClientConnection]:
    """Return one socket of each child that holds any, by the child's process: proc(5), /proc/net/tcp and /proc/pid/fd."""
    inodes = {}
    for row in Path("/proc/net/tcp").read_text(encoding="utf-8").splitlines()[1:]:
        fields = row.split()
        local, remote = (int(fields[column].partition(":")[2], 16) for column in (1, 2))
        if local == stack.http_port:
            inodes[f"socket:[{fields[9]}]"] = remote
    by_port = {each.local_address[1]: each for each in sockets}
    found = {}
    for child in children(stack):
        with contextlib.suppress(FileNotFoundError):  # a child that ends just now holds none
            for link in Path(f"/proc/{child}/fd").iterdir():
                with contextlib.suppress(FileNotFoundError):  # a file that it has closed since
                    each = by_port.get(inodes.get(str(link.readlink()), 0))
                    if each:
                        found[child] = each
    return found


async def test_sockets_outlive_the_reloads_planned_for() -> None:
    """Where each generation leaves a socket in every child, the worst there is, all stay open and pages answer after the last reload."""
    facts = {"reloads": 3, "http_reserve": 10}
    with running(PLAIN % 60, facts=facts, without=STATUS) as stack:
        made = plan(stack.stack.sites, stack.stack.target)
        kept: list[ClientConnection] = []
        lingering: set[int] = set()
        for _ in range(made.reloads):
            others: list[ClientConnection] = []
            await add(stack, others, 60 - len(kept))
            held = holders(stack, others)
            lingering |= set(held)
            kept += held.values()
            reload(stack)
            await closed([each for each in others if each not in held.values()])
        assert len(lingering) > made.children
        assert lingering <= set(children(stack))
        await add(stack, kept, 60 - len(kept))
        await answer(kept)
        assert ask(stack, "/").status == 200
        assert len(children(stack)) <= made.server_limit
        await closed(kept)


async def test_reloads_beyond_the_plan_fill_the_slots() -> None:
    """Where a socket of every generation stays for good, many more reloads than planned end in a scoreboard that is full."""
    facts = {"reloads": 1, "http_reserve": 10}
    with running(PLAIN % 60, facts=facts, without=STATUS) as stack:
        made = plan(stack.stack.sites, stack.stack.target)
        sockets: list[ClientConnection] = []
        survived = 0
        while not await is_full(stack):
            await add(stack, sockets, 3)
            reload(stack)
            survived += 1
            assert survived < 60
        stack.allow("AH03490", *ABANDONED)  # scoreboard is full
        assert survived > made.reloads
        assert len(children(stack)) == made.server_limit
        await closed(sockets)
        until(lambda: len(children(stack)) < made.server_limit, 10)
        assert not await is_full(stack)


async def test_stock_debian_is_full_after_a_few_reloads() -> None:
    """A hundred new sockets and a reload, repeated: by the fifth round Debian's own numbers accept nobody, pages included."""
    with running(PLAIN % 1000, directives=STOCK, without=STATUS) as stack:
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
        stack.allow("AH00484", "AH10159", "AH03490", *ABANDONED)  # full, nearly, scoreboard full
        await closed(sockets)


async def test_the_plan_survives_what_stock_debian_does_not() -> None:
    """The same rounds on a plan for as many sockets: everyone gets in."""
    with running(PLAIN % 510, facts={"reloads": 5}, without=STATUS) as stack:
        sockets: list[ClientConnection] = []
        for _ in range(5):
            await add(stack, sockets, 100)
            reload(stack)
            assert ask(stack, "/").status == 200
        assert not await is_full(stack)
        await closed(sockets)


async def test_full_means_come_back_and_not_hang() -> None:
    """With all sockets open a hundred more handshakes at once get 503 and Retry-After within a second, and a page comes within one."""
    with running(PLAIN % 60, facts={"http_reserve": 30}) as stack:
        sockets: list[ClientConnection] = []
        await add(stack, sockets, 60)

        async def refused() -> float:
            started = time.monotonic()
            with pytest.raises(InvalidStatus) as caught:
                await stack.websocket(open_timeout=20 * SECOND)
            assert caught.value.response.status_code == 503
            assert int(caught.value.response.headers["Retry-After"]) > 0
            return time.monotonic() - started

        for _ in range(3):
            took = asyncio.gather(*(refused() for _ in range(100)))
            started = time.monotonic()
            page = await asyncio.to_thread(ask, stack, "/")
            assert page.status == 200
            assert time.monotonic() - started < SECOND
            assert max(await took) < SECOND
        await answer(sockets)
        await closed(sockets)
