"""From versions and modes to ciphers, modules and the backend's environment."""

import re

import pytest

from apache import modules, tls
from apache.description import parse
from apache.errors import TargetError
from apache.render import backend_environment, render
from apache.target import Target
from apache.versions import at_least, require_floor


@pytest.mark.parametrize(
    ("version", "wanted", "good"),
    [
        ("2.4.47", "2.4.47", True),
        ("2.4.9", "2.4.47", False),
        ("2.4.100", "2.4.47", True),
        ("2.5.0", "2.4.47", True),
        ("1.1.1w", "1.1.1", True),
        ("1.1.0l", "1.1.1", False),
        ("3.0.0", "1.1.1", True),
    ],
)
def test_versions_compare_as_numbers(version: str, wanted: str, good: bool) -> None:  # noqa: FBT001 (a column of the table)
    """Parts are numbers, and letters after them do not count."""
    assert at_least(version, wanted) is good


def test_floor() -> None:
    """The first Apache that carries upgrades end to end is good enough; the one before is refused with the remedy."""
    require_floor("2.4.47")
    with pytest.raises(TargetError, match="apt-get install --only-upgrade apache2-bin"):
        require_floor("2.4.46")


@pytest.mark.parametrize("origins", ["same", "any", "[https://a.example]"])
@pytest.mark.parametrize("mode", ["local-ca", "none"])
def test_no_pattern_on_the_way_to_a_tunnel(origins: str, mode: str) -> None:
    """Between a handshake and its tunnel nothing is matched by a pattern, whose memory a thread would keep: 20 KiB a socket."""
    text = f"tls: {{mode: {mode}}}\nwebsockets: [{{origins: {origins}}}]\n"
    site = parse(text, "wsfront.yaml", server_name="chat.example.org")
    vhost = render([site], Target())["etc/apache2/sites-available/wsfront-chat.example.org.conf"]
    tunnel = vhost.partition('<Location "/ws')[2].partition("</Location>")[0]
    assert "Require expr" in tunnel
    assert not re.search(r"=~|!~|Match|Rewrite|SetEnvIf", tunnel)


def test_profiles_are_cut_to_the_versions() -> None:
    """A protocol or group that a machine does not know is left out."""
    old = tls.profile("intermediate", apache="2.4.71", openssl="1.1.0l")
    assert old.protocols == ("TLSv1.2",)
    assert old.ciphersuites == ()
    today = tls.profile("intermediate", apache="2.4.71", openssl="3.0.19")
    assert today.protocols == ("TLSv1.2", "TLSv1.3")
    assert "X25519MLKEM768" not in today.groups
    assert tls.profile("modern", apache="2.4.71", openssl="3.5.0").groups[0] == "X25519MLKEM768"
    assert tls.profile("modern", apache="2.4.71", openssl="3.5.0").protocols == ("TLSv1.3",)


@pytest.mark.parametrize(
    ("description", "more"),
    [
        ("tls: {mode: none}", set()),
        ("server_name: a.example", {"ssl", "socache_shmcb"}),
        ("tls: {mode: none}\ntrusted_proxies: [10.0.0.0/8]", {"remoteip"}),
        ("tls: {mode: none}\npages: {root: /var/www}", {"dir", "mime"}),
        (
            "tls: {mode: none}\nwebsockets: [{backend: [127.0.0.1:1, 127.0.0.1:2]}]",
            {"slotmem_shm", "proxy_balancer", "lbmethod_bybusyness", "watchdog", "proxy_hcheck"},
        ),
    ],
)
def test_modules_by_what_is_asked(description: str, more: set[str]) -> None:
    """A module is needed where a description asks for what it does, and not otherwise."""
    base = {
        "authn_core",
        "authz_core",
        "alias",
        "headers",
        "proxy",
        "proxy_http",
        "proxy_wstunnel",
        "reqtimeout",
        "rewrite",
    }
    base |= {"status"}
    names = modules.needed([parse(description, "a")], Target())
    assert set(names) - base == more
    assert len(set(names)) == len(names)


def test_wstunnel_never_comes_alone() -> None:
    """The legacy tunnel is never loaded without mod_proxy_http, and comes after what it builds on."""
    names = modules.needed([parse("tls: {mode: none}", "a")], Target(layout="private"))
    assert names.index("proxy") < names.index("proxy_http") < names.index("proxy_wstunnel")


def test_backend_gets_its_own_sockets_alone() -> None:
    """Sockets of somebody else's backend are not in backend.env; the shortest ping and the sum of connections are."""
    site = parse(
        "websockets: [{connections: 10}, {path: /b/, idle_timeout: 10, connections: 5}, {path: /c/, backend: 127.0.0.1:9}]",
        "a",
    )
    text = backend_environment([site], Target())
    assert "/b/" in text
    assert "/c/" not in text
    assert 'WSFRONT_PING_INTERVAL="5"' in text
    assert 'WSFRONT_CONNECTIONS="15"' in text
