"""Reloads without end, by each way in which Apache is reloaded on Debian, under open sockets that are in use."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from apache.capacity import Plan, plan
from apache.description import parse
from apache.target import Target
from tests.hosts.clients import Visitor
from tests.hosts.servers import Server
from tests.waiting import SECOND, until

SOCKETS = 200
RELOADS = 6


def by_systemd(server: Server) -> None:
    """Reload as an administrator does, and certbot's hooks."""
    server.machine.run("systemctl", "reload", "apache2")


def by_apachectl(server: Server) -> None:
    """Reload as old instructions say."""
    server.machine.run("apache2ctl", "graceful")


def by_logrotate(server: Server) -> None:
    """Reload as the machine does every night."""
    server.machine.run("logrotate", "--force", "/etc/logrotate.d/apache2")


def by_signal(server: Server) -> None:
    """Reload by the bare signal (https://httpd.apache.org/docs/2.4/stopping.html)."""
    server.machine.run("kill", "-USR1", str(server.main_process("apache2")))


@dataclass
class Crowd:
    """What people saw who speak all the time and come back when they are sent away."""

    open: int = 0
    echoes: int = 0
    codes: set[int | None] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)


@asynccontextmanager
async def speaking(visitor: Visitor, size: int) -> AsyncIterator[Crowd]:
    """Keep so many people on the line, each with an echo a second."""
    crowd = Crowd()
    stop = asyncio.Event()
    places = asyncio.Semaphore(20)

    async def speak() -> None:
        async with places:
            connection = await visitor.websocket(open_timeout=10 * SECOND)
        crowd.open += 1
        try:
            async with connection as opened:
                while not stop.is_set():
                    await opened.send("x")
                    await opened.recv()
                    crowd.echoes += 1
                    await asyncio.sleep(1)
        except ConnectionClosed as end:
            crowd.codes.add(end.rcvd.code if end.rcvd else None)
        finally:
            crowd.open -= 1

    async def person() -> None:
        while not stop.is_set():
            try:
                await speak()
                await asyncio.sleep(random.uniform(0, 1))  # noqa: S311 (no secret)
            except (OSError, InvalidHandshake, TimeoutError) as fault:
                crowd.refused.append(repr(fault))

    async with asyncio.TaskGroup() as people:
        for _ in range(size):
            people.create_task(person())
        try:
            yield crowd
        finally:
            stop.set()


def sized(server: Server) -> Plan:
    """Return the plan of a server, as far as it follows from the description alone."""
    return plan([parse(server.description.read_text(), str(server.description))], Target())


def ages(server: Server) -> list[int]:
    """Return how old Apache's children are, in seconds."""
    parent = str(server.main_process("apache2"))
    return [int(word) for word in server.machine.run("ps", "-o", "etimes=", "--ppid", parent).split()]


@pytest.mark.parametrize("installed", ["bookworm"], indirect=True)
@pytest.mark.parametrize("reload", [by_systemd, by_apachectl, by_logrotate, by_signal])
async def test_reloads_without_end(server: Server, reload: Callable[[Server], None]) -> None:
    """At the interval that the plan states nobody is cut off or refused, and the last old child ends within the window."""
    numbers = sized(server)
    async with speaking(server.visitor, SOCKETS) as crowd:
        async with asyncio.timeout(60 * SECOND):
            while crowd.open < SOCKETS:  # noqa: ASYNC110 (people arrive in tasks of their own)
                await asyncio.sleep(0.1)
        for _ in range(RELOADS):
            before = crowd.echoes
            await asyncio.to_thread(reload, server)
            last = time.monotonic()
            assert (await asyncio.to_thread(server.visitor.page))[0] == 200
            await asyncio.sleep(numbers.reload_interval)
            assert crowd.echoes > before
        await asyncio.sleep(numbers.drain_window)
        await asyncio.to_thread(until, lambda: max(ages(server)) < time.monotonic() - last, 5)
    assert crowd.refused == []
    assert crowd.codes == {1012}
    log = server.machine.run("sh", "-c", "zcat -f /var/log/apache2/error.log*")
    assert "AH03490" not in log  # no slot for a new child
