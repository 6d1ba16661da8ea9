"""The backend's units: what systemd itself says of them, and what follows from the description."""

import re
import subprocess
from pathlib import Path

import pytest

from apache.description import parse
from apache.render import render
from apache.site import Site
from apache.target import Target

FOLDER = "etc/systemd/system"
MANY = """
websockets:
  - backend: ["127.0.0.1:8888", "[::1]:8888", "localhost:8889", "unix:/run/wsfront/ws.sock"]
    connections: 6000
"""
FAR = "hop: {fronts: [10.0.0.1]}\nwebsockets: [{backend: '10.0.0.2:8888'}]"
PLAIN = "server_name: chat.example.org"


def units(text: str) -> dict[str, str]:
    """Render a description; return its units by the end of their names."""
    files = render([parse(text, "site.yaml")], Target())
    return {
        "socket": files[f"{FOLDER}/wsfront-backend.socket"],
        "service": files[f"{FOLDER}/wsfront-backend.service"],
        "trial@.service": files["run/systemd/system/wsfront-backend-trial@.service"],
    }


def settings(unit: str, key: str) -> list[str]:
    """Return all values of a key."""
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


@pytest.fixture(params=[PLAIN, MANY, "bus: {redis: {}}"], ids=["plain", "many", "redis"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> list[Path]:
    """Write the units into a folder, for a Python that is here."""
    for kind, unit in units(request.param).items():
        name = f"wsfront-backend{'-' if '@' in kind else '.'}{kind}"
        (tmp_path / name).write_text(re.sub(r"/opt/wsfront/\S*/venv/bin/python", "/usr/bin/env", unit))
    return sorted(tmp_path.iterdir())


@pytest.mark.needs("systemd")
def test_systemd_reads(written: list[Path]) -> None:
    """Systemd reads both without a word."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *written], capture_output=True, text=True, check=False
    )
    said = [line for line in done.stderr.splitlines() if "wsfront" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.needs("systemd")
def test_sandbox(written: list[Path]) -> None:
    """By systemd's own scale of 0 to 10 the service is exposed at 1.0 at most."""
    for service in (path for path in written if path.name == "wsfront-backend.service"):
        done = subprocess.run(
            ["systemd-analyze", "security", "--offline=yes", "--threshold=10", service],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout


def test_trial_is_alike() -> None:
    """On trial a release lives in the very sandbox that it will live in, but touches nothing that is kept for the one that lives."""
    unit = units(PLAIN)
    alone = {"ExecStart", "WorkingDirectory", "RuntimeDirectory", "Restart", "RestartSec", "WatchdogSec"}
    lives = [
        [
            line
            for line in unit[kind].split("[Service]\n")[1].split("[Install]")[0].splitlines()
            if line.partition("=")[0] not in alone
            and not re.match(r"#|RuntimeDirectory|.*WSFRONT_HISTORY_FILE", line)
        ]
        for kind in ("service", "trial@.service")
    ]
    assert [line for line in lives[0] if line] == [line for line in lives[1] if line]


REDIS = "bus: {{redis: {{address: '{}'}}}}"


@pytest.mark.parametrize(
    ("text", "families", "addresses", "private"),
    [
        (PLAIN, ["AF_UNIX AF_INET"], ["localhost"], []),
        (REDIS.format("127.0.0.1:6380"), ["AF_UNIX AF_INET"] * 2, ["localhost", "127.0.0.1"], []),
        (REDIS.format("[fd00::1]:1"), ["AF_UNIX AF_INET", "AF_UNIX AF_INET6"], ["localhost", "fd00::1"], []),
        (REDIS.format("unix:/run/r.sock"), ["AF_UNIX AF_INET"], ["localhost"], []),
        (f"{REDIS.format('10.0.0.9:1')}\n{FAR}", ["AF_UNIX AF_INET"], ["10.0.0.9"], []),
        (f"{REDIS.format('unix:/run/r.sock')}\n{FAR}", ["AF_UNIX"], [], ["yes"]),
    ],
)
def test_way_to_redis(text: str, families: list[str], addresses: list[str], private: list[str]) -> None:
    """The sandbox lets the backend speak with the Redis of the description, and with nobody else."""
    for unit in (units(text)["service"], units(text)["trial@.service"]):
        assert settings(unit, "RestrictAddressFamilies") == families
        assert settings(unit, "IPAddressAllow") == addresses
        assert settings(unit, "PrivateNetwork") == private


def test_password_of_redis() -> None:
    """Systemd gives the service the password, and the environment names a file at most."""
    text = "bus: {redis: {password_file: /etc/secret}}"
    unit = units(text)["service"]
    assert settings(unit, "LoadCredential") == ["redis.password:/etc/secret"]
    assert "WSFRONT_REDIS_PASSWORD_FILE=%d/redis.password" in settings(unit, "Environment")
    assert "/etc/secret" not in render([parse(text, "site.yaml")], Target())["etc/wsfront/backend.env"]
    private = render([parse(text, "site.yaml")], Target(layout="private"))["backend.env"]
    assert 'WSFRONT_REDIS_PASSWORD_FILE="/etc/secret"' in private
    assert not settings(units("bus: {redis: {password_file: null}}")["service"], "LoadCredential")


def test_addresses() -> None:
    """The socket listens on every address of the backend, names made numbers; Apache's group may use the file."""
    unit = units(MANY)["socket"]
    assert settings(unit, "ListenStream") == [
        *("127.0.0.1:8888", "[::1]:8888", "127.0.0.1:8889", "/run/wsfront/ws.sock")
    ]
    assert (settings(unit, "SocketGroup"), settings(unit, "SocketMode")) == (["www-data"], ["0660"])
    assert settings(units(PLAIN)["socket"], "SocketMode") == []


def test_elsewhere() -> None:
    """An address that others reach may come up after the socket; a name is nothing that systemd can listen on."""
    hop = "hop: {{fronts: [10.0.0.1]}}\nwebsockets: [{{backend: '{}:8888'}}]"
    unit = units(hop.format("10.0.0.2"))["socket"]
    assert (settings(unit, "ListenStream"), settings(unit, "FreeBind")) == (["10.0.0.2:8888"], ["yes"])
    assert settings(units(PLAIN)["socket"], "FreeBind") == []
    files = render([parse(hop.format("backend.internal"), "site.yaml")], Target())
    assert [name for name in files if "wsfront-backend" in name] == []


def test_firewall_comes_first() -> None:
    """The port that others reach opens after the firewall and never without it; the socket itself refuses strangers, too."""
    hop = "hop: {fronts: [10.0.0.1]}\nwebsockets: [{backend: '10.0.0.2:8888'}]"
    unit = units(hop)["socket"]
    assert settings(unit, "After") == settings(unit, "Wants") == ["wsfront-firewall.service"]
    assert settings(unit, "ExecStartPre") == ["/usr/sbin/nft list table inet wsfront"]
    assert settings(unit, "IPAddressDeny") == ["any"]
    assert settings(unit, "IPAddressAllow") == ["localhost 10.0.0.2 10.0.0.1/32"]
    assert settings(units(PLAIN)["socket"], "ExecStartPre") == []


def test_firewall_outlives_debians() -> None:
    """Whatever Debian's own firewall flushes, ours is put back, and never fails it."""
    hop = "hop: {fronts: [10.0.0.1]}\nwebsockets: [{backend: '10.0.0.2:8888'}]"
    drop_in = render([parse(hop, "site.yaml")], Target())[f"{FOLDER}/nftables.service.d/wsfront.conf"]
    load = "-/usr/sbin/nft -f /etc/wsfront/firewall.nft"
    for moment in ("ExecStartPost", "ExecReload", "ExecStopPost"):
        assert settings(drop_in, moment) == [load]


def test_sizes() -> None:
    """There is a file for each connection declared; the stop may take longer than the drain."""
    unit = units(MANY)
    assert int(settings(unit["service"], "LimitNOFILE")[0]) > 6000
    environment = render([Site()], Target())["etc/wsfront/backend.env"]
    drain = re.findall(r'WSFRONT_DRAIN_SECONDS="(\d+)"', environment)
    assert int(settings(unit["service"], "TimeoutStopSec")[0]) > int(drain[0])


def test_port_stays_open() -> None:
    """However often the service fails, systemd neither gives up nor closes the port."""
    unit = units(PLAIN)
    assert settings(unit["service"], "StartLimitIntervalSec") == ["0"]
    assert settings(unit["service"], "Restart") == ["always"]
    assert settings(unit["socket"], "TriggerLimitIntervalSec") == ["0"]
