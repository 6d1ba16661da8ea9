"""A client that comes back: it gets what it missed, each line once and in order, or is told that some are missing."""

from typing import Any
from unittest.mock import ANY, AsyncMock

import pytest
from websockets.asyncio.client import ClientConnection

from server.bus import Entry, Unavailable
from server.bus.memory import MemoryBus
from tests.unit.server.harness import Start, hear, say

ADA, BOB = "ada-0123456789abcdef", "bob-0123456789abcdef"


async def resume(client: ClientConnection, who: str = ADA, **position: Any) -> dict[str, Any]:
    """Say who and where one is, and return the answer."""
    await say(client, type="resume", client=who, ref="r", **position)
    while (answer := await hear(client)).get("ref") != "r":
        pass
    return answer


async def line(client: ClientConnection, text: str, **fields: Any) -> dict[str, Any]:
    """Say something with an id, and return the acknowledgement."""
    await say(client, type="usermsg", name="Ada", message=text, id=text, **fields)
    return await hear(client, "ack")


async def test_the_rest(start: Start) -> None:
    """Who comes back gets the lines after its position, in order, ahead of those that follow."""
    here = await start()
    bob, gone = await here.connect(), await here.connect()
    at = await resume(gone)
    assert at == {"type": "resumed", "room": "lobby", "epoch": ANY, "offset": 0, "count": 0, "ref": "r"}
    await gone.close()
    for text in ("one", "two", "three"):
        await line(bob, text)
    back = await here.connect()
    await say(back, type="usermsg", name="Ada", message="four")
    answer = await resume(back, epoch=at["epoch"], offset=1)
    assert (answer["type"], answer["offset"], answer["count"]) == ("resumed", 1, 3)
    await say(back, type="usermsg", name="Ada", message="five")
    heard = [await hear(back, "usermsg") for _ in range(4)]
    assert [(each["message"], each["offset"]) for each in heard] == [
        ("two", 2),
        ("three", 3),
        ("four", 4),
        ("five", 5),
    ]


async def test_acknowledged(start: Start) -> None:
    """A line with an id is acknowledged with its offset, and everyone's copy has the id."""
    here = await start()
    one, two = await here.connect(), await here.connect()
    assert await line(one, "x", ref="7") == {
        "type": "ack",
        "epoch": ANY,
        "offset": 1,
        "id": "x",
        "ref": "7",
    }
    assert (await hear(two))["id"] == "x"


async def test_the_same_line_twice(start: Start) -> None:
    """The same id from the same client is one line, over two connections too; from another client it is another line."""
    here = await start()
    one, two, other = [await here.connect() for _ in range(3)]
    await resume(one)
    await resume(two)
    await resume(other, BOB)
    first = await line(one, "x")
    assert await line(two, "x") == {**first, "again": True}
    assert (await line(other, "x"))["offset"] == 2
    assert [(await hear(one, "usermsg"))["offset"] for _ in range(1)] == [2]


@pytest.mark.parametrize(
    ("position", "reason"),
    [({"epoch": "another", "offset": 1}, "epoch"), ({"offset": 9}, "future")],
)
async def test_no_such_position(start: Start, position: dict[str, Any], reason: str) -> None:
    """A position of another epoch, or beyond the last line, is answered by a gap and where it goes on."""
    here = await start()
    one = await here.connect()
    epoch = (await resume(one))["epoch"]
    await line(one, "x")
    answer = await resume(one, **{"epoch": epoch, **position})
    left = 1 if reason == "epoch" else 0
    assert answer == {
        "type": "gap",
        "room": "lobby",
        "epoch": epoch,
        "offset": 1 - left,
        "count": left,
        "reason": reason,
        "ref": "r",
    }


async def test_trimmed(start: Start) -> None:
    """Who was away for more than is kept is told how many lines it has lost, and gets the others."""
    here = await start()
    one = await here.connect()
    at = await resume(one)
    history = await here.backend.bus.history("lobby")
    for text in ("1", "2", "3"):
        await line(one, text)
    history.shrink(len(history.entries[-1].data))
    answer = await resume(one, epoch=at["epoch"], offset=0)
    assert (answer["reason"], answer["lost"], answer["offset"], answer["count"]) == ("trimmed", 2, 2, 1)
    assert (await hear(one))["message"] == "3"


@pytest.mark.parametrize(
    "fields",
    [
        {"client": "short"},
        {"client": 7},
        {"epoch": "e"},
        {"offset": 1},
        {"epoch": 1, "offset": 1},
        {"epoch": "e", "offset": "1"},
        {"epoch": "e", "offset": -1},
        {"epoch": "e", "offset": 1.5},
        {"epoch": "e", "offset": 2**53},
    ],
)
async def test_malformed(start: Start, fields: dict[str, Any]) -> None:
    """A resume that is none is refused with the reason, and the socket goes on."""
    here = await start()
    one = await here.connect()
    await say(one, type="resume", ref="r", **fields)
    error = await hear(one)
    assert (error["type"], error["code"], error["ref"]) == ("error", "bad-field", "r")
    assert (await resume(one))["type"] == "resumed"


async def test_malformed_id(start: Start) -> None:
    """An id that is empty, too long or no string is refused."""
    here = await start()
    one = await here.connect()
    for name in ("", "x" * 65, 7):
        await say(one, type="usermsg", name="Ada", message="x", id=name)
        assert (await hear(one))["code"] == "bad-field"


async def test_order_after_a_refusal(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a line could not be kept, later ones wait until it comes again: they stay in order."""
    here = await start()
    one = await here.connect()
    with monkeypatch.context() as patch:
        patch.setattr(MemoryBus, "publish", AsyncMock(side_effect=Unavailable("Nothing can be kept now.")))
        await say(one, type="usermsg", name="Ada", message="1", id="1")
        error = await hear(one)
    assert (error["code"], error["id"], error["retry_after"]) == ("try-again", "1", 1)
    await say(one, type="usermsg", name="Ada", message="2", id="2")
    error = await hear(one)
    assert (error["type"], error["code"], error["id"]) == ("error", "try-again", "2")
    assert [(await line(one, text))["offset"] for text in ("1", "2")] == [1, 2]


async def test_told_of_a_live_gap(start: Start) -> None:
    """Who keeps count is told when the bus loses the thread; who does not hears nothing of it."""
    here = await start()
    one, two = await here.connect(), await here.connect()
    epoch = (await resume(one))["epoch"]
    history = await here.backend.bus.history("lobby")
    history.reset("another", 4)
    room = here.backend.hall.rooms["lobby"]
    room.broke(history.since(epoch, 0))
    room.heard(Entry("another", 5, 0.0, b'{"type":"usermsg"}'))
    assert await hear(one) == {
        "type": "gap",
        "room": "lobby",
        "epoch": "another",
        "offset": 4,
        "count": 0,
        "reason": "epoch",
    }
    assert (await hear(two))["offset"] == 5
