"""Certificates by ACME, from a real authority: the first one, renewals, and what is said when there is none."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.hosts import acme
from tests.hosts.acme import Authority
from tests.hosts.clients import arriving, crowd
from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.network import IPV4
from tests.hosts.plays import OURS
from tests.hosts.servers import DESCRIPTION, NAME, Installed, Server, describe
from tests.waiting import until

pytestmark = pytest.mark.needs("pebble")

TLS = f"""\
tls:
  mode: acme
  acme: {{contact: admin@chat.test, directory: '{acme.DIRECTORY}', ca_file: /etc/ssl/acme-ca.pem}}
"""
# Every certificate is due at once: the window is longer than the five years that pebble gives. Apache reads it at the next reload.
DUE = "MDRenewWindow 3000d\nMDRenewViaARI off\n"


@contextmanager
def server_for_acme(lab: Lab, installed: Installed) -> Iterator[Server]:
    """Run a server that is to have a certificate by ACME from now on."""
    with installed.running(lab) as server:
        yield wanting_acme(server)


def wanting_acme(server: Server) -> Server:
    """Describe a server that is to have a certificate by ACME."""
    server.description.write_text(DESCRIPTION + TLS)
    server.machine.run("tee", "-a", "/etc/hosts", stdin=f"{acme.ADDRESS} {acme.HOST}\n")
    return server


def trusting(server: Server, authority: Authority) -> Server:
    """Let the machine trust the authority's directory."""
    server.machine.run("tee", "/etc/ssl/acme-ca.pem", stdin=authority.ca.read_text())
    return server


async def test_first_issue_and_renewal(lab: Lab, installed: Installed) -> None:
    """One command brings a certificate; a renewal comes by itself, cuts none of 200 sockets off and refuses nobody."""
    with (
        server_for_acme(lab, installed) as server,
        acme.authority(lab.network, server.folder / "acme", points_to=server.machine.ipv4) as authority,
    ):
        machine = server.machine
        trusting(server, authority).play()
        visitor = replace(server.visitor, authority=authority.root)
        serial = visitor.certificate()["serialNumber"]
        assert server.play().tasks_changed == []
        async with crowd(visitor, 200) as people, arriving(visitor) as newcomers:
            machine.run("tee", "/etc/apache2/conf-enabled/due.conf", stdin=DUE)
            machine.run("systemctl", "reload", "apache2")
            await asyncio.to_thread(until, lambda: visitor.certificate()["serialNumber"] != serial, 60)
            machine.run("rm", "/etc/apache2/conf-enabled/due.conf")
            machine.run("systemctl", "reload", "apache2")
            # After a reload the backend sends them away one by one; Apache itself cuts none off.
            await people.until_all_left()
            assert {code for code, _ in people.farewells} == {1012}
        assert newcomers.faults == []


def test_name_that_points_elsewhere(lab: Lab, boot: Boot) -> None:
    """Where the name points to another machine the first play says so, the site is up, and once it is mended all is well."""
    server = wanting_acme(describe(lab, boot("trixie", NAME), OURS))
    with (
        acme.authority(lab.network, server.folder / "acme", points_to=str(IPV4 + 250)) as authority,
    ):
        recap = trusting(server, authority).play("-e", "certificates_patience=10", is_checked=False)
        assert recap.status == 2
        assert "that must be this machine" in recap.said
        assert "The authority says" in recap.said
        assert server.visitor.page(is_plain=True)[0] == 301
        authority.point(server.machine.ipv4)
        server.play()
        assert replace(server.visitor, authority=authority.root).page()[0] == 200
