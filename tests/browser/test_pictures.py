"""People show pictures: picked, pasted or dropped."""

import base64
import io
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python  # type: ignore[import-untyped]  # wanted for its script alone
import pytest
from PIL import Image
from playwright.async_api import FilePayload, Page, expect

from .conftest import Site, Visit
from .test_connection import Tap
from .test_talk import believing, say

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.needs("browser", "apache")]

WIDE: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
# What a person does with the clipboard or the mouse, by the events that it makes.
HAND_OVER = """([kind, data, type, text]) => {
    const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
    const carried = new DataTransfer();
    carried.items.add(new File([bytes], "a picture", {type}));
    if (text) carried.setData("text/plain", text);
    const options = {bubbles: true, cancelable: true};
    const event = kind === "paste"
        ? new ClipboardEvent("paste", {...options, clipboardData: carried})
        : new DragEvent("drop", {...options, dataTransfer: carried});
    document.querySelector("#input").dispatchEvent(event);
    return event.defaultPrevented;
}"""


def drawn(size: tuple[int, int] = (900, 600), kind: str = "PNG") -> bytes:
    """Draw a picture: an evening sky."""
    sky = Image.linear_gradient("L").resize(size)
    image = Image.merge("RGB", (sky, sky.point(lambda value: value // 2 + 30), Image.new("L", size, 130)))
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


def payload(data: bytes, kind: str = "image/png") -> FilePayload:
    """Make a file to pick."""
    return FilePayload(name="a picture", mimeType=kind, buffer=data)


async def hand_over(page: Page, how: str, data: bytes, kind: str = "image/png", text: str = "") -> bool:
    """Paste or drop a picture; return whether the page took it."""
    return bool(await page.evaluate(HAND_OVER, [how, base64.b64encode(data).decode(), kind, text]))


@pytest.fixture(scope="module", autouse=True)
def kept_user(site: Site) -> Iterator[None]:
    """Run the backend as who runs the tests."""
    with site.kept_user():
        yield


async def test_picked(visit: Visit) -> None:
    """A picked picture is shown to all, made smaller by the server, with what was in the box as its text."""
    ada, bob = await visit("Ada"), await visit("Bob")
    await ada.get_by_label("Message", exact=True).fill("The tunnel at night")
    await ada.locator("#file").set_input_files(payload(drawn((3000, 2000), "JPEG"), "image/jpeg"))
    image = bob.get_by_role("img", name="The tunnel at night")
    await expect(image).to_be_visible()
    await expect(image).to_have_js_property("naturalWidth", 1024)
    await expect(bob.locator(".picture")).to_have_text("The tunnel at night")
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    await expect(ada.locator(".picture img")).to_have_js_property("naturalWidth", 1024)
    await expect(ada.get_by_label("Message", exact=True)).to_have_value("")


async def test_several(visit: Visit) -> None:
    """Pictures picked together are sent one after the other, each whole, and the text belongs to the first."""
    ada, bob = await visit("Ada"), await visit("Bob")
    await ada.get_by_label("Message", exact=True).fill("The first")
    files = [payload(drawn((width, 200))) for width in (900, 300, 600)]
    await ada.locator("#file").set_input_files(files)
    await expect(bob.locator(".picture img")).to_have_count(3)
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    for page in (ada, bob):
        images = await page.locator(".picture img").all()
        assert [await image.get_attribute("width") for image in images] == ["900", "300", "600"]
        assert await images[0].get_attribute("alt") == "The first"


@pytest.mark.parametrize("how", ["paste", "drop"])
async def test_handed_over(visit: Visit, how: str) -> None:
    """A pasted or dropped picture is shown, and says whose it is where nothing else is said of it."""
    ada, bob = await visit("Ada"), await visit("Bob")
    assert await hand_over(ada, how, drawn())
    await expect(bob.get_by_role("img", name="Picture from Ada")).to_be_visible()


async def test_text_that_comes_with_a_picture(visit: Visit) -> None:
    """An office program's text is pasted as text, though it brings a picture of itself."""
    ada = await visit("Ada")
    assert not await hand_over(ada, "paste", drawn(), text="a table")
    await expect(ada.locator(".message")).to_have_count(0)


async def test_preview(visit: Visit, site: Site) -> None:
    """A picture that cannot go out yet is shown as it is, and goes out with the next connection, once."""
    ada, bob = await visit("Ada"), await visit("Bob")
    site.stop_backend()
    await expect(ada.locator("#offline")).to_be_visible()
    assert await hand_over(ada, "paste", drawn())
    image = ada.locator(".own[data-state=waiting] img")
    await expect(image).to_have_attribute("src", re.compile("^data:image/png"))
    assert (
        await image.evaluate("async (image) => { await image.decode(); return image.naturalWidth; }") == 900
    )
    site.start_backend()
    await expect(bob.locator(".picture img")).to_have_count(1)
    await expect(ada.locator(".own[data-state]")).to_have_count(0)
    await expect(ada.locator(".picture img")).to_have_attribute("src", re.compile("^data:image/webp"))


async def test_photograph(visit: Visit) -> None:
    """A picture that every compression makes larger arrives, though the browser compresses all that it sends."""
    ada, bob = await visit("Ada"), await visit("Bob")
    file = io.BytesIO()
    Image.frombytes("RGB", (700, 700), random.Random(6).randbytes(700 * 700 * 3)).save(file, "PNG")  # noqa: S311  # no secret
    await ada.locator("#file").set_input_files(payload(file.getvalue()))
    await expect(bob.locator(".picture img")).to_have_count(1)


async def test_none(visit: Visit) -> None:
    """A file that is no picture at all is refused at once; one that pretends to be stays with the server's reason."""
    ada = await visit("Ada")
    await hand_over(ada, "drop", b"%PDF-", "application/pdf")
    await expect(ada.locator("#notice")).to_have_text("A picture is PNG, JPEG, GIF or WebP.")
    await hand_over(ada, "drop", b"<svg/>", "image/png")
    await expect(ada.locator(".state")).to_have_text(re.compile("Not sent: This is no picture"))
    await ada.get_by_role("button", name="Delete").click()
    await expect(ada.locator(".message")).to_have_count(0)


async def test_too_slow(visit: Visit) -> None:
    """A picture that took too long is not sent again and again; its sender decides."""
    tap = Tap()
    ada = await visit("Ada", tap)
    tap.deaf = True
    await hand_over(ada, "drop", drawn())
    await expect(ada.locator(".own")).to_have_attribute("data-state", "sending")
    tap.deaf = False
    await tap.sockets[-1].close(code=1013, reason="the picture took too long")
    await expect(ada.locator(".state")).to_have_text(re.compile("Not sent: The connection is too slow"))


async def test_never_through(visit: Visit) -> None:
    """A picture over which the connection is lost again and again is not sent for ever."""
    tap = Tap()
    ada = await visit("Ada", tap)
    tap.keeps_ready = True
    await hand_over(ada, "drop", drawn())
    for _ in range(3):
        await expect(ada.locator(".own")).to_have_attribute("data-state", "sending")
        # It does not come back too soon.
        await ada.clock.pause_at(await ada.evaluate("Date.now() / 1_000 + 1"))
        await tap.sockets[-1].close(code=1009, reason="too large")
        await expect(ada.locator("#offline")).to_be_visible()
        await ada.clock.resume()
        await ada.evaluate("dispatchEvent(new Event('online'))")
        await expect(ada.locator("#connection")).to_have_text("Connected")
    await expect(ada.locator(".state")).to_have_text(re.compile("Not sent: The connection was lost over it"))


async def test_busy(visit: Visit) -> None:
    """A picture that has to wait holds up no text."""
    busy = {"type": "error", "code": "busy", "message": "Too many.", "retry_after": 60}
    forge = f"const parse = JSON.parse; JSON.parse = (text) => ((it) => it?.type === 'ready' ? {json.dumps(busy)} : it)(parse(text));"
    ada, bob = await visit("Ada", lambda page: page.add_init_script(forge)), await visit("Bob")
    await hand_over(ada, "drop", drawn())
    await expect(ada.locator(".own[data-state=waiting]")).to_have_count(1)
    await say(ada, "Hello")
    await expect(bob.locator(".message .text")).to_have_text(["Hello"])
    await expect(ada.locator(".own[data-state=waiting]")).to_have_count(1)


async def test_large(visit: Visit) -> None:
    """A picture beyond the limit is made smaller before it goes out."""
    ada = await visit("Ada", believing(picture=5000))
    bob = await visit("Bob")
    data = drawn((2400, 1600), "JPEG")
    assert len(data) > 5000
    await ada.locator("#file").set_input_files(payload(data, "image/jpeg"))
    await expect(bob.locator(".picture img")).to_have_count(1)


async def test_accessible(visit: Visit, artefacts: Path) -> None:
    """Pictures in the conversation fail no rule of WCAG 2.2 AA, in either theme and on a phone; and here is how it looks."""
    wide = await visit("Ada", **WIDE)
    phone = await visit("Bob", color_scheme="dark", **PHONE)
    await say(wide, "Look at this!")
    await wide.get_by_label("Message", exact=True).fill("The sky over the tunnel, just now")
    await wide.locator("#file").set_input_files(payload(drawn()))
    await phone.locator("#file").set_input_files(payload(drawn((400, 700))))
    for page, name in ((wide, "pictures"), (phone, "pictures-phone")):
        await expect(page.locator(".picture img")).to_have_count(2)
        await expect(page.locator(".own[data-state]")).to_have_count(0)
        await page.screenshot(path=artefacts / f"{name}.png")
        await page.evaluate(AXE.read_text(encoding="utf-8"))
        found = await page.evaluate("axe.run({runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa']})")
        assert [rule["id"] for rule in found["violations"]] == []
