"""From connections, versions and modes to numbers, ciphers and modules."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apache import modules, tls
from apache.capacity import SERVER_LIMIT_MAX, plan
from apache.description import parse
from apache.errors import TargetError
from apache.render import backend_environment
from apache.target import Target
from apache.versions import at_least, require_floor


@given(st.integers(1, 1_000_000), st.integers(0, 50), st.integers(1, 10_000))
def test_plan_holds_what_it_says(connections: int, reloads: int, reserve: int) -> None:
    """All sockets and the reserve fit, after as many reloads as a socket may outlive; Apache takes the numbers without a word."""
    site = parse(f"websockets: [{{connections: {connections}}}]", "a")
    target = Target(reloads=reloads, http_reserve=reserve)
    try:
        made = plan([site], target)
    except TargetError as error:
        assert "connections are more than one Apache can hold" in str(error)  # noqa: PT017 (either outcome is right)
        return
    children = math.ceil((connections + reserve) / made.threads_per_child)
    assert made.max_request_workers >= connections + reserve
    assert made.server_limit >= children * (1 + reloads)
    assert made.server_limit <= SERVER_LIMIT_MAX
    assert made.max_request_workers % made.threads_per_child == 0  # AH00513
    assert made.max_request_workers <= made.server_limit * made.threads_per_child  # AH00515
    assert made.start_servers * made.threads_per_child <= made.max_request_workers
    assert made.min_spare_threads < made.max_spare_threads <= made.max_request_workers


def test_plan_names_the_most() -> None:
    """The number that a refusal names is accepted, and one more is not."""
    site = "websockets: [{{path: /a/, connections: {}}}, {{path: /b/, connections: {}}}]"
    with pytest.raises(TargetError) as caught:
        plan([parse(site.format(1_000_000, 1_000_000), "a")], Target())
    most = int(str(caught.value).rpartition(" ")[2])
    assert plan([parse(site.format(most - 1, 1), "a")], Target()).connections == most
    with pytest.raises(TargetError):
        plan([parse(site.format(most, 1), "a")], Target())


def test_plan_adds_up_all_sites() -> None:
    """One server carries the sockets of all its names."""
    sites = [parse(f"websockets: [{{connections: {number}}}]", "a") for number in (100, 20)]
    assert plan(sites, Target()).connections == 120


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
    base = {"authn_core", "authz_core", "alias", "headers", "proxy", "proxy_http", "proxy_wstunnel", "reqtimeout", "rewrite"}  # fmt: skip
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
