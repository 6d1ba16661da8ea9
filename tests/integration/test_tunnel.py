"""What goes through the tunnel, through a real Apache over TLS and by both of its forms."""

import asyncio
import http.client
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.typing import Subprotocol

from tests.raw import ask, line, shake
from tests.scripted import scripted
from tests.stacks import Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

MIB = 1 << 20
CODES = [(1000, "done"), (1001, ""), (3000, "fränkly"), (4999, "x" * 123)]
Handler = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def behind(stack: Running, handler: Handler) -> AsyncIterator[None]:
    """Serve WebSockets behind an Apache, without compression and pings that nobody asked for."""
    async with serve(
        handler, "127.0.0.1", stack.backend_port, compression=None, ping_interval=None, max_size=None
    ):
        yield


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, MIB])
async def test_echoes_text_and_binary(both: Running, path: str, size: int) -> None:
    """Text and bytes of any size come back as they were sent, each as what it was."""
    async with both.websocket(f"{path}echo", max_size=None) as socket:
        for message in ("é" * (size // 2), os.urandom(size)):
            await socket.send(message)
            assert await socket.recv() == message


async def test_echoes_sixteen_mebibytes(both: Running, path: str) -> None:
    """A frame of 16 MiB comes back as it was sent."""
    message = bytes(range(256)) * (16 * MIB // 256)
    async with both.websocket(f"{path}echo", max_size=None, compression=None) as socket:
        await socket.send(message)
        assert await socket.recv() == message


async def test_fragments_and_pings_from_the_client(both: Running, path: str) -> None:
    """A fragmented message comes back whole, and a ping between its fragments is answered before its end."""

    async def fragments() -> AsyncIterator[str]:
        yield "one, "
        await (await socket.ping(b"midst"))
        yield "two, "
        yield "thrée"

    async with both.websocket(f"{path}echo") as socket:
        await socket.send(fragments())
        assert await socket.recv() == "one, two, thrée"


async def test_fragments_and_pings_from_the_server(front: Running, path: str) -> None:
    """The client gets the server's fragments one by one, and its pong reaches the server in their midst."""

    async def fragments(connection: ServerConnection) -> AsyncIterator[bytes]:
        yield b"one"
        await (await connection.ping(b"midst"))
        yield b"two"

    async def talk(connection: ServerConnection) -> None:
        await connection.send(fragments(connection))
        await connection.wait_closed()

    async with behind(front, talk), front.websocket(path) as socket:
        received = [part async for part in socket.recv_streaming()]
    assert [part for part in received if part] == [b"one", b"two"]


@pytest.mark.parametrize(("code", "reason"), CODES)
async def test_close_from_the_client(front: Running, path: str, code: int, reason: str) -> None:
    """The server sees the client's close code and reason, and the client its own code back."""
    seen = asyncio.get_running_loop().create_future()

    async def listen(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.set_result((connection.close_code, connection.close_reason))

    async with behind(front, listen):
        async with front.websocket(path) as socket:
            await socket.close(code, reason)
        assert await seen == (code, reason)
    assert socket.close_code == code


@pytest.mark.parametrize(("code", "reason"), [*CODES, (1008, "policy"), (1011, "oops"), (1012, "restart")])
async def test_close_from_the_server(front: Running, path: str, code: int, reason: str) -> None:
    """The client sees the server's close code and reason."""

    async def part(connection: ServerConnection) -> None:
        await connection.close(code, reason)

    async with behind(front, part), front.websocket(path) as socket:
        await socket.wait_closed()
    assert (socket.close_code, socket.close_reason) == (code, reason)


async def test_client_that_vanishes(front: Running, path: str) -> None:
    """A client that cuts its line without a close is gone for the backend at once."""
    gone = asyncio.Event()

    async def listen(connection: ServerConnection) -> None:
        with pytest.raises(ConnectionClosedError):
            await connection.recv()
        gone.set()

    async with behind(front, listen), front.websocket(path) as socket:
        socket.transport.abort()
        await asyncio.wait_for(gone.wait(), SECOND)


async def test_server_that_vanishes(front: Running, path: str) -> None:
    """A server that cuts its line without a close is gone for the client at once."""

    async def cut(connection: ServerConnection) -> None:
        connection.transport.abort()

    async with behind(front, cut), front.websocket(path) as socket:
        await asyncio.wait_for(socket.wait_closed(), SECOND)
    assert socket.close_code == 1006


async def test_subprotocols(both: Running, path: str) -> None:
    """The subprotocol that the backend chooses reaches the client; without an offer there is none."""
    offer = [Subprotocol("second.v2"), Subprotocol("first")]
    async with both.websocket(f"{path}echo", subprotocols=offer) as socket:
        assert socket.subprotocol == "second.v2"
    async with both.websocket(f"{path}echo") as socket:
        assert socket.subprotocol is None


async def test_compression(both: Running, path: str) -> None:
    """permessage-deflate is agreed on through Apache where it is offered, and nowhere else."""
    async with both.websocket(f"{path}echo", compression="deflate") as socket:
        assert [type(extension) for extension in socket.protocol.extensions] == [PerMessageDeflate]
        await socket.send("again and " * 1000)
        assert await socket.recv() == "again and " * 1000
    async with both.websocket(f"{path}echo", compression=None) as socket:
        assert socket.protocol.extensions == []


async def test_two_hundred_at_once(both: Running, path: str) -> None:
    """Two hundred sockets are open at once, and each is answered with its own words."""
    everybody = asyncio.Barrier(200)

    async def one(number: int) -> None:
        async with both.websocket(f"{path}echo", open_timeout=60 * SECOND, compression=None) as socket:
            await everybody.wait()
            await socket.send(str(number))
            assert await socket.recv() == str(number)

    async with asyncio.TaskGroup() as group:
        for number in range(200):
            group.create_task(one(number))


async def test_path_and_query_reach_the_backend(front: Running, path: str) -> None:
    """The backend sees path and query as the client wrote them, percent signs included."""
    wanted = f"{path}a%20b/%C3%A9;v=1?room=caf%C3%A9&x=%0d%0a&y=a+b"
    with scripted(front.backend_port) as seen:
        async with front.websocket(wanted, ping_interval=None) as socket:
            socket.transport.abort()
    assert [request.path for request in seen] == [wanted]


async def test_simplest_client(stack: Running) -> None:
    """A usermsg without a word before it reaches everyone in the room, its sender too."""
    said = {"type": "usermsg", "name": "Ada", "message": "Grüße 👋", "color": "#7c3aed"}
    async with stack.websocket("/ws/chat") as ada, stack.websocket("/ws/chat") as bob:
        await ada.send(json.dumps(said))
        assert [json.loads(await socket.recv()) for socket in (ada, bob)] == [{**said, "offset": 1}] * 2


async def test_chat_between_two(stack: Running) -> None:
    """Who has joined hears what the other says, and who it was."""
    async with stack.websocket("/ws/chat?room=two") as ada, stack.websocket("/ws/chat?room=two") as bob:
        for socket, name in ((ada, "Ada"), (bob, "Bob")):
            await socket.send(json.dumps({"type": "join", "name": name}))
            await until_type(socket.recv, "welcome")
        await ada.send(json.dumps({"type": "usermsg", "message": "Hello Bob"}))
        heard = await until_type(bob.recv, "usermsg")
        assert (heard["name"], heard["message"]) == ("Ada", "Hello Bob")
        await bob.send(json.dumps({"type": "usermsg", "message": "Hello Ada"}))
        while (heard := await until_type(ada.recv, "usermsg"))["name"] == "Ada":
            pass
        assert (heard["name"], heard["message"]) == ("Bob", "Hello Ada")


async def until_type(receive: Callable[[], Awaitable[str | bytes]], kind: str) -> dict[str, object]:
    """Return the next message of a type."""
    while (message := json.loads(await receive()))["type"] != kind:
        pass
    return dict(message)


def test_page_and_socket_share_a_connection(stack: Running) -> None:
    """On one connection to Apache the page is served twice, then the upgrade is accepted."""
    with line(stack) as opened:
        for _ in range(2):
            page = opened.ask("/")
            assert (page.status, page.headers.get_content_type()) == (200, "text/html")
        assert opened.shake("/ws/chat").status == 101


async def test_pages_beside_an_open_socket(stack: Running) -> None:
    """While a socket is open, pages come over a kept-alive connection to the same port."""
    async with stack.websocket() as socket:
        pages = http.client.HTTPSConnection(
            "localhost", stack.https_port, context=stack.stack.client_context(stack.site)
        )
        for url in ("/", "/static/chat.js", "/healthz"):
            pages.request("GET", url)
            with pages.getresponse() as response:
                assert (response.status, bool(response.read())) == (200, True)
            assert pages.sock is not None
        pages.close()
        await socket.send("still here")
        assert await socket.recv() == "still here"


async def test_plain_ws_to_the_backend(stack: Running) -> None:
    """The backend speaks ws:// by itself, without Apache."""
    async with connect(f"ws://127.0.0.1:{stack.backend_port}/ws/echo", proxy=None) as socket:
        await socket.send("direct")
        assert await socket.recv() == "direct"


async def test_plain_ws_through_apache() -> None:
    """With `mode: none` page and socket come over the plain port, and no port for TLS is open."""
    with running("tls: {mode: none}\n") as stack:
        assert ask(stack, "/").status == 200
        async with stack.websocket() as socket:
            await socket.send("plain")
            assert await socket.recv() == "plain"
        with pytest.raises(ConnectionRefusedError):
            ask(stack, "/", plain=False)


@pytest.fixture(scope="module", params=["upgrade", "ws"])
def root(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Run the socket at / with the page on the same port, by each form of the tunnel."""
    with running(f"websockets: [{{path: /, tunnel: {request.param}}}]\n") as instance:
        yield instance


async def test_socket_at_the_root(root: Running) -> None:
    """With `path: /` a GET of / is the page, the upgrade of / the chat, and other files are served too."""
    page = ask(root, "/")
    assert (page.status, page.headers.get_content_type()) == (200, "text/html")
    assert b'content="/chat"' in page.body
    assert ask(root, "/static/chat.js").status == 200
    async with root.websocket("/") as socket:
        await socket.send('{"type":"ping","ref":"7"}')
        assert json.loads(await socket.recv()) == {"type": "pong", "ref": "7"}
    async with root.websocket("/echo") as socket:
        await socket.send("below")
        assert await socket.recv() == "below"
    root.check_log()


@pytest.mark.parametrize("tunnel", ["upgrade", "ws"])
async def test_pages_from_a_directory(folder: Path, tunnel: str) -> None:
    """With `path: /` and pages from a directory, GETs are its files and upgrades go to the backend."""
    (folder / "index.html").write_text("<h1>mine</h1>")
    with running(f"websockets: [{{path: /, tunnel: {tunnel}}}]\npages: {{root: {folder}}}\n") as stack:
        assert ask(stack, "/").body == b"<h1>mine</h1>"
        assert ask(stack, "/index.html").headers.get_content_type() == "text/html"
        assert ask(stack, "/healthz").status == 404
        for path in ("/", "/chat?room=x"):
            async with stack.websocket(path) as socket:
                await socket.send('{"type":"ping"}')
                assert json.loads(await socket.recv()) == {"type": "pong"}


async def test_backend_path(front: Running) -> None:
    """With `backend_path` the backend sees that path, the rest of the address appended."""
    with (
        running(
            f"websockets: [{{path: /public/, backend_path: /inner/deep/, backend: 127.0.0.1:{front.backend_port}}}]\n",
            backend=False,
        ) as stack,
        scripted(front.backend_port) as seen,
    ):
        async with stack.websocket("/public/room%20x/echo?a=b", ping_interval=None) as socket:
            socket.transport.abort()
    assert [request.path for request in seen] == ["/inner/deep/room%20x/echo?a=b"]


async def test_backend_path_with_our_backend() -> None:
    """With `backend_path` the page still names the public path, and the socket there is the chat."""
    with running("websockets: [{path: /talk/, backend_path: /}]\n") as stack:
        assert b'content="/talk/chat"' in ask(stack, "/").body
        async with stack.websocket("/talk/chat") as socket:
            await socket.send('{"type":"ping"}')
            assert json.loads(await socket.recv()) == {"type": "pong"}


async def test_two_names_on_one_server(folder: Path) -> None:
    """Two names share the ports: each has its certificate, its pages and its sockets, chosen by the name in TLS."""
    names = ("one.example", "two.example")
    for name in names:
        (folder / name).mkdir()
        (folder / name / "index.html").write_text(name)
    with running(*(f"server_name: {name}\npages: {{root: {folder / name}}}\n" for name in names)) as stack:
        for name, site in zip(names, stack.stack.sites, strict=True):
            assert ask(stack, "/", name=name).body == name.encode()
            async with stack.websocket(name=name, site=site) as socket:
                certificate = socket.transport.get_extra_info("peercert")
                assert ("DNS", name) in certificate["subjectAltName"]
                await socket.send(name)
                assert await socket.recv() == name


async def test_no_pages() -> None:
    """With `pages: null` the name serves its sockets, and nothing else."""
    with running("pages: null\n") as stack:
        assert [ask(stack, path).status for path in ("/", "/healthz", "/ws", "/ws/")] == [404, 404, 404, 426]
        async with stack.websocket() as socket:
            await socket.send("alone")
            assert await socket.recv() == "alone"


async def test_query_is_not_logged(stack: Running) -> None:
    """Apache's logs have a line for each socket, and nothing of its query, where tokens often are."""
    async with stack.websocket("/ws/echo?token=secret"):
        pass
    assert shake(stack, "/ws/echo?token=secret", "Origin: https://evil.example").status == 403
    stack.allow("AH01630")
    access = stack.stack.directory / "logs" / "access.log"
    for status in ("101", "403"):
        until(lambda wanted=f'"GET /ws/echo HTTP/1.1" {status}': wanted in access.read_text())  # type: ignore[misc] # a lambda's default
    assert "secret" not in access.read_text() + stack.stack.httpd.log_text()


@pytest.mark.parametrize("pages", ["proxy: 127.0.0.1:8888", "root: {folder}"])
@pytest.mark.parametrize("outer", ["/", "/ws/"])
async def test_backends_of_nested_paths(front: Running, folder: Path, pages: str, outer: str) -> None:
    """A socket whose path lies in another's has its own backend, and the outer one keeps the rest."""
    sockets = [
        {"path": outer},
        {"path": "/ws/other/", "backend": f"127.0.0.1:{front.backend_port}", "tunnel": "ws"},
    ]
    text = f"websockets: {json.dumps(sockets)}\npages: {{{pages.format(folder=folder)}}}\n"

    async def greet(connection: ServerConnection) -> None:
        await connection.send("from the other")

    with running(text) as stack:
        async with behind(front, greet), stack.websocket("/ws/other/") as socket:
            assert await socket.recv() == "from the other"
        async with stack.websocket(f"{outer}echo") as socket:
            await socket.send("ours")
            assert await socket.recv() == "ours"
