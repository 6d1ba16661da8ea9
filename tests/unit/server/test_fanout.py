"""One message to many sockets: order, one write for each flush, the window, and who does not read."""

import asyncio
import json
import socket
import time
from collections.abc import Callable
from typing import Any, cast
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.fanout import ENOUGH, NEWCOMERS, REST, SLICE, WINDOW_EACH, WINDOW_MOST, WINDOW_RUSH, Group
from server.frames import COMPRESS_LEAST, PLAIN, frame_of
from server.wire import PENDING_MOST, Wire
from tests.unit.server.harness import SECONDS, Start, handshake, hear, open_socket, say, until

DEFLATE = 12


class Clock:
    """A loop by whose time a group runs, and a test says what time it is, and how long the processor has worked for us."""

    def __init__(self) -> None:
        self.now = 0.0
        self.worked = 0.0
        self.calls: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        """Tell the time."""
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *arguments: Any) -> mock.Mock:
        """Note a call."""
        call = (self.now + delay, callback, arguments)
        self.calls.append(call)
        return mock.Mock(cancel=lambda: self.calls.remove(call) if call in self.calls else None)

    def call_soon(self, callback: Callable[..., None], *arguments: Any) -> mock.Mock:
        """Note a call of the next turn."""
        return self.call_later(0, callback, *arguments)

    def turn(self) -> None:
        """Run what is due."""
        due = [call for call in self.calls if call[0] <= self.now]
        self.calls = [call for call in self.calls if call not in due]
        with mock.patch("server.fanout.thread_time", side_effect=lambda: self.worked):
            for _, callback, arguments in due:
                callback(*arguments)

    def run(self) -> None:
        """Run what is due now, and what that calls for now."""
        while any(when <= self.now for when, _, _ in self.calls):
            self.turn()

    def group(self) -> Group:
        """Make a group that runs by this clock."""
        with mock.patch.object(asyncio, "get_running_loop", return_value=self):
            return Group()


class Pretended:
    """A wire that keeps what is written to it."""

    def __init__(self, kind: int = PLAIN, *, tells: Callable[[], None] = lambda: None) -> None:
        self.kind = kind
        self.groups: tuple[Group, ...] = ()
        self.writes: list[bytes] = []
        self.tells = tells

    def put(self, frames: bytes) -> None:
        """Keep a write."""
        self.tells()
        self.writes.append(frames)

    def write(self, frame: bytes) -> None:
        """Write to this one alone, as a wire does it."""
        for group in self.groups:
            group.deliver(self.wire)
        self.put(frame)

    @property
    def wire(self) -> Wire:
        """Pass for a wire."""
        return cast("Wire", self)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "discard", "send", "instead", "write", "flush", "wait"]), st.integers(0, 3)
    ),
    max_size=60,
)


@given(steps=STEPS)
def test_order(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order, a socket hears all that was sent while it was in, and its own, in order."""
    clock = Clock()
    group = clock.group()
    wires = [Pretended(PLAIN if number % 2 else DEFLATE) for number in range(4)]
    inside: set[int] = set()
    wanted: list[list[bytes]] = [[], [], [], []]
    for step, (act, number) in enumerate(steps):
        wire = wires[number]
        text = f"{step} {act} " + "x" * (COMPRESS_LEAST * (step % 2))
        if act == "add" and number not in inside:
            inside.add(number)
            group.add(wire.wire)
        elif act == "discard":
            inside.discard(number)
            group.discard(wire.wire)
        elif act in ("send", "instead"):
            group.send(text, {wire.wire: "own"} if act == "instead" else None)
            for other in inside:
                is_own = act == "instead" and other == number
                wanted[other].append(frame_of("own" if is_own else text, wires[other].kind))
        elif act == "write":
            wire.write(b"direct")
            wanted[number].append(b"direct")
        elif act == "flush":
            group.flush()
        elif act == "wait":
            clock.now += WINDOW_MOST / 2
            clock.turn()
    group.flush()
    assert [b"".join(wire.writes) for wire in wires] == [b"".join(frames) for frames in wanted]


def test_one_write() -> None:
    """What is sent in one turn goes out at the next, in one write for each socket."""
    clock = Clock()
    group = clock.group()
    wires = [Pretended(), Pretended(DEFLATE), Pretended()]
    for wire in wires:
        group.add(wire.wire)
    texts = ["one", "two" * 100, "three"]
    for text in texts:
        group.send(text)
    assert not any(wire.writes for wire in wires)
    clock.turn()
    for wire in wires:
        assert wire.writes == [b"".join(frame_of(text, wire.kind) for text in texts)]
    assert wires[0].writes[0] is wires[2].writes[0]
    assert len(wires[1].writes[0]) < len(wires[0].writes[0])


def test_window() -> None:
    """A group that was idle is written to at once; else a round takes five times the last one's work, and no more than 75 ms."""
    clock = Clock()
    group = clock.group()
    took = 0.0

    def take_long() -> None:
        clock.now += took
        clock.worked += took

    wires = [Pretended(tells=take_long) for _ in range(2 * SLICE)]
    for wire in wires:
        group.add(wire.wire)

    def heard() -> int:
        return sum(bool(wire.writes) for wire in wires)

    for cost in (0.000_01, 0.000_05, 1.0):
        took = cost
        clock.now += 1
        group.send("after a while")
        clock.run()
        assert heard() == 2 * SLICE
        for wire in wires:
            wire.writes.clear()
        window = min(WINDOW_MOST, max((1 + REST) * cost, WINDOW_EACH) * len(wires))
        took = 0.0
        group.send("right behind it")
        clock.run()
        assert heard() == 0
        clock.now += window / 2 + 1e-9
        clock.run()
        assert heard() == SLICE
        clock.now += window / 2 + 1e-9
        clock.run()
        assert heard() == 2 * SLICE
        for wire in wires:
            assert len(wire.writes) == 1
            wire.writes.clear()


def test_rest() -> None:
    """What comes within the window of a round waits for the rest of it, and not for a window more."""
    clock = Clock()
    group = clock.group()
    wire = Pretended()
    group.add(wire.wire)
    group._window, group._rested = WINDOW_MOST, clock.now
    clock.now += WINDOW_MOST * 0.75
    group.send("x")
    clock.now += WINDOW_MOST * 0.25 - 1e-9
    clock.run()
    assert not wire.writes
    clock.now += 2e-9
    clock.run()
    assert wire.writes


def test_rush() -> None:
    """While many come in, rounds take longer, up to a bound: it is they who wait for the machine. Who came in silence does not count."""
    clock = Clock()
    group = clock.group()

    def window_after(newcomers: int) -> float:
        """Let so many come in while a message waits for the rest of a window, and return the next one."""
        group.send("to all")
        for _ in range(newcomers):
            group.add(Pretended().wire)
        while clock.calls:
            clock.now += WINDOW_RUSH
            clock.run()
        group._rested = clock.now
        return group._window

    for _ in range(400):
        group.add(Pretended().wire)
    assert window_after(0) == 400 * WINDOW_EACH
    assert window_after(3 * NEWCOMERS) == pytest.approx(3 * WINDOW_EACH * len(group))
    assert window_after(20 * NEWCOMERS) == WINDOW_RUSH
    assert window_after(0) == WINDOW_MOST


def test_others_work() -> None:
    """A round in whose midst others have the processor makes the window no longer than one that has it alone."""
    clock = Clock()
    group = clock.group()

    def be_held_up() -> None:
        clock.now += 1.0
        clock.worked += 0.000_1

    wires = [Pretended(tells=be_held_up) for _ in range(40)]
    for wire in wires:
        group.add(wire.wire)
    group.send("to all")
    clock.run()
    assert group._window == pytest.approx((1 + REST) * 0.004)


def test_much_is_pending() -> None:
    """A window ends early where so many messages are pending that to join more of them saves little."""
    clock = Clock()
    group = clock.group()
    wire = Pretended()
    group.add(wire.wire)
    group._window = WINDOW_MOST
    for _ in range(ENOUGH - 1):
        group.send("x")
        clock.run()
    assert not wire.writes
    group.send("x")
    clock.run()
    assert wire.writes == [frame_of("x") * ENOUGH]


def test_pending_is_bounded() -> None:
    """A group does not keep more than what a socket may have unread: it is flushed before its window ends."""
    clock = Clock()
    group = clock.group()
    wire = Pretended()
    group.add(wire.wire)
    group._window = WINDOW_MOST
    for _ in range(64):
        group.send(b"x" * (PENDING_MOST // 32))
        assert group._size <= PENDING_MOST
    assert wire.writes


async def test_slow_reader(start: Start) -> None:
    """Who does not read is dropped with 1013, for no more memory than is allowed; who reads hears everything in order."""
    here = await start()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    await asyncio.to_thread(sock.connect, ("127.0.0.1", here.port))
    sock.sendall(handshake())
    await until(lambda: "lobby" in here.backend.hall.rooms)
    (victim,) = here.backend.live
    one = await here.connect()
    hearers = here.backend.hall.rooms["lobby"].hearers
    count = 0
    async with asyncio.timeout(SECONDS):
        while victim.protocol.close_sent is None:
            assert victim.transport.get_write_buffer_size() <= PENDING_MOST + (1 << 18)
            for _ in range(4):
                hearers.send(json.dumps({"type": "usermsg", "n": count, "message": "x" * 60_000}))
                count += 1
            assert (await hear(one))["n"] == count - 4
            for ahead in range(3, 0, -1):
                assert (await hear(one))["n"] == count - ahead
    assert victim.protocol.close_sent.code == 1013
    sock.close()


async def test_compressed_once(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those who negotiated compression understand what was compressed once for all of them; the others hear the same."""
    here = await start()
    ways: list[dict[str, Any]] = [{"compression": None}, {}, {}, {}]
    clients = [await here.connect(**way) for way in ways]
    seen: list[int] = []

    def noted(data: str | bytes, kind: int) -> bytes:
        seen.append(kind)
        return frame_of(data, kind)

    monkeypatch.setattr("server.fanout.frame_of", noted)
    line = {"type": "usermsg", "name": "Ada", "message": "long " * 100, "color": "#7c3aed"}
    await say(clients[0], **line)
    for client in clients:
        assert await hear(client) == {**line, "offset": 1}
    assert sorted(seen) == [PLAIN, DEFLATE]


async def test_idle_adds_no_wait(start: Start) -> None:
    """In an idle room a message does not wait for a window."""
    here = await start()
    with await asyncio.to_thread(open_socket, here.port) as sock:
        hearers = here.backend.hall.rooms["lobby"].hearers
        waits = []
        for _ in range(20):
            await asyncio.sleep(0.001)
            began = time.perf_counter()
            hearers.send("x")
            assert await asyncio.to_thread(sock.recv, 100) == frame_of("x")
            waits.append(time.perf_counter() - began)
    assert min(waits) < WINDOW_MOST / 5
