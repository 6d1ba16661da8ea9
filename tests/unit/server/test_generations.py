"""Which sockets are sent away when the backend first hears from Apache, and when it hears of a reload."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from apache.httpd import free_ports
from server.generations import FIRST
from tests.unit.server.harness import SECONDS, Launch, Process


class Apache:
    """Answer for Apache's status."""

    def __init__(self, generation: int) -> None:
        self.generation = generation
        self.asked = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say the generation to whoever asks."""
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nParentServerConfigGeneration: %d\n" % self.generation)
        writer.close()

    async def looked_at(self, times: int = 1) -> None:
        """Wait until it has been asked some more times."""
        end = self.asked + times
        async with asyncio.timeout(SECONDS):
            while self.asked < end:  # noqa: ASYNC110  # what is waited for has no event of its own
                await asyncio.sleep(0.01)


@asynccontextmanager
async def apache(port: int, generation: int) -> AsyncIterator[Apache]:
    """Be an Apache whose status is at a port."""
    status = Apache(generation)
    async with await asyncio.start_server(status.answer, "127.0.0.1", port):
        yield status


def opened(backend: Process) -> connect:
    """Return a socket to be entered."""
    return connect(f"ws://127.0.0.1:{backend.ports[0]}/ws/echo", proxy=None)


async def is_open(client: ClientConnection) -> bool:
    """Tell whether a socket echoes."""
    await client.send("?")
    return await client.recv() == "?"


async def test_who_was_there_before_the_first_look(launch: Launch) -> None:
    """When Apache, at its first look, has been reloaded already, who is connected may be of an older generation, and is sent away."""
    (port,) = free_ports(1)
    backend = launch(WSFRONT_STATUS=f"127.0.0.1:{port}", WSFRONT_DRAIN_WINDOW="0.1")
    async with opened(backend) as client, apache(port, FIRST + 1):
        await asyncio.wait_for(client.wait_closed(), SECONDS)
        assert client.close_code == 1012


async def test_who_came_with_apache(launch: Launch) -> None:
    """When Apache is seen for the first time and was never reloaded, everybody stays."""
    (port,) = free_ports(1)
    backend = launch(WSFRONT_STATUS=f"127.0.0.1:{port}", WSFRONT_DRAIN_WINDOW="0.1")
    async with opened(backend) as client, apache(port, FIRST) as status:
        await status.looked_at(2)
        assert await is_open(client)


async def test_restarted_backend_sends_nobody_away(launch: Launch) -> None:
    """A backend that starts long after a reload keeps all who come, from the first on, until the next reload."""
    (port,) = free_ports(1)
    async with apache(port, 3) as status:
        # Apart from this loop, which answers it meanwhile.
        backend = await asyncio.to_thread(
            launch, WSFRONT_STATUS=f"127.0.0.1:{port}", WSFRONT_DRAIN_WINDOW="0.1"
        )
        async with opened(backend) as client:
            await status.looked_at(2)
            assert await is_open(client)
            status.generation = 4
            await asyncio.wait_for(client.wait_closed(), SECONDS)
            assert client.close_code == 1012
