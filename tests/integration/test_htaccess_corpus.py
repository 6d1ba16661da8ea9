"""The rules put into files such as people have: the site stays what it was but for its sockets, and so does the file after.

One Apache serves a site for each file of `htaccess/`, all of them with the same pages and `AllowOverride All`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from apache import httpd
from apache.quoting import environment
from apache.values import Address
from cli.__main__ import main
from cli.stack import Backend
from tests.htaccess import MODULES, Front, Vhost, echoes, front

pytestmark = pytest.mark.needs("apache")

CORPUS = {
    path.stem: path.read_bytes() for path in sorted(Path(__file__).with_name("htaccess").glob("*.htaccess"))
}
COPIED = {name for name in CORPUS if name.startswith("copied")}

# What a handshake is answered where whoever wrote the file keeps everybody out, or out but for members; Apache reads no
# file that begins with a byte order mark, and says so with 500 whatever else is in it.
CLOSED = {"bom": 500, "bom-and-comment": 500, "basic-auth": 401, "deny-all": 403, "deny-all-2.2": 403}

MORE_MODULES = (
    *("auth_basic", "authn_file", "authz_user", "authz_host", "access_compat", "autoindex", "deflate"),
    *("env", "expires", "filter", "setenvif"),
)
PAGES = {
    "index.html": "index",
    "index.php": "front controller",
    "about.html": "about",
    "missing.html": "sorry",
    "image.png": "image",
    "dir/index.html": "folder",
    "webroot/index.php": "webroot",
    "webroot/.htaccess": "RewriteEngine On\n",
    "wp-admin/index.php": "dashboard",
}
TIMED = {"Date", "Expires", "ETag"}  # a negotiated ETag holds the folder's time
REQUESTS = [
    *((path, ()) for path in ("/", "/index.html", "/index.php", "/about", "/about/", "/about.html", "/missing", "/dir/")),
    *((path, ()) for path in ("/dir", "/one", "/wp-admin", "/wiki/A", "/page/1", "/.hidden", "/ws/", "/ws/echo", "/a%20b?x=%0d")),
    ("/image.png", ("Referer: http://elsewhere.example/",)),
    ("/", ("User-Agent: Wget",)),
    ("/about", ("Origin: http://elsewhere.example",)),
]  # fmt: skip


@dataclass(frozen=True)
class Sites:
    """Hold the Apache with all sites, and the description of their sockets."""

    front: Front
    description: Path

    def file(self, shape: str) -> Path:
        """Return a site's .htaccess."""
        return self.front.httpd.directory / "sites" / site_name(shape) / ".htaccess"

    def answers(self, shape: str) -> list[tuple[object, ...]]:
        """Return what a set of requests is answered, by both names and both schemes: all but what tells the time."""
        found: list[tuple[object, ...]] = []
        for name in (site_name(shape), f"www.{site_name(shape)}"):
            for path, headers in REQUESTS:
                answer = self.front.ask(name, path, *headers)
                kept = [(key, value) for key, value in answer.headers.items() if key not in TIMED]
                found.append((name, path, headers, answer.status, kept, answer.body))
            for method, scheme in (("POST", "http"), ("HEAD", "http"), ("GET", "https")):
                answer = self.front.ask(name, "/about", method=method, scheme=scheme)
                found.append((name, method, scheme, answer.status, answer.headers["Location"], answer.body))
        return found

    def change(self, shape: str, *options: str) -> int:
        """Put the rules into a site's file, or take them out."""
        return main(["htaccess", "--site", str(self.description), "--into", str(self.file(shape)), *options])


def site_name(shape: str) -> str:
    """Return a site's name in the address."""
    return f"{shape}.test"


@pytest.fixture(scope="module")
def sites(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sites]:
    """Run our backend, and one Apache with a site for each file."""
    folder = tmp_path_factory.mktemp("corpus")
    (port,) = httpd.free_ports(1)
    sockets = [{"path": "/ws/", "public_path": "/ws/", "origins": "same"}]
    settings = folder / "backend.env"
    settings.write_text(
        environment({"WSFRONT_LISTEN": f"127.0.0.1:{port}", "WSFRONT_SOCKETS": json.dumps(sockets)})
    )
    (description := folder / "site.yaml").write_text(f"websockets: [{{backend: 127.0.0.1:{port}}}]\n")
    vhosts = {
        site_name(shape): Vhost(
            {**PAGES, ".htaccess": content},
            grant="AllowOverride All\nOptions FollowSymLinks",
            own=f"ServerAlias www.{site_name(shape)}",
        )
        for shape, content in CORPUS.items()
    }
    backend = Backend(settings, [Address.parse(f"127.0.0.1:{port}")], "")
    backend.start()
    try:
        with front(vhosts, modules=(*MODULES, *MORE_MODULES)) as running:
            yield Sites(running, description)
    finally:
        backend.stop()


def test_corpus_is_large_enough() -> None:
    """There are at least thirty shapes, and they cover what breaks editors of files."""
    assert len(CORPUS) >= 30
    assert any(b"\r\n" in content for content in CORPUS.values())
    assert any(content and not content.endswith(b"\n") for content in CORPUS.values())
    assert any(content.startswith(b"\xef\xbb\xbf") for content in CORPUS.values())
    assert any(not content for content in CORPUS.values())


@pytest.mark.parametrize("shape", sorted(CORPUS))
def test_site_keeps_its_pages_and_gets_its_sockets(sites: Sites, shape: str) -> None:
    """With the rules every page is answered as before, and an upgrade, by either name, is tunnelled; without them all is as it was."""
    before = sites.answers(shape)
    assert (500 in {entry[3] for entry in before}) == (CLOSED.get(shape) == 500)
    assert sites.change(shape, *(["--replace"] if shape in COPIED else [])) == 0
    assert sites.answers(shape) == before
    expected = CLOSED.get(shape, 101)
    for name in (site_name(shape), f"www.{site_name(shape)}"):
        for scheme in ("http", "https"):
            with sites.front.line(name, scheme) as line:
                origin = f"Origin: {scheme}://{line.host}"
                assert line.shake("/ws/echo", origin).status == expected
                assert expected != 101 or echoes(line)
        foreign = sites.front.shake(name, "/ws/echo", "Origin: http://elsewhere.example")
        assert foreign.status == CLOSED.get(shape, 403)
    assert sites.change(shape, "--remove") == 0
    if shape not in COPIED:
        assert sites.file(shape).read_bytes() == CORPUS[shape]
    assert sites.answers(shape) == before


@pytest.mark.parametrize("shape", sorted(COPIED))
def test_copied_rule_is_not_doubled(sites: Sites, shape: str) -> None:
    """A file with a copied rule is left as it is until --replace is said."""
    sites.file(shape).write_bytes(CORPUS[shape])
    assert sites.change(shape) == 1
    assert sites.file(shape).read_bytes() == CORPUS[shape]
