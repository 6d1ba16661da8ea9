"""What each hardening line of the vhost keeps out: with it the attack fails, without it the attack succeeds.

One Apache has the rendered vhost whole and, for each line, once without it. Behind stands a backend that takes everybody.
"""

import json
import re
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from apache import httpd
from apache.description import parse
from apache.render import render
from tests.htaccess import Front, held_ports
from tests.scripted import Request, scripted
from tests.waiting import until

pytestmark = pytest.mark.needs("apache")

WHOLE = "whole.test"
SPOOFED = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Host": "evil.example",
    "X-Forwarded-Server": "evil.example",
    "X-Forwarded-Proto": "gopher",
    "X-Forwarded-Port": "1",
    "X-Real-IP": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
    "Proxy": "http://evil.example",
}
Attack = Callable[[Front, str, list[Request]], object]


def seen_as(header: str) -> Attack:
    """Return the attack that says everything of itself: what does the backend see in a header?"""

    def attack(server: Front, name: str, seen: list[Request]) -> object:
        assert (
            server.shake(name, "/ws/x", *(f"{key}: {value}" for key, value in SPOOFED.items())).status == 101
        )
        text = seen[-1].headers[header]
        return text and text.replace(name, "NAME").replace(str(server.http_port), "PORT")

    return attack


def shaken(*headers: str, **options: str) -> Attack:
    """Return a handshake: how is it answered?"""

    def attack(server: Front, name: str, _seen: list[Request]) -> object:
        return server.shake(name, "/ws/x", *headers, **options).status

    return attack


def asked(server: Front, name: str, _seen: list[Request]) -> object:
    """Ask for the socket's path without an upgrade."""
    return server.ask(name, "/ws/x").status


@dataclass(frozen=True)
class Line:
    """Say which text of the vhost goes, what is tried, and what comes of it with that text and without."""

    text: str
    attack: Attack
    whole: object
    less: object


UPGRADES = '<If "%{HTTP:Upgrade}'

LINES = [
    Line(
        "RequestHeader unset X-Forwarded-For",
        seen_as("X-Forwarded-For"),
        "127.0.0.1",
        "203.0.113.9, 127.0.0.1",
    ),
    Line(
        "RequestHeader unset X-Forwarded-Host",
        seen_as("X-Forwarded-Host"),
        "NAME:PORT",
        "evil.example, NAME:PORT",
    ),
    Line(
        "RequestHeader unset X-Forwarded-Server", seen_as("X-Forwarded-Server"), "NAME", "evil.example, NAME"
    ),
    Line(
        'RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"',
        seen_as("X-Forwarded-Proto"),
        "http",
        "gopher",
    ),
    *(
        Line(f"RequestHeader unset {name}", seen_as(name), None, SPOOFED[name])
        for name in ("X-Forwarded-Port", "X-Real-IP", "Forwarded", "Proxy")
    ),
    Line("ProxyPreserveHost On", seen_as("Host"), "NAME:PORT", "127.0.0.1:BACKEND"),
    Line("upgrade=websocket", shaken(), 101, 200),
    Line(UPGRADES, asked, 200, 403),
    Line('''Require expr "%{REQUEST_METHOD} == 'GET'"''', shaken(method="POST"), 403, 101),
    Line(
        "Require expr \"tolower(%{HTTP:Connection}) in { 'upgrade', 'keep-alive, upgrade', 'keep-alive,upgrade', "
        "'keep-alive , upgrade', 'keep-alive ,upgrade' }\"",
        shaken(connection="Upgrade, X-Auth"),
        403,
        101,
    ),
    Line("""Require expr "%{HTTP:Origin} == ''""", shaken("Origin: https://evil.example"), 403, 101),
]


@dataclass
class Judged:
    """Hold an Apache, what its backend saw, and the port of that backend."""

    front: Front
    seen: list[Request]
    port: int


def less(vhost: str, text: str) -> str:
    """Return a vhost without its lines that begin with a text; a parameter goes alone, and so does the pair around what binds upgrades."""
    if text == "upgrade=websocket":
        assert text in vhost
        return vhost.replace(text, "")
    if text == UPGRADES:
        freed, count = re.subn(
            r'^ *<If "%\{HTTP:Upgrade\}[^\n]*\n(.*?)^ *</If>\n', r"\1", vhost, flags=re.MULTILINE | re.DOTALL
        )
        assert count == 1
        return freed
    lines = vhost.splitlines(keepends=True)
    kept = [line for line in lines if not line.strip().startswith(text)]
    assert len(kept) < len(lines)
    return "".join(kept)


@pytest.fixture(scope="module")
def judged() -> Iterator[Judged]:
    """Run the Apache; the whole server is an open proxy but for what the vhosts say."""
    with held_ports(3) as ports:
        yield from _judged(*ports)


def _judged(http_port: int, https_port: int, port: int) -> Iterator[Judged]:
    names = [
        "open.test",
        WHOLE,
        "fenced.test",
        "unfenced.test",
        *(f"less-{index}.test" for index in range(len(LINES))),
    ]
    backend = f"127.0.0.1:{port}"
    sites = [
        parse(
            json.dumps(
                {
                    "server_name": name,
                    "tls": {"mode": "none"},
                    "websockets": [{"path": "/ws/", "backend": backend}],
                    "pages": {"proxy": backend},
                }
            ),
            name,
        )
        for name in names
    ]
    folder = Path(tempfile.mkdtemp(prefix="wsfront-vhosts-"))
    folder.chmod(0o755)  # Apache's children are another user
    try:
        target = httpd.probe("private", directory=folder, https_port=https_port, http_port=http_port)
        # Last comes the one that shows Apache's status to our backend.
        head, *vhosts, status = render(sites, target)["httpd.conf"].split("<VirtualHost")
        fence = '\n<Location "/">\nRequire all denied\n</Location>\nProxyRequests Off'
        edited = [
            less(vhosts[0], "ProxyRequests Off"),
            vhosts[1].replace(f"ServerName {WHOLE}", f"ServerName {WHOLE}\nServerAlias 127.0.0.2"),
            vhosts[2].replace("ProxyRequests Off", fence),
            less(vhosts[3], "AuthMerging And").replace("ProxyRequests Off", fence),
            *(less(vhost, line.text) for vhost, line in zip(vhosts[4:], LINES, strict=True)),
        ]
        server = httpd.Httpd(folder)
        server.write({"httpd.conf": "<VirtualHost".join([f"{head}\nProxyRequests On\n", *edited, status])})
        server.test()
        with ExitStack() as stack:
            seen = stack.enter_context(scripted(port))
            stack.enter_context(server)
            yield Judged(Front(server, http_port, https_port), seen, port)
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("index", range(len(LINES)), ids=[line.text for line in LINES])
def test_each_line_is_needed(judged: Judged, index: int) -> None:
    """With the line the attack fails; without it, it succeeds."""
    line = LINES[index]
    expected = str(line.less).replace("BACKEND", str(judged.port))
    assert line.attack(judged.front, WHOLE, judged.seen) == line.whole
    assert str(line.attack(judged.front, f"less-{index}.test", judged.seen)) == expected


def test_what_others_require_holds_too(judged: Judged) -> None:
    """A section that denies everything denies sockets as well; without `AuthMerging And` ours would take its place."""
    assert judged.front.shake("fenced.test", "/ws/x").status == 403
    assert judged.front.shake("unfenced.test", "/ws/x").status == 101


@pytest.mark.parametrize(
    ("host", "reached"), [("127.0.0.2", False), ("127.0.0.1", True)], ids=["whole", "less"]
)
def test_no_forward_proxy(judged: Judged, host: str, reached: bool) -> None:  # noqa: FBT001 (a column of the table)
    """The vhost proxies nowhere else, even on a server that does: without `ProxyRequests Off` it would."""
    with socket.create_server((host, 0)) as elsewhere, judged.front.line("x") as line:
        elsewhere.settimeout(0)
        port = elsewhere.getsockname()[1]
        request = (
            f"GET http://{host}:{port}/page HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
        )
        line.connection.sendall(request.encode())
        if not reached:
            assert line.connection.recv(12) == b"HTTP/1.1 200"  # a page of ours

        def connected() -> bool:
            try:
                elsewhere.accept()[0].close()
            except BlockingIOError:
                return False
            return True

        assert until(connected) if reached else not connected()
