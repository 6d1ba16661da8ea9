"""Those who open hundreds of sockets, shake hands without end or send frames too large: each has a bound, and others hardly notice."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.attackers import ADDRESS, Attacker, echo_times, flood, frames, memory, p99
from tests.raw import ask, line
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

NOTICEABLE = 0.05
"""Seconds: what others' echoes may take, one in a hundred excepted."""

LIMITED = """
tls: {mode: none}
trusted_proxies: [127.0.0.1/32]
websockets: [{connections: 60, connections_per_address: 10}]
"""
FREE = "tls: {mode: none}\nwebsockets: [{connections: 60}]\n"
TRIES = 5  # a noisy neighbour on the same machine is no attack


async def opened(
    stack: Running, count: int, source: str, *forwarded: str
) -> tuple[list[ClientConnection], Counter[int]]:
    """Open so many sockets at once from an address; return those that are open, and how the others were answered."""

    async def one() -> ClientConnection | int:
        headers = [("X-Forwarded-For", entry) for entry in forwarded]
        try:
            return await stack.websocket(
                local_addr=(source, 0), additional_headers=headers, open_timeout=10 * SECOND
            )
        except InvalidStatus as refused:
            return refused.response.status_code if "Retry-After" in refused.response.headers else 0

    found = await asyncio.gather(*(one() for _ in range(count)))
    sockets = [each for each in found if not isinstance(each, int)]
    return sockets, Counter(each for each in found if isinstance(each, int))


async def closed(sockets: Sequence[ClientConnection]) -> None:
    """Close sockets."""
    await asyncio.gather(*(each.close() for each in sockets))


async def test_one_address_has_its_share() -> None:
    """With a limit, an address that opens hundreds gets exactly its share, the rest 429; others get in; what it closes is free again."""
    with running(LIMITED) as stack:
        start = time.monotonic()
        held, answers = await opened(stack, 300, ADDRESS)
        assert (len(held), answers) == (10, {429: 290})
        assert time.monotonic() - start < 10 * SECOND
        others, refused = await opened(stack, 10, "127.0.0.5")
        assert (len(others), refused) == (10, {})
        await closed(held)
        held, answers = await opened(stack, 11, ADDRESS)
        assert (len(held), answers) == (10, {429: 1})
        await closed(held + others)


async def test_without_a_limit_one_address_has_all() -> None:
    """Without one, the first who comes has all sockets, and others 503; pages answer them all the same."""
    with running(FREE) as stack:
        held, answers = await opened(stack, 100, ADDRESS)
        assert (len(held), answers) == (60, {503: 40})
        assert await opened(stack, 1, "127.0.0.5") == ([], {503: 1})
        assert ask(stack, "/").status == 200
        await closed(held)


async def test_share_is_the_true_client_s() -> None:
    """Behind a proxy that is believed each client has a share, IPv6 by networks of 64 bits; a client's own word counts for nothing."""
    with running(LIMITED) as stack:
        all_held = []
        for address, share in (
            ("2001:db8:0:1::1", 10),
            ("2001:db8:0:1:ffff::2", 0),
            ("2001:db8:0:2::1", 10),
            ("203.0.113.9", 10),
            ("203.0.113.10", 10),
        ):
            held, _ = await opened(stack, 12, "127.0.0.1", address)
            assert len(held) == share, address
            all_held += held
        held, _ = await opened(stack, 12, ADDRESS, "198.51.100.1")
        spoofed, _ = await opened(stack, 12, ADDRESS, "198.51.100.2")
        assert (len(held), len(spoofed)) == (10, 0)
        await closed(all_held + held)


async def hardly_noticed(stack: Running, attack: Callable[[], AbstractContextManager[Attacker]]) -> None:
    """Expect echoes to take 50 ms at most during an attack, or twice what they took before, but 1 in 100, and memory to come back."""
    async with contextlib.AsyncExitStack() as held:
        sockets = [await held.enter_async_context(stack.websocket()) for _ in range(5)]
        with attack():
            await echo_times(sockets, 1)  # once, so that all children there will be have started
        before = memory(stack)
        for _ in range(TRIES):
            quiet = p99(await echo_times(sockets, 1.5))
            with attack() as attacker:
                loud = p99(await echo_times(sockets, 1.5))
                assert attacker.told()["made"] > 4
            if loud <= max(NOTICEABLE, 2 * quiet):
                break
        else:
            pytest.fail(f"{loud:.3f} s during the attack, {quiet:.3f} s before, {TRIES} times")
        until(lambda: memory(stack) < before + 30, 10)


async def test_handshakes_without_end() -> None:
    """Somebody who does nothing but TLS handshakes and upgrades is hardly noticed."""
    with running() as stack:
        await hardly_noticed(stack, lambda: flood(stack.https_port))
        stack.allow("AH10159", "AH00484")


@pytest.mark.parametrize("path", ["/ws/chat", "/ws/echo"])
async def test_frames_of_64_mib(path: str) -> None:
    """Frames of 64 MiB are refused by their heads, and cost neither memory nor others' time."""
    with running("tls: {mode: none}\nwebsockets: [{origins: any}]\n") as stack:
        assert code_for(stack, path, 64 << 20) == 1009
        await hardly_noticed(stack, lambda: frames(stack.http_port, path))
        stack.allow("AH03307", "AH10221", "AH10159", "AH00484")  # cut off in the middle of a frame


def code_for(stack: Running, path: str, size: int) -> int:
    """Announce a frame of some size on a new socket, and return the code that the socket is closed with at once."""
    with line(stack) as opened:
        assert opened.shake(path).status == 101
        opened.connection.sendall(b"\x82\xff" + size.to_bytes(8, "big") + bytes(4))
        opened.connection.settimeout(5 * SECOND)
        frame = opened.connection.recv(4)
        assert frame[0] == 0x88
        return int.from_bytes(frame[2:4], "big")


async def test_large_echoes_are_few() -> None:
    """Sixteen mebibytes may be echoed to two sockets at a time, so that they bound what all together can make the backend hold."""
    async with contextlib.AsyncExitStack() as held:
        stack = held.enter_context(running())
        sockets = [
            await held.enter_async_context(stack.websocket(max_size=None, compression=None)) for _ in range(2)
        ]
        for each in sockets:
            await each.send(bytes(16 << 20))
            assert len(await each.recv()) == 16 << 20
        assert await asyncio.to_thread(code_for, stack, "/ws/echo", 16 << 20) == 1009
        await sockets[0].close()
        async with stack.websocket(max_size=None, compression=None) as late:
            await late.send(bytes(16 << 20))
            assert len(await late.recv()) == 16 << 20
