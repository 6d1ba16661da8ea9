"""`doctor`: what it prints, and how it ends."""

import json
import re
from pathlib import Path

import jsonschema  # type: ignore[import-untyped] # it brings no types
import pytest

from apache.httpd import free_ports
from doctor.examination import Check, Examination, as_json
from doctor.findings import CATALOGUE, Finding
from tests.scripted import answering, scripted
from tests.unit.cli.commands import ROOT, environment, wsfront

SCHEMA = json.loads((ROOT / "doctor/examination.schema.json").read_text(encoding="utf-8"))


def refused() -> tuple[str, int]:
    """Return an address where nobody listens, and its port."""
    (port,) = free_ports(1)
    return f"wss://127.0.0.1:{port}/ws/", port


def test_for_people() -> None:
    """Each check has its mark, each finding its reason and remedy, in 80 columns and without colour where nobody sees it."""
    url, port = refused()
    done = wsfront("doctor", url)
    assert (done.returncode, done.stderr) == (1, "")
    assert f"✗ connection   port {port} of 127.0.0.1: refused" in done.stdout
    assert "\nerror: port-refused\n" in done.stdout
    assert "    Instead: " in done.stdout
    assert re.search(r"^1 error in \d\.\d s$", done.stdout.splitlines()[-1])
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\033" not in done.stdout


def test_without_unicode() -> None:
    """Where standard output takes ASCII alone, the marks are of ASCII."""
    done = wsfront("doctor", refused()[0], env=environment(PYTHONIOENCODING="ascii"))
    assert (done.returncode, done.stderr) == (1, "")
    assert "x connection" in done.stdout


def test_json() -> None:
    """With --json it is one object, as the schema has it, with the same status."""
    (port,) = free_ports(1)
    with scripted(port, answering("426 Upgrade Required")):
        done = wsfront("doctor", "--json", f"ws://127.0.0.1:{port}/ws/")
    assert (done.returncode, done.stderr) == (1, "")
    told = json.loads(done.stdout)
    jsonschema.validate(told, SCHEMA)
    assert [each["id"] for each in told["findings"]] == ["upgrade-not-forwarded"]
    assert told["findings"][0]["symptoms"]


def test_schema_is_strict() -> None:
    """The schema names every key there is, so that a key added is a key described."""
    examination = Examination("x", [Check("TLS", "good")], [Finding("port-refused", "x", 0, "y")], ["z"])
    told = as_json(examination, 0.1)
    jsonschema.validate(told, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told | {"more": 1}, SCHEMA)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "one of URL, --server and --explain ID"),
        (("wss://example.org/", "--server"), "one of URL, --server and --explain ID"),
        (("example.org/ws",), "'example.org/ws' is no URL: write wss://HOST/PATH"),
        (("wss://localhost/", "--ca", "/nowhere.pem"), "--ca /nowhere.pem: No such file or directory"),
        (("wss://localhost/", "--ca", str(ROOT / "README.md")), "no certificates"),
        (("--explain", "port-refuse"), "did you mean port-refused?"),
        (("--explain", "xyzzy"), "--explain all lists them"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], words: str) -> None:
    """What cannot be done is said in one line, with its status."""
    done = wsfront("doctor", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "x", "1e9"])
def test_no_time(seconds: str) -> None:
    """Times that are none are refused below the usage line."""
    done = wsfront("doctor", "wss://localhost/", f"--idle={seconds}")
    assert done.returncode == 2
    assert "is no time: a number of seconds" in done.stderr.splitlines()[-1]


def test_explain() -> None:
    """A finding is told in full; all of them are listed."""
    done = wsfront("doctor", "--explain", "rewrite-connection-unanchored")
    assert (done.returncode, done.stderr) == (0, "")
    entry = CATALOGUE["rewrite-connection-unanchored"]
    told = " ".join(done.stdout.split())
    for words in (entry.severity, entry.title[1:], entry.cause, entry.remedy):
        assert " ".join(words.split()) in told
    everything = wsfront("doctor", "--explain", "all").stdout
    assert [line.partition(":")[0] for line in everything.splitlines()] == list(CATALOGUE)


def test_machine_without_apache(tmp_path: Path) -> None:
    """With --server a machine without Apache is told in one line."""
    done = wsfront("doctor", "--server", "--apache", tmp_path / "apache2")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
