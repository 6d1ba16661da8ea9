"""Fixtures: a backend in this process, and one as a process of its own."""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import uvloop

from server.pages import Page
from server.settings import Settings
from tests.redis_server import RedisServer
from tests.unit.server.harness import ROOT, Launch, Process, Running, Start, running
from tests.waiting import until

MEMORY = "/dev/shm"  # noqa: S108 (Linux keeps it so)


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test on both event loops that the backend may run on."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Give a function that starts backends: keywords are settings, and pages."""
    async with AsyncExitStack() as stack:

        async def begin(pages: dict[str, Page] | None = None, **settings: Any) -> Running:
            settings = {"drain_seconds": 1.0, **settings}
            return await stack.enter_async_context(running(Settings(**settings), pages or {}))

        yield begin


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Give a function that runs ``python -m server`` and waits until it listens on all addresses."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(
        *listen: str,
        arguments: tuple[str, ...] = (),
        groups: list[int] | None = None,
        **environment: str,
    ) -> Process:
        listen = listen or ("127.0.0.1:0",)
        flags = [flag for address in listen for flag in ("--listen", address)]
        log = tmp_path / f"{len(started)}.log"
        with log.open("wb") as stderr:
            popen = subprocess.Popen(
                [sys.executable, "-m", "server", *flags, *arguments],
                cwd=ROOT,
                env={**os.environ, **environment},
                stderr=stderr,
                extra_groups=groups,
            )
        started.append(popen)
        process = Process(popen, log)
        until(
            lambda: process.log.read_text().count("listening on") == len(listen) or popen.poll() is not None,
            30,
        )
        assert popen.poll() is None, process.lines
        return process

    yield begin
    for popen in started:
        popen.kill()
        popen.wait()


@pytest.fixture
def short_path() -> Iterator[Path]:
    """Give a folder whose name leaves room for a unix socket's (108 bytes in all)."""
    with tempfile.TemporaryDirectory(prefix="ws") as folder:
        yield Path(folder)


@pytest.fixture
def redis() -> Iterator[Callable[..., RedisServer]]:
    """Give a function that starts a Redis of the test's own, in memory where there is a place."""
    started: list[RedisServer] = []
    # Each write waits for the disk, and what others write there may hold it up for seconds.
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="ws", dir=memory) as place:

        def begin(*options: str, password: str = "") -> RedisServer:
            folder = Path(place, str(len(started)))
            folder.mkdir()
            started.append(RedisServer(folder, *options, password=password))
            return started[-1]

        yield begin
        for server in started:
            server.kill()
