"""Plain HTTP on the backend's port."""

import json
from pathlib import Path

import pytest

from server.pages import STATIC, load
from server.routes import chat_path
from server.settings import Socket
from tests.unit.server.harness import Start, handshake

METHODS = ["POST", "PUT", "DELETE", "OPTIONS", "PATCH"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a static folder."""
    (tmp_path / "index.html").write_text('<meta name="wsfront-socket" content="{{socket}}">')
    (tmp_path / "chat.js").write_text("'use strict'\n")
    (tmp_path / "odd.xyz").write_bytes(b"\x00")
    (tmp_path / ".hidden").write_text("secret")
    (tmp_path / "sub").mkdir()
    return tmp_path


async def test_page(start: Start, folder: Path) -> None:
    """The index has its socket filled in, escaped, and headers that let nothing foreign in."""
    here = await start(pages=load('/a"b&/chat', folder))
    status, headers, body = await here.get("/?utm=x")
    assert (status, body) == (200, b'<meta name="wsfront-socket" content="/a&quot;b&amp;/chat">')
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["content-length"] == str(len(body))
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-cache"
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; ")
    assert "unsafe" not in policy
    assert "server" not in headers


async def test_files(start: Start, folder: Path) -> None:
    """Files are served by name with their type; hidden ones, folders and paths out of the folder are not."""
    here = await start(pages=load("/", folder))
    assert (await here.get("/static/chat.js"))[1]["content-type"] == "text/javascript; charset=utf-8"
    assert (await here.get("/static/odd.xyz"))[1]["content-type"] == "application/octet-stream"
    for path in (
        "/static/.hidden",
        "/static/sub",
        "/static/",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "*",
        "x",
    ):
        assert (await here.get(path))[0] == 404, path


async def test_not_modified(start: Start, folder: Path) -> None:
    """A client that has the content already gets 304 without a body; another one gets the content."""
    here = await start(pages=load("/", folder))
    etag = (await here.get("/"))[1]["etag"]
    for value in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        status, headers, body = await here.get("/", f"If-None-Match: {value}")
        assert (status, headers["etag"], body) == (304, etag, b"")
    assert (await here.get("/", 'If-None-Match: "x"'))[0] == 200


async def test_head(start: Start, folder: Path) -> None:
    """HEAD has GET's status and headers, the length included, and no body."""
    here = await start(pages=load("/", folder))
    for path in ("/", "/static/chat.js", "/healthz", "/ws/chat", "/nowhere"):
        status, headers, body = await here.get(path)
        head = await here.get(path, method="HEAD")
        assert (status, headers.pop("date") and headers) == (head[0], head[1].pop("date") and head[1])
        assert (head[2], headers["content-length"]) == (b"", str(len(body)))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("path", ["/", "/ws/chat", "/ws/echo", "/nowhere"])
async def test_other_methods(start: Start, method: str, path: str) -> None:
    """Any other method is answered with 405 and those that are allowed."""
    here = await start()
    status, headers, _ = await here.get(path, method=method)
    assert (status, headers["allow"], headers["connection"]) == (405, "GET, HEAD", "close")


@pytest.mark.parametrize(
    ("lines", "body"),
    [
        (["Content-Length: 11"], b"hello world"),
        (["content-length:11 "], b"hello world"),
        (["Content-Length: 11"], b""),
        (["Content-Length: 4"], b"GET /healthz HTTP/1.1\r\n\r\n"),
        (["Transfer-Encoding: chunked"], b"3\r\nabc\r\n0\r\n\r\n"),
        (["Content-Length: 300000", "Expect: 100-continue"], b"\x82\xff" * 150_000),
        (["Content-Length: 0"], b""),
        (["Content-Length: 00", "Content-Length: 0"], b""),
    ],
)
async def test_body(start: Start, lines: list[str], body: bytes) -> None:
    """A POST with a body is answered once, whatever the body is and whether it came in full."""
    here = await start()
    head = "\r\n".join(["POST /ws/chat HTTP/1.1", "Host: x", *lines, "", ""]).encode()
    answer = await here.raw(head + body)
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.count(b"HTTP/1.1") == 1


async def test_body_of_a_get(start: Start) -> None:
    """A GET may have a body, which is ignored; a handshake may not."""
    here = await start()
    assert (await here.get("/healthz", "Content-Length: 3"))[0] == 200
    assert await here.status(handshake("/ws/chat", "Content-Length: 3") + b"abc") == 400
    assert await here.status(handshake("/ws/chat", "Content-Length: 0")) == 101


async def test_post_that_upgrades(start: Start) -> None:
    """A POST that asks for a WebSocket is bound by the rule on origins, and gets no WebSocket."""
    here = await start()
    post = handshake("/ws/chat").replace(b"GET", b"POST")
    assert await here.status(post) == 405
    foreign = handshake("/ws/chat", "Origin: https://evil.example").replace(b"GET", b"POST")
    assert await here.status(foreign) == 403
    assert (await here.get("/ws/chat", "Origin: https://evil.example", method="POST"))[0] == 405
    assert (await here.get("/ws/chat", "Origin: https://evil.example"))[0] == 426


async def test_health(start: Start) -> None:
    """The health says how many are here, and that it is not to be kept."""
    here = await start()
    await here.joined("Ada")
    await here.connect("/ws/echo")
    status, headers, body = await here.get("/healthz")
    assert (status, headers["cache-control"]) == (200, "no-store")
    bus = {"kind": "memory", "state": "up", "bytes": 0}
    assert json.loads(body) == {"status": "ok", "connections": 2, "rooms": 1, "people": 1, "bus": bus}


async def test_http_1_0(start: Start) -> None:
    """A health check in HTTP/1.0 is answered."""
    here = await start()
    assert b'"ok"' in await here.raw(b"GET /healthz HTTP/1.0\r\n\r\n")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 101) for path in ("/", "/ws/", "/ws/chat", "/ws/echo", "/ws/echo?x=1")),
        *((path, 404) for path in ("/ws", "/ws/echo/", "/echo", "/static/x", "/healthz", "//ws/")),
    ],
)
async def test_routes(start: Start, path: str, status: int) -> None:
    """Each socket is where the protocol says, and nowhere else."""
    here = await start()
    assert await here.status(handshake(path)) == status


@pytest.mark.parametrize(
    ("path", "sockets"),
    [
        ("/", ["/", "/chat", "/echo"]),
        ("/live", ["/", "/live", "/livechat", "/live/chat", "/live/echo", "/liveecho"]),
        ("/bücher/", ["/", "/b%C3%BCcher/", "/b%C3%BCcher/chat", "/b%C3%BCcher/echo"]),
    ],
)
async def test_routes_elsewhere(start: Start, path: str, sockets: list[str]) -> None:
    """A socket may be at any path, with a slash at its end or not."""
    here = await start(sockets=(Socket(path=path),))
    for socket in sockets:
        assert await here.status(handshake(socket)) == 101, socket
    assert await here.status(handshake("/ws/")) == 404


def test_the_page_s_socket() -> None:
    """The page is told a path that the proxy passes on, whether it ends in a slash or not."""
    assert chat_path("/ws/") == "/ws/chat"
    assert chat_path("/ws") == "/ws"


def test_our_own_page() -> None:
    """The page that is delivered has a place for its socket, and it is filled."""
    page = load("/somewhere/else", STATIC)["/"].body
    assert b'<meta name="wsfront-socket" content="/somewhere/else">' in page
    assert b"{{" not in page


async def test_bad_room(start: Start) -> None:
    """A room that cannot be is refused before there is a socket."""
    here = await start()
    assert await here.status(handshake(f"/ws/chat?room={'r' * 65}")) == 400
    assert await here.status(handshake("/ws/chat?room=%00")) == 400
    assert await here.status(handshake("/ws/chat?room=%ff&x=%zz")) == 101
    assert await here.status(handshake("/ws/chat?room=")) == 101
