"""How a running stack ends: sockets are told why, and nothing is left."""

import asyncio
import os
import socket as sockets
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli.descriptions import ROOT
from tests.raw import line
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")


def of_session(leader: int) -> list[int]:
    """Return the processes, zombies aside, of a session (proc(5), stat: state, ppid, pgrp, session)."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, _, _, session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            found.append(int(process.name))
    return found


def leaders(stack: Running) -> list[int]:
    """Return the leaders of the sessions that a stack runs in: Apache's and the backend's."""
    backend = stack.stack.backend
    assert stack.stack.httpd.pid
    assert backend
    assert backend.process
    return [stack.stack.httpd.pid, backend.process.pid]


def is_free(port: int) -> bool:
    """Tell whether a port of the loopback address can be listened on."""
    with sockets.socket() as probe:
        probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


async def test_stop_with_open_sockets() -> None:
    """With fifty sockets open a stop closes each with 1012 and a reason, ends in time, and leaves no process and no port."""
    with running() as stack:
        sessions = leaders(stack)
        assert all(of_session(leader) for leader in sessions)
        ports = [stack.https_port, stack.http_port, stack.backend_port]
        assert not any(is_free(port) for port in ports)
        clients = [await stack.websocket("/ws/chat" if n % 2 else "/ws/echo") for n in range(50)]
        start = time.monotonic()
        await asyncio.to_thread(stack.stack.stop)
        assert time.monotonic() - start < 6 * SECOND
        for client in clients:
            await asyncio.wait_for(client.wait_closed(), SECOND)
        assert {(client.close_code, client.close_reason) for client in clients} == {(1012, "service restart")}
        assert [of_session(leader) for leader in sessions] == [[], []]
        assert all(is_free(port) for port in ports)


def test_stop_with_clients_that_do_not_answer() -> None:
    """Clients that neither read nor answer a close hold up a stop for the backend's five seconds and Apache's three."""
    with running() as stack, ExitStack() as held:
        sessions = leaders(stack)
        for _ in range(3):
            assert held.enter_context(line(stack)).shake("/ws/echo").status == 101
        start = time.monotonic()
        stack.stack.stop()
        assert time.monotonic() - start < 12 * SECOND
        assert [of_session(leader) for leader in sessions] == [[], []]
        stack.allow("AH00045")  # a child does not end for SIGTERM


HOLDER = """
from tests.integration.test_stop import leaders
from cli.descriptions import ROOT
from tests.raw import line
from tests.stacks import running
with running() as stack:
    print(*leaders(stack), flush=True)
    input()
"""


def test_all_ends_with_its_parent(folder: Path) -> None:
    """When the process that runs a stack is killed, Apache and the backend end too."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        sessions = [int(word) for word in holder.stdout.readline().split()]
        assert len(sessions) == 2
        assert all(of_session(leader) for leader in sessions)
        holder.kill()
    until(lambda: not any(of_session(leader) for leader in sessions), 20)
