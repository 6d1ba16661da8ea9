"""What `lint --fix` makes of the rule that people copy, on a live Apache: sockets open, and what was let through no longer is."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.__main__ import main
from tests.htaccess import Front, Vhost, echoes, front
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
