"""What Redis does to us, and other processes by way of it: sockets stay, nothing acknowledged is lost, and what is lost is said."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from server.bus import Bounds, Unavailable, presence, scripts
from server.bus import redis as subject
from server.bus.place import Place
from server.bus.redis import RedisBus
from tests.redis_server import RedisServer
from tests.unit.server.bus_harness import Ear
from tests.unit.server.harness import SECONDS, until

pytestmark = pytest.mark.needs("redis")
Open = Callable[..., Awaitable[RedisBus]]


@pytest.fixture
async def join() -> AsyncIterator[Open]:
    """Give a function that opens a bus on a Redis, as a process would."""
    async with AsyncExitStack() as stack:

        async def begin(server: RedisServer | Place, **bounds: float) -> RedisBus:
            place = (
                server
                if isinstance(server, Place)
                else Place(path=str(server.path), password=server.password or None)
            )
            bus = RedisBus(place, Bounds(**bounds))  # type: ignore[arg-type]  # numbers, whichever
            await bus.start()
            stack.push_async_callback(bus.stop)
            return bus

        yield begin


async def insist(ear: Ear, text: str) -> tuple[int, bool]:
    """Say something as a client does: the same again until it is kept."""
    async with asyncio.timeout(2 * SECONDS):
        while True:
            try:
                return await ear.say(text, text)
            except Unavailable:
                await asyncio.sleep(0.1)


async def listening(join: Open, server: RedisServer) -> Ear:
    """Follow the room at a process of one's own, from now on."""
    ear = Ear(await join(server))
    await ear.bus.history("lobby")
    return ear


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was logged as a warning or worse."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_between_processes(redis: Callable[..., RedisServer], join: Open) -> None:
    """Two processes hear the same in the same order, whoever says it, and the same key is one message for both."""
    server = redis()
    one, two = await listening(join, server), await listening(join, server)
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task((one if number % 2 else two).say(str(number)))
    await one.say("last", "k")
    assert (await two.say("last", "k"))[1]
    await until(lambda: len(one.entries) == len(two.entries) == 101)
    assert one.entries == two.entries
    assert [entry.offset for entry in one.entries] == list(range(1, 102))


async def test_ahead_of_us(redis: Callable[..., RedisServer], join: Open) -> None:
    """A position that another process has told is found, even where ours has not heard of it yet."""
    server = redis()
    one, two = await listening(join, server), await listening(join, server)
    await two.bus.history("lobby")
    for number in range(20):
        offset, _ = await one.say(str(number))
        epoch = (await one.bus.history("lobby")).epoch
        assert (await two.bus.history("lobby", epoch, offset)).since(epoch, offset).gap is None


@pytest.mark.parametrize("end", ["kill", "stall"])
async def test_away_for_a_while(
    redis: Callable[..., RedisServer], join: Open, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is killed or stalls, messages are refused; once it is back, each is kept once, in order, and none is lost."""
    server = redis()
    one, two = await listening(join, server), await listening(join, server)
    for number in range(10):
        await insist(one, f"before {number}")
    if end == "kill":
        server.kill()
    else:
        server.signal(signal.SIGSTOP)
    saying = asyncio.create_task(insist(one, "during"))
    await until(lambda: one.bus.state()["state"] == "down")
    with pytest.raises(Unavailable):
        await two.say("nobody insists")
    assert one.bus.state()["why"]
    if end == "kill":
        server.start()
    else:
        server.signal(signal.SIGCONT)
    await saying
    await insist(one, "after")
    await until(lambda: one.bus.state()["state"] == two.bus.state()["state"] == "up")
    await until(lambda: b"after" in one.texts and b"after" in two.texts)
    assert one.entries == two.entries
    assert [text for text in one.texts if text != b"nobody insists"] == [
        *(f"before {number}".encode() for number in range(10)), b"during", b"after",
    ]  # fmt: skip
    assert not one.gaps
    assert not two.gaps
    assert len(warnings(caplog)) == 2  # one for each process


async def test_forgets(redis: Callable[..., RedisServer], join: Open) -> None:
    """A Redis that was emptied, or evicts, begins a new epoch, which all are told before anything of it."""
    server = redis()
    one, two = await listening(join, server), await listening(join, server)
    await one.say("x")
    await until(lambda: bool(two.entries))
    server.command("FLUSHALL")
    assert await one.say("y") == (1, False)
    await until(lambda: len(one.entries) == len(two.entries) == 2)
    for ear in (one, two):
        assert [(gap.gap, gap.offset) for gap in ear.gaps] == [("epoch", 0)]
        assert ear.entries[0].epoch != ear.entries[1].epoch


async def test_evicts_the_messages_alone(redis: Callable[..., RedisServer], join: Open) -> None:
    """Where only the messages are gone, the room goes on, and who lacks some is told how many."""
    server = redis()
    one = Ear(await join(server))
    await one.say("x")
    server.command("DEL", scripts.log_key("lobby"))
    assert await one.say("y") == (2, False)
    two = Ear(await join(server))
    history = await two.bus.history("lobby")
    assert (history.since(history.epoch, 0).lost, len(history.entries)) == (1, 1)


@pytest.mark.parametrize(("durable", "gaps"), [("always", 0), ("everysec", 1)])
async def test_may_have_lost_some(
    redis: Callable[..., RedisServer], join: Open, durable: str, gaps: int
) -> None:
    """A Redis that may lose what it has told when it is killed begins a new epoch then; one that does not goes on."""
    server = redis("--appendfsync", durable)
    ear = Ear(await join(server))
    await ear.say("x")
    await until(lambda: bool(ear.entries))
    server.kill()
    server.start()
    await insist(ear, "y")
    await until(lambda: len(ear.entries) == 2)
    assert len(ear.gaps) == gaps


async def test_out_of_memory(
    redis: Callable[..., RedisServer], join: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that refuses what it has no memory for is told once, the messages are refused, and kept when there is memory again."""
    server = redis()
    ear = Ear(await join(server))
    await ear.say("x")
    server.command("CONFIG", "SET", "maxmemory", "1")
    for _ in range(3):
        with pytest.raises(Unavailable):
            await ear.say("y", "k")
    assert ear.bus.state()["state"] == "refusing"
    server.command("CONFIG", "SET", "maxmemory", "0")
    assert await ear.say("y", "k") == (2, False)
    assert ear.bus.state()["state"] == "up"
    assert len(warnings(caplog)) == 1


async def test_warns_of_eviction(
    redis: Callable[..., RedisServer], join: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that is set to throw away is warned of."""
    await join(redis("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"))
    assert "allkeys-lru" in warnings(caplog)[0]


async def test_wrong_password(
    redis: Callable[..., RedisServer], join: Open, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong password is said once, with the setting to look at and without the password; messages are refused at once."""
    server = redis(password="right")
    ear = Ear(await join(Place(path=str(server.path), password="wrong-one")))
    assert ear.bus.state()["state"] == "down"
    await asyncio.sleep(subject.GONE)
    with pytest.raises(Unavailable):
        await ear.say("x")
    assert len(warnings(caplog)) == 1
    assert "WSFRONT_REDIS_PASSWORD_FILE" in warnings(caplog)[0]
    assert "wrong-one" not in caplog.text
    good = Ear(await join(server))
    assert await good.say("x") == (1, False)


async def test_wrong_address(join: Open, caplog: pytest.LogCaptureFixture) -> None:
    """Where there is no Redis, it starts all the same, says so once, and refuses."""
    ear = Ear(await join(Place("127.0.0.1", 1)))
    with pytest.raises(Unavailable):
        await ear.say("x")
    with pytest.raises(Unavailable):
        await ear.bus.history("lobby")
    assert len(warnings(caplog)) == 1
    assert "127.0.0.1:1" in warnings(caplog)[0]


async def test_stop_while_it_connects(caplog: pytest.LogCaptureFixture) -> None:
    """A stop that comes while a Redis is asked and does not answer ends quietly, and calls nobody back."""
    caplog.set_level("INFO", "server")
    with socket.create_server(("127.0.0.1", 0)) as silent, contextlib.ExitStack() as held:
        silent.setblocking(False)  # noqa: FBT003  # as the standard library has it

        def is_asked() -> bool:
            with contextlib.suppress(BlockingIOError):
                held.enter_context(silent.accept()[0])
                return True
            return False

        bus = RedisBus(Place("127.0.0.1", silent.getsockname()[1]))
        await bus.start()
        while is_asked():
            pass
        await until(is_asked)
        await bus.stop()
    assert "is back after" not in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def test_presence(
    redis: Callable[..., RedisServer], join: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is at one process is known at the others, at those that come later too; a process that is gone takes its people with it."""
    monkeypatch.setattr(presence, "ALIVE", 1.0)
    monkeypatch.setattr(presence, "ALIVE_EVERY", 0.2)
    server = redis()
    one, two = await listening(join, server), await listening(join, server)
    one.bus.enlist("lobby", [("a", b"Ada"), ("b", b"Bob")])
    await until(lambda: two.people == {"a": b"Ada", "b": b"Bob"})
    one.bus.unlist("lobby", "b")
    await until(lambda: two.people == {"a": b"Ada", "b": None})
    late = Ear(await join(server))
    await until(lambda: late.people == {"a": b"Ada"})
    assert isinstance(one.bus, RedisBus)
    assert one.bus._task
    one.bus._stopped.set()  # as a kill would: nobody says good-bye
    await one.bus._task
    await until(lambda: two.people["a"] is None and late.people["a"] is None)
    two.bus.enlist("lobby", [("c", b"Cid")])
    await until(lambda: late.people.get("c") == b"Cid")
    await two.bus.stop()
    await until(lambda: late.people["c"] is None)


async def test_presence_after_a_restart(redis: Callable[..., RedisServer], join: Open) -> None:
    """A Redis that has lost everything is told again who is here."""
    server = redis("--appendonly", "no")
    one = Ear(await join(server))
    one.bus.enlist("lobby", [("a", b"Ada")])
    server.kill()
    server.start()
    late = Ear(await join(server))
    await until(lambda: late.people == {"a": b"Ada"})


async def test_another_version(
    redis: Callable[..., RedisServer],
    join: Open,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Servers whose bus has another version share no room, and are told of, once."""
    monkeypatch.setattr(presence, "ALIVE_EVERY", 0.1)
    server = redis()
    server.command("ZADD", scripts.PROCESSES, "99999999999999", "2:stranger")
    await join(server)
    await until(lambda: bool(warnings(caplog)))
    await asyncio.sleep(0.5)
    assert len(warnings(caplog)) == 1
    assert "bus version 2" in warnings(caplog)[0]
    assert all("wsfront:1:" in key for key in (scripts.room_key("x"), scripts.log_key("x"), scripts.PRESENCE))


async def test_one_connection_to_read(redis: Callable[..., RedisServer], join: Open) -> None:
    """However many rooms are followed, one connection reads."""
    server = redis()
    bus = await join(server)
    ears = [Ear(bus, f"room {number}") for number in range(30)]
    for ear in ears:
        await ear.say("x")
    await until(lambda: all(ear.entries for ear in ears))
    readers = server.command("CLIENT", "LIST", "TYPE", "NORMAL").count(b"-reader ")
    assert readers == 1
