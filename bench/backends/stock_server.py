"""The program of `stock.py`: an echo, and a room where all hear what one says."""

import asyncio
import sys

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

room: set[ServerConnection] = set()


async def converse(connection: ServerConnection) -> None:
    """Serve one socket."""
    if connection.request is not None and connection.request.path == "/ws/echo":
        async for message in connection:
            await connection.send(message)
        return
    room.add(connection)
    try:
        async for message in connection:
            broadcast(room, message)
    finally:
        room.discard(connection)


async def main() -> None:
    """Serve until the end."""
    async with serve(converse, "127.0.0.1", int(sys.argv[1]), backlog=4096) as server:
        await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
