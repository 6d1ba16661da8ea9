"""Connections that begin and go no further, and heads that grow: which layer stops which, beside stock settings that stop nothing.

The figures behind each number are in apache/attacks.md.
"""

import asyncio
import re
import socket
import time
from pathlib import Path

import pytest

from apache import capacity
from tests.attackers import ADDRESS, HTTP, TLS, half_open, memory
from tests.namespaces import command, network
from tests.raw import Line, ask, line
from tests.stacks import ABANDONED, Running, running
from tests.waiting import SECOND, until

pytestmark = pytest.mark.needs("apache")

HANDSHAKE = 5
"""RequestReadTimeout handshake= and header=, in seconds."""

SMALL = "websockets: [{connections: 60}]\n"
FEW = {"http_reserve": 10, "reloads": 1}
STOCK = "RequestReadTimeout handshake=0 header=20-40,minrate=500 body=10,minrate=500\n"
"""Debian's /etc/apache2/mods-available/reqtimeout.conf, and httpd's own default where it is silent."""

FULL = ("AH00484", "AH10159", "AH00485")  # MaxRequestWorkers reached, nearly, scoreboard full of them
DOCUMENT = Path(__file__).parents[2] / "apache" / "attacks.md"


def page(stack: Running, seconds: float) -> float | None:
    """Ask for a page; return how long it took, or None where that was longer than so many seconds."""
    encrypted = stack.site.tls.mode != "none"
    start = time.monotonic()
    try:
        port = stack.https_port if encrypted else stack.http_port
        with socket.create_connection(("127.0.0.1", port), seconds) as connection:
            if encrypted:
                context = stack.stack.client_context(stack.site)
                assert context
                with context.wrap_socket(connection, server_hostname="localhost") as inside:
                    assert Line(inside, "localhost").ask("/").status == 200
            else:
                assert Line(connection, "localhost").ask("/").status == 200
    except TimeoutError:
        return None
    return time.monotonic() - start


def established(port: int) -> int:
    """Return how many connections an attacker has to a port."""
    return len(command("ss", "-Htn", "state", "established", f"src {ADDRESS} dport = :{port}").splitlines())


def workers(stack: Running) -> int:
    """Return how many workers the plan has."""
    return capacity.plan(stack.stack.sites, stack.stack.target).max_request_workers


@pytest.mark.parametrize("words", [TLS, HTTP], ids=["tls", "http"])
def test_a_thousand_half_open_are_gone_in_seconds(words: str) -> None:
    """A thousand connections that begin a handshake, or a request, leave pages alone on a plan for a thousand sockets, and are closed."""
    with running("tls: {mode: none}" if words == HTTP else "{}") as stack:
        port = stack.http_port if words == HTTP else stack.https_port
        with half_open(port, 1000, words) as attacker:
            while attacker.told()["closed"] < 1000:
                taken = page(stack, 5 * SECOND)
                assert taken is not None
                assert attacker.told()["made"] == 1000
                time.sleep(0.1)
            stack.allow(*FULL)


@pytest.mark.parametrize("words", [TLS, HTTP], ids=["tls", "http"])
def test_more_half_open_than_workers(words: str) -> None:
    """Where they are more than all workers, pages are back after one timeout; with stock settings they are not."""
    site = SMALL + ("tls: {mode: none}\n" if words == HTTP else "")
    with running(site, facts=FEW) as stack, running(site, facts=FEW, own_directives=STOCK) as stock:
        count = workers(stack) * 4 // 3
        ports = [each.http_port if words == HTTP else each.https_port for each in (stack, stock)]
        with half_open(ports[0], count, words), half_open(ports[1], count, words):
            time.sleep(0.3)
            assert page(stock, SECOND) is None
            assert page(stack, (HANDSHAKE + 3) * SECOND) is not None
            assert page(stock, SECOND) is None
        for each in (stack, stock):
            each.allow(*FULL, *ABANDONED)


@pytest.mark.needs("nft", "namespaces")
def test_who_comes_back_is_stopped_by_the_firewall_alone() -> None:
    """An attacker who opens a new connection for each one lost holds every worker, until the rules in attacks.md limit his address."""
    with network(), running(SMALL, facts=FEW) as stack:
        with half_open(stack.https_port, 2 * workers(stack), TLS, again=True):
            assert page(stack, 3 * SECOND) is None
            rules = re.search(r"```nft\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
            assert rules
            text = rules[1].replace("{ 80, 443 }", str(stack.https_port)).replace("over 100", "over 20")
            file = stack.stack.directory / "rules.nft"
            file.write_text(text, encoding="utf-8")
            command("nft", "-f", str(file))
            # Those that were there before the rules end by their timeouts: half of them waited in the queue for the others.
            until(lambda: established(stack.https_port) <= 20, 6 * HANDSHAKE)
            assert None not in [page(stack, SECOND) for _ in range(5)]
        stack.allow(*FULL, *ABANDONED)


async def test_open_sockets_and_slow_uploads_go_on() -> None:
    """Neither a socket on which nobody speaks nor a body that comes at its pace is taken for a slow head."""
    with running("websockets: [{connections: 60, idle_timeout: 60}]\n") as stack:
        async with stack.websocket(ping_interval=None) as silent:
            with line(stack) as upload:
                head = f"POST /static/x HTTP/1.1\r\nHost: {upload.host}\r\nContent-Length: 6000\r\n\r\n"
                upload.connection.sendall(head.encode())
                for _ in range(HANDSHAKE + 1):
                    await asyncio.sleep(1)
                    upload.connection.sendall(b"x" * 1000)
                assert b"405" in upload.connection.recv(15)
            await silent.send("awake")
            assert await silent.recv() == "awake"


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/", ["X-Long: " + "a" * 8182], 200),
        ("/", ["X-Long: " + "a" * 8192], 400),
        ("/", [f"X-{number}: a" for number in range(48)], 200),
        ("/", [f"X-{number}: a" for number in range(60)], 400),
        ("/" + "a" * 8170, [], 404),
        ("/" + "a" * 8192, [], 414),
    ],
    ids=["long", "too-long", "many", "too-many", "url", "url-too-long"],
)
def test_size_of_a_head(stack: Running, path: str, headers: list[str], status: int) -> None:
    """A field has at most 8190 bytes, a head 50 fields, a request line 8190."""
    assert ask(stack, path, *headers).status == status


def test_memory_of_large_heads_comes_back() -> None:
    """The largest heads, all at once and never finished, cost a bounded sum, and most of it is back once they are closed."""
    big = b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(
        b"X-%d: %s\r\n" % (number, b"a" * 8170) for number in range(48)
    )
    with running("tls: {mode: none}\nwebsockets: [{connections: 300}]\n") as stack:
        for _ in range(20):
            assert ask(stack, "/").status == 200
        before = memory(stack)
        lines = []
        for _ in range(150):
            each = socket.create_connection(("127.0.0.1", stack.http_port), 5 * SECOND)
            each.sendall(big)
            lines.append(each)
        until(lambda: memory(stack) > before + 40)
        time.sleep(0.5)
        peak = memory(stack)
        for each in lines:
            each.close()
        assert (peak - before) / len(lines) < 1.2  # MiB each: 50 fields of 8190 bytes, kept twice
        until(lambda: memory(stack) - before < 0.5 * (peak - before), 15)
        stack.allow("AH00566", "AH10159", "AH00484")
