"""Who the client is behind a proxy."""

from ipaddress import ip_network

import pytest

from server.client_address import Client, client_of, neighbourhood_of


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["10.0.0.1, 203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["10.0.0.1", "203.0.113.9"], "203.0.113.9"),
        ("::1", ["2001:db8::1"], "2001:db8::1"),
        ("::ffff:127.0.0.1", ["203.0.113.9"], "203.0.113.9"),
        ("127.0.0.1", ["203.0.113.9:4711"], "203.0.113.9"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        (None, ["203.0.113.9"], "203.0.113.9"),
        (None, [], "unix"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["unknown"], "127.0.0.1"),
        ("127.0.0.1", ["203.0.113.9, evil\x1b[2J"], "127.0.0.1"),
        ("198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("::ffff:198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
        ("fe80::1%eth0", ["203.0.113.9"], "fe80::1%eth0"),
    ],
)
def test_address(peer: str | None, forwarded: list[str], address: str) -> None:
    """Only a peer on this machine is believed, and only its rightmost entry."""
    assert client_of(peer, forwarded, [], []).address == address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("10.0.0.1", "203.0.113.9"),
        ("::ffff:10.0.0.1", "203.0.113.9"),
        ("fd00::7", "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9"),
        (None, "203.0.113.9"),
        ("10.0.0.2", "10.0.0.2"),
        ("fd01::7", "fd01::7"),
    ],
)
def test_fronts_are_believed(peer: str | None, address: str) -> None:
    """A peer in a network of the fronts is believed like one on this machine, its rightmost entry and no more."""
    fronts = [ip_network("10.0.0.1/32"), ip_network("fd00::/64")]
    found = client_of(peer, ["1.1.1.1, 203.0.113.9"], ["https"], ["chat.example.org"], fronts=fronts)
    believed = address == "203.0.113.9"
    assert found == Client(address, tls=believed, host="chat.example.org" if believed else "")


def test_tls_is_the_word_of_a_trusted_peer_only() -> None:
    """X-Forwarded-Proto counts like X-Forwarded-For: rightmost, from this machine."""
    assert client_of("127.0.0.1", [], ["http, HTTPS"], []) == Client("127.0.0.1", tls=True)
    assert client_of("127.0.0.1", [], ["https, http"], []) == Client("127.0.0.1", tls=False)
    assert client_of("198.51.100.7", [], ["https"], []) == Client("198.51.100.7", tls=False)


def test_host_is_the_word_of_a_trusted_peer_only() -> None:
    """X-Forwarded-Host counts like the others, so that `origins: same` works where a proxy changed Host."""
    assert client_of("127.0.0.1", [], [], ["evil.example, chat.example.org"]).host == "chat.example.org"
    assert client_of("127.0.0.1", [], [], []).host == ""
    assert client_of("198.51.100.7", [], [], ["chat.example.org"]).host == ""


@pytest.mark.parametrize(
    ("address", "neighbourhood"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", ""),
        ("", ""),
    ],
)
def test_neighbourhood(address: str, neighbourhood: str) -> None:
    """An IPv6 client can have any address of its network, so that all of them count as one."""
    assert neighbourhood_of(Client(address, tls=True)) == neighbourhood


@pytest.mark.parametrize(
    ("peer", "values", "request_id"),
    [
        ("127.0.0.1", ["t=1795437558123456"], "t=1795437558123456"),
        (None, ["mine", "t=1"], "t=1"),
        ("127.0.0.1", ["two words"], ""),
        ("127.0.0.1", ["x" * 65], ""),
        ("127.0.0.1", [], ""),
        ("203.0.113.9", ["t=1"], ""),
    ],
)
def test_request(peer: str | None, values: list[str], request_id: str) -> None:
    """A front's id for the request is taken where it is short and plain; nobody else's is."""
    assert client_of(peer, [], [], [], request=values).request == request_id
