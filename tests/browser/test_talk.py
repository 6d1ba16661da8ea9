"""People talk: what one writes, the others read."""

import json
import re
from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, WebSocketRoute, expect

from .conftest import Visit

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("browser", "apache")]


async def say(page: Page, text: str) -> None:
    """Write a message and press Enter."""
    await page.get_by_label("Message", exact=True).fill(text)
    await page.keyboard.press("Enter")


def believing(**limits: int) -> Callable[[Page], Awaitable[object]]:
    """Make a page believe in other limits than the server's, and note the codes of the errors that it earns."""
    return lambda page: page.add_init_script(
        f"""
        const parse = JSON.parse;
        window.errors = [];
        JSON.parse = (text) => {{
            const value = parse(text);
            if (value?.type === "welcome") Object.assign(value.limits, {json.dumps(limits)});
            if (value?.type === "error") window.errors.push(value.code);
            return value;
        }};
        """
    )


async def test_two_pages_chat(visit: Visit) -> None:
    """What one page sends the other shows once, with the sender's name, and the sender's own page as its own."""
    ada, bob = await visit("Ada"), await visit("Bob")
    await say(ada, "Good morning, Bob.")
    await say(bob, "Good morning!\nSlept well?")
    heard = bob.locator(".message:not(.own)")
    await expect(heard.locator(".text")).to_have_text(["Good morning, Bob."])
    await expect(heard.locator(".name")).to_have_text("Ada")
    await expect(ada.locator(".own .text")).to_have_text(["Good morning, Bob."])
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    assert await ada.locator(".message:not(.own) .text").inner_text() == "Good morning!\nSlept well?"


async def test_markup_stays_text(visit: Visit) -> None:
    """Markup in a message or a name is shown as it was typed and makes no element."""
    markup = "<img src=x onerror=\"document.title='owned'\"><b>bold</b>"
    mallory, bob = await visit("<i>Mallory</i>"), await visit("Bob")
    await say(mallory, markup)
    await expect(bob.locator(".text")).to_have_text(markup)
    await expect(bob.locator(".message .name")).to_have_text("<i>Mallory</i>")
    await expect(bob.locator("#messages img, #messages b, #messages i, #people i")).to_have_count(0)
    assert "owned" not in await bob.title()


async def test_only_web_addresses_become_links(visit: Visit) -> None:
    """An http(s) address becomes a link that gives nothing away; any other scheme stays text."""
    ada = await visit("Ada")
    await say(ada, "See (https://example.org/a_(b)), javascript://x/%0aalert(1) and http://localhost:1/.")
    links = ada.locator(".text a")
    await expect(links).to_have_text(["https://example.org/a_(b)", "http://localhost:1/"])
    for link in await links.all():
        assert {"noopener", "noreferrer"} <= set((await link.get_attribute("rel") or "").split())


async def test_the_simplest_client_is_heard(visit: Visit) -> None:
    """A line from a socket that never joined is shown with the name it gives."""
    ada = await visit("Ada")
    await ada.evaluate(
        """async () => {
            const url = new URL("ws/chat" + location.search, location.href);
            url.protocol = url.protocol.replace("http", "ws");
            const socket = new WebSocket(url);
            await new Promise((done) => (socket.onopen = done));
            socket.send(JSON.stringify({type: "usermsg", name: "Old client", message: "Hello", color: "#b45309"}));
        }"""
    )
    await expect(ada.locator(".message:not(.own) .name")).to_have_text("Old client")
    await expect(ada.locator(".message .text")).to_have_text("Hello")


async def test_who_is_here(visit: Visit) -> None:
    """Joining, renaming and leaving change the list, the count and the remarks of the others."""
    ada, bob = await visit("Ada"), await visit("Bob")
    people, remarks = ada.locator("#people .name"), ada.locator(".remark")
    await expect(people).to_have_text(["Ada", "Bob"])
    await expect(ada.locator("#panel [data-count]")).to_have_text("2")
    await expect(remarks).to_have_text(["Bob joined"])
    await bob.get_by_label("Your name", exact=True).fill("Robert")
    await bob.keyboard.press("Enter")
    await expect(people).to_have_text(["Ada", "Robert"])
    await expect(remarks).to_have_text(["Bob joined", "Bob is now Robert"])
    await bob.close()
    await expect(people).to_have_text(["Ada"])
    await expect(ada.locator("#panel [data-count]")).to_have_text("1")
    await expect(remarks.last).to_have_text("Robert left")


async def test_a_fast_writer_is_slowed_down_visibly(visit: Visit) -> None:
    """More lines than the room allows wait their turn, are said to, and all arrive in order."""
    ada, bob = await visit("Ada"), await visit("Bob")
    said = await ada.evaluate(BURST)
    assert "quick" in said["notice"]
    assert "Waiting its turn" in said["states"]
    await expect(bob.locator(".message .text")).to_have_text([f"line {number}" for number in range(26)])
    await expect(ada.locator(".own[data-state]")).to_have_count(0)


async def test_the_servers_refusal_is_shown_and_tried_again(visit: Visit) -> None:
    """A line that the server refuses as too fast says so and goes out later; none is lost or comes twice."""
    ada = await visit("Ada", believing(burst=1000, per_second=1000))
    bob = await visit("Bob")
    await ada.evaluate(BURST)
    await expect(ada.locator("#notice")).to_have_text(re.compile("quick"))
    texts = bob.locator(".message .text")
    await expect(texts).to_have_count(26)
    assert sorted(await texts.all_inner_texts()) == sorted(f"line {number}" for number in range(26))
    assert set(await ada.evaluate("window.errors")) == {"rate-limited"}


async def test_a_refused_message_can_be_tried_again_or_deleted(visit: Visit) -> None:
    """A message that the server refuses stays with the reason, a way to try again and a way to be rid of it."""
    ada = await visit("Ada", believing(message=5000))
    await say(ada, "x" * 2001)
    await expect(ada.locator(".state")).to_have_text(re.compile("Not sent: .*2000"))
    await ada.get_by_role("button", name="Try again").click()
    await expect(ada.locator(".state")).to_have_text(re.compile("Not sent: .*2000"))
    assert await ada.evaluate("window.errors") == ["too-long", "too-long"]
    await ada.get_by_role("button", name="Delete").click()
    await expect(ada.locator(".message")).to_have_count(0)
    await expect(ada.get_by_label("Message", exact=True)).to_be_focused()


async def test_a_message_too_long_stays_in_the_box(visit: Visit) -> None:
    """A text above the limit is counted and not sent, and nothing of it is lost."""
    ada = await visit("Ada")
    await say(ada, "x" * 2001)
    await expect(ada.locator("#counter")).to_have_text("2001 of 2000")
    await expect(ada.locator("#notice")).to_have_text("A message has at most 2000 characters.")
    await expect(ada.get_by_label("Message", exact=True)).to_have_value("x" * 2001)
    await expect(ada.locator(".message")).to_have_count(0)


async def test_a_busy_room_stays_small(visit: Visit) -> None:
    """The page keeps the newest 500 messages and drops older ones."""
    routes: list[WebSocketRoute] = []

    async def proxied(page: Page) -> None:
        def proxy(socket: WebSocketRoute) -> None:
            socket.connect_to_server()
            routes.append(socket)

        await page.route_web_socket(re.compile("ws/chat"), proxy)

    ada = await visit("Ada", proxied)
    for number in range(520):
        line = {"type": "usermsg", "name": "Bot", "message": f"line {number}", "color": "#0369a1"}
        routes[0].send(json.dumps(line))
    texts = ada.locator(".message .text")
    await expect(texts.last).to_have_text("line 519")
    await expect(texts).to_have_count(500)
    await expect(texts.first).to_have_text("line 20")


async def test_reading_back_is_not_disturbed(visit: Visit) -> None:
    """Who has scrolled up stays there and is told of new messages; a press on that leads to the newest."""
    ada, bob = await visit("Ada", viewport={"width": 400, "height": 400}), await visit("Bob")
    for number in range(8):
        await say(bob, f"line {number}\n" * 4)
    await expect(ada.locator(".message")).to_have_count(8)
    await expect(ada.locator(".message").last).to_be_in_viewport()
    await ada.locator("#log").evaluate("(log) => (log.scrollTop = 0)")
    await expect(ada.locator(".message").first).to_be_in_viewport()
    await say(bob, "Something new")
    await ada.get_by_role("button", name="1 new message").click()
    await expect(ada.get_by_text("Something new")).to_be_in_viewport()
    await expect(ada.locator("#newer")).to_be_hidden()


BURST = """() => {
    for (let number = 0; number < 26; number += 1) {
        document.querySelector("#input").value = `line ${number}`;
        document.querySelector("#composer").requestSubmit();
    }
    const states = [...document.querySelectorAll(".state:not([hidden])")].map((state) => state.textContent);
    return {states, notice: document.querySelector("#notice").textContent};
}"""
