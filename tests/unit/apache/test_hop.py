"""The backend's end of a hop, and what each layout makes of the way there."""

import pytest

from apache.description import parse
from apache.errors import TargetError
from apache.hop import back_end, listens
from apache.render import render
from apache.site import Site
from apache.target import Layout, Target

ALL = '["10.0.0.2:8888", "[fd00::2]:8888", "127.0.0.1:8888"]'


def site(backend: str = ALL, *, tls: bool = True) -> Site:
    """Return a site with a backend on other machines."""
    hop = f'{{fronts: [10.0.0.1, "fd00::/64"], tls: {str(tls).lower()}}}'
    return parse(f"hop: {hop}\nwebsockets: [{{backend: {backend}}}]", "site.yaml")


@pytest.mark.parametrize(
    ("addresses", "here"),
    [
        ((), ["10.0.0.2:8888", "[fd00::2]:8888", "127.0.0.1:8888"]),
        (("10.0.0.2", "fd00::2"), ["10.0.0.2:8888", "[fd00::2]:8888", "127.0.0.1:8888"]),
        (("fd00::2", "x.test"), ["[fd00::2]:8888", "127.0.0.1:8888"]),
        (("10.0.0.9",), ["127.0.0.1:8888"]),
    ],
)
def test_listens(addresses: tuple[str, ...], here: list[str]) -> None:
    """Of several addresses a machine takes its own, and loopback, which each has."""
    assert [str(address) for address in listens([site()], Target(addresses=addresses))] == here


def test_certificate_carries_all_addresses_of_the_machine() -> None:
    """One machine shows one certificate, for each of its addresses that others reach."""
    end = back_end([site()], Target())
    assert end
    assert end.names == ("10.0.0.2", "fd00::2")
    assert end.key == "/etc/wsfront/certs/sites/_backend_10.0.0.2/key.pem"
    assert back_end([site()], Target(addresses=("10.0.0.9",))) is None
    assert back_end([Site()], Target()) is None


def test_htaccess() -> None:
    """Rules to copy reach a far backend plainly, where the firewall keeps the way; by TLS they cannot."""
    target = Target(layout="htaccess")
    (rules,) = render([site("'10.0.0.2:8888'", tls=False)], target).values()
    assert '"ws://10.0.0.2:8888/ws/%1"' in rules
    with pytest.raises(TargetError, match="cannot speak TLS"):
        render([site("'10.0.0.2:8888'")], target)


@pytest.mark.parametrize("layout", ["debian", "include", "private"])
def test_plain_hop_has_no_tls(layout: Layout) -> None:
    """With `tls: false` nothing of Apache's files speaks TLS to the backend, and Host stays the client's."""
    text = "".join(render([site(tls=False)], Target(layout=layout)).values())
    assert "SSLProxy" not in text
    assert "ProxyPreserveHost Off" not in text
    assert "ProxyPreserveHost On" not in "".join(render([site()], Target(layout=layout)).values())
