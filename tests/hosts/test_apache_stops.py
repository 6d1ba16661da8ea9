"""When Apache itself has to stop, its sockets are closed with a reason, and not cut off after ten silent seconds."""

import asyncio
import time
from collections.abc import Callable

import pytest

from tests.hosts.clients import crowd
from tests.hosts.servers import Server
from tests.waiting import SECOND

CROWD = 100


def restart(server: Server) -> None:
    """Restart Apache as a person does; it takes a few seconds, where Apache alone waits ten, and then kills its children (AH00046)."""
    started = time.monotonic()
    server.machine.run("systemctl", "restart", "apache2")
    assert time.monotonic() - started < 8 * SECOND
    assert "AH00046" not in server.machine.run("cat", "/var/log/apache2/error.log")


def upgrade(server: Server) -> None:
    """Install Apache's package anew, as an unattended upgrade does."""
    server.machine.run("apt-get", "-qq", "-y", "install", "--reinstall", "apache2", "apache2-bin")


def reboot(server: Server) -> None:
    """Restart the machine."""
    server.machine.reboot()


@pytest.mark.parametrize("event", [restart, upgrade, reboot])
async def test_sockets_are_sent_away(server: Server, event: Callable[[Server], None]) -> None:
    """Every open socket hears 1012, service restart, and Apache is back within seconds."""
    async with crowd(server.visitor, CROWD) as people:
        started = time.monotonic()
        await asyncio.to_thread(event, server)
        await server.visitor.until_served()
        print(f"{event.__name__}: {time.monotonic() - started:.1f} s")  # noqa: T201 # a measurement
        assert [code for code, _ in people.farewells] == [1012] * CROWD
