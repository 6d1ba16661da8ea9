"""Pictures on a real server: opened in processes that the service's sandbox lets in, and bounds."""

import asyncio
import json
import zlib
from struct import pack
from typing import Any

from websockets.asyncio.client import ClientConnection

from server.messages import LIMITS
from tests.hosts.servers import Server
from tests.waiting import SECOND


def chunk(kind: bytes, data: bytes) -> bytes:
    """Write a chunk of a PNG."""
    return pack("!I", len(data)) + kind + data + pack("!I", zlib.crc32(kind + data))


def png(width: int, height: int, *, padding: int = 0) -> bytes:
    """Draw a black picture."""
    head = pack("!IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * height))
    signature = b"\x89PNG\r\n\x1a\n"
    picture = signature + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return picture + bytes(padding)


async def answer(client: ClientConnection, *kinds: str) -> dict[str, Any]:
    """Return the next message of these kinds."""
    async with asyncio.timeout(20 * SECOND):
        while True:
            message: dict[str, Any] = json.loads(await client.recv())
            if message["type"] in kinds:
                return message


async def test_picture(shared: Server) -> None:
    """A picture goes through Apache and the sandbox into the room; who opens it is bounded and steps back behind the server."""
    async with shared.visitor.websocket("/ws/chat?room=pictures", max_size=None) as ada:
        await ada.send(json.dumps({"type": "join", "name": "Ada"}))
        picture = png(3000, 2000, padding=LIMITS.picture - 100_000)
        await ada.send(json.dumps({"type": "picture", "size": len(picture)}))
        ready = await answer(ada, "ready", "error")
        assert ready == {"type": "ready"}
        await ada.send(picture)
        shown = await answer(ada, "picture", "error")
        assert (shown["type"], shown.get("width"), shown.get("height")) == ("picture", 1024, 683), shown
        machine = shared.machine
        pid = machine.run("pgrep", "-f", "server.pictures").split()[-1]
        limits = machine.run("cat", f"/proc/{pid}/limits")
        assert [line.split()[3] for line in limits.splitlines() if line.startswith("Max address")] == [
            str(512 << 20)
        ]
        server = shared.main_process("wsfront-backend")
        worst, ours = (int(machine.run("ps", "-o", "ni=", "-p", str(each))) for each in (pid, server))
        assert worst > ours
        journal = machine.run("journalctl", "-u", "wsfront-backend", "-o", "cat")
        assert "lower its priority" not in journal
        bomb = png(60_000, 1)[:40]
        await ada.send(json.dumps({"type": "picture", "size": len(bomb), "ref": "b"}))
        assert (await answer(ada, "ready", "error"))["type"] == "ready"
        await ada.send(bomb)
        assert (await answer(ada, "ack", "error"))["code"] == "bad-picture"
