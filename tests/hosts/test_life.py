"""What happens to a server in its life: reboots, kills, rotated logs, changes. Apache cuts no open socket off."""

import asyncio
import shutil
from collections.abc import Callable

import pytest

from tests.hosts.clients import arriving, crowd
from tests.hosts.servers import DESCRIPTION, NAME, Server
from tests.waiting import until

CROWD = 200


async def test_reboot(server: Server) -> None:
    """After a reboot everything is back by itself."""
    server.machine.reboot()
    await server.visitor.until_served()
    assert server.visitor.page()[0] == 200
    await server.visitor.chat("after-the-reboot")


async def test_killed_backend(server: Server) -> None:
    """A backend that is killed is back at once; who arrives meanwhile waits, and is not refused."""
    before = server.main_process("wsfront-backend")
    async with crowd(server.visitor, 10):
        server.machine.run("kill", "-KILL", str(before))
        await server.visitor.until_served()
    await server.visitor.chat("after-the-kill")
    assert server.main_process("wsfront-backend") not in {0, before}


async def test_killed_child_of_apache(server: Server) -> None:
    """When a child of Apache is killed the others go on, and another one takes its place."""
    machine = server.machine
    main = server.main_process("apache2")

    def children() -> set[str]:
        return set(machine.run("pgrep", "-P", str(main), is_checked=False).split())

    async with crowd(server.visitor, 10):
        before = children()
        machine.run("kill", "-KILL", min(before))
        assert await server.visitor.is_served()
        assert server.visitor.page()[0] == 200
        until(lambda: children() - before, 10)
    await server.visitor.chat("after-the-kill")
    assert server.main_process("apache2") == main


def change_the_vhost(server: Server) -> None:
    """Give the name an alias."""
    server.description.write_text(f"{DESCRIPTION}server_aliases: [www.{NAME}]\n")
    recap = server.play()
    assert f"www.{NAME}" in server.machine.run("apache2ctl", "-t", "-D", "DUMP_VHOSTS")
    assert recap.changed > 0


def renew_the_certificate(server: Server) -> None:
    """Lose the certificate where the playbook runs, so that the next run brings another one."""
    serial = server.visitor.certificate()["serialNumber"]
    shutil.rmtree(server.store / "sites" / NAME)
    server.play()
    until(lambda: server.visitor.certificate()["serialNumber"] != serial, 10)


def rotate_the_logs(server: Server) -> None:
    """Rotate Apache's logs as the machine does every night."""
    log = f"/var/log/apache2/wsfront-{NAME}-access.log"
    before = server.machine.run("stat", "-c", "%i", log)
    server.machine.run("logrotate", "--force", "/etc/logrotate.d/apache2")
    until(lambda: server.visitor.page()[0] == 200)
    assert server.machine.run("stat", "-c", "%i", log) != before
    until(lambda: "GET" in server.machine.run("cat", log), 10)


# Each by one of the two, where a playbook does the same on both.
@pytest.mark.parametrize(
    ("installed", "event"),
    [
        ("bookworm", change_the_vhost),
        ("trixie", renew_the_certificate),
        ("bookworm", rotate_the_logs),
        ("trixie", rotate_the_logs),
    ],
    indirect=["installed"],
)
async def test_no_socket_is_cut_off(server: Server, event: Callable[[Server], None]) -> None:
    """Of 200 open sockets Apache cuts none off, and nobody who arrives is refused, while it is given something new to read.

    After a reload the backend sends them away one by one, with 1012.
    """
    async with crowd(server.visitor, CROWD) as people, arriving(server.visitor) as newcomers:
        await people.speak()
        await asyncio.to_thread(event, server)
        assert {code for code, _ in people.farewells} <= {1012}
        await people.until_all_left()
        assert {code for code, _ in people.farewells} == {1012}
    assert newcomers.faults == []
    assert newcomers.well > 0
