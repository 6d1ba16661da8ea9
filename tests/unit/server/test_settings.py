"""What the backend reads from its environment, and what it says when that is wrong."""

import subprocess
from ipaddress import ip_network
from pathlib import Path

import pytest

from server.environment import load, parse_address, read_env_file
from server.origins import Origin
from server.settings import Address, Settings, SettingsError, Socket

FULL = r"""# made from wsfront.yaml
; a comment too

WSFRONT_LISTEN="127.0.0.1:8888 unix:/run/x.sock"
WSFRONT_SOCKETS="[{\"path\":\"/\",\"public_path\":\"/w\$s/\",\"origins\":[\"https://A.example\"]}]"
WSFRONT_PING_INTERVAL=10
WSFRONT_CONNECTIONS='5'
OTHER="a \`b\` \\ c \d"
"""


def test_nothing_given() -> None:
    """Every setting has a default."""
    assert load({}) == Settings()
    assert load({"WSFRONT_CONNECTIONS": ""}) == Settings()


def test_all_given(tmp_path: Path) -> None:
    """A file as the renderer writes it is read in full, and an option wins over it."""
    file = tmp_path / "backend.env"
    file.write_text(FULL)
    assert load(read_env_file(file)) == Settings(
        listen=(Address("127.0.0.1", 8888), Address(path="/run/x.sock")),
        sockets=(Socket("/", "/w$s/", frozenset({Origin("https", "a.example", 443)})),),
        ping_interval=10,
        connections=5,
    )
    assert load(read_env_file(file), listen=["[::1]:1"]).listen == (Address("::1", 1),)


def test_share_of_an_address() -> None:
    """A socket may say how many of them one address may hold; less than none is refused."""
    given = '[{"path":"/a","public_path":"/a","per_address":%d}]'
    assert load({"WSFRONT_SOCKETS": given % 3}).sockets == (Socket("/a", "/a", per_address=3),)
    with pytest.raises(SettingsError, match="WSFRONT_SOCKETS"):
        load({"WSFRONT_SOCKETS": given % -1})


def test_hop() -> None:
    """Fronts are addresses and networks; a certificate comes with its key."""
    given = {
        "WSFRONT_FRONTS": "10.0.0.1 fd00::/64",
        "WSFRONT_TLS_CERTIFICATE": "/a b.pem",
        "WSFRONT_TLS_KEY": "/k",
    }
    settings = load(given)
    assert settings.fronts == (ip_network("10.0.0.1/32"), ip_network("fd00::/64"))
    assert (settings.certificate, settings.key) == (Path("/a b.pem"), Path("/k"))


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("WSFRONT_FRONTS", "10.0.0.1/8", "is no network"),
        ("WSFRONT_FRONTS", "front.example", "is no network"),
        ("WSFRONT_TLS_CERTIFICATE", "/a", "set both or none"),
        ("WSFRONT_TLS_KEY", "/a", "set both or none"),
    ],
)
def test_hop_refuses(key: str, value: str, words: str) -> None:
    """Names, host bits, and half a pair are faults."""
    with pytest.raises(SettingsError, match=words):
        load({key: value})


def test_env_file_reads_as_sh_does(tmp_path: Path) -> None:
    """Quotes and backslashes in the file mean what sh takes them for."""
    file = tmp_path / "backend.env"
    file.write_text(FULL.replace("; a comment too\n", ""))
    script = '. "$1"; printf "%s\\n%s" "$WSFRONT_SOCKETS" "$OTHER"'
    shell = subprocess.run(["sh", "-c", script, "sh", file], capture_output=True, text=True, check=True)
    mine = read_env_file(file)
    assert shell.stdout == f"{mine['WSFRONT_SOCKETS']}\n{mine['OTHER']}"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:0", Address("127.0.0.1", 0)),
        ("[::1]:8888", Address("::1", 8888)),
        ("backend.example:80", Address("backend.example", 80)),
        ("unix:/run/a b.sock", Address(path="/run/a b.sock")),
    ],
)
def test_address(text: str, address: Address) -> None:
    """An address reads as its text, and writes as it."""
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "8888", "::1:8888", "a:65536", "a:-1", "unix:x", "http://a:1", "a b:1", "[x:1"]
)
def test_no_address(text: str) -> None:
    """What is no address is refused with the forms that are."""
    with pytest.raises(ValueError, match="expected host:port"):
        parse_address(text)


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("WSFRONT_LISTEN", "8888", "expected host:port"),
        ("WSFRONT_PING_INTERVAL", "soon", "from 1 to 3600"),
        ("WSFRONT_PING_INTERVAL", "nan", "from 1 to 3600"),
        ("WSFRONT_CONNECTIONS", "0", "from 1 to"),
        ("WSFRONT_CONNECTIONS", "1.5", "from 1 to"),
        ("WSFRONT_DRAIN_SECONDS", "-1", "from 0 to"),
        ("WSFRONT_SOCKETS", "[", "expected [{"),
        ("WSFRONT_SOCKETS", "[]", "at least one"),
        ("WSFRONT_SOCKETS", '[{"path":"ws","public_path":"/"}]', "'ws' is no path"),
        ("WSFRONT_SOCKETS", '[{"path":"/","public_path":"/?"}]', "'/?' is no path"),
        ("WSFRONT_SOCKETS", '[{"path":"/","public_path":"/","x":1}]', "unknown field `x`"),
        ("WSFRONT_SOCKETS", '[{"path":"/","public_path":"/","origins":"all"}]', "$[0].origins"),
        (
            "WSFRONT_SOCKETS",
            '[{"path":"/","public_path":"/","origins":["a.example"]}]',
            "'a.example' is no origin",
        ),
    ],
)
def test_fault(key: str, text: str, expected: str) -> None:
    """A fault names its setting and what would be right."""
    with pytest.raises(SettingsError) as told:
        load({key: text})
    (line,) = told.value.faults
    assert line.startswith(f"{key}: ")
    assert expected in line
    assert "\n" not in line


def test_all_faults_at_once() -> None:
    """Several faults are told together."""
    with pytest.raises(SettingsError) as told:
        load({"WSFRONT_LISTEN": "x", "WSFRONT_CONNECTIONS": "x"})
    assert len(told.value.faults) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            b'WSFRONT_CONECTIONS="5"',
            ":1: unknown setting WSFRONT_CONECTIONS; did you mean WSFRONT_CONNECTIONS?",
        ),
        (b"\nWSFRONT_LISTEN", ':2: expected KEY="value"'),
        (b'WSFRONT_LISTEN="a', ':1: expected KEY="value"'),
        (b"A=$HOME", ':1: expected KEY="value"'),
        (b"A=\xff", "not UTF-8"),
    ],
)
def test_env_file_fault(tmp_path: Path, text: bytes, expected: str) -> None:
    """A fault in the file names the file and the line."""
    file = tmp_path / "backend.env"
    file.write_bytes(text)
    with pytest.raises(SettingsError) as told:
        read_env_file(file)
    assert str(told.value).startswith(str(file))
    assert expected in str(told.value)


def test_no_env_file(tmp_path: Path) -> None:
    """A file that is not there, or is a folder, is a fault with its name."""
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(SettingsError, match=str(path)):
            read_env_file(path)


def test_bus(tmp_path: Path) -> None:
    """The bus is memory or redis; of the password only the file is named, and nothing prints what is in it."""
    secret = tmp_path / "password"
    secret.write_text("a secret\n")
    settings = load(
        {"WSFRONT_BUS": "redis", "WSFRONT_REDIS": "[::1]:1", "WSFRONT_REDIS_PASSWORD_FILE": str(secret)}
    )
    assert (settings.bus, settings.redis, settings.redis_password) == (
        "redis",
        Address("::1", 1),
        "a secret",
    )
    assert "a secret" not in repr(settings)
    assert load({}).bus == "memory"


def test_bus_faults(tmp_path: Path) -> None:
    """A bus that there is none of, an address that is none and a password that cannot be read are each told."""
    empty = tmp_path / "empty"
    empty.write_text("\n")
    for name in (empty, tmp_path / "missing"):
        with pytest.raises(SettingsError) as caught:
            load({"WSFRONT_BUS": "kafka", "WSFRONT_REDIS": "here", "WSFRONT_REDIS_PASSWORD_FILE": str(name)})
        keys = [fault.partition(":")[0] for fault in caught.value.faults]
        assert keys == ["WSFRONT_BUS", "WSFRONT_REDIS", "WSFRONT_REDIS_PASSWORD_FILE"]
