"""Whom a real Apache lets open a socket, whatever the backend thinks: one behind it would take anybody."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.raw import Answer, line, shake
from tests.scripted import Request, scripted
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")

TABLE = yaml.safe_load((Path(__file__).parents[1] / "origins.yaml").read_text())
POLICIES: list[Any] = []
for _row in TABLE:
    if _row["policy"] not in POLICIES:
        POLICIES.append(_row["policy"])
FOREIGN = "Origin: https://evil.example"
DENIED = "AH01630"  # client denied by server configuration


def described(name: str, mode: str, tunnel: str) -> str:
    """Describe a site with a path for each policy of the table."""
    sockets = [
        {"path": f"/{index}/", "origins": policy, "tunnel": tunnel} for index, policy in enumerate(POLICIES)
    ]
    site = {"server_name": name, "tls": {"mode": mode}, "websockets": sockets}
    return json.dumps(site)  # which is YAML


@pytest.fixture(scope="module", params=["upgrade", "ws"])
def judged(request: pytest.FixtureRequest) -> Iterator[tuple[Running, list[Request]]]:
    """Run one Apache: https for every name, plain http for the table's, and a backend that accepts all."""
    descriptions = (
        described("localhost", "local-ca", request.param),
        described("chat.example.org", "none", request.param),
    )
    with running(*descriptions, backend=False) as stack, scripted(stack.backend_port) as seen:
        yield stack, seen


@pytest.fixture
def stack(judged: tuple[Running, list[Request]]) -> Iterator[Running]:
    """Lend that Apache to one test, whose refusals are expected in the log."""
    yield judged[0]
    judged[0].allow(DENIED)
    judged[0].check_log()


@pytest.fixture
def seen(judged: tuple[Running, list[Request]]) -> list[Request]:
    """Return the requests that got as far as the backend, this test's alone."""
    judged[1].clear()
    return judged[1]


def upgrades(seen: list[Request]) -> list[Request]:
    """Return those that asked for a WebSocket."""
    return [request for request in seen if request.is_upgrade]


@pytest.mark.parametrize(
    "row", TABLE, ids=[f"{row['policy']} {row['scheme']} {row['host']} {row['origin']}" for row in TABLE]
)
def test_table(stack: Running, seen: list[Request], row: dict[str, Any]) -> None:
    """Each row of the table is answered by 101 or 403, and what is refused never reaches the backend."""
    lines = [] if row["origin"] is None else [f"Origin: {row['origin']}"]
    path = f"/{POLICIES.index(row['policy'])}/x"
    answer = shake(stack, path, *lines, host=row["host"], plain=row["scheme"] == "http")
    assert answer.status == (101 if row["pass"] else 403)
    assert len(seen) == row["pass"]


def same(stack: Running, *lines: str, **options: Any) -> Answer:
    """Shake hands at the path whose policy is `same`."""
    return shake(stack, f"/{POLICIES.index('same')}/x", *lines, **options)


def test_two_origins_are_refused(stack: Running) -> None:
    """Two Origin headers are refused, even where each alone would pass."""
    own = f"Origin: https://localhost:{stack.https_port}"
    assert same(stack, own).status == 101
    assert same(stack, own, own).status == 403
    assert same(stack, own, FOREIGN).status == 403
    assert same(stack, FOREIGN, own).status == 403


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_plain_requests_are_served(stack: Running, method: str) -> None:
    """A plain GET or POST on a socket's path is served, whatever its Origin."""
    body = None if method == "GET" else b"polled"
    with line(stack) as opened:
        for index in range(len(POLICIES)):
            for lines in ([FOREIGN], []):
                assert opened.ask(f"/{index}/x", *lines, method=method, body=body).body == b"page"


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS", "HEAD"])
def test_upgrade_by_another_method_is_refused(stack: Running, seen: list[Request], method: str) -> None:
    """A handshake is a GET (RFC 6455, 4.1); any other upgrade stops at Apache."""
    assert same(stack, method=method).status == 403
    assert seen == []


@pytest.mark.parametrize(
    "value", ["Upgrade", "upgrade", "keep-alive, Upgrade", "Keep-Alive,upgrade", "keep-alive , upgrade"]
)
def test_connection_of_browsers_is_accepted(stack: Running, value: str) -> None:
    """Connection may say keep-alive beside Upgrade, as Firefox does."""
    assert same(stack, connection=value).status == 101


@pytest.mark.parametrize(
    "value",
    [
        "Upgrade, X-Forwarded-Proto",
        "X-Forwarded-Proto, Upgrade",
        "keep-alive, Upgrade, X-Forwarded-For",
        "Upgrade, Upgrade, Host",
        "keep-alive, keep-alive, Upgrade",
    ],
)
def test_connection_that_strips_headers_is_refused(stack: Running, seen: list[Request], value: str) -> None:
    """No handshake names further headers in Connection, which would strip what Apache sets."""
    assert same(stack, connection=value).status == 403
    assert same(stack, "Connection: X-Forwarded-Proto").status == 403
    assert seen == []


@pytest.mark.parametrize(
    "path",
    [
        "//0//chat",
        "/0//chat",
        "//0/chat",
        "/%30/chat",
        "/x/../0/chat",
        "/0/../0/chat",
        "/0/./chat",
        "/0/%2e%2e/0/chat",
        "/0/..%2f0/chat",
        "/0%2fchat",
        "/0/;x/chat",
        "/0/%3Fx",
        "/0",
        "/0?x",
        "/0;/chat",
        "/0/%00/chat",
        "http://evil.example/0/chat",
        "ws://localhost/0/chat",
        "/\\0/chat",
        "/WS/chat",
        "/",
        "/healthz",
        "/elsewhere",
    ],
)
def test_no_path_escapes_the_rule(stack: Running, seen: list[Request], path: str) -> None:
    """However a path is written, a foreign page gets no socket by it."""
    assert POLICIES.index("same") == 0
    stack.allow("AH10244", "AH00026", "AH10508", "AH00127")  # invalid URI path; %2F; %3F; a path of no file
    assert shake(stack, path, FOREIGN).status != 101
    assert upgrades(seen) == []


@pytest.mark.parametrize("value", ["WebSocket", "WEBSOCKET", "websocket"])
def test_upgrade_in_any_case(stack: Running, seen: list[Request], value: str) -> None:
    """The token websocket is known in any case: it upgrades, and binds the origin (RFC 6455, 4.2.1)."""
    assert same(stack, upgrade=value).status == 101
    assert same(stack, FOREIGN, upgrade=value).status == 403
    assert len(seen) == 1


@pytest.mark.parametrize(
    "value",
    ["websocket, h2c", "h2c, websocket", "h2c", "foo", "websocketX", "websocket/13", "websocket ;x", "*"],
)
def test_other_upgrades_are_no_way_in(stack: Running, seen: list[Request], value: str) -> None:
    """An Upgrade that is not websocket alone never becomes a tunnel for a foreign page."""
    assert same(stack, FOREIGN, upgrade=value).status != 101
    assert upgrades(seen) == []


def test_two_upgrade_headers_are_no_way_in(stack: Running, seen: list[Request]) -> None:
    """A second Upgrade header does not hide the first."""
    assert same(stack, FOREIGN, "Upgrade: h2c").status != 101
    assert same(stack, FOREIGN, "Upgrade: websocket", upgrade="h2c").status != 101
    assert upgrades(seen) == []


@pytest.mark.parametrize("tunnel", ["upgrade", "ws"])
def test_longest_path_decides(tunnel: str) -> None:
    """Where paths lie in one another, the rule of the longest that matches is the only one."""
    policies = {"/": ["https://a.example"], "/open/": "any", "/open/own": ["https://b.example"]}
    sockets = [{"path": path, "origins": origins, "tunnel": tunnel} for path, origins in policies.items()]
    with (
        running(json.dumps({"websockets": sockets}), backend=False) as stack,
        scripted(stack.backend_port),
    ):
        stack.allow(DENIED)
        for path, origin, status in (
            ("/", "https://a.example", 101),
            ("/", "https://b.example", 403),
            ("/x", "https://b.example", 403),
            ("/openx", "https://b.example", 403),
            ("/open/", "https://b.example", 101),
            ("/open/x", "https://a.example", 101),
            ("/open/own", "https://b.example", 101),
            ("/open/own/x", "https://b.example", 101),
            ("/open/own", "https://a.example", 403),
            ("/open/own/x", "https://a.example", 403),
            ("/open/ownx", "https://a.example", 101),
            ("/open/x/../own", "https://a.example", 403),
            ("/o%70en/own", "https://a.example", 403),
            ("//open//own", "https://a.example", 403),
        ):
            assert shake(stack, path, f"Origin: {origin}").status == status, (path, origin)
