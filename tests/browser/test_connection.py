"""The connection comes and goes; what was typed stays."""

import json
import re
from typing import Any

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import Site, Visit

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("browser", "apache")]


class Tap:
    """Stands between a page and the server: counts connections, swallows frames of both or of the server, forges the welcome.

    Notes what the page sends, refuses so many of its lines behind the server's back, and lets no picture begin.
    """

    def __init__(self) -> None:
        self.sockets: list[WebSocketRoute] = []
        self.silent = False
        self.deaf = False
        self.welcome = ""
        self.sent: list[dict[str, Any]] = []
        self.refuse = 0
        self.keeps_ready = False

    async def __call__(self, page: Page) -> None:
        """Get in between, and put the page's clock into the test's hands."""
        await page.clock.install()
        await page.route_web_socket(re.compile("ws/chat"), self._proxy)

    def _proxy(self, socket: WebSocketRoute) -> None:
        server = socket.connect_to_server()
        self.sockets.append(socket)

        def note(frame: str | bytes) -> None:
            self.sent.append(json.loads(frame))
            if not self.silent:
                server.send(frame)

        def forward(frame: str | bytes) -> None:
            if self.refuse and '"ack"' in str(frame):
                self.refuse -= 1
                error = {"type": "error", "code": "try-again", "message": "Not now.", "retry_after": 0.5}
                socket.send(json.dumps(error))
            elif not (self.silent or self.deaf or (self.keeps_ready and '"ready"' in str(frame))):
                socket.send(self.welcome if self.welcome and '"welcome"' in str(frame) else frame)

        socket.on_message(note)
        server.on_message(forward)


async def test_typed_while_the_backend_is_down(visit: Visit, site: Site) -> None:
    """Messages sent while the backend is down are shown as waiting and delivered in order after it is back."""
    ada = await visit("Ada", lambda page: page.clock.install())
    site.stop_backend()
    try:
        await expect(ada.locator("#offline")).to_be_visible()
        box = ada.get_by_label("Message", exact=True)
        for text in ("first", "second"):
            await box.fill(text)
            await box.press("Enter")
        await box.fill("not yet sent")
        await expect(ada.locator(".own .state")).to_have_text(["Waiting for the connection"] * 2)
        # Without a clock Ada's page cannot be back before there is somebody to hear her.
        await ada.clock.pause_at(await ada.evaluate("Date.now() / 1_000 + 10"))
    finally:
        site.start_backend()
    bob = await visit("Bob")
    await ada.clock.resume()
    await ada.evaluate("dispatchEvent(new Event('online'))")  # a page waits up to 30 s, a test need not
    await expect(bob.locator(".message .text")).to_have_text(["first", "second"])
    await expect(ada.locator(".own .text")).to_have_text(["first", "second"])
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    await expect(box).to_have_value("not yet sent")


async def test_reconnects_by_itself_and_says_so(visit: Visit, site: Site) -> None:
    """A restart of the backend is announced with a countdown; the page is back without a hand on it."""
    ada = await visit("Ada")
    connection = ada.get_by_role("status").and_(ada.locator("#connection"))
    site.stop_backend()
    try:
        await expect(connection).to_have_text(re.compile("The server is restarting|Connection lost"))
        await expect(ada.locator("#countdown")).to_have_text(
            re.compile(r"Trying again in \d+ s\.|Trying now\.")
        )
        await expect(ada.get_by_role("button", name="Reconnect now")).to_be_visible()
    finally:
        site.start_backend()
    await expect(connection).to_have_text("Connected")
    await expect(ada.locator("#offline")).to_be_hidden()


async def test_a_silent_connection_is_given_up(visit: Visit) -> None:
    """A connection on which nothing comes back any more is found within 35 s; what was sent goes again."""
    tap = Tap()
    ada = await visit("Ada", tap)
    tap.silent = True
    await ada.get_by_label("Message", exact=True).fill("Hello?")
    await ada.keyboard.press("Enter")
    await expect(ada.locator(".own")).to_have_attribute("data-state", "sending")
    await ada.clock.fast_forward(26_000)
    await ada.clock.fast_forward(11_000)
    await expect(ada.locator("#connection")).to_have_text("Connection lost")
    tap.silent = False
    await expect(ada.locator("#connection")).to_have_text("Connected")
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    await expect(ada.locator(".own .text")).to_have_text(["Hello?"])


async def away(page: Page, tap: Tap) -> None:
    """Cut a page's connection, and let no time pass there: it does not come back by itself."""
    await page.clock.pause_at(await page.evaluate("Date.now() / 1_000 + 1"))
    await tap.sockets[-1].close(code=1012)
    await expect(page.locator("#connection")).to_have_text("The server is restarting")


async def test_what_was_missed_is_restored(visit: Visit) -> None:
    """A page that comes back gets what was said meanwhile, once and in order, and says how much that was."""
    tap = Tap()
    ada, bob = await visit("Ada", tap), await visit("Bob")
    box = bob.get_by_label("Message", exact=True)
    for text in ("before", "one", "two", "three"):
        await box.fill(text)
        await box.press("Enter")
        if text == "before":
            await expect(ada.locator(".message .text")).to_have_text(["before"])
            await away(ada, tap)
    await expect(bob.locator(".own[data-state]")).to_have_count(0)
    await ada.clock.resume()
    await ada.evaluate("dispatchEvent(new Event('online'))")
    await expect(ada.locator(".remark", has_text="restored")).to_have_text("3 missed messages restored")
    await expect(ada.locator(".message .text")).to_have_text(["before", "one", "two", "three"])


async def test_kept_but_not_acknowledged(visit: Visit) -> None:
    """A line whose acknowledgement is lost is sent again under its id: nobody sees it twice."""
    tap = Tap()
    ada, bob = await visit("Ada", tap), await visit("Bob")
    tap.deaf = True
    await ada.get_by_label("Message", exact=True).fill("Once")
    await ada.keyboard.press("Enter")
    await expect(bob.locator(".message .text")).to_have_text(["Once"])
    await away(ada, tap)
    tap.deaf = False
    await ada.clock.resume()
    await ada.evaluate("dispatchEvent(new Event('online'))")
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    await expect(ada.locator(".own .text")).to_have_text(["Once"])
    await expect(bob.locator(".message .text")).to_have_text(["Once"])


async def test_refused_and_kept_all_the_same(visit: Visit) -> None:
    """After a line that was refused for now the page asks where it is, so that others are taken, though that line's copy has come."""
    tap = Tap()
    ada, bob = await visit("Ada", tap), await visit("Bob")
    tap.refuse = 1
    box = ada.get_by_label("Message", exact=True)
    for text in ("one", "two"):
        await box.fill(text)
        await box.press("Enter")
        await expect(ada.locator(".own")).to_have_count(1 if text == "one" else 2)
        if text == "one":
            await expect(ada.locator("#notice")).to_contain_text("keep no messages")
    await expect(bob.locator(".message .text")).to_have_text(["one", "two"])
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    talk = [frame["type"] for frame in tap.sent if frame["type"] in ("resume", "usermsg")]
    assert talk == ["resume", "usermsg", "resume", "usermsg"]


async def test_says_that_some_may_be_missing(visit: Visit, site: Site) -> None:
    """Where the server has lost its memory the page says that messages may be missing."""
    ada = await visit("Ada")
    site.stop_backend()
    site.start_backend()
    await ada.evaluate("dispatchEvent(new Event('online'))")
    await expect(ada.locator("#connection")).to_have_text("Connected")
    await expect(ada.locator(".remark", has_text="missing")).to_have_text("Some messages may be missing")


async def test_a_refused_page_does_not_hammer(visit: Visit) -> None:
    """After a close for cause (1008) the page waits for a person, says why, and comes back when asked to."""
    tap = Tap()
    ada = await visit("Ada", tap)
    await tap.sockets[0].close(code=1008, reason="too many messages")
    await expect(ada.locator("#connection")).to_have_text("Closed by the server")
    await ada.clock.fast_forward(300_000)
    await ada.evaluate("dispatchEvent(new Event('online'))")
    await expect(ada.locator("#countdown")).to_have_text("too many messages.")
    assert len(tap.sockets) == 1
    await ada.get_by_role("button", name="Reconnect now").click()
    await expect(ada.locator("#connection")).to_have_text("Connected")


async def test_a_draft_survives_a_reload(visit: Visit) -> None:
    """What stands in the box is there again after a reload, and so is the name."""
    ada = await visit("Ada")
    await ada.get_by_label("Message", exact=True).fill("half a thou")
    await ada.reload()
    await expect(ada.get_by_label("Message", exact=True)).to_have_value("half a thou")
    await expect(ada.get_by_label("Your name", exact=True)).to_have_value("Ada")


async def test_marks_that_nobody_sees(visit: Visit, site: Site) -> None:
    """A room's or a person's name with marks that the server refuses, as copied text has them, is taken without them."""
    ada = await visit("A\u200fda")
    await expect(ada.locator("#people .name")).to_have_text(["Ada"])
    await ada.goto(f"{site.url}?room=%E2%80%8Fmarked%E2%80%AE")
    await expect(ada.locator("#connection")).to_have_text("Connected")
    await expect(ada.locator("#room")).to_have_text("marked")
    await ada.get_by_role("textbox", name="Your name").fill("\u200d")
    await ada.get_by_role("button", name="Save").click()
    await expect(ada.locator("#notice")).to_have_text("You are Ada.")


async def test_a_full_room_is_tried_again_later(visit: Visit) -> None:
    """A join that the server refuses is shown with its reason, and tried again after some seconds."""
    tap = Tap()
    ada = await visit("Ada", tap)
    tap.welcome = '{"type":"error","code":"room-full","message":"This room is full."}'
    await tap.sockets[0].close(code=1012)
    await expect(ada.locator("#notice")).to_have_text("This room is full.")
    await expect(ada.locator("#connection")).to_have_text("The server is busy")
    tap.welcome = ""
    await ada.clock.fast_forward(40_000)
    await expect(ada.locator("#connection")).to_have_text("Connected")
