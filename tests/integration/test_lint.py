"""What `lint --fix` makes of the rule that people copy, on a live Apache: sockets open, and what was let through no longer is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.htaccess import Front, Vhost, echoes, front, held_ports
from tests.stacks import Running

pytestmark = pytest.mark.needs("apache")

COPIED = (Path(__file__).parent / "htaccess/copied.htaccess").read_text()
NAME = "copied.test"
KEY = ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13")
GRANT = "AllowOverride FileInfo\nOptions FollowSymLinks"


@pytest.fixture
def site(plain: Running) -> Iterator[Front]:
    """Run a site with the copied rule in its .htaccess, to our backend at the path it takes."""
    rule = COPIED.replace("127.0.0.1:8888", f"127.0.0.1:{plain.backend_port}")
    with front({NAME: Vhost({".htaccess": rule, "index.html": "page"}, grant=GRANT)}) as running:
        yield running


def test_copied_rule_made_safe(site: Front) -> None:
    """Before, a foreign page and a header that strips others pass; after --fix they do not, and sockets and pages are as they were."""
    file = site.httpd.directory / "sites" / NAME / ".htaccess"

    def answers() -> dict[str, int]:
        with site.line(NAME) as line:
            own = f"Origin: http://{line.host}"
            found = {"own": line.shake("/ws/echo", own).status}
            assert found["own"] != 101 or echoes(line)
        stripping = ("Connection: Upgrade, X-Forwarded-Proto",)
        found["foreign"] = site.shake(NAME, "/ws/echo", "Origin: http://elsewhere.example").status
        found["stripping"] = site.ask(NAME, "/ws/echo", *stripping, "Upgrade: websocket", *KEY).status
        found["page"] = site.ask(NAME, "/").status
        return found

    before = answers()
    assert (before["own"], before["stripping"], before["page"]) == (101, 101, 200)
    assert main(["lint", str(file)]) == 1
    assert main(["lint", "--fix", str(file)]) == 0
    assert answers() == {"own": 101, "foreign": 403, "stripping": 403, "page": 200}
    assert site.marks() == set()


def test_server_of_somebody(site: Front) -> None:
    """The whole configuration of a server that is not of our making, its modules and vhosts, has nothing to be found."""
    assert main(["lint", str(site.httpd.config)]) == 0


def test_copied_rule_in_a_vhost_made_safe(plain: Running, tmp_path: Path) -> None:
    """What --fix writes into a vhost opens sockets for the site's own page alone."""
    rule = f"RewriteEngine On\n{COPIED.replace('127.0.0.1:8888', f'127.0.0.1:{plain.backend_port}')}"
    (path := tmp_path / "site.conf").write_text(f"<VirtualHost *:80>\n{rule}</VirtualHost>\n")
    assert main(["lint", "--fix", str(path)]) == 0
    own = path.read_text().partition("\n")[2].partition("</VirtualHost>")[0]
    with front({NAME: Vhost({"index.html": "page"}, own=own)}) as running:
        with running.line(NAME) as line:
            assert line.shake("/ws/echo", f"Origin: http://{line.host}").status == 101
            assert echoes(line)
        assert running.shake(NAME, "/ws/echo", "Origin: http://elsewhere.example").status == 403
        assert running.ask(NAME, "/").status == 200
        assert running.marks() == set()


HOSTS = {
    ".htaccess": ("RewriteEngine On\nRewriteRule ^(.*)$ http://127.0.0.1:{port}$1 [P]\n", ""),
    "vhost": ("", "RewriteEngine On\nRewriteRule ^/(.*)$ http://127.0.0.1:{port}$1 [P]"),
    "ProxyPass": ("", "ProxyPass / http://127.0.0.1:{port}"),
}


@pytest.mark.parametrize(("rules", "own"), HOSTS.values(), ids=HOSTS)
def test_client_that_picks_a_host(tmp_path: Path, rules: str, own: str) -> None:
    """What is called a host of the client's choice is one: Apache connects to it, and after --fix it does not."""
    with held_ports(2) as (port, other):
        (htaccess := tmp_path / ".htaccess").write_text(rules.replace("{port}", str(port)))
        vhost = f"<VirtualHost *:80>\n{own.replace('{port}', str(port))}\n</VirtualHost>\n"
        (server := tmp_path / "a.conf").write_text(vhost)
        assert main(["lint", str(htaccess), str(server)]) == 1
        assert connected(htaccess, server, f"/@127.0.0.1:{other}/") == other
        assert main(["lint", "--fix", str(htaccess), str(server)]) == 0
        assert connected(htaccess, server, f"/@127.0.0.1:{other}/") == port


def connected(htaccess: Path, server: Path, path: str) -> int:
    """Ask a site with these rules for a path; return the port on which Apache then found nobody (AH00957)."""
    own = server.read_text().partition("\n")[2].partition("</VirtualHost>")[0]
    with front({NAME: Vhost({".htaccess": htaccess.read_text()}, grant=GRANT, own=own)}) as running:
        assert running.ask(NAME, path).status == 503
        told = " ".join(line.text for line in running.complaints() if line.number == "AH00957")
        return int(told.partition("connect to 127.0.0.1:")[2].split()[0])
