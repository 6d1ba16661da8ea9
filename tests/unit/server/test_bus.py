"""What every bus does: one suite over all of them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from server.bus import Bounds, Bus
from server.bus.memory import MemoryBus
from server.bus.place import Place
from server.bus.redis import RedisBus
from tests.redis_server import RedisServer
from tests.unit.server.bus_harness import Ear
from tests.unit.server.harness import until

Open = Callable[..., Awaitable[Bus]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.needs("redis"))])
async def bus(
    request: pytest.FixtureRequest, redis: Callable[..., RedisServer]
) -> AsyncIterator[Callable[..., Awaitable[Bus]]]:
    """Give a function that opens a bus of a kind: keywords are bounds."""
    async with AsyncExitStack() as stack:

        async def begin(**bounds: float) -> Bus:
            kept = Bounds(**bounds)  # type: ignore[arg-type]  # numbers, whichever
            opened: Bus = (
                MemoryBus(kept)
                if request.param == "memory"
                else RedisBus(Place(path=str(redis().path)), kept)
            )
            await opened.start()
            stack.push_async_callback(opened.stop)
            return opened

        yield begin


async def test_in_order(bus: Open) -> None:
    """What is published is heard once and in order, each offset one above the one before, and the publisher is told it."""
    ear = Ear(await bus())
    told = [await ear.say(str(number)) for number in range(50)]
    await until(lambda: len(ear.entries) == 50)
    assert told == [(number, False) for number in range(1, 51)]
    assert [(entry.offset, entry.data) for entry in ear.entries] == [
        (number + 1, str(number).encode()) for number in range(50)
    ]
    assert len({entry.epoch for entry in ear.entries}) == 1
    assert not ear.gaps


async def test_rooms_apart(bus: Open) -> None:
    """A room hears nothing of another, and counts for itself."""
    opened = await bus()
    one, two = Ear(opened, "one"), Ear(opened, "two: {*}")
    assert await one.say("x") == await two.say("y") == (1, False)
    await until(lambda: bool(one.entries and two.entries))
    assert (one.texts, two.texts) == ([b"x"], [b"y"])


async def test_the_same_key(bus: Open) -> None:
    """The same key twice in a room is one message; in another room it is another."""
    opened = await bus()
    ear, other = Ear(opened), Ear(opened, "other")
    assert [await ear.say("x", "k"), await ear.say("x", "k"), await ear.say("y", "l")] == [
        (1, False),
        (1, True),
        (2, False),
    ]
    assert await other.say("x", "k") == (1, False)
    await until(lambda: len(ear.entries) == 2)
    assert ear.texts == [b"x", b"y"]


async def test_history(bus: Open) -> None:
    """The history tells what came after a position, and where it cannot, why."""
    ear = Ear(await bus())
    for text in "abc":
        await ear.say(text)
    await until(lambda: len(ear.entries) == 3)
    history = await ear.bus.history("lobby")
    assert [entry.data for entry in history.since(history.epoch, 1).entries] == [b"b", b"c"]
    assert history.since(history.epoch, 3).entries == []
    assert history.since(history.epoch, 4).gap == "future"
    anew = history.since("1", 3)
    assert (anew.gap, anew.offset, len(anew.entries), anew.lost) == ("epoch", 0, 3, None)


@pytest.mark.parametrize(("bounds", "left"), [({"messages": 3}, 3), ({"size": 25}, 2)])
async def test_bounds(bus: Open, bounds: dict[str, int], left: int) -> None:
    """So many messages are kept, and so many bytes, also for somebody who comes later."""
    ear = Ear(await bus(**bounds))
    for number in range(8):
        await ear.say(f"{number}" * 10)
    await until(lambda: len(ear.entries) == 8)
    for _ in range(2):
        history = await ear.bus.history("lobby")
        rest = history.since(history.epoch, 1)
        assert (rest.gap, rest.lost, rest.offset, len(rest.entries)) == ("trimmed", 7 - left, 8 - left, left)
        ear.bus.unfollow("lobby")
        ear = Ear(ear.bus)


async def test_age(bus: Open) -> None:
    """What is too old is kept no longer, and said to be gone."""
    ear = Ear(await bus())
    await ear.say("x")
    await until(lambda: bool(ear.entries))
    history = await ear.bus.history("lobby")
    then = ear.entries[0].time + Bounds().seconds
    assert history.since(history.epoch, 0, then - 1).gap is None
    assert history.since(history.epoch, 0, then + 1).lost == 1


async def test_all_rooms_together(bus: Open) -> None:
    """All rooms together take so many bytes and no more; the largest gives."""
    opened = await bus(total=1000)
    large, small = Ear(opened, "large"), Ear(opened, "small")
    await small.say("s" * 100)
    for _ in range(20):
        await large.say("l" * 100)
    await until(lambda: len(large.entries) == 20)
    assert int(opened.state()["bytes"]) <= 1000
    history = await opened.history("small")
    assert len(history.since(history.epoch, 0).entries) == 1


async def test_nobody_there(bus: Open) -> None:
    """A room that nobody follows for a while goes on where it was."""
    opened = await bus()
    ear = Ear(opened)
    await ear.say("x", "k")
    epoch = (await opened.history("lobby")).epoch
    opened.unfollow("lobby")
    again = Ear(opened)
    assert await again.say("x", "k") == (1, True)
    assert await again.say("y") == (2, False)
    history = await opened.history("lobby", epoch, 2)
    assert [entry.data for entry in history.since(epoch, 0).entries] == [b"x", b"y"]
    await until(lambda: again.texts == [b"y"])
    assert opened.state()["state"] == "up"
