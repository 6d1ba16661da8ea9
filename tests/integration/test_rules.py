"""The rules to copy on a live Apache: every folder of them, in every place, under every grant, on both schemes.

Our backend stands behind; pages are compared with those of the same site without the rules.
"""

import base64
import hashlib
import http.client
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest
import yaml

from apache import block, httpd
from apache.description import parse
from apache.quoting import environment
from apache.render import render
from apache.site import Site
from apache.target import Target
from apache.values import Address
from cli.stack import Backend
from tests import raw
from tests.htaccess import MODULES, NARROW, Front, Vhost, echoes, front
from tests.stacks import Running

pytestmark = pytest.mark.needs("apache")

RULES = Path(__file__).parents[2] / "apache/htaccess"
CONTROLLERS = ("laravel", "symfony", "wordpress")
GENERIC = sorted({path.parent.name for path in RULES.glob("*/wsfront.yaml")} - {*CONTROLLERS})
PLACES = ("docroot", "subdirectory", *CONTROLLERS)
PAIRS = [(rule, place) for rule in GENERIC for place in PLACES] + [(name, name) for name in CONTROLLERS]
SCHEMES = ("http", "https")
BROWSERS: dict[str, str] = yaml.safe_load((Path(__file__).parents[1] / "handshakes.yaml").read_text())

CONTROLLER = "AllowOverride FileInfo Indexes Options=Indexes,MultiViews\nOptions SymLinksIfOwnerMatch"
GRANTS = {
    "list": NARROW,
    "controller": CONTROLLER,
    "fileinfo": "AllowOverride FileInfo\nOptions FollowSymLinks",
    "all": "AllowOverride All\nOptions FollowSymLinks",
    "none": "Options FollowSymLinks",
    "authconfig": "AllowOverride AuthConfig\nOptions FollowSymLinks",
    "options-none": "AllowOverride FileInfo\nOptions None",
}
MODULES_MISSING = {"no-proxy-http": ("proxy_http",), "no-proxy": ("proxy", "proxy_http")}

# What a handshake is answered where it is no 101, and what the log says of it.
UNREAD = (404, "")
NO_ENGINE = (500, "RewriteEngine not allowed here")
NO_LINKS = (403, "AH00670")
NO_SECTION = (500, "<IfModule not allowed here")
NO_OPTIONS = (500, "Options not allowed here")
NO_INDEX = (500, "DirectoryIndex not allowed here")
OTHERS = {"laravel": NO_OPTIONS, "symfony": NO_INDEX}
REFUSED: dict[str, dict[str, tuple[int, str]]] = {
    "list": dict.fromkeys(CONTROLLERS, NO_SECTION),
    "fileinfo": OTHERS,
    "none": dict.fromkeys(PLACES, UNREAD),
    "authconfig": dict.fromkeys(PLACES, NO_ENGINE),
    "options-none": {**dict.fromkeys(PLACES, NO_LINKS), **OTHERS},
    "no-proxy-http": dict.fromkeys(PLACES, (500, "AH01144")),
    "no-proxy": dict.fromkeys(PLACES, (403, "AH10160")),
}

PAGES = [
    ("GET", "/"),
    ("GET", "/page.html"),
    ("GET", "/app/page.html"),
    ("GET", "/app/missing?x=1"),
    ("POST", "/ws/echo"),
    ("GET", "/app/ws/echo"),
    ("GET", "/ws"),
]


@pytest.fixture(scope="module")
def backends() -> Iterator[dict[str, str]]:
    """Run our backend twice, the second for /feed/ alone; yield address in a description -> real one."""
    with tempfile.TemporaryDirectory(prefix="wsfront-") as name:
        Path(name).chmod(0o755)  # Apache's children are another user
        yield from _backends(Path(name))


def _backends(folder: Path) -> Iterator[dict[str, str]]:
    first, second = httpd.free_ports(2)
    addresses = {
        "127.0.0.1:8888": f"127.0.0.1:{first}",
        "127.0.0.1:8889": f"127.0.0.1:{second}",
        "unix:/run/wsfront/backend.sock": f"unix:{folder}/backend.sock",
    }
    served = {
        (f"127.0.0.1:{first}", f"unix:{folder}/backend.sock"): ("/", "/ws/", "/chat/"),
        (f"127.0.0.1:{second}",): ("/feed/",),
    }
    with ExitStack() as stack:
        for listen, paths in served.items():
            sockets = [{"path": path, "public_path": path, "origins": "same"} for path in paths]
            file = folder / f"{paths[-1].strip('/')}.env"
            file.write_text(
                environment({"WSFRONT_LISTEN": " ".join(listen), "WSFRONT_SOCKETS": json.dumps(sockets)})
            )
            backend = Backend(file, [Address.parse(text) for text in listen], "")
            backend.start()
            stack.callback(backend.stop)
        (folder / "backend.sock").chmod(0o777)
        yield addresses


@cache
def described(rule: str, place: str) -> Site:
    """Return a folder's description; below /app/ where the file is to stand in that folder."""
    data = parse((RULES / rule / "wsfront.yaml").read_text(), rule).model_dump(mode="json")
    for entry in data["websockets"] if place == "subdirectory" else []:
        if not entry["path"].startswith("/app/"):
            entry["backend_path"] = entry["path"]
            entry["path"] = f"/app{entry['path']}"
    return Site.model_validate_json(json.dumps(data))


def files(place: str, rules: str | None) -> dict[str, bytes | str]:
    """Return a site of plain files or of a front controller, with rules put into its .htaccess or without."""
    stood = RULES / place / "before.htaccess"
    before = stood.read_bytes() if stood.exists() else b""
    content = block.insert(before, rules) if rules is not None else before
    site: dict[str, bytes | str] = {
        "page.html": "<p>page</p>",
        "app/page.html": "<p>app</p>",
    }
    site |= {"index.php": f"front controller of {place}"} if stood.exists() else {"index.html": "<p>root</p>"}
    if content:
        site["app/.htaccess" if place == "subdirectory" else ".htaccess"] = content
    return site


def vhost_name(rule: str, place: str, grant: str) -> str:
    """Name one cell of the table, or its like without rules."""
    return f"{rule}.{place}.{grant}.test"


@pytest.fixture(scope="module")
def fronts(backends: dict[str, str]) -> Iterator[dict[str, Front]]:
    """Run one Apache for all grants, and one for each set of modules missing."""

    def vhosts(grants: dict[str, str]) -> dict[str, Vhost]:
        found = {}
        for rule, place in [*PAIRS, *(("without", place) for place in PLACES)]:
            rules = None
            if rule != "without":
                site = described(rule, place).relocated(backends)
                (rules,) = render([site], Target(layout="htaccess")).values()
            for name, grant in grants.items():
                found[vhost_name(rule, place, name)] = Vhost(files(place, rules), grant)
        return found

    with ExitStack() as stack:
        running = dict.fromkeys(GRANTS, stack.enter_context(front(vhosts(GRANTS))))
        for name, missing in MODULES_MISSING.items():
            kept = [module for module in MODULES if module not in missing]
            running[name] = stack.enter_context(front(vhosts({name: GRANTS["all"]}), modules=kept))
        yield running


CELLS = [
    pytest.param(rule, place, grant, scheme, id=f"{rule}-{place}-{grant}-{scheme}")
    for rule, place in PAIRS
    for grant in [*GRANTS, *MODULES_MISSING]
    for scheme in SCHEMES
]


def pages(server: Front, name: str, scheme: str) -> dict[str, tuple[object, ...]]:
    """Return what a site's pages are: request -> what came back, less the site's own name."""
    found: dict[str, tuple[object, ...]] = {}
    left = list(PAGES)
    while left:
        with server.line(name, scheme) as line:
            while left:
                method, path = left.pop(0)
                answer = line.ask(path, method=method, body=b"" if method == "POST" else None)
                told = {key: answer.headers[key] for key in ("Content-Type", "Vary", "Location")}
                told["Location"] = (told["Location"] or "").replace(name, "NAME")
                found[f"{method} {path}"] = (answer.status, answer.body.replace(name.encode(), b"NAME"), told)
                if answer.headers["Connection"] == "close":
                    break
    return found


@pytest.fixture(scope="module")
def without(fronts: dict[str, Front]) -> Callable[[str, str, str], dict[str, tuple[object, ...]]]:
    """Return the pages of a site without rules, asked for once."""

    @cache
    def known(place: str, grant: str, scheme: str) -> dict[str, tuple[object, ...]]:
        return pages(fronts[grant], vhost_name("without", place, grant), scheme)

    return known


@pytest.mark.parametrize(("rule", "place", "grant", "scheme"), CELLS)
def test_handshake(fronts: dict[str, Front], rule: str, place: str, grant: str, scheme: str) -> None:
    """A socket opens where the server grants what is needed, for its own page alone; else it is what the README says."""
    server, name = fronts[grant], vhost_name(rule, place, grant)
    server.marks()
    status, mark = REFUSED.get(grant, {}).get(place, (101, ""))
    for socket in described(rule, place).websockets:
        with server.line(name, scheme) as line:
            own = f"Origin: {scheme}://{line.host}"
            assert line.shake(f"{socket.path}echo", own).status == status
            assert status != 101 or echoes(line)
        if status == 101:
            foreign = server.shake(name, f"{socket.path}echo", "Origin: https://evil.example", scheme=scheme)
            assert foreign.status == 403
    said = server.complaints()
    assert bool(said) == bool(mark)
    assert all(mark in line.text for line in said)


# What refuses a handshake does so whatever the rules are: there the widest rules, whole-site, stand for all.
PAGE_CELLS = [
    pytest.param((rule, place, grant), scheme, id=f"{rule}-{place}-{grant}-{scheme}")
    for rule, place in PAIRS
    for grant in ([*GRANTS, *MODULES_MISSING] if rule == "whole-site" else ["controller"])
    for scheme in (SCHEMES if rule == "whole-site" else ["http"])
]


@pytest.mark.parametrize(("cell", "scheme"), PAGE_CELLS)
def test_pages(
    fronts: dict[str, Front],
    without: Callable[[str, str, str], dict[str, tuple[object, ...]]],
    cell: tuple[str, str, str],
    scheme: str,
) -> None:
    """Pages are those of the same site without the rules; but a folder whose file is not allowed answers as the README says."""
    rule, place, grant = cell
    expected = without(place, grant, scheme)
    found = pages(fronts[grant], vhost_name(rule, place, grant), scheme)
    refused = REFUSED.get(grant, {}).get(place)
    if refused in {NO_ENGINE, NO_LINKS} and place not in CONTROLLERS:
        folder = "/app/" if place == "subdirectory" else "/"
        inside = {key: answer for key, answer in found.items() if key.split()[1].startswith(folder)}
        assert {answer[0] for answer in inside.values()} == {refused[0]}
        expected = {**expected, **inside}
    assert found == expected


def accepted(line: raw.Line, browser: str, path: str, origin: str) -> bool:
    """Send a browser's own handshake; tell whether its key was answered (RFC 6455, 4.2.2)."""
    key, guid = "dGhlIHNhbXBsZSBub25jZQ==", "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    text = BROWSERS[browser]
    for word, value in {"PATH": path, "HOST": line.host, "ORIGIN": origin, "KEY": key}.items():
        text = text.replace(f" {word}", f" {value}", 1)
    line.connection.sendall(text.replace("\n", "\r\n").encode() + b"\r\n")
    digest = hashlib.sha1((key + guid).encode(), usedforsecurity=False).digest()
    with http.client.HTTPResponse(line.connection, method="GET") as answer:
        answer.begin()
        return (answer.status, answer.headers["Sec-WebSocket-Accept"]) == (
            101,
            base64.b64encode(digest).decode(),
        )


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("rule", [*GENERIC, *CONTROLLERS])
@pytest.mark.parametrize("browser", BROWSERS)
def test_rules_take_browsers(fronts: dict[str, Front], browser: str, rule: str, scheme: str) -> None:
    """Every browser's own handshake passes every set of rules."""
    place = rule if rule in CONTROLLERS else "docroot"
    for socket in described(rule, place).websockets:
        with fronts["controller"].line(vhost_name(rule, place, "controller"), scheme) as line:
            assert accepted(line, browser, f"{socket.path}echo", f"{scheme}://{line.host}")


@pytest.mark.parametrize("browser", BROWSERS)
def test_vhost_takes_browsers(stack: Running, browser: str) -> None:
    """Every browser's own handshake passes the vhost."""
    with raw.line(stack, name="localhost") as line:
        assert accepted(line, browser, "/ws/echo", f"https://{line.host}")
