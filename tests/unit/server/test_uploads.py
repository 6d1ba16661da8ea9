"""Pictures in the chat, from the announcement to the room."""

import base64
import io
import random
import sys
from contextlib import AsyncExitStack
from typing import Any
from unittest.mock import ANY

import pytest
from PIL import Image
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, ConnectionClosedError
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from server import uploads
from server.messages import LIMITS
from tests.unit.server.harness import Running, Start, hear, say, until
from tests.unit.server.test_pictures import declared, saved


def drawn(size: tuple[int, int] = (60, 40)) -> bytes:
    """Draw a picture."""
    return saved(Image.new("RGB", size, "#7c3aed"), "PNG")


async def send(client: ClientConnection, data: bytes, **fields: Any) -> dict[str, Any]:
    """Announce a picture and send it; return what came of it."""
    await say(client, type="picture", size=len(data), ref="p", **fields)
    ready = await answered(client)
    if ready["type"] != "ready":
        return ready
    await client.send(data)
    return await answered(client)


async def answered(client: ClientConnection) -> dict[str, Any]:
    """Return the next answer to us."""
    while True:
        message = await hear(client)
        if message["type"] in ("ready", "ack", "error"):
            return message


async def test_picture(start: Start) -> None:
    """A picture is acknowledged to its sender, and everyone gets it signed, made anew, with an offset."""
    here = await start()
    mute, ada = await here.connect(), await here.joined("Ada", color="#111111")
    ack = await send(ada, drawn(), alt="A square", id="x1")
    assert ack == {"type": "ack", "epoch": ANY, "offset": 1, "id": "x1", "ref": "p"}
    heard = await hear(mute, "picture")
    data = base64.b64decode(heard.pop("data"))
    assert heard == {
        "type": "picture",
        "name": "Ada",
        "color": "#111111",
        "mime": "image/webp",
        "width": 60,
        "height": 40,
        "alt": "A square",
        "from": ANY,
        "time": ANY,
        "id": "x1",
        "offset": 1,
    }
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("WEBP", (60, 40))


async def test_large(start: Start) -> None:
    """A picture far beyond a frame of text arrives; after it frames are bounded as before."""
    here = await start()
    ada = await here.joined("Ada")
    assert (await send(ada, drawn() + b"\0" * 1_500_000))["type"] == "ack"
    await ada.send(b"\0" * (LIMITS.frame + 1))
    with pytest.raises(ConnectionClosedError) as caught:
        await hear(ada, "none")
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


@pytest.mark.parametrize("memory", [1, 8])
async def test_compressed(start: Start, memory: int) -> None:
    """A picture arrives from a client whose compression makes it larger than it is."""
    here = await start()
    compresses = ClientPerMessageDeflateFactory(compress_settings={"memLevel": memory})
    ada = await here.connect(extensions=[compresses], compression=None)
    await say(ada, type="join", name="Ada")
    noise = saved(Image.frombytes("RGB", (400, 400), random.Random(6).randbytes(480_000)), "PNG")  # noqa: S311  # no secret
    assert (await send(ada, noise))["type"] == "ack"


async def test_history(start: Start) -> None:
    """A picture is kept, and comes again to who missed it."""
    here = await start()
    ada, bob = await here.joined("Ada"), await here.connect()
    ack = await send(ada, drawn())
    await say(bob, type="resume", epoch=ack["epoch"], offset=0)
    assert (await hear(bob, "resumed"))["count"] == 1
    assert (await hear(bob, "picture"))["offset"] == 1


async def test_twice(start: Start) -> None:
    """The same id twice is one picture."""
    here = await start()
    ada = await here.joined("Ada")
    first = await send(ada, drawn(), id="x1")
    assert await send(ada, drawn(), id="x1") == {**first, "again": True}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"<svg/>", "bad-picture"),
        (declared(60_000, 60_000), "bad-picture"),
        (drawn()[:-30], "bad-picture"),
    ],
    ids=["none", "bomb", "half"],
)
async def test_bad(start: Start, data: bytes, code: str) -> None:
    """What is no picture is refused to its sender alone, who can send another."""
    here = await start()
    mute, ada = await here.connect(), await here.joined("Ada")
    error = await send(ada, data, id="x1")
    assert error == {"type": "error", "code": code, "message": ANY, "ref": "p", "id": "x1"}
    assert (await send(ada, drawn()))["type"] == "ack"
    assert (await hear(mute))["type"] == "picture"


async def test_lost(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture whose process is killed is refused, and the next one is served."""
    here = await start()
    ada = await here.joined("Ada")
    bomb = saved(Image.new("RGBA", (5000, 5000)), "PNG")
    monkeypatch.setattr(here.backend.uploads.pool, "memory", 100 << 20)
    assert (await send(ada, bomb))["code"] == "bad-picture"
    assert (await send(ada, drawn()))["type"] == "ack"


async def test_unavailable(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started the sender is told that it is not the picture's fault."""
    here = await start()
    ada = await here.joined("Ada")
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    assert (await send(ada, drawn()))["code"] == "unavailable"


async def test_forked(start: Start) -> None:
    """A picture of any size that is allowed goes through a connection's own process, too."""
    here = await start(workers="forked")
    ada = await here.joined("Ada")
    assert (await send(ada, drawn() + b"\0" * 1_500_000))["type"] == "ack"


async def test_not_joined(start: Start) -> None:
    """A socket that never joined sends no picture."""
    here = await start()
    assert (await send(await here.connect(), drawn()))["code"] == "not-joined"


async def test_left(start: Start) -> None:
    """Nor one that left after it announced one."""
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", size=100)
    await say(ada, type="leave")
    await answered(ada)
    await ada.send(drawn((1, 1)))
    assert (await answered(ada))["code"] == "not-joined"


async def test_not_announced(start: Start) -> None:
    """A binary frame that nobody was told of is refused, even behind one that was."""
    here = await start()
    ada = await here.joined("Ada")
    assert (await send(ada, drawn()))["type"] == "ack"
    await ada.send(drawn())
    assert (await answered(ada))["code"] == "not-text"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": LIMITS.picture + 1}, "too-long"),
        ({"size": 0}, "bad-field"),
        ({"size": "1"}, "bad-field"),
        ({}, "bad-field"),
        ({"size": 1, "alt": "x" * 501}, "too-long"),
        ({"size": 1, "id": "x" * 65}, "bad-field"),
    ],
    ids=str,
)
async def test_bad_announcement(start: Start, fields: dict[str, Any], code: str) -> None:
    """An announcement that breaks a rule is refused before anything is sent."""
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", **fields)
    assert (await answered(ada))["code"] == code


async def test_longer_than_announced(start: Start) -> None:
    """A picture beyond what was announced closes the socket: it is never held in memory."""
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", size=100_000)
    await answered(ada)
    await ada.send(b"\0" * 100_001)
    with pytest.raises(ConnectionClosedError) as caught:
        await hear(ada, "none")
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


async def test_long_text_meanwhile(start: Start) -> None:
    """What is let in for a picture is not for text."""
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", size=1_000_000)
    await answered(ada)
    await ada.send("x" * 100_000)
    with pytest.raises(ConnectionClosedError) as caught:
        await hear(ada, "none")
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1009


async def test_talk_meanwhile(start: Start) -> None:
    """Between the announcement and the picture other messages are served."""
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", size=len(drawn()))
    await answered(ada)
    await say(ada, type="usermsg", message="x", ref="l")
    assert (await answered(ada))["ref"] == "l"
    await ada.send(drawn())
    assert (await hear(ada, "picture"))["width"] == 60


async def joined_from(here: Running, address: str) -> ClientConnection:
    """Open a WebSocket through a front that names another address, and join."""
    client = await here.connect(additional_headers={"X-Forwarded-For": address})
    await say(client, type="join", name="Ada")
    await hear(client, "welcome")
    return client


async def test_busy(start: Start) -> None:
    """So many pictures may be under way; who comes too many is told when to try again, and a socket that goes makes room."""
    here = await start()
    clients = [await joined_from(here, f"192.0.2.{number}") for number in range(uploads.UNDER_WAY_MOST + 1)]
    for client in clients[:-1]:
        await say(client, type="picture", size=10)
        assert (await answered(client))["type"] == "ready"
    error = await send(clients[-1], drawn())
    assert (error["code"], error["retry_after"]) == ("busy", uploads.RETRY_AFTER)
    await clients[0].close()
    await until(lambda: here.backend.uploads.under_way.total() < uploads.UNDER_WAY_MOST)
    assert (await send(clients[-1], drawn()))["type"] == "ack"


async def test_one_address(start: Start) -> None:
    """Slow senders of one address, and pictures of theirs that are being opened, leave room for others."""
    here = await start()
    slow = [await joined_from(here, f"2001:db8::{number}") for number in range(uploads.OF_ONE_MOST + 1)]
    for client in slow[:-1]:
        await say(client, type="picture", size=len(drawn()), ref="p")
        assert (await answered(client))["type"] == "ready"
    assert (await send(slow[-1], drawn()))["code"] == "busy"
    assert (await send(await joined_from(here, "2001:db8:0:1::1"), drawn()))["type"] == "ack"
    turn = here.backend.uploads.pool._turn
    async with AsyncExitStack() as stack:
        for _ in range(uploads.PROCESSES):
            await stack.enter_async_context(turn)
        await slow[0].send(drawn())
        await until(lambda: here.backend.uploads.pool.jobs == 1)
        assert (await send(slow[-1], drawn()))["code"] == "busy"
    assert (await answered(slow[0]))["type"] == "ack"
    assert (await send(slow[-1], drawn()))["type"] == "ack"
    assert here.backend.uploads.under_way.total() == uploads.OF_ONE_MOST - 1


async def test_often(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few pictures at once are served; one more has to wait."""
    monkeypatch.setattr(uploads, "PER_SECOND", 0.01)  # however long the first ones take
    here = await start()
    ada = await here.joined("Ada")
    for _ in range(uploads.BURST):
        assert (await send(ada, drawn()))["type"] == "ack"
    error = await send(ada, drawn())
    assert error["code"] == "rate-limited"
    assert 0 < error["retry_after"] <= 100


async def test_late(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture that does not come gives its place back, and its socket is told why, in words that the page knows."""
    monkeypatch.setattr(uploads, "PATIENCE", 0.01)
    here = await start()
    ada = await here.joined("Ada")
    await say(ada, type="picture", size=10)
    await answered(ada)
    with pytest.raises(ConnectionClosed) as caught:
        await hear(ada, "none")
    assert caught.value.rcvd is not None
    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1013, "the picture took too long")


async def test_stop(start: Start) -> None:
    """A stop ends the processes, and waits for no picture."""
    here = await start()
    ada = await here.joined("Ada")
    assert (await send(ada, drawn()))["type"] == "ack"
    await here.stop(1012, "service restart")
    assert here.backend.uploads.pool.closed
