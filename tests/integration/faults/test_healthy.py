"""Sites that are as they should be, of our making and of others': nobody finds anything in them."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.errors import MissingFault
from bench.runner import all_stacks
from bench.stacks.base import Place as Stand
from certs.store import Store
from doctor import remote, server
from doctor.lint import lint
from tests.htaccess import held_ports
from tests.integration.faults.evidence import is_healthy
from tests.integration.faults.places import PASSING, RULES, Site, place
from tests.integration.faults.rows import HEALTHY, IN_VHOST, rules
from tests.integration.faults.test_matrix import assert_healthy
from tests.integration.foreign.servers import foreign_server
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")

FORMS = """
websockets:
- {path: /ws/, backend: 127.0.0.1:8888}
- {path: /tunnel/, backend: 127.0.0.1:8888, tunnel: ws}
"""
MODES = ("local-ca", "files", "acme", "none")
FRONTS = ("nginx", "haproxy", "caddy")
FOREIGN = [pytest.param(kind, marks=pytest.mark.needs(kind)) for kind in ("node", "php")]


@pytest.fixture(params=MODES)
def ours(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Running]:
    """Run a site of ours in each of its ways with TLS, a socket by each form of the tunnel."""
    tls = f"mode: {request.param}"
    name = "localhost"
    if request.param == "files":
        issued = Store(tmp_path / "certs").ensure(name, [name])
        tls += f", files: {{certificate: {issued.certificate}, key: {issued.key}}}"
    if request.param == "acme":
        name = "chat.example.org"
        tls += ", acme: {contact: admin@example.org}"
    with running(f"server_name: {name}\ntls: {{{tls}}}\n{FORMS}") as instance:
        yield instance


def test_ours(ours: Running, tmp_path: Path) -> None:
    """Neither lint nor the doctor, from afar or on the machine, finds anything in what we render."""
    config = str(ours.stack.httpd.config)
    found = {"lint": lint([config]).findings, "server": server.examine(config=config).findings}
    is_plain, is_own = ours.site.tls.mode == "none", ours.site.tls.mode == "files"
    ca = None if is_plain else str(Store(tmp_path / "certs").ca if is_own else ours.stack.store.ca)
    name = ours.site.server_name
    at = f"ws://{name}:{ours.http_port}" if is_plain else f"wss://{name}:{ours.https_port}"
    for path in ("/ws/echo", "/tunnel/echo"):
        found[path] = asyncio.run(remote.examine(at + path, ca_file=ca, address="127.0.0.1")).findings
    assert {who: said for who, said in found.items() if said} == {}
    ours.allow("AH01630")  # a foreign page is refused


@pytest.mark.parametrize("name", FRONTS)
def test_behind_others(name: str, plain: Running, folder: Path) -> None:
    """A socket of ours behind another proxy than Apache, set up as its documentation says, has nothing to be found from afar."""
    kind = all_stacks()[name]
    try:
        kind.version()
    except MissingFault as error:
        pytest.skip(str(error))
    store = Store(folder / "certs")
    issued = store.ensure("localhost", ["localhost"])
    with held_ports(1) as (port,):
        machine = plain.stack.target
        own = folder / name
        own.mkdir(mode=0o755)
        front = kind(
            Stand(
                own, port, plain.backend_port, 10, issued.certificate, issued.key, machine.user, machine.group
            )
        )
        front.start()
        try:
            url = f"wss://localhost:{port}/ws/echo"
            asked = remote.examine(url, ca_file=str(store.ca), address="127.0.0.1")
            assert asyncio.run(asked).findings == []
        finally:
            front.stop()


@pytest.mark.parametrize("kind", FOREIGN)
def test_foreign_backend(kind: str) -> None:
    """A backend that is not ours, behind an Apache of ours, has nothing to be found by anybody."""
    with running(FORMS, backend=False) as instance, foreign_server(kind, instance.backend_port):
        config = str(instance.stack.httpd.config)
        url = f"wss://localhost:{instance.https_port}/ws/echo"
        asked = remote.examine(url, ca_file=str(instance.stack.store.ca))
        found = {
            "lint": lint([config]).findings,
            "server": server.examine(config=config).findings,
            "remote": asyncio.run(asked).findings,
        }
        assert {who: said for who, said in found.items() if said} == {}
        instance.allow("AH01630")  # a foreign page is refused


SOMEBODYS = {
    "a ProxyPass": HEALTHY,
    "a ws:// URL": Site(
        vhost=IN_VHOST + PASSING.replace('"http://', '"ws://').replace(" upgrade=websocket", "")
    ),
    "rules in an .htaccess": rules(RULES),
    "rules in the vhost": Site(vhost=IN_VHOST + RULES.replace("^ws/", "^/ws/")),
    "HTTP/2 alone": Site(vhost="Protocols h2\n" + IN_VHOST + PASSING, beside=("http2",)),
    "pages beside": Site(vhost=IN_VHOST + PASSING + 'ProxyPass "/" "http://127.0.0.2:8888/" retry=0\n'),
}


@pytest.mark.parametrize("site", SOMEBODYS.values(), ids=SOMEBODYS)
def test_somebodys(site: Site) -> None:
    """A site of somebody's that is right has nothing to be found by anybody."""
    with place(site) as found, found.behind(site.backend), found.running():
        assert is_healthy(found)
        assert_healthy(found, "")
