"""A browser, and a site for it to visit.

Tests know the site only by its address and by stopping and starting its backend; nothing here knows the chat's messages.
"""

import json
import os
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from socket import create_server
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from tests import needs, waiting

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 15_000 * waiting.SECOND  # ms

Visit = Callable[..., Awaitable[Page]]
expect.set_options(timeout=PATIENCE)


class Site:
    """The chat as a browser sees it."""

    def __init__(self) -> None:
        with create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"
        self.backend: subprocess.Popen[bytes] | None = None

    def start_backend(self) -> None:
        """Start the backend and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "server",
            "--listen",
            f"127.0.0.1:{self.port}",
            "--log-level",
            "error",
        ]
        self.backend = subprocess.Popen(command, cwd=ROOT)
        waiting.until(self._answers, 20)

    def _answers(self) -> bool:
        assert self.backend is not None
        assert self.backend.poll() is None, "the backend ended at once"
        try:
            urllib.request.urlopen(self.url).close()  # noqa: S310  # the address is our own
        except OSError:
            return False
        return True

    def stop_backend(self) -> None:
        """Stop the backend and wait until it is gone."""
        if self.backend is not None:
            self.backend.terminate()
            self.backend.wait(20)
            self.backend = None


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Run the site."""
    running = Site()
    running.start_backend()
    yield running
    running.stop_backend()


@pytest.fixture(scope="session")
def artefacts() -> Path:
    """Name the folder for screenshots."""
    folder = Path(os.environ.get("WSFRONT_ARTEFACTS", ROOT / "build" / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def room() -> str:
    """Name a room that no other test uses."""
    return f"room-{uuid.uuid4().hex[:8]}"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """Run Chromium."""
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=needs.find("browser"), args=ARGUMENTS)
        yield running
        await running.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(browser: Browser, site: Site, room: str) -> AsyncIterator[Visit]:
    """Open the chat as somebody, each in a browser profile of their own; any complaint of a page fails the test.

    ``prepare`` is called with the page before it loads; ``context`` are options of the profile.
    """
    complaints: list[str] = []
    contexts = []

    def listen(message: ConsoleMessage) -> None:
        # A browser reports every failed attempt to connect; those are what some tests are about.
        if message.type in {"error", "warning"} and "WebSocket connection to" not in message.text:
            complaints.append(f"{message.type}: {message.text}")

    async def opened(
        name: str, prepare: Callable[[Page], Awaitable[object]] | None = None, **context: Any
    ) -> Page:
        contexts.append(await browser.new_context(ignore_https_errors=True, **context))
        page = await contexts[-1].new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", listen)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        you = json.dumps({"name": name, "color": "#6d28d9"})
        await page.add_init_script(f"localStorage['wsfront.you'] ??= {json.dumps(you)}")
        if prepare is not None:
            await prepare(page)
        await page.goto(f"{site.url}?room={room}")
        await expect(page.locator("#connection")).to_have_text("Connected")
        return page

    yield opened
    for context in contexts:
        await context.close()
    assert complaints == []
