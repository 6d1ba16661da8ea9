"""What the README of the rules says one sees, row by row of its table, and the timeouts of its own block, on live Apaches."""

import codecs
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.htaccess import MODULES, NARROW, Front, Vhost, front, held_ports
from tests.raw import Line
from tests.scripted import scripted
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

RULES = Path(__file__).parents[2] / "apache/htaccess"
README = (RULES / "README.md").read_text(encoding="utf-8")
TABLE = re.search(r"^\| Seen \|.*\n\|.*\n((?:\|.*\n)+)", README, re.MULTILINE)
ROWS = (
    [tuple(cell.strip() for cell in row.split("|")[1:-1]) for row in TABLE[1].splitlines()] if TABLE else []
)
VHOST = re.search(r"```apache\n(<Directory.*?)```", README, re.DOTALL)
FOREIGN = "Origin: https://evil.example"
LINKS = "\nOptions SymLinksIfOwnerMatch"


@dataclass(frozen=True)
class Scene:
    """Say what brings a row about: which Apache and name, and which request."""

    name: str
    path: str = "/ws/x"
    server: str = "all"
    headers: tuple[str, ...] = ()
    upgrade: str = "websocket"
    connection: str = "Upgrade"
    method: str = "GET"
    vhost: Vhost = field(default_factory=lambda: Vhost({}))


def site(
    grant: str = NARROW, own: str = "", *, before: str = "", below: str = "", start: bytes = b""
) -> Vhost:
    """Describe a site with the rules for one path; `before` names a front controller whose file they are put into."""
    file = RULES / (before or "one-path") / ".htaccess"
    files: dict[str, bytes | str] = {".htaccess": start + file.read_bytes(), "page.html": "page"}
    if below:
        files["ws/.htaccess"] = below
    return Vhost(files, grant, own)


FINE = site()
SCENES = {
    "`AllowOverride None` and no list": [
        Scene("unread.test", vhost=site("Options FollowSymLinks")),
        Scene("unread.test", "/page.html", vhost=site("Options FollowSymLinks")),
    ],
    "a `ProxyPass` or `Alias` in the vhost": [
        Scene(
            "alias.test",
            vhost=site(own='Alias "/ws/" "/nowhere/"\n<Location "/ws/">\nRequire all granted\n</Location>'),
        ),
        Scene("pass.test", vhost=site(own='ProxyPass "/" "http://127.0.0.1:8888/"')),
    ],
    "an .htaccess further down": [Scene("below.test", vhost=site(below="RewriteEngine On\n"))],
    "the request is no upgrade": [Scene("fine.test", upgrade=""), Scene("fine.test", upgrade="h2c")],
    "the file begins with a byte order mark": [Scene("bom.test", vhost=site(start=codecs.BOM_UTF8))],
    "`AllowOverride` without FileInfo": [
        Scene("authconfig.test", vhost=site(f"AllowOverride AuthConfig{LINKS}"))
    ],
    "the list alone": [
        Scene(f"{name}.test", vhost=site(before=name)) for name in ("wordpress", "laravel", "symfony")
    ],
    "neither FollowSymLinks": [Scene("links.test", vhost=site("AllowOverride FileInfo\nOptions None"))],
    "mod_proxy is not there": [Scene("fine.test", server="no-proxy")],
    "mod_proxy_http is not there": [Scene("fine.test", server="no-proxy-http")],
    "the page's origin": [Scene("fine.test", headers=(FOREIGN,))],
    "the method is not GET": [Scene("fine.test", method="POST"), Scene("fine.test", connection="Upgrade, X")],
    "`%3F` in the path": [Scene("fine.test", "/ws/%3Fx")],
    "`%2F` in the path": [Scene("fine.test", "/ws/%2Fx")],
    "nobody listens": [Scene("down.test", vhost=FINE)],
    "all of Apache's workers": [],
}


def moved(vhost: Vhost, port: int) -> Vhost:
    """Return a site whose backend is on another port."""
    text = vhost.files.get(".htaccess", b"")
    assert isinstance(text, bytes)
    files = {**vhost.files, ".htaccess": text.replace(b":8888/", f":{port}/".encode())}
    return Vhost(files, vhost.grant, vhost.own.replace(":8888", f":{port}"))


@pytest.fixture(scope="module")
def fronts() -> Iterator[dict[str, Front]]:
    """Run an Apache with all modules and a name for each scene, and one for each set of modules missing."""
    with held_ports(2) as ports:
        yield from _fronts(*ports)


def _fronts(first: int, nobody: int) -> Iterator[dict[str, Front]]:
    vhosts = {
        scene.name: moved(scene.vhost, nobody if scene.name == "down.test" else first)
        for scenes in SCENES.values()
        for scene in scenes
        if scene.server == "all" and scene.vhost.files
    }
    fine = {"fine.test": moved(FINE, first)}
    with ExitStack() as stack:
        stack.enter_context(scripted(first))
        running = {"all": stack.enter_context(front(vhosts | fine))}
        for name, missing in {"no-proxy-http": {"proxy_http"}, "no-proxy": {"proxy", "proxy_http"}}.items():
            kept = [module for module in MODULES if module not in missing]
            running[name] = stack.enter_context(front(fine, modules=kept))
        yield running


@pytest.mark.parametrize("row", ROWS, ids=[row[2][:40] for row in ROWS])
def test_row(fronts: dict[str, Front], row: tuple[str, str, str]) -> None:
    """What each row says is seen and logged is what is seen and logged."""
    seen, logged, because = row
    (scenes,) = [scenes for words, scenes in SCENES.items() if because.startswith(words)]
    statuses = {int(number) for number in re.findall(r"\b\d{3}\b", seen)} | (
        {200} if "the page" in seen else set()
    )
    marks = set(re.findall(r"AH\d{5}(?! at info)|(?<=`)[^`…]+(?=[^`]*`)", logged))
    for scene in scenes:
        server = fronts[scene.server]
        server.marks()
        answer = server.shake(
            scene.name,
            scene.path,
            *scene.headers,
            upgrade=scene.upgrade,
            connection=scene.connection,
            method=scene.method,
        )
        assert answer.status in statuses
        said = [line.text for line in server.complaints()]
        assert {mark for mark in marks if any(mark in text for text in said)} == marks
        assert [text for text in said if not any(mark in text for mark in marks)] == []
        pages = server.ask(scene.name, "/page.html").status
        assert pages == (answer.status if "pages too" in seen else 200)


def test_every_scene_has_a_row() -> None:
    """The table is whole: nothing is tried that it does not tell."""
    assert len(ROWS) == len(SCENES)


def test_handshake_hangs_when_all_workers_hold_sockets(port: int) -> None:
    """With every worker in a tunnel the next handshake is not answered, until one ends."""
    few = "ServerLimit 1\nThreadLimit 2\nThreadsPerChild 2\nMaxRequestWorkers 2\nStartServers 1\nMinSpareThreads 1\nMaxSpareThreads 2"
    with scripted(port), front({"fine.test": moved(FINE, port)}, own=few) as server, ExitStack() as held:
        first, second, third = (held.enter_context(server.line("fine.test")) for _ in range(3))
        for line in (first, second):
            assert line.shake("/ws/x").status == 101
        third.connection.settimeout(SECOND / 2)
        with pytest.raises(TimeoutError):
            third.shake("/ws/x")
        until(lambda: "AH00484" in server.httpd.log_text(), 10)
        first.connection.close()
        third.connection.settimeout(10 * SECOND)
        assert third.connection.recv(12) == b"HTTP/1.1 101"


@pytest.fixture
def port() -> Iterator[int]:
    """Lend a port that nobody listens at."""
    with held_ports(1) as (held,):
        yield held


def until_cut(line: Line) -> float:
    """Return when Apache ends an idle connection."""
    while line.connection.recv(4096):
        pass
    return time.monotonic()


def test_block_of_the_readme(port: int) -> None:
    """The lines that the README asks for suffice as they stand: sockets open, and an idle one is cut after timeout=."""
    assert VHOST
    asked, timeouts = VHOST[1].split("</Directory>")
    grant = "\n".join(asked.splitlines()[1:])
    short = timeouts.replace("timeout=120", "timeout=3").replace("Timeout 60", "Timeout 1")
    assert "timeout=3" in short
    assert "Timeout 1\n" in short
    vhosts = {
        "block.test": moved(site(grant, short), port),
        "bare.test": moved(site(grant, "Timeout 1"), port),
    }
    with scripted(port), front(vhosts) as server:
        with server.line("block.test") as long, server.line("bare.test") as bare:
            start = time.monotonic()
            assert long.shake("/ws/x").status == bare.shake("/ws/x").status == 101
            assert 0.9 < until_cut(bare) - start < 1 + 1.5 * SECOND
            assert 2.9 < until_cut(long) - start < 3 + 3 * SECOND
        assert server.marks() == set()


@pytest.mark.parametrize("name", ["block.test", "bare.test"])
def test_backend_is_asked_again_at_once(port: int, name: str) -> None:
    """A backend that was down is found as soon as it is back, with the README's block and without."""
    assert VHOST
    own = VHOST[1].split("</Directory>")[1]
    vhosts = {"block.test": moved(site(NARROW, own), port), "bare.test": moved(FINE, port)}
    with front(vhosts) as server:
        assert server.shake(name, "/ws/x").status == 503
        with scripted(port):
            assert server.shake(name, "/ws/x").status == 101
