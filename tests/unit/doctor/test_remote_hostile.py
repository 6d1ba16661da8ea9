"""Servers that answer with anything at all: `doctor` says something of each of them, and never fails itself."""

import asyncio
import random
import re
from collections.abc import Callable

import pytest
from websockets.utils import accept_key

from doctor.findings import CATALOGUE
from doctor.remote import examine
from doctor.remote_http2 import status_of
from doctor.remote_tls import read_certificate
from tests.waiting import SECOND

SERVERS = 40
ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Accept: %s\r\n\r\n"
    b"\x81\x02hi\xc1\x04\xca\xc9\x04\0\x8a\x0ewsfront doctor\x88\x04\x0f\xa1ok"
)
PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Security-Policy: connect-src a:b:c 'self'\r\nServer: x\r\nContent-Length: 99\r\n\r\n"
    b"<script src=/a.js></script><script src='http://[x'></script>new WebSocket('ws://x/ws/echo')"
)
REFUSALS = (
    PAGE,
    b"HTTP/1.1 302 Found\r\nLocation: https://localhost/x\r\n\r\n",
    b'HTTP/1.1 502 Bad Gateway\r\n\r\n<!DOCTYPE HTML PUBLIC "-//"></head><body>\n<h1>x</h1>Reason: <strong>DNS</strong>',
)
PIECES = (
    *(b"\r\n", b"\0", b": ", b";", b",", b"HTTP/1.1 101 x\r\n", b"Content-Length: -5\r\n", b"\xff" * 9),
    b"Location: \xff//[\r\n",
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=99\r\n",
    b"Content-Security-Policy: ;;connect-src //[::\r\n",
)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """Return bytes with some changed, taken out and put in."""
    changed = bytearray(content)
    for _ in range(chance.choice((0, 1, 2, 5, 20))):
        at = chance.randrange(len(changed) + 1)
        changed[at : at + chance.randrange(4)] = chance.choice(
            (*PIECES, chance.randbytes(3), b"", bytes([chance.randrange(256)]))
        )
    return bytes(changed)


async def told_of(chance: random.Random) -> set[str]:
    """Examine a server that answers so; return what was found."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
            key = re.search(rb"Sec-WebSocket-Key: (\S+)", request)
            head = chance.choice(REFUSALS)
            if key and chance.random() < 0.7:
                head = ACCEPTED % accept_key(key[1].decode()).encode()
            writer.write(mutated(head, chance))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the doctor has heard enough
        finally:
            writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        url = f"ws://localhost:{server.sockets[0].getsockname()[1]}/ws/echo"
        examination = await examine(url, address="127.0.0.1", timeout=1 * SECOND)
    return {finding.id for finding in examination.findings}


@pytest.mark.parametrize("seed", [1, 2])
async def test_any_answer(seed: int) -> None:
    """Whatever comes is a check or a finding of the catalogue."""
    chances = [random.Random(f"{seed}.{number}") for number in range(SERVERS)]  # noqa: S311 (no secret)
    found = set().union(*await asyncio.gather(*map(told_of, chances)))
    assert found <= set(CATALOGUE)
    assert len(found) > 5


@pytest.mark.parametrize("read", [status_of, read_certificate])
def test_any_bytes(read: Callable[[bytes], object]) -> None:
    """Nothing that is read byte by byte fails on bytes."""
    chance = random.Random(1)  # noqa: S311 (as above)
    for _ in range(2000):
        read(chance.randbytes(chance.randrange(12)))
