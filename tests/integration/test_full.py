"""Full means `503, come back`, and pages go on: exactly where our backend counts, as well as Apache can where nobody does.

What stock settings do is in test_capacity.py: handshakes hang, and pages with them.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from http import HTTPStatus

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from tests.raw import ask
from tests.stacks import Running, running
from tests.waiting import SECOND

pytestmark = pytest.mark.needs("apache")

PLACES = 40
ON_END = 5
"""Seconds; 60 were tried by hand."""

OURS = f"websockets: [{{connections: {PLACES}}}]\n"
FOREIGN = f"websockets: [{{connections: {PLACES}, origins: any, full: apache}}]\ntls: {{mode: none}}\n"
UNCOUNTED = FOREIGN.replace(", full: apache", "")
FEW = {"http_reserve": 10}


async def knock(stack: Running, times: list[float]) -> ClientConnection | None:
    """Try to open a socket: return it, or None where it is refused with 503, noting how long that took."""
    start = time.monotonic()
    try:
        return await stack.websocket("/ws/echo", open_timeout=5 * SECOND)
    except InvalidStatus as refused:
        times.append(time.monotonic() - start)
        if refused.response.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return None


async def page(stack: Running, times: list[float]) -> None:
    """Expect an answer to a page's request, noting how long that took."""
    start = time.monotonic()
    assert (await asyncio.to_thread(ask, stack, "/")).status in {200, 426}
    times.append(time.monotonic() - start)


def prompt(times: list[float]) -> bool:
    """Tell whether answers took less than a second, a few excepted that waited for a busy machine, and none long."""
    return sorted(times)[int(len(times) * 0.95)] < SECOND and max(times) < 3 * SECOND


async def test_one_more_than_full() -> None:
    """With every place taken each handshake more gets 503 and Retry-After in under a second, and pages come; a free place is one."""
    with running(OURS, facts=FEW) as stack:
        refusals: list[float] = []
        pages: list[float] = []
        held = [await knock(stack, refusals) for _ in range(PLACES)]
        assert not refusals
        end = time.monotonic() + ON_END
        while time.monotonic() < end:
            found = await asyncio.gather(*(knock(stack, refusals) for _ in range(4)), page(stack, pages))
            assert found == [None] * 5
        assert prompt(refusals)
        assert prompt(pages)
        with pytest.raises(InvalidStatus) as refused:
            await stack.websocket()
        assert int(refused.value.response.headers["Retry-After"]) > 0
        first = held.pop()
        assert first
        await first.close()
        assert await knock(stack, refusals)


@contextlib.asynccontextmanager
async def uncounting(stack: Running) -> AsyncIterator[None]:
    """Run a backend that takes everybody."""

    async def hold(connection: ServerConnection) -> None:
        await connection.wait_closed()

    async with serve(hold, "127.0.0.1", stack.backend_port, ping_interval=None):
        yield


async def crowd(stack: Running, tries: int, times: list[float]) -> list[ClientConnection]:
    """Let so many try, ten at a time; return those who got in."""
    held = []
    for _ in range(tries // 10):
        found = await asyncio.gather(*(knock(stack, times) for _ in range(10)))
        held += [each for each in found if each]
    return held


async def test_apache_counts_for_a_backend_that_does_not() -> None:
    """With `full: apache` as many as declared get in, those beyond what the children take get 503 in under a second, and pages come."""
    with running(FOREIGN, backend=False, facts=FEW) as stack:
        stack.allow("AH00941", "AH10159")  # a child is full; few workers are idle
        async with uncounting(stack):
            refusals: list[float] = []
            pages: list[float] = []
            held = await crowd(stack, 200, refusals)
            assert PLACES <= len(held) < 150
            for _ in range(5):
                await page(stack, pages)
            assert prompt(refusals)
            assert prompt(pages)
            for each in held:
                each.transport.abort()


async def test_where_nobody_counts_it_hangs() -> None:
    """Without it, the same backend is given every worker, and handshakes hang."""
    with running(UNCOUNTED, backend=False, facts=FEW) as stack:
        stack.allow("AH00484", "AH10159", "AH00957", "AH01114")
        async with uncounting(stack):
            held: list[ClientConnection] = []
            with contextlib.suppress(TimeoutError):
                while len(held) < 200:
                    held.append(await stack.websocket("/ws/echo", open_timeout=2 * SECOND))
            assert PLACES < len(held) < 200
            for each in held:
                each.transport.abort()
