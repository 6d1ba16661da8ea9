"""The page itself: keyboard, screen reader, sizes, themes, and pictures to look at."""

from pathlib import Path
from typing import Any, Literal

import axe_playwright_python  # type: ignore[import-untyped]  # wanted for its script alone
import pytest
from playwright.async_api import Page, expect

from .conftest import Site, Visit

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("browser", "apache")]

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
SMALL: dict[str, Any] = PHONE | {"viewport": {"width": 320, "height": 568}}
WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
TALK = (
    "Morning! The tunnel has been up since Friday, not a single reconnect.",
    "The numbers are here: https://example.org/notes/2026-11/" + "long-path-" * 12,
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3,
    "صباح الخير، هل يعمل كل شيء الآن؟",
    "./wsfront up\n  ready https://localhost:8443/",
)


async def talk(*pages: Page) -> None:
    """Let the pages say something in turn, each when it has heard the one before."""
    for number, text in enumerate(TALK):
        box = pages[number % len(pages)].get_by_label("Message", exact=True)
        await box.fill(text)
        await box.press("Enter")
        for page in pages:
            await expect(page.locator(".message")).to_have_count(number + 1)
    await expect(pages[0].locator(".own[data-state]")).to_have_count(0)


async def test_keyboard_alone_is_enough(visit: Visit) -> None:
    """Writing, a line break, sending and renaming need no pointer, and focus moves in the order of the page."""
    ada = await visit("Ada", **WIDE)
    await expect(ada.get_by_label("Message", exact=True)).to_be_focused()
    await ada.keyboard.type("one")
    await ada.keyboard.press("Shift+Enter")
    await ada.keyboard.type("two")
    await ada.keyboard.press("Enter")
    await expect(ada.locator(".own .text")).to_have_text("one\ntwo")
    order = ["send", "other", "", "color", "name"]  # the "Go" button has no name
    for expected in order:
        await ada.keyboard.press("Tab")
        assert await ada.evaluate("document.activeElement.id") == expected
    await ada.keyboard.press("ControlOrMeta+a")
    await ada.keyboard.type("Countess")
    await ada.keyboard.press("Enter")
    await expect(ada.locator("#people .name")).to_have_text("Countess")


async def test_panel_on_a_phone(visit: Visit) -> None:
    """On a phone the people are behind a button that shows their number; Escape closes them and focus returns."""
    ada = await visit("Ada", **PHONE)
    await ada.keyboard.press("Tab")
    await expect(ada.get_by_role("link", name="Skip to the message box")).to_be_focused()
    button = ada.get_by_role("button", name="1 here")
    await expect(ada.locator("#panel")).to_be_hidden()
    await button.tap()
    await expect(ada.locator("#people .name")).to_have_text("Ada")
    await expect(ada.get_by_role("button", name="Close")).to_be_focused()
    await ada.keyboard.press("Escape")
    await expect(ada.locator("#panel")).to_be_hidden()
    await expect(button).to_be_focused()


async def test_the_log_announces_each_message_once(visit: Visit) -> None:
    """There is one log, states are announced outside of it, and confirming a message adds nothing to it."""
    ada = await visit("Ada")
    await expect(ada.get_by_role("log")).to_have_count(1)
    await expect(ada.locator("[aria-live], [role=alert]")).to_have_count(0)
    assert await ada.locator("[role=status]").count() == 2
    await expect(ada.locator("[role=log] [role=status], [role=status] [role=status]")).to_have_count(0)
    await ada.evaluate(
        """() => {
            window.additions = 0;
            const count = (records) => records.forEach((record) => (window.additions += record.addedNodes.length));
            new MutationObserver(count).observe(document.querySelector("#messages"), {childList: true});
        }"""
    )
    await ada.get_by_label("Message", exact=True).fill("Once")
    await ada.keyboard.press("Enter")
    await expect(ada.locator(".own")).to_have_count(1)
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    assert await ada.evaluate("window.additions") == 1


@pytest.mark.parametrize("size", [SMALL, PHONE, WIDE], ids=["320", "360", "1280"])
async def test_nothing_is_wider_than_the_screen(visit: Visit, size: dict[str, Any]) -> None:
    """Long words, addresses and names wrap or are cut: neither page nor log scrolls sideways."""
    ada = await visit("Ada-" + "x" * 36, **size)
    await talk(ada)
    for selector in ("html", "#log"):
        wider = await ada.locator(selector).evaluate("(one) => one.scrollWidth - one.clientWidth")
        assert wider == 0, selector
    small = await ada.locator("button:visible, input:visible").evaluate_all(
        "(all) => all.filter((one) => Math.min(one.offsetWidth, one.offsetHeight) < 44).map((one) => one.id)"
    )
    assert small == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_themes_in_pictures(
    visit: Visit, site: Site, artefacts: Path, theme: Literal["light", "dark"]
) -> None:
    """Both themes keep text readable in every state; a picture of each state is left to be looked at."""
    wide, phone = (
        await visit("Ada", color_scheme=theme, **WIDE),
        await visit("Grace Hopper", color_scheme=theme, **PHONE),
    )
    pages = {"wide": wide, "phone": phone}
    for name, page in pages.items():
        await page.screenshot(path=artefacts / f"{name}-{theme}-empty.png")
    await talk(wide, phone)
    await expect(wide.locator(".remark")).to_have_text("Grace Hopper joined")
    for name, page in pages.items():
        assert await contrast(page) == []
        await page.screenshot(path=artefacts / f"{name}-{theme}-talk.png")
    await phone.get_by_role("button", name="2 here").tap()
    await phone.screenshot(path=artefacts / f"phone-{theme}-people.png", animations="disabled")
    await phone.keyboard.press("Escape")
    site.stop_backend()
    try:
        for name, page in pages.items():
            await expect(page.locator("#offline")).to_be_visible()
            await page.get_by_label("Message", exact=True).fill("This one waits.")
            await page.keyboard.press("Enter")
            assert await contrast(page) == []
            await page.screenshot(path=artefacts / f"{name}-{theme}-offline.png")
    finally:
        site.start_backend()
    dark = await wide.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(15, 23, 25)"
    assert dark == (theme == "dark")


@pytest.mark.parametrize(("size", "theme"), [(PHONE, "dark"), (WIDE, "light")], ids=["phone", "wide"])
async def test_axe_finds_nothing(visit: Visit, size: dict[str, Any], theme: Literal["light", "dark"]) -> None:
    """The accessibility rules of axe-core find no fault in a conversation, with the panel open."""
    script = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
    ada = await visit("Ada", color_scheme=theme, reduced_motion="reduce", **size)
    await talk(ada)
    if size is PHONE:
        await ada.get_by_role("button", name="1 here").tap()
    await ada.evaluate(f"() => {{ {script} }}")
    result = await ada.evaluate("axe.run()")
    assert [(fault["id"], [node["html"] for node in fault["nodes"]]) for fault in result["violations"]] == []


async def contrast(page: Page) -> list[str]:
    """List texts below a contrast of 4.5 to 1 (WCAG 2.2, 1.4.3); colours are computed by a canvas."""
    faults: list[str] = await page.evaluate(CONTRAST)
    return faults


CONTRAST = """() => {
    const canvas = Object.assign(document.createElement("canvas"), {width: 1, height: 1});
    const context = canvas.getContext("2d", {willReadFrequently: true});
    const luminance = (...layers) => {
        for (const color of layers) {
            context.fillStyle = color;
            context.fillRect(0, 0, 1, 1);
        }
        const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].map((part) => linear(part / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const grounds = (one) => (one ? [...grounds(one.parentElement), getComputedStyle(one).backgroundColor] : ["#fff"]);
    const faults = [];
    for (const one of document.querySelectorAll("body *")) {
        const own = [...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
        if (!own || !one.checkVisibility({visibilityProperty: true})) continue;
        const back = grounds(one);
        const pair = [luminance(...back), luminance(...back, getComputedStyle(one).color)];
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        if (ratio < 4.5) faults.push(`${one.outerHTML}: ${ratio.toFixed(2)}`);
    }
    return faults;
}"""
