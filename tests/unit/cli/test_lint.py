"""`lint`: what it prints, what it changes, and how it ends."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from apache import block
from doctor.findings import CATALOGUE, SEVERITIES
from tests.unit.cli.commands import COMMAND, ROOT, environment, wsfront
from tests.unit.cli.test_htaccess import NOBODY, SEED, as_root, assert_refused, state
from tests.waiting import SECOND

WHOLE_SITE = (ROOT / "apache/htaccess/whole-site/.htaccess").read_text(encoding="utf-8")
FAULTS = {
    "rewrite-connection-unanchored",
    "rewrite-upgrade-unanchored",
    "rewrite-method-unchecked",
    "rewrite-dead-variables",
    "origin-unchecked",
}


@pytest.fixture
def seed(tmp_path: Path) -> Path:
    """Return an .htaccess with the rule that people copy, and something of their own."""
    path = tmp_path / ".htaccess"
    path.write_bytes(SEED + b"Options -Indexes\n")
    return path


def test_copied_rule_is_explained(seed: Path) -> None:
    """Each fault of the copied rule has its line, its reason, and the safe form once; lines for people fit 80 columns."""
    done = wsfront("lint", seed)
    assert (done.returncode, done.stderr) == (1, "")
    told = re.findall(rf"^{seed}:(\d): \w+: ([\w-]+)$", done.stdout, re.MULTILINE)
    assert {name for _, name in told} == FAULTS
    assert ("2", "rewrite-connection-unanchored") in told
    assert ("3", "rewrite-upgrade-unanchored") in told
    assert done.stdout.count("\n+++ ") == 1
    prose = re.sub(r"^--- .*?\n\n", "", done.stdout, flags=re.MULTILINE | re.DOTALL)
    assert max(len(line) for line in prose.splitlines() if str(seed) not in line) <= 80
    assert "\033" not in done.stdout


def test_without_rewrite_engine(seed: Path) -> None:
    """The three lines alone sleep, and this is said too."""
    seed.write_bytes(b"".join(SEED.splitlines(keepends=True)[1:]))
    done = wsfront("lint", "--json", seed)
    assert {each["id"] for each in json.loads(done.stdout)["findings"]} == FAULTS | {"rewrite-engine-missing"}


def test_lines_to_write_are_printed(tmp_path: Path) -> None:
    """Where no change of a file says it, the lines to write do."""
    (file := tmp_path / "a.conf").write_text(
        "Listen 80\nLoadModule proxy_module /m/mod_proxy.so\nLoadModule proxy_wstunnel_module /m/mod_proxy_wstunnel.so\n"
    )
    line = "LoadModule proxy_http_module /m/mod_proxy_http.so"
    assert f"\n        {line}\n" in wsfront("lint", file).stdout
    (found,) = json.loads(wsfront("lint", "--json", file).stdout)["findings"]
    assert (found["id"], found["instead"], found["diff"]) == ("websocket-legacy", line, None)


def test_fix_writes_the_rendered_rules(seed: Path) -> None:
    """With --fix a block with the rules of whole-site stands there, what was there is kept, and a second run changes nothing."""
    before = seed.read_bytes()
    done = wsfront("lint", "--fix", seed)
    assert (done.returncode, done.stdout) == (0, "nothing found in 1 file\n")
    after = seed.read_bytes()
    assert WHOLE_SITE.encode() in after
    assert block.remove(after) == b"RewriteEngine On\nOptions -Indexes\n"
    assert (seed.parent / ".htaccess.wsfront-backup").read_bytes() == before
    unchanged = list(state(seed.parent))
    assert wsfront("lint", "--fix", seed).returncode == 0
    assert list(state(seed.parent)) == unchanged


def test_fix_says_what_it_left(seed: Path) -> None:
    """A rule that means more than a tunnel is left as it is, with the reason."""
    seed.write_bytes(SEED.replace(b"RewriteRule", b"RewriteCond %{REMOTE_ADDR} ^10\\.\nRewriteRule"))
    before = list(state(seed.parent))
    done = wsfront("lint", "--fix", seed)
    assert done.returncode == 1
    assert "Left to you: it has a condition of its own, on %{REMOTE_ADDR}." in done.stdout
    assert list(state(seed.parent)) == before


def test_fix_in_a_vhost(tmp_path: Path) -> None:
    """In a vhost the rendered rules stand where the copied one stood, as far in; through a link the file itself is changed."""
    (tmp_path / "sites-available").mkdir()
    (tmp_path / "sites-enabled").mkdir()
    site = tmp_path / "sites-available/a.conf"
    rule = SEED.decode().replace("\n", "\n    ").rstrip()
    site.write_text(f"<VirtualHost *:80>\n    ServerName a\n    {rule}\n</VirtualHost>\n")
    (tmp_path / "sites-enabled/a.conf").symlink_to("../sites-available/a.conf")
    done = wsfront("lint", "--fix", tmp_path / "sites-enabled/a.conf")
    assert done.returncode == 0, done
    assert (tmp_path / "sites-enabled/a.conf").is_symlink()
    expected = WHOLE_SITE.partition("RewriteEngine On\n")[2].strip("\n")
    body = "".join(f"    {line}\n" if line else "\n" for line in expected.split("\n"))
    head = "<VirtualHost *:80>\n    ServerName a\n    RewriteEngine On\n"
    assert site.read_text() == f"{head}{body}</VirtualHost>\n"


def test_fix_keeps_what_was_there_once(tmp_path: Path) -> None:
    """A file named by its link as well is changed once, and its copy is what it was; with one that is read-only none is changed."""
    text = "<VirtualHost *:80>\nProxyRequests On\nProxyPass /ws/ ws://127.0.0.1:1/\n</VirtualHost>\n"
    (file := tmp_path / "a.conf").write_text(text)
    (tmp_path / "link.conf").symlink_to("a.conf")
    (other := tmp_path / "b.conf").write_text(text)
    other.chmod(0o444)
    assert_refused(wsfront("lint", "--fix", file, other), "is read-only")
    assert file.read_text() == text
    assert wsfront("lint", "--fix", file, tmp_path / "link.conf").returncode == 1
    assert "ProxyRequests Off\n" in file.read_text()
    assert (tmp_path / ".hta.conf.wsfront-backup").read_text() == text


def test_json(seed: Path) -> None:
    """The object has the keys that the README tells, and no other; its diffs are those that patch takes."""
    told = json.loads(wsfront("lint", "--json", seed).stdout)
    readme = (
        (ROOT / "doctor/README.md")
        .read_text(encoding="utf-8")
        .partition("## The JSON")[2]
        .partition("\n## ")[0]
    )
    first, second = readme.split("| Key of a finding |")
    assert set(told) == set(
        re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", first, re.MULTILINE)))
    )
    keys = set(re.findall(r"`([a-z_]+)`", "".join(re.findall(r"^\| (`.*?) \|", second, re.MULTILINE))))
    for finding in told["findings"]:
        assert set(finding) == keys
        assert finding["id"] in CATALOGUE
        assert finding["severity"] in SEVERITIES
        assert finding["diff"].startswith("--- ")
    assert (told["files"], told["fixed"], told["not_checked"]) == ([str(seed)], [], [])


def test_clean_file(tmp_path: Path) -> None:
    """Nothing found is status 0 and one line."""
    (tmp_path / "a.conf").write_text("Timeout 60\n")
    done = wsfront("lint", tmp_path / "a.conf")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing found in 1 file\n", "")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """What is not there, a folder, a pipe: status 2 and one line; beside a good file too."""
    (tmp_path / "a.conf").write_text("ProxyRequests On\n")
    os.mkfifo(tmp_path / "pipe")
    for name, words in (
        ("nowhere", "there is no such file"),
        ("", "is a folder"),
        ("pipe", "is no regular file"),
    ):
        assert_refused(
            wsfront("lint", tmp_path / "a.conf", tmp_path / name), f"wsfront: {tmp_path / name}: {words}"
        )
        assert_refused(wsfront("lint", "--fix", "--json", tmp_path / name), words)


@as_root
def test_without_permission(tmp_path: Path) -> None:
    """A file that is not ours to read is named; one that is included is said not to be checked."""
    tmp_path.chmod(0o755)
    secret = tmp_path / "secret.conf"
    secret.write_text("ProxyRequests On\n")
    os.chown(secret, NOBODY, NOBODY)
    secret.chmod(0o600)
    (tmp_path / "a.conf").write_text(f"Include {secret}\n")
    bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *COMMAND, "lint"]

    def without_privileges(path: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*bare, path], capture_output=True, text=True, check=False, cwd=ROOT, timeout=60 * SECOND
        )

    assert_refused(without_privileges(secret), "Permission denied")
    done = without_privileges(tmp_path / "a.conf")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Permission denied" in " ".join(done.stdout.split())


def test_text_in_a_file_is_not_told_to_the_terminal(tmp_path: Path) -> None:
    """What a file holds cannot move the cursor."""
    (tmp_path / "a.conf").write_text("SSLProtocol TLSv1 \x9b2J\u202e\n")
    assert not re.search("[\x1b\x9b\u202e]", wsfront("lint", tmp_path / "a.conf").stdout)


def test_colour_is_for_terminals(seed: Path) -> None:
    """On a terminal severities are coloured, unless NO_COLOR is set."""
    command = f"{COMMAND[0]} -m cli lint {seed}"
    for more, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        surroundings = {key: value for key, value in environment(**more).items() if key != "NO_COLOR" or more}
        done = subprocess.run(
            ["script", "-qec", command, "/dev/null"],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=surroundings,
            stdin=subprocess.DEVNULL,
            timeout=60 * SECOND,
        )
        assert ("\033[33mwarning" in done.stdout) == coloured
