"""Which directive answers for a socket's path, and where it leads to."""

from pathlib import Path

import pytest

from doctor.configuration import Configuration, read
from doctor.proxying import Mapped
from doctor.server_paths import Hop, answering, hops
from doctor.server_seen import sizes

VHOST = "<VirtualHost *:{port}>\nServerName site.test\n{lines}\n</VirtualHost>\n"


def parsed(folder: Path, text: str, name: str = "a.conf") -> Configuration:
    """Read a text as a configuration."""
    (file := folder / name).write_text(text)
    return read(str(file))


def only(folder: Path, lines: str, path: str | None = None, port: int = 80) -> Hop:
    """Return the one way that a vhost's lines make."""
    (hop,) = hops([parsed(folder, VHOST.format(lines=lines, port=port))], path)
    return hop


@pytest.mark.parametrize(
    ("lines", "path", "address", "target"),
    [
        ("ProxyPass /ws/ ws://127.0.0.1:8888/", "/ws/echo", "127.0.0.1:8888", "/echo"),
        ("ProxyPass /ws/ http://[::1]:8888/x/ upgrade=websocket", "/ws/echo", "[::1]:8888", "/x/echo"),
        ("ProxyPass /ws ws://backend/ws", "/ws", "backend:80", "/ws"),
        ("ProxyPass /ws/ unix:/run/x.sock|http://localhost/ws/ upgrade=websocket", "/ws/a", "unix:/run/x.sock", "/ws/a"),
        ("ProxyPassMatch ^/ws/(.*)$ wss://127.0.0.1/$1", "/ws/a", "127.0.0.1:443", "/a"),
        ("<Location /ws/>\nProxyPass ws://127.0.0.1:1/\n</Location>", "/ws/a", "127.0.0.1:1", "/a"),
        ("RewriteEngine On\nRewriteRule ^/ws/(.*) ws://127.0.0.1:1/$1 [P]", "/ws/a", "127.0.0.1:1", "/a"),
        ("RewriteEngine On\nRewriteRule .* ws://127.0.0.1:1%{REQUEST_URI} [P]", "/ws/a", "127.0.0.1:1", "/ws/a"),
    ],
)  # fmt: skip
def test_way_of_a_path(tmp_path: Path, lines: str, path: str, address: str, target: str) -> None:
    """The backend and the path that it is asked for follow from the line that answers."""
    hop = only(tmp_path, lines, path)
    assert (hop.address, hop.target, hop.is_exact) == (address, target, True)


def test_ways_of_all_sockets(tmp_path: Path) -> None:
    """Without a path all sockets are followed, members of a balancer each by itself; pages are not."""
    text = VHOST.format(
        port=80,
        lines="ProxyPass /ws/ balancer://b/ws/\nProxyPass / http://127.0.0.1:9/\n"
        "<Proxy balancer://b>\nBalancerMember ws://127.0.0.1:1\nBalancerMember ws://127.0.0.1:2\nProxySet x=y\n</Proxy>",
    )
    found = hops(
        [parsed(tmp_path, text.replace("balancer://b/ws/", "balancer://b/ws/ upgrade=websocket"))], None
    )
    assert {(hop.address, hop.target) for hop in found} == {("127.0.0.1:1", "/ws/"), ("127.0.0.1:2", "/ws/")}


def test_what_browsers_send(tmp_path: Path) -> None:
    """Host, Origin's scheme and the time of silence are those of the vhost."""
    line = "ProxyPass /ws/ http://127.0.0.1:1/ upgrade=websocket timeout=90"
    hop = only(tmp_path, f"SSLEngine on\nProxyPreserveHost On\nTimeout 30\n{line}", port=8443)
    assert (hop.front, hop.is_encrypted, hop.keeps_host, hop.idle) == ("site.test:8443", True, True, 90)
    hop = only(tmp_path, line.replace(" timeout=90", ""), port=80)
    assert (hop.front, hop.is_encrypted, hop.keeps_host, hop.idle) == ("site.test", False, False, 60)


def test_rules_of_a_folder(tmp_path: Path) -> None:
    """A rule of an .htaccess is read for the vhost whose DocumentRoot it is in."""
    server = parsed(
        tmp_path, VHOST.format(port=80, lines=f"DocumentRoot {tmp_path}\nProxyPreserveHost On\nTimeout 77")
    )
    own = parsed(tmp_path, "RewriteEngine On\nRewriteRule ^ws/(.*) ws://127.0.0.1:1/$1 [P]\n", ".htaccess")
    for path, target in ((None, "/"), ("/ws/a", "/a"), ("/below/ws/a", "/a")):
        (hop,) = hops([server, own], path)
        assert (hop.target, hop.vhost, hop.keeps_host, hop.idle) == (target, "site.test", True, 77)
    assert hops([server, own], "/other") == []


def test_first_line_answers(tmp_path: Path) -> None:
    """Of several lines the first that takes the path answers, what a Location says before all of them."""
    text = VHOST.format(port=80, lines="ProxyPass / http://127.0.0.1:9/\nProxyPass /ws/ ws://127.0.0.1:1/")
    ((vhost, line),) = answering(parsed(tmp_path, text), "/ws/")
    assert vhost == "site.test"
    assert isinstance(line, Mapped)
    assert not line.is_tunnel
    text = text.replace(
        "ProxyPass /ws/ ws://127.0.0.1:1/", "<Location /ws/>\nProxyPass ws://127.0.0.1:1/\n</Location>"
    )
    ((_, line),) = answering(parsed(tmp_path, text), "/ws/")
    assert isinstance(line, Mapped)
    assert line.is_tunnel


@pytest.mark.parametrize(
    ("text", "modules", "numbers"),
    [
        ("", {"mpm_event"}, ("event", 400, 16, 25)),
        ("", {"mpm_prefork"}, ("prefork", 256, 256, 1)),
        ("ThreadsPerChild 10\nServerLimit 4\nMaxRequestWorkers 100\n", {"mpm_event"}, ("event", 40, 4, 10)),
        ("MaxRequestWorkers 60\n", {"mpm_worker"}, ("worker", 50, 16, 25)),
        ("ServerLimit 0\nThreadsPerChild 0\n", {"mpm_event"}, ("event", 400, 16, 25)),
    ],
)
def test_sizes(tmp_path: Path, text: str, modules: set[str], numbers: tuple[str, int, int, int]) -> None:
    """Processes and threads are as Apache takes them: with its defaults, and cut where it cuts."""
    found = sizes(parsed(tmp_path, text), frozenset(modules))
    assert (found.mpm, found.workers, found.slots, found.threads) == numbers
