"""A server that has other things to do: another site, prefork, a backend of somebody else's. All of it goes on."""

import asyncio
from pathlib import Path

from tests.hosts.clients import reading
from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.plays import DEBIANS, OURS
from tests.hosts.servers import DESCRIPTION, NAME, Server, describe
from tests.waiting import SECOND

OTHER = "other.test"
OTHER_SITE = """\
<VirtualHost *:80>
    ServerName {}
    DocumentRoot /var/www/other
</VirtualHost>
"""
FOREIGN_UNIT = """\
[Service]
ExecStart=/usr/bin/python3 /root/foreign_backend.py 9000
"""


def put_other_site(server: Server, name: str = OTHER) -> None:
    """Make a web server of the machine, with a site of its own."""
    machine = server.machine
    machine.run("apt-get", "-qq", "-y", "install", "apache2")
    machine.run("mkdir", "-p", "/var/www/other")
    machine.run("tee", "/var/www/other/index.html", stdin="the other site")
    machine.run("tee", "/etc/apache2/sites-available/other.conf", stdin=OTHER_SITE.format(name))
    machine.run("a2ensite", "other")
    machine.run("systemctl", "reload", "apache2")


def listing(server: Server) -> str:
    """Return what lies in the folders that a playbook of ours writes to, with a sum of each file's content."""
    return server.machine.run(
        "sh", "-c",
        "find /etc/apache2 /etc/systemd /etc/sysctl.d /etc/tmpfiles.d /etc/nftables* /etc/logrotate.d /usr/local /opt /srv "
        "/etc/wsfront /run/wsfront /var/lib/wsfront '(' -type f -o -type l ')' -not -path '/srv/packages/*' 2>/dev/null "
        "| sort | while read -r f; do printf '%s %s\n' \"$f\" \"$(md5sum <\"$f\" 2>/dev/null)\"; done; "
        "getent passwd; ls /etc/systemd/system /etc/apache2/mods-enabled",
    )  # fmt: skip


async def test_another_site_goes_on(lab: Lab, boot: Boot) -> None:
    """Another site on the same Apache answers throughout, but for the one restart that has to be allowed; all can be undone."""
    server = describe(lab, boot("trixie", NAME), OURS)
    put_other_site(server)
    before = listing(server)
    async with reading(server.machine.ipv4, OTHER, "the other site") as watch:
        asked = await asyncio.to_thread(server.play, is_checked=False)
        assert "apache_allow_restart=true" in asked.said
        assert watch.faults == []
    async with reading(server.machine.ipv4, OTHER, "the other site") as watch:
        await asyncio.to_thread(server.play, "-e", "apache_allow_restart=true")
    print(f"the other site was away for {watch.gap:.1f} s at most")  # noqa: T201 # a measurement
    assert all("Connection" in fault for fault in watch.faults)
    assert watch.gap < 5 * SECOND
    async with reading(server.machine.ipv4, OTHER, "the other site") as watch:
        assert await server.visitor.is_served()
        await asyncio.to_thread(server.play, playbook="remove.yml")
        assert not await server.visitor.is_served()
    assert watch.faults == []
    assert watch.well > 0
    assert listing(server) == before
    server.play("-e", "apache_allow_restart=true")
    assert await server.visitor.is_served()


async def test_backend_of_somebody_elses(lab: Lab, boot: Boot) -> None:
    """Where the backend is somebody else's the playbook brings none, and Apache serves that one."""
    server = describe(
        lab,
        boot("trixie", NAME),
        OURS,
        f"{DESCRIPTION}".replace("path: /ws/", "path: /ws/, backend: '127.0.0.1:9000'"),
    )
    script = Path(__file__).with_name("foreign_backend.py").read_text()
    server.machine.run("tee", "/root/foreign_backend.py", stdin=script)
    server.machine.run("tee", "/etc/systemd/system/foreign.service", stdin=FOREIGN_UNIT)
    server.machine.run("systemctl", "start", "foreign")
    server.play("-e", "backend_managed=false")
    assert await server.visitor.is_served()
    assert "wsfront-backend" not in server.machine.run("systemctl", "list-unit-files")


def test_name_that_another_site_has(lab: Lab, boot: Boot) -> None:
    """Where another enabled vhost has the name the play says which, and that site goes on."""
    server = describe(lab, boot("trixie", NAME), OURS)
    put_other_site(server, NAME)
    recap = server.play(is_checked=False)
    assert recap.status == 2
    assert "other.conf" in recap.said
    assert NAME in recap.said
    assert server.visitor.page(is_plain=True) == (200, "the other site")


async def test_machine_that_bears_the_sites_name(lab: Lab, boot: Boot) -> None:
    """A machine whose own host name is the site's serves it, for all that Debian's default site claims that name."""
    server = describe(lab, boot("bookworm", NAME, hostname=NAME), DEBIANS)
    server.play()
    assert server.visitor.page(is_plain=True)[0] == 301
    assert await server.visitor.is_served()


def test_prefork(lab: Lab, boot: Boot) -> None:
    """On prefork, which mod_php forces, the play refuses with the remedy, and PHP goes on."""
    server = describe(lab, boot("bookworm", NAME), DEBIANS)
    machine = server.machine
    machine.run("apt-get", "-qq", "-y", "install", "apache2", "libapache2-mod-php")
    machine.run("tee", "/var/www/html/index.php", stdin="<?php echo 'PHP ', 6 * 7;")
    machine.run("rm", "/var/www/html/index.html")

    def php() -> str:
        return server.visitor.page(is_plain=True, host="127.0.0.1")[1]

    assert php() == "PHP 42"
    recap = server.play(is_checked=False)
    assert php() == "PHP 42"
    assert recap.status == 2
    assert "prefork" in recap.said
    assert "php-fpm" in recap.said
