"""Reloads without end: our backend sees each in Apache's status, and closes the sockets of older generations with 1012."""

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from apache.capacity import plan
from server.generations import FIRST
from tests.raw import ask
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

HOST = "status.wsfront.invalid"
SMALL = "server_name: localhost\nwebsockets: [{connections: 60}]\n"


def main(stack: Running) -> int:
    """Return the process id of the one that all children come from."""
    process = stack.stack.httpd._process
    assert process
    return process.pid


def children(stack: Running) -> dict[int, int]:
    """Return Apache's children: process id -> when it started, in ticks since the machine did (proc(5))."""
    parent = main(stack)
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            words = stat.read_text().rpartition(")")[2].split()
            if int(words[1]) == parent:
                found[int(stat.parent.name)] = int(words[19])
    return found


def health(stack: Running) -> dict[str, Any]:
    """Return what the backend says of itself, to this machine."""
    answer = requests.get(f"http://127.0.0.1:{stack.backend_port}/healthz", timeout=5 * SECOND)
    return dict(answer.json())


async def soon(condition: Callable[[], bool], seconds: float) -> None:
    """Wait for a condition while sockets go on in this loop."""
    async with asyncio.timeout(seconds * SECOND):
        while not condition():  # noqa: ASYNC110  # nothing here tells of processes that end
            await asyncio.sleep(0.05)


async def test_each_old_child_ends_within_the_window() -> None:
    """After a reload the sockets of the old generation are closed with 1012, spread over the window, and its children end."""
    with running(SMALL) as stack:
        window = plan(stack.stack.sites, stack.stack.target).drain_window
        sockets = [await stack.websocket() for _ in range(20)]
        await soon(lambda: health(stack)["generation"] is not None, 5)
        old = children(stack)
        clock = asyncio.get_running_loop().time
        begun = clock()
        os.kill(main(stack), signal.SIGUSR1)
        closed = []

        async def watch(socket: ClientConnection) -> None:
            with contextlib.suppress(ConnectionClosed):
                await socket.recv()
            closed.append((clock() - begun, socket.close_code))

        async with asyncio.timeout((window + 5) * SECOND):
            await asyncio.gather(*map(watch, sockets))
        assert {code for _, code in closed} == {1012}
        times = sorted(at for at, _ in closed)
        assert times[0] < window / 2 < times[-1] < window + 3 * SECOND
        until(lambda: not old.keys() & children(stack).keys(), 10)


async def test_nobody_is_sent_away_by_a_start() -> None:
    """Who comes before the backend has seen Apache for the first time stays: an Apache that was never reloaded shows the first number."""
    with running(SMALL) as stack:
        async with stack.websocket():
            assert await asyncio.to_thread(until, lambda: health(stack)["generation"]) == FIRST
            assert health(stack)["older"] == 0


async def test_reloads_without_end_refuse_nobody() -> None:
    """At the interval that the plan states, clients who come back always find a place, and so do pages."""
    with running(SMALL) as stack:
        sized = plan(stack.stack.sites, stack.stack.target)
        stack.allow("AH00485")  # scoreboard is full, at MaxRequestWorkers: never allowed to be AH03490
        stop = asyncio.Event()
        refused: list[str] = []
        codes: set[int | None] = set()

        async def client() -> None:
            while not stop.is_set():
                try:
                    async with stack.websocket() as socket:
                        while not stop.is_set():
                            await socket.send("x")
                            await socket.recv()
                            await asyncio.sleep(0.2)
                except ConnectionClosed as end:
                    codes.add(end.rcvd.code if end.rcvd else None)
                except (OSError, TimeoutError) as fault:
                    refused.append(repr(fault))

        async with asyncio.TaskGroup() as clients:
            for _ in range(40):
                clients.create_task(client())
            for _ in range(2 * (sized.reloads + 1)):
                await asyncio.sleep(sized.reload_interval)
                os.kill(main(stack), signal.SIGUSR1)
                assert (await asyncio.to_thread(ask, stack, "/")).status == 200
            await soon(lambda: len(children(stack)) <= sized.server_limit // 2, sized.drain_window + 5)
            stop.set()
        assert not refused
        assert codes <= {1012}
        assert not re.search("AH03490|AH00484", stack.stack.httpd.log_text())


async def test_status_is_for_this_machine_alone() -> None:
    """Apache's status answers on loopback by its own name, and to nobody who comes through a proxy."""
    with running(SMALL) as stack:
        stack.stack.httpd.config.with_name("empty").chmod(0o700)  # as all is below the home of root
        assert ask(stack, "/?auto", plain=True, host=HOST).status == 200
        stack.allow("AH01630")  # refused
        for header in ("X-Forwarded-For", "Forwarded", "Via"):
            assert ask(stack, "/?auto", f"{header}: 192.0.2.1", plain=True, host=HOST).status == 403
        for path in ("/", "/server-status", "/?auto"):
            assert b"ParentServerConfigGeneration" not in ask(stack, path).body
