"""What goes through the tunnel, through a real Apache over TLS."""

import pytest

from tests.stacks import Running

pytestmark = pytest.mark.needs("apache")


async def test_echoes_sixteen_mebibytes(stack: Running) -> None:
    """A frame of 16 MiB comes back as it was sent."""
    message = bytes(range(256)) * (1 << 16)
    async with stack.websocket(max_size=None) as socket:
        await socket.send(message)
        assert await socket.recv() == message
