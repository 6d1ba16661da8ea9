"""Names are read in one form and compared as clients compare them."""

import ipaddress

import pytest

from certs.errors import NameFault
from certs.names import covers, narrowest, parse, subtree, within


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Chat.Example.ORG", "chat.example.org"),
        ("localhost", "localhost"),
        ("my_host", "my_host"),
        ("*.example.org", "*.example.org"),
        ("xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        ("192.0.2.1", ipaddress.ip_address("192.0.2.1")),
        ("2001:DB8::1", ipaddress.ip_address("2001:db8::1")),
    ],
)
def test_reads(text: str, name: object) -> None:
    """A name is read in lower case, an address as an address."""
    assert parse(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "a..b",
        "a.example.org.",
        "-a.example",
        "a-.example",
        "a b",
        "a\nb",
        "a.example\n",
        "münchen.de",
        "1.2.3.256",
        "fe80::1%eth0",
        "[::1]",
        "a/b",
        "chat.example.org:443",
        "*",
        "*.org",
        "*.*.example.org",
        "a*.example.org",
        "a.*.org",
        "a" * 64 + ".example",
        ".".join(["a" * 49] * 6),
    ],
)
def test_refuses(text: str) -> None:
    """What no certificate can carry, or no client would match, is refused in one line."""
    with pytest.raises(NameFault) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    assert "; use " in str(caught.value)


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("a.example", "a.example", True),
        ("a.example", "b.a.example", False),
        ("*.a.example", "b.a.example", True),
        ("*.a.example", "a.example", False),
        ("*.a.example", "c.b.a.example", False),
        ("*.a.example", "*.a.example", True),
        ("*.example.org", "*.a.example.org", False),
        ("*.1", "127.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
    ],
)
def test_covers(pattern: str, name: str, expected: bool) -> None:  # noqa: FBT001 -- a table's column
    """A wildcard stands for exactly one label, and never for an address (RFC 9525 section 6.3)."""
    read = parse(pattern) if pattern != "*.1" else pattern
    assert covers(read, parse(name)) is expected


@pytest.mark.parametrize(
    ("inner", "outer", "expected"),
    [
        ("a.example", "a.example", True),
        ("b.a.example", "a.example", True),
        ("ba.example", "a.example", False),
        ("*.a.example", "a.example", True),
        ("a.example", "b.a.example", False),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("::1", "::1", True),
        ("::1", "127.0.0.1", False),
        ("a.example", "192.0.2.1", False),
    ],
)
def test_within(inner: str, outer: str, expected: bool) -> None:  # noqa: FBT001 -- a table's column
    """A constraint permits a name and what is below it, whole labels only (RFC 5280 section 4.2.1.10)."""
    assert within(subtree(parse(inner)), subtree(parse(outer))) is expected


def test_narrowest() -> None:
    """Constraints that another one contains are left out, and the order is kept."""
    loopback = ipaddress.ip_network("127.0.0.0/8")
    given = ["b.a", loopback, "a", ipaddress.ip_network("127.0.0.1"), "a", "c.d"]
    assert narrowest(given) == [loopback, "a", "c.d"]
