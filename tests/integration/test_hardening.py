"""What the rules to copy and the vhost keep out, each line of them: with it the attack fails, without it the attack succeeds.

Behind stands a backend that takes everybody, so Apache alone is judged; a second one must never be reached.
"""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from apache.description import parse
from apache.render import render
from apache.target import Target
from tests.htaccess import Front, Vhost, front, held_ports
from tests.scripted import Request, scripted

pytestmark = pytest.mark.needs("apache")

TABLE = yaml.safe_load((Path(__file__).parents[1] / "origins.yaml").read_text())
POLICIES: list[Any] = []
for _row in TABLE:
    if _row["policy"] not in POLICIES:
        POLICIES.append(_row["policy"])
FOREIGN = "Origin: https://evil.example"


def rules(port: int, *sockets: dict[str, object]) -> str:
    """Return the rules of a description, for a backend on a port."""
    entries = [{"backend": f"127.0.0.1:{port}", **entry} for entry in sockets]
    site = parse(json.dumps({"websockets": entries}), "test.yaml")  # JSON is YAML
    (text,) = render([site], Target(layout="htaccess")).values()
    return text


def directives(text: str) -> list[str]:
    """Return a text's lines that do something."""
    return [line for line in text.splitlines() if line and not line.startswith("#")]


LINES = directives(rules(8888, {"path": "/ws/"}))


@dataclass
class Judged:
    """Hold an Apache, what its backend saw, and what the second one did."""

    front: Front
    seen: list[Request]
    elsewhere: list[Request]
    second: int

    def reset(self) -> None:
        """Forget what was seen and logged."""
        self.seen.clear()
        self.elsewhere.clear()
        self.front.marks()


@pytest.fixture(scope="module")
def running() -> Iterator[Judged]:
    """Run one Apache with a name for each set of rules, whole and with a line left out."""
    with held_ports(2) as ports:
        yield from _running(*ports)


def _running(first: int, second: int) -> Iterator[Judged]:
    policies = [{"path": f"/{index}/", "origins": policy} for index, policy in enumerate(POLICIES)]
    whole = rules(first, {"path": "/"})
    one = rules(first, {"path": "/ws/"})
    lines = directives(one)

    def ruled(text: str, own: str = "") -> Vhost:
        return Vhost({".htaccess": text, "page.html": "page"}, own=own)

    denied = "Require all denied"
    vhosts = {
        "table.test": ruled(rules(first, *policies)),
        "whole.test": ruled(whole),
        "one.test": ruled(one),
        "bare.test": ruled(rules(first, {"path": "/ws"})),
        "nested.test": ruled(rules(first, {"path": "/"}, {"path": "/open/", "origins": "any"})),
        "slashless.test": ruled(whole.replace(f":{first}/%1", f":{first}%1")),
        "proxy.test": ruled(one, f'<Proxy "ws://127.0.0.1:{first}/*">\n{denied}\n</Proxy>'),
        "location.test": ruled(one, f'<Location "/ws/">\n{denied}\n</Location>'),
        "directory.test": ruled(one, f'<DirectoryMatch ".*">\n{denied}\n</DirectoryMatch>'),
        **{
            f"less-{index}.test": ruled("\n".join(lines[:index] + lines[index + 1 :]) + "\n")
            for index in range(len(lines))
        },
    }
    with ExitStack() as stack:
        seen = stack.enter_context(scripted(first))
        elsewhere = stack.enter_context(scripted(second))
        yield Judged(stack.enter_context(front(vhosts)), seen, elsewhere, second)


@pytest.fixture
def judged(running: Judged) -> Judged:
    """Lend that Apache to one test, with nothing seen yet."""
    running.reset()
    return running


@pytest.mark.parametrize(
    "row", TABLE, ids=[f"{row['policy']} {row['scheme']} {row['host']} {row['origin']}" for row in TABLE]
)
def test_origins(judged: Judged, row: dict[str, Any]) -> None:
    """Each row of the table of origins is answered by 101 or 403 by the rules too."""
    lines = [] if row["origin"] is None else [f"Origin: {row['origin']}"]
    path = f"/{POLICIES.index(row['policy'])}/x"
    answer = judged.front.shake("table.test", path, *lines, scheme=row["scheme"], host=row["host"])
    assert answer.status == (101 if row["pass"] else 403)
    assert len(judged.seen) == row["pass"]
    assert judged.front.marks() == set()


def test_longest_path_decides(judged: Judged) -> None:
    """Of two paths one inside the other, the longer one's origins hold for it, and the shorter one's for the rest."""
    statuses = {"/open/x": 101, "//open//x": 101, "/x": 403, "/openx": 403, "/open/../x": 403}
    assert {path: judged.front.shake("nested.test", path, FOREIGN).status for path in statuses} == statuses


@dataclass(frozen=True)
class Probe:
    """Say what one request is answered by the whole rules, and by the rules without one line."""

    line: str
    whole: int
    less: int
    path: str = "/ws/x"
    upgrade: bool = True
    headers: tuple[str, ...] = ()
    connection: str = "Upgrade"
    method: str = "GET"
    scheme: str = "http"
    own: bool = False
    default_port: str = ""

    def status(self, server: Front, name: str) -> int:
        """Send the request to a name and return its status."""
        with server.line(name, self.scheme) as line:
            origin = (f"Origin: {self.scheme}://{line.host}",) if self.own else ()
            host = None
            if self.default_port:  # a Host without a port, and an Origin that names the default one
                host, origin = name, (f"Origin: {self.scheme}://{name}:{self.default_port}",)
            headers = (*origin, *self.headers)
            if self.upgrade:
                return line.shake(
                    self.path, *headers, connection=self.connection, method=self.method, host=host
                ).status
            return line.ask(self.path, *headers, method=self.method, host=host).status


PROBES = [
    Probe("RewriteEngine", 101, 404),
    Probe("Upgrade} websocket", 404, 403, upgrade=False, headers=(FOREIGN,)),  # a page's own request
    Probe("REQUEST_URI}", 404, 403, path="/other", headers=(FOREIGN,)),  # somebody else's sockets
    Probe("Origin} .", 101, 403),
    Probe(r'"!^([^ ]+) https://\1$"', 101, 403, scheme="https", own=True),
    Probe("(?::443)?", 101, 403, scheme="https", default_port="443"),
    Probe(r'"!^off ([^ ]+) http://\1$"', 101, 403, own=True),
    Probe("(?::80)?", 101, 403, default_port="80"),
    Probe("- [F]", 403, 101, headers=(FOREIGN,)),
    Probe("Upgrade} websocket", 404, 403, upgrade=False),
    Probe("REQUEST_URI}", 404, 403, path="/other", method="POST"),
    Probe("REQUEST_METHOD}", 101, 403),
    Probe("- [F]", 403, 101, connection="Upgrade, X-Auth"),
    Probe("^websocket$", 404, 200, upgrade=False),
    Probe("REQUEST_URI}", 404, 101, path="/other"),
    Probe("[P]", 101, 404),
]


@pytest.mark.parametrize("index", range(len(LINES)), ids=[f"{i} {line[:40]}" for i, line in enumerate(LINES)])
def test_each_line_is_needed(judged: Judged, index: int) -> None:
    """No line of the rules can go: there is a request that is then answered otherwise."""
    probe = PROBES[index]
    assert probe.line in LINES[index]
    assert probe.status(judged.front, "one.test") == probe.whole
    assert probe.status(judged.front, f"less-{index}.test") == probe.less


def test_every_line_has_a_probe() -> None:
    """A line new in the rules needs a request that proves it."""
    assert len(PROBES) == len(LINES)


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD", "PROPFIND"])
def test_method(judged: Judged, method: str) -> None:
    """A handshake is a GET (RFC 6455, 4.1)."""
    assert judged.front.shake("whole.test", "/x", method=method).status == 403
    assert judged.seen == []


@pytest.mark.parametrize(
    "connection",
    [
        "Upgrade, X-Forwarded-For",
        "X-Auth, Upgrade",
        "keep-alive, Upgrade, Host",
        "keep-alive, keep-alive, Upgrade",
        "close, Upgrade",
        "close",
        "xUpgrade",
    ],
)
def test_connection_strips_nothing(judged: Judged, connection: str) -> None:
    """No handshake names further headers in Connection, in one line or in two."""
    assert judged.front.shake("whole.test", "/x", connection=connection).status == 403
    assert judged.front.shake("whole.test", "/x", "Connection: X-Auth").status == 403
    assert judged.seen == []


@pytest.mark.parametrize(
    "upgrade", ["h2c", "websocketX", "websocket, h2c", "h2c, websocket", "websocket/13", "web socket", "*"]
)
@pytest.mark.parametrize("origin", [(), (FOREIGN,)], ids=["own", "foreign"])
def test_other_upgrades_stay_here(judged: Judged, upgrade: str, origin: tuple[str, ...]) -> None:
    """What is no upgrade to websocket alone never reaches the backend."""
    assert judged.front.shake("whole.test", "/x", *origin, upgrade=upgrade).status in {404, 403}
    assert judged.front.shake("whole.test", "/x", *origin, f"Upgrade: {upgrade}").status in {404, 403}
    assert judged.seen == []


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("//evil.example/x", "/evil.example/x"),
        ("/x%0d%0aX-Injected:%201", "/x%0D%0AX-Injected:%201"),
        ("/a%20b", "/a%20b"),
        ("/%C3%BC?a=%0d%0a&b=%2f", "/%C3%BC?a=%0d%0a&b=%2f"),
        ("/%25", "/%25"),
        ("/%2540", "/%2540"),
        ("/x/../y", "/y"),
    ],
)
def test_path_arrives_as_one(judged: Judged, path: str, seen: str) -> None:
    """However a path is written, it is a path at our backend: no second header line, no other host."""
    assert judged.front.shake("whole.test", path).status == 101
    (request,) = judged.seen
    assert request.path == seen
    assert "X-Injected" not in request.headers


@pytest.mark.parametrize(("path", "status", "marks"), [("/a%2Fb", 404, set()), ("/a%3Fb", 403, {"AH10508"})])
def test_path_is_refused(judged: Judged, path: str, status: int, marks: set[str]) -> None:
    """An encoded slash or question mark goes nowhere, as the README says."""
    assert judged.front.shake("whole.test", path).status == status
    assert judged.front.marks() == marks
    assert judged.seen == []


@pytest.mark.parametrize(
    "form", ["/@127.0.0.1:{}/", "/%40127.0.0.1:{}/", "//127.0.0.1:{}/", "/:{}/", "/.:{}/"]
)
@pytest.mark.parametrize("name", ["whole.test", "bare.test"])
def test_path_names_no_host(judged: Judged, form: str, name: str) -> None:
    """No path reaches another port or host: a slash of ours stands before it."""
    below = "" if name == "whole.test" else "/ws"
    for path in (below + form.format(judged.second), below + form.format(judged.second).lstrip("/")):
        judged.front.shake(name, path if path.startswith("/") else f"/{path}")
    assert judged.elsewhere == []


def test_path_without_that_slash_names_a_host(judged: Judged) -> None:
    """Without that slash the second listener is reached: the rule to copy must have it."""
    judged.front.shake("slashless.test", f"/@127.0.0.1:{judged.second}/x")
    assert [request.path for request in judged.elsewhere] == ["/x"]


@pytest.mark.parametrize("name", ["whole.test", "one.test"])
def test_no_forward_proxy(judged: Judged, name: str) -> None:
    """The rules make nobody's proxy of the server: what is asked for elsewhere is a page of ours, or nothing."""
    target = f"127.0.0.1:{judged.second}"
    assert judged.front.ask(name, f"http://{target}/ws/x").status == 404
    judged.front.shake(name, f"http://{target}/ws/x", host=target)
    assert judged.front.ask(name, target, method="CONNECT").status == 405
    assert judged.front.shake(name, target, method="CONNECT").status == 405
    assert judged.elsewhere == []


def test_proxy_sections_do_not_hold(judged: Judged) -> None:
    """A rule in an .htaccess comes after `<Proxy>` was asked; `<Location>` and `<Directory>` do hold."""
    assert judged.front.shake("proxy.test", "/ws/x").status == 101
    assert judged.front.marks() == set()
    for name in ("location.test", "directory.test"):
        assert judged.front.shake(name, "/ws/x").status == 403
        assert judged.front.marks() == {"AH01630"}


def test_forwarded_headers_end_in_what_is_true(judged: Judged) -> None:
    """What a client says of itself stays, but the last entry is Apache's own: that alone is to be believed."""
    spoofed = ("X-Forwarded-For: 203.0.113.9", "X-Forwarded-Host: evil.example")
    with judged.front.line("whole.test", source="127.0.0.5") as line:
        assert line.shake("/x", *spoofed).status == 101
        (request,) = judged.seen
        assert request.headers["X-Forwarded-For"] == "203.0.113.9, 127.0.0.5"
        assert request.headers["X-Forwarded-Host"] == f"evil.example, {line.host}"
