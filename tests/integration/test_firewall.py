"""The firewall of a hop: on real networks, loaded by nft from the rendered file."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from apache.description import parse
from apache.render import render
from apache.target import Target
from tests.namespaces import Neighbour, command, neighbour, network

pytestmark = [
    pytest.mark.needs("namespaces"),
    pytest.mark.needs("nft"),
    pytest.mark.usefixtures("cables"),
]

UNIT = "etc/systemd/system/wsfront-firewall.service"


@pytest.fixture
def cables() -> Iterator[None]:
    """Be on a machine with a network of its own, and servers at four of its ports."""
    with network(), ExitStack() as servers:
        for family in (socket.AF_INET, socket.AF_INET6):
            for port in (8888, 8889):
                server = servers.enter_context(socket.socket(family))
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind(("", port))
                server.listen()
        yield


def rendered(folder: Path, backend: str, *fronts: str) -> tuple[Path, str]:
    """Return the rules for a backend and its fronts, as a file, and the unit's command that takes them out."""
    text = f"""{{websockets: [{{backend: "{backend}"}}], hop: {{fronts: [{", ".join(f'"{one}"' for one in fronts)}]}}}}"""
    files = render([parse(text, "site.yaml")], Target())
    path = folder / "firewall.nft"
    path.write_text(files["etc/wsfront/firewall.nft"])
    (stop,) = (line for line in files[UNIT].splitlines() if line.startswith("ExecStop="))
    return path, stop.partition('"')[2].removesuffix('"')


@pytest.mark.parametrize("name", [False, True])
@pytest.mark.parametrize(
    ("own", "front", "stranger"),
    [("10.9.0.2", "10.9.0.1", "10.9.0.3"), ("fd09::2", "fd09::1", "fd09::3")],
)
def test_only_fronts_connect(tmp_path: Path, own: str, front: str, stranger: str, *, name: bool) -> None:
    """A front reaches the backend's port, another machine does not; other ports, and this machine itself, are as before."""
    backend = "backend.test:8888" if name else f"[{own}]:8888" if ":" in own else f"{own}:8888"
    rules, stop = rendered(tmp_path, backend, front)
    with neighbour(own, front) as one, neighbour(own, stranger) as other:
        assert reached(own, one, other) == ("both", "both")
        for _ in range(2):
            command("nft", "-f", str(rules))
            assert reached(own, one, other) == ("front", "both")
        socket.create_connection((own, 8888), 5).close()
        command("nft", stop)
        assert reached(own, one, other) == ("both", "both")


def reached(own: str, front: Neighbour, stranger: Neighbour) -> tuple[str, str]:
    """Return who reaches the backend's port, and who reaches another one."""
    words = {
        (True, True): "both",
        (True, False): "front",
        (False, True): "stranger",
        (False, False): "nobody",
    }
    one, other = (words[front.connects(own, port), stranger.connects(own, port)] for port in (8888, 8889))
    return one, other


def test_other_address_of_the_machine(tmp_path: Path) -> None:
    """The same port at another address of the machine is somebody else's, and left alone."""
    rules, _ = rendered(tmp_path, "10.9.0.2:8888", "10.9.0.1")
    with neighbour("10.9.1.2", "10.9.1.3") as other:
        command("nft", "-f", str(rules))
        assert other.connects("10.9.1.2", 8888)


def test_other_family_is_refused(tmp_path: Path) -> None:
    """Where all fronts are IPv4, nobody reaches a name's port by IPv6."""
    rules, _ = rendered(tmp_path, "backend.test:8888", "10.9.0.1")
    with neighbour("fd09::2", "fd09::1") as other:
        command("nft", "-f", str(rules))
        assert not other.connects("fd09::2", 8888)


def test_overlapping_fronts(tmp_path: Path) -> None:
    """Networks that contain one another are one to nft."""
    rules, _ = rendered(tmp_path, "10.9.0.2:8888", "10.9.0.1", "10.9.0.0/30", "10.9.0.0/24", "fd00::/8")
    command("nft", "-f", str(rules))


def test_rules_of_others_stay(tmp_path: Path) -> None:
    """Loading and taking out leave every other table as it was."""
    rules, stop = rendered(tmp_path, "10.9.0.2:8888", "10.9.0.1")
    command("nft", "add table inet own; add chain inet own input { type filter hook input priority 0 ; }")
    command("nft", "add rule inet own input tcp dport 22 accept")
    before = command("nft", "list", "ruleset")
    command("nft", "-f", str(rules))
    assert before in command("nft", "list", "ruleset")
    for _ in range(2):
        command("nft", stop)
        assert command("nft", "list", "ruleset") == before
