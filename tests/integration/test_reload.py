"""A graceful reload of Apache with sockets open."""

import pytest

from tests.raw import ask
from tests.stacks import Running, running
from tests.waiting import until

pytestmark = pytest.mark.needs("apache")


def starts(stack: Running) -> int:
    """Return how often Apache has taken its configuration into use."""
    return sum(line.number == "AH00489" for line in stack.stack.httpd.log_lines())


async def test_sockets_outlive_reloads() -> None:
    """As many reloads as are planned for leave every socket of a backend that sees none open, and new ones are accepted after each."""
    with running(without=["status"]) as stack:
        sockets = []
        for reloads in range(stack.stack.target.reloads + 1):
            sockets.append(await stack.websocket())
            for number, socket in enumerate(sockets):
                await socket.send(f"{number} after {reloads}")
                assert await socket.recv() == f"{number} after {reloads}"
            stack.stack.httpd.reload()
            until(lambda wanted=reloads + 2: starts(stack) == wanted)  # type: ignore[misc] # a lambda's default
            assert ask(stack, "/").status == 200
        for socket in sockets:
            await socket.close()
