"""The chat, from one socket to another."""

import asyncio
import json
import logging
import time
from collections import Counter
from contextlib import suppress
from typing import Any
from unittest.mock import ANY

import pytest
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK

from server import chat, session
from server.bucket import Bucket
from server.messages import LIMITS, Limits, color_of
from tests.unit.server.harness import SECONDS, Start, hear, say, until
from tests.waiting import SECOND

LINE = {"type": "usermsg", "name": "Ada", "message": "Hello <b>", "color": "#7c3aed"}
HEARD = {**LINE, "offset": ANY}


@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/chat"])
async def test_simplest_client(start: Start, path: str) -> None:
    """A line from a socket that never joined goes to all in the room, the sender too, as it came, with its offset."""
    here = await start()
    one, two = await here.connect(path), await here.connect("/ws/chat?room=lobby")
    await say(one, **LINE)
    assert [await hear(one), await hear(two)] == [{**LINE, "offset": 1}] * 2


async def test_missing_color(start: Start) -> None:
    """A line without a colour gets the one of its name."""
    here = await start()
    one = await here.connect()
    await say(one, type="usermsg", name="Ada", message="x")
    assert (await hear(one))["color"] == color_of("Ada")


async def test_join(start: Start) -> None:
    """A join is welcomed with the room as it is, and told to those who joined, not to those who did not."""
    here = await start()
    mute = await here.connect()
    ada = await here.connect()
    await say(ada, type="join", name=" Ada ", color="#7c3aed")
    welcome = await hear(ada)
    person = {"id": ANY, "name": "Ada", "color": "#7c3aed"}
    assert welcome == {
        "type": "welcome",
        "room": "lobby",
        "count": 1,
        "people": [person],
        "limits": {
            "message": 2000,
            "name": 40,
            "frame": 65536,
            "picture": 2097152,
            "alt": 500,
            "burst": 20,
            "per_second": 5,
        },
        **person,
    }
    await hear(ada, "presence")
    bob = await here.connect()
    await say(bob, type="join", name="Bob")
    assert [other["name"] for other in (await hear(bob, "welcome"))["people"]] == ["Ada", "Bob"]
    told = await hear(ada, "presence")
    assert (told["count"], [other["name"] for other in told["joined"]], told["left"]) == (2, ["Bob"], [])
    await say(mute, type="ping", ref="p")
    assert await hear(mute) == {"type": "pong", "ref": "p"}


async def test_signed_line(start: Start) -> None:
    """Who joined signs with the joined name, whatever the line says; the ref is in the answer only."""
    here = await start()
    ada, bob = await here.joined("Ada", color="#111111"), await here.joined("Bob")
    await say(ada, type="usermsg", message="x", name="Eve", color="#eeeeee", ref="r1")
    heard = await hear(bob, "usermsg")
    expected = {
        "type": "usermsg",
        "name": "Ada",
        "message": "x",
        "color": "#111111",
        "from": ANY,
        "time": ANY,
        "offset": 1,
    }
    assert heard == expected
    assert abs(heard["time"] / 1000 - time.time()) < 60
    assert await hear(ada, "usermsg") == heard
    assert await hear(ada) == {"type": "ack", "epoch": ANY, "offset": 1, "ref": "r1"}
    await say(ada, type="usermsg", message="y")
    await say(ada, type="ping")
    assert [(await hear(ada))["type"] for _ in range(2)] == ["usermsg", "pong"]


async def test_rename(start: Start) -> None:
    """A second join renames under the same id; an equal one is told to nobody."""
    here = await start()
    ada, bob = await here.joined("Ada"), await here.joined("Bob")
    await hear(ada, "presence")
    await say(ada, type="join", name="Ada")
    await hear(ada, "welcome")
    await say(ada, type="join", name="Lovelace", color="#222222")
    renamed = await hear(ada, "welcome")
    told = await hear(bob, "presence")
    assert told["renamed"] == [{"id": renamed["id"], "name": "Lovelace", "color": "#222222"}]
    assert (told["count"], told["joined"], told["left"]) == (2, [], [])


async def test_leave(start: Start) -> None:
    """Who leaves is listed no longer, still hears, and has to name itself again."""
    here = await start()
    ada, bob = await here.joined("Ada"), await here.joined("Bob")
    await say(bob, type="leave", ref="no answer")
    told: dict[str, Any] = {"count": 2}
    while told["count"] == 2:
        told = await hear(ada, "presence")
    assert (told["count"], [gone["name"] for gone in told["left"]]) == (1, ["Bob"])
    await say(ada, type="usermsg", message="still there?")
    assert (await hear(bob, "usermsg"))["message"] == "still there?"
    await say(bob, type="usermsg", message="yes")
    assert (await hear(bob, "error"))["code"] == "bad-field"


async def test_gone(start: Start) -> None:
    """A socket that closes is told as gone, and an empty room is no more."""
    here = await start()
    ada, bob = await here.joined("Ada"), await here.joined("Bob")
    await hear(ada, "presence")
    await bob.close()
    assert [gone["name"] for gone in (await hear(ada, "presence"))["left"]] == ["Bob"]
    await ada.close()
    await until(lambda: not here.backend.hall.rooms)


async def test_rooms(start: Start) -> None:
    """What is said and who is here stays in the room; a join can move to another."""
    here = await start()
    ada = await here.joined("Ada", "/ws/chat?room=b%C3%BCcher%20%26")
    bob = await here.joined("Bob")
    await say(bob, **LINE)
    await hear(bob, "usermsg")
    await say(bob, type="join", name="Bob", room="bücher &")
    welcome = await hear(bob, "welcome")
    assert (welcome["room"], [other["name"] for other in welcome["people"]]) == ("bücher &", ["Ada", "Bob"])
    assert [other["name"] for other in (await hear(ada))["joined"]] == ["Bob"]
    assert list(here.backend.hall.rooms) == ["bücher &"]


async def test_full_room(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A room has so many people and no more; who is in can still rename, who is not can still listen."""
    monkeypatch.setattr(chat, "PEOPLE_MOST", 1)
    here = await start()
    ada, bob = await here.joined("Ada"), await here.connect()
    await say(bob, type="join", name="Bob", ref="j")
    error = await hear(bob)
    assert (error["code"], error["ref"]) == ("room-full", "j")
    await say(ada, type="join", name="Lovelace")
    await hear(ada, "welcome")
    await say(ada, type="usermsg", message="x")
    assert (await hear(bob))["message"] == "x"


@pytest.mark.asyncio(loop_factories=["uvloop"])
async def test_thousand_joins(start: Start) -> None:
    """A thousand joins in one room cost a few presence messages each, not a million."""
    here = await start()
    clients = []
    for _ in range(20):
        clients += await asyncio.gather(*(here.connect() for _ in range(50)))
    heard: Counter[str] = Counter()
    counts: Counter[int] = Counter()

    async def listen(client: Any) -> None:
        async for text in client:
            message = json.loads(text)
            heard[message["type"]] += 1
            if message["type"] == "presence":
                changes = len(message["joined"]) + len(message["left"]) + len(message["renamed"])
                assert changes <= 50
                assert "more" not in message or changes == 50
                counts[message["count"]] += 1

    started = time.monotonic()
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(listen(client))
        await asyncio.gather(*(say(client, type="join", name="x") for client in clients))
        await until(lambda: counts[1000] >= 1000, 6 * SECONDS)
        periods = (time.monotonic() - started) / chat.PRESENCE_PERIOD + 2
        await here.stop(1001, "done")
    assert heard["welcome"] == 1000
    assert heard["presence"] <= 1000 * periods
    assert heard["presence"] <= 50_000


async def test_presence_is_paced(start: Start) -> None:
    """Changes in quick succession come four times a second at most, and none is lost."""
    here = await start()
    ada = await here.joined("Ada")
    started, heard, name = time.monotonic(), 0, ""
    for number in range(15):
        await say(ada, type="join", name=f"Ada {number}")
        await asyncio.sleep(0.02)
    while name != "Ada 14":
        name = (await hear(ada, "presence"))["renamed"][0]["name"]
        heard += 1
    assert heard <= (time.monotonic() - started) / chat.PRESENCE_PERIOD + 2


async def test_came_and_went_between(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who came and went before it was told is told as gone: a welcome may have shown them."""
    monkeypatch.setattr(chat, "PRESENCE_PERIOD", 2 * SECOND)
    here = await start()
    ada = await here.joined("Ada")
    bob = await here.connect()
    await say(bob, type="join", name="Bob")
    shown = await hear(bob, "welcome")
    await say(bob, type="leave")
    told = await hear(ada, "presence")
    assert told["left"] == [{"id": shown["id"], "name": "Bob"}]
    assert (told["count"], told["joined"]) == (1, [])


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ("nonsense", "bad-json"),
        ('{"type":"usermsg","name":"\\ud800","message":"x"}', "bad-json"),
        ('{"type":"shout"}', "unknown-type"),
        ('{"type":"usermsg","name":"a"}', "bad-field"),
        ('{"type":"usermsg","message":"a"}', "bad-field"),
        ('{"type":"usermsg","name":"a","message":""}', "bad-field"),
        ('{"type":"usermsg","name":"a","message":"x","color":"red;"}', "bad-field"),
        ('{"type":"join","name":"a\\u202eb"}', "bad-field"),
        ('{"type":"join","name":"a","room":""}', "bad-field"),
        (json.dumps({"type": "usermsg", "name": "a", "message": "x" * 2001}), "too-long"),
        (b"\x00binary", "not-text"),
    ],
)
async def test_refused(start: Start, frame: str | bytes, code: str) -> None:
    """What is wrong is answered with a code and a sentence, to the sender alone, who can go on."""
    here = await start()
    one, two = await here.connect(), await here.connect()
    await one.send(frame)
    error = await hear(one)
    assert (error["type"], error["code"]) == ("error", code)
    assert error["message"].endswith(".")
    await say(one, **LINE)
    assert await hear(two) == HEARD


async def test_longest_line(start: Start) -> None:
    """2,000 characters of four bytes each pass."""
    here = await start()
    one = await here.connect()
    await say(one, **{**LINE, "message": "😀" * 2000})
    assert (await hear(one))["message"] == "😀" * 2000


async def test_too_big_a_frame(start: Start) -> None:
    """A frame beyond 64 KiB closes with 1009."""
    here = await start()
    one = await here.connect()
    await one.send("x" * (LIMITS.frame + 1))
    with pytest.raises(ConnectionClosedError) as closed:
        await one.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009


async def test_rate_limit(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the burst a message is refused, not sent, and told when to try again."""
    now = 100.0

    class Told(Bucket):
        """A bucket for which the test says what time it is."""

        def __init__(self, burst: int, per_second: float, _now: float) -> None:
            super().__init__(burst, per_second, now)

        def take(self, _now: float) -> float:
            """Take one."""
            return super().take(now)

    monkeypatch.setattr(session, "LIMITS", Limits(per_second=1))
    monkeypatch.setattr(session, "Bucket", Told)
    here = await start()
    one = await here.connect()
    for _ in range(LIMITS.burst + 1):
        await say(one, **LINE)
    answers = [await hear(one) for _ in range(LIMITS.burst + 1)]
    assert [answer["type"] for answer in answers] == ["usermsg"] * LIMITS.burst + ["error"]
    assert answers[-1]["code"] == "rate-limited"
    assert 0 < answers[-1]["retry_after"] <= 1
    now += answers[-1]["retry_after"]
    await say(one, **LINE)
    assert (await hear(one))["type"] == "usermsg"


def test_bucket() -> None:
    """A bucket gives its burst at once, then its rate, and never more than its burst."""
    bucket = Bucket(3, 2.0, 100.0)
    assert [bucket.take(100.0) for _ in range(4)] == [0, 0, 0, 0.5]
    assert [bucket.take(100.5), bucket.take(100.5)] == [0, 0.5]
    assert [bucket.take(200.0) for _ in range(4)] == [0, 0, 0, 0.5]


async def test_flood(start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred refused in a row close with 1008; the others never notice."""
    monkeypatch.setattr(session, "LIMITS", Limits(per_second=1))
    here = await start()
    one, two = await here.connect(), await here.connect()
    with suppress(ConnectionClosedError):
        for _ in range(400):
            await one.send("x")
    codes: Counter[str] = Counter()

    async def listen() -> None:
        while True:
            codes[(await hear(one))["code"]] += 1

    with pytest.raises(ConnectionClosedError) as closed:
        await listen()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "too many messages")
    assert codes["rate-limited"] >= 100
    await say(two, **LINE)
    assert await hear(two) == HEARD
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_closed_socket_is_polite(start: Start) -> None:
    """A client that closes gets its own code back."""
    here = await start()
    one = await here.connect()
    await one.close(4000, "bye")
    with pytest.raises((ConnectionClosedOK, ConnectionClosedError)) as closed:
        await one.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4000
