"""A backend of somebody else's, for a machine that has nothing but Python: echoes short text frames (RFC 6455).

Runs on the machine under test, as a file of its own: python3 foreign_backend.py PORT.
"""

import asyncio
import base64
import hashlib
import sys

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_CLOSE = 8


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Shake hands, then send back each frame as it came, up to a close."""
    request = await reader.readuntil(b"\r\n\r\n")
    lines = (line.partition(b":") for line in request.split(b"\r\n")[1:])
    headers = {name.strip().lower(): value.strip() for name, _, value in lines}
    if b"sec-websocket-key" not in headers:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: close\r\n\r\nforeign")
        await writer.drain()
        writer.close()
        return
    accept = base64.b64encode(hashlib.sha1(headers[b"sec-websocket-key"] + _GUID).digest())  # noqa: S324 # RFC 6455, 4.2.2
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
    writer.write(b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
    opcode = 0
    while opcode != _CLOSE:
        try:
            first, second = await reader.readexactly(2)
            mask = await reader.readexactly(4)
            payload = await reader.readexactly(second & 0x7F)
        except asyncio.IncompleteReadError:
            break
        opcode = first & 0x0F
        writer.write(bytes([first, len(payload)]) + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))
        await writer.drain()
    writer.close()


async def main() -> None:
    """Listen on loopback for ever."""
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
