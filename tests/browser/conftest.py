"""A browser, and a site for it to visit.

Tests know the site only by its address and by stopping and starting its backend; nothing here knows the chat's messages.
"""

import json
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, async_playwright, expect

from cli.stack import Backend
from tests import needs, waiting
from tests.stacks import Running, running

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
    """The chat as a browser sees it: over wss, through a real Apache."""

    def __init__(self, running: Running) -> None:
        self.url = running.url
        self._running = running

    def stop_backend(self) -> None:
        """Stop the backend and wait until it is gone."""
        # AH00957 and AH01114: nobody listens there, which Apache answers with 503.
        self._running.allow("AH00957", "AH01114")
        self._backend.stop()

    def start_backend(self) -> None:
        """Start the backend and wait until it answers."""
        self._backend.start()

    @contextmanager
    def kept_user(self) -> Iterator[None]:
        """Let the backend keep our user meanwhile: another one may not be allowed to start our interpreter, which may be in a home."""
        user, self._backend.user = self._backend.user, ""
        self._backend.stop()
        self._backend.start()
        yield
        self._backend.user = user
        self._backend.stop()
        self._backend.start()

    @property
    def _backend(self) -> Backend:
        assert self._running.stack.backend is not None
        return self._running.stack.backend


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """Run the site: the plain case, no description at all."""
    with running() as instance:
        yield Site(instance)


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
