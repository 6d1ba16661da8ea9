"""What all verbs share: help, wrong use, the schema, and who has a port."""

import importlib
import os
import socket
import subprocess
import sys

import pytest

from apache.description import schema
from apache.httpd import free_ports
from cli.__main__ import VERBS
from cli.errors import RunFault
from cli.ports import require_free
from tests.unit.cli.commands import ROOT, wsfront


def test_help_names_every_verb() -> None:
    """The overview has a line for each verb."""
    done = wsfront("--help")
    assert done.returncode == 0
    lines = [line.split() for line in done.stdout.splitlines()]
    for verb in VERBS:
        assert any(line[:1] == [verb] and len(line) > 3 for line in lines), verb


def test_readme_tells_what_help_tells() -> None:
    """The README's table has each verb, with the words of --help, and no other."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = {
        verb: f"| `./wsfront {verb}` | {importlib.import_module(f'cli.{verb}').SUMMARY} |" for verb in VERBS
    }
    assert [line for line in readme.splitlines() if line.startswith("| `./wsfront ")] == list(told.values())


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "test"])
def test_help_of_a_verb(verb: str) -> None:
    """Each verb explains itself."""
    done = wsfront(verb, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


@pytest.mark.parametrize(
    "arguments", [(), ("bogus",), ("up", "--bogus"), ("up", "--https-port", "0"), ("render", "--layout", "x")]
)
def test_wrong_use(arguments: tuple[str, ...]) -> None:
    """Wrong use is told below the usage line, with its status and without a traceback."""
    done = wsfront(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")
    assert ": error: " in done.stderr.splitlines()[-1]


def test_schema() -> None:
    """The schema is printed as it is committed."""
    done = wsfront("schema")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == schema() == (ROOT / "apache" / "wsfront.schema.json").read_text(encoding="utf-8")


def test_free_port_passes() -> None:
    """A port that nobody has is no fault."""
    (port,) = free_ports(1)
    require_free(port, "--https-port")


@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::1")]  # noqa: S104 (to be refused)
)  # fmt: skip
def test_taken_port_is_named(family: int, host: str) -> None:
    """Whoever listens is named by process, on any address that covers loopback."""
    with socket.socket(family) as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind((host, 0))
        except OSError:
            pytest.skip(f"{host} is missing; enable IPv6 on loopback")
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            RunFault, match=rf"port {port} is in use by process {os.getpid()} \(.+\): .*--http-port"
        ):
            require_free(port, "--http-port")


def test_only_the_verbs_own_libraries_are_loaded() -> None:
    """A verb that needs no model does not load pydantic: a warm start stays short."""
    code = "import sys; from cli.__main__ import main; main(['serve', '--help'])"
    program = f"import atexit, sys; atexit.register(lambda: sys.stderr.write(' '.join(sys.modules))); {code}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    loaded = set(done.stderr.split())
    assert done.returncode == 0
    assert "server.app" in loaded
    assert not {"pydantic", "jinja2", "cryptography"} & loaded
