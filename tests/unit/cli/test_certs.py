"""The verb `certs` makes, shows and explains, and answers bad use in one line."""

import argparse
import io
import json
from pathlib import Path

import pytest

from cli import certs
from cli.errors import RunFault, UsageFault
from cli.paths import state_directory


def run(*arguments: str | Path) -> int:
    """Run the verb as the front door does."""
    parser = argparse.ArgumentParser()
    certs.configure(parser)
    return certs.run(parser.parse_args([str(one) for one in arguments]))


def test_state_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """State is where the XDG specification says; a relative setting is ignored."""
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    assert state_directory() == Path("/state/wsfront")
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    assert state_directory() == Path("/home/somebody/.local/state/wsfront")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert state_directory() == Path("/home/somebody/.local/state/wsfront")


def test_default_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without --dir all goes below the user's state, and the commands suggested need no --dir either."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert run("ca") == 0
    assert (tmp_path / "wsfront/certs/ca/ca.pem").exists()
    assert "to trust it: ./wsfront certs trust\n" in capsys.readouterr().out


def test_ca(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The authority is made once and shown each time."""
    assert run("ca", "--dir", tmp_path / "my store") == 0
    made = capsys.readouterr().out
    assert made.startswith("made\n")
    assert f"certs trust --dir '{tmp_path}/my store'" in made
    assert "may sign     localhost, 127.0.0.0/8, ::1/128, and what is below" in made
    assert run("ca", "--dir", tmp_path / "my store") == 0
    assert capsys.readouterr().out.startswith("there already\n")
    assert run("ca", "--json", "--dir", tmp_path / "my store") == 0
    assert json.loads(capsys.readouterr().out) == {"ca": str(tmp_path / "my store/ca/ca.pem"), "made": False}


def test_issue_tells_scripts_where_the_files_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As JSON: the files, and whether something was made."""
    told = []
    for _ in range(2):
        assert run("issue", "chat.example.org", "--json", "--dir", tmp_path) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert [one["renewed"] for one in told] == [True, False]
    assert told[0]["key"] == str(tmp_path / "sites/chat.example.org/key.pem")
    assert told[0] | {"renewed": False, "new_ca": False} == told[1]


def test_verify_says_nothing_of_a_good_certificate_and_all_of_a_bad_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate is judged for names, from a file or from standard input, without its key."""
    run("issue", "chat.example.org", "--dir", tmp_path)
    certificate = tmp_path / "sites/chat.example.org/certificate.pem"
    capsys.readouterr()
    assert run("verify", certificate, "chat.example.org") == 0
    assert capsys.readouterr().out == ""
    with pytest.raises(RunFault, match=r"certificate\.pem: .*other\.example\.org"):
        run("verify", certificate, "other.example.org")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(certificate.read_bytes())))
    with pytest.raises(RunFault, match=r"^standard input: .*other\.example\.org"):
        run("verify", "-", "other.example.org")


def test_issue(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names are issued for, Unicode as A-labels; once more changes nothing; a new authority is told."""
    assert run("issue", "chat.example.org", "*.münchen.de", "--dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert "names        chat.example.org, *.xn--mnchen-3ya.de, localhost, 127.0.0.1, ::1\n" in said
    assert "The authority is new" in said
    assert "It replaces one" not in said
    assert (tmp_path / "sites/chat.example.org/certificate.pem").exists()
    assert run("issue", "chat.example.org", "*.münchen.de", "--dir", tmp_path) == 0
    assert capsys.readouterr().out.startswith("good as it is\n")
    assert run("issue", "other.example.org", "--dir", tmp_path) == 0
    assert "It replaces one; where that was trusted, take it back: " in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a b", "ä ö", "*.org", "ü..de", "a\nb", "../x"])
def test_issue_bad_name(tmp_path: Path, name: str) -> None:
    """A name that no certificate can carry is wrong use, and makes nothing."""
    with pytest.raises(UsageFault) as caught:
        run("issue", name, "--dir", tmp_path / "store")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All certificates of the store are shown, or those of a file given."""
    run("issue", "a.example", "--dir", tmp_path)
    capsys.readouterr()
    assert run("show", "--dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert "ca/ca.pem\n" in said
    assert "names        a.example, localhost, 127.0.0.1, ::1\n" in said
    assert "days left\n" in said
    assert run("show", tmp_path / "ca/ca.pem", "--dir", tmp_path / "none") == 0
    assert "wsfront local authority" in capsys.readouterr().out


def test_show_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For scripts the same facts come as JSON, and an empty store as an empty list."""
    assert run("show", "--json", "--dir", tmp_path / "none") == 0
    assert json.loads(capsys.readouterr().out) == {"certificates": []}
    run("issue", "a.example", "--dir", tmp_path)
    capsys.readouterr()
    assert run("show", "--json", "--dir", tmp_path) == 0
    authority, leaf = json.loads(capsys.readouterr().out)["certificates"]
    assert authority["authority"] is True
    assert authority["permitted"] == ["localhost", "127.0.0.0/8", "::1/128", "a.example"]
    assert leaf["file"] == str(tmp_path / "sites/a.example/certificate.pem")
    assert leaf["names"] == ["a.example", "localhost", "127.0.0.1", "::1"]
    assert leaf["days_left"] == 89
    assert leaf["key"] == "ECDSA P-256"
    assert leaf["issuer"] == authority["subject"]


def test_show_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty store says what to type."""
    assert run("show", "--dir", tmp_path) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "./wsfront certs issue NAME" in said.err


def test_show_bad_file(tmp_path: Path) -> None:
    """A file without a certificate is wrong use."""
    with pytest.raises(UsageFault, match="there is no such file"):
        run("show", tmp_path / "none.pem")


def test_broken_store(tmp_path: Path) -> None:
    """A broken store is a failed run."""
    run("ca", "--dir", tmp_path)
    (tmp_path / "ca/ca.pem").write_text("")
    with pytest.raises(RunFault, match=r"ca.pem: is empty"):
        run("issue", "a.example", "--dir", tmp_path)


def test_trust(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trusting is explained with fingerprint and path for every system, or for the one named; nothing is made."""
    run("ca", "--dir", tmp_path)
    capsys.readouterr()
    assert run("trust", "--dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert "SHA-256  " in said
    assert all(word in said for word in ("Debian", "Fedora", "Arch", "macOS", "Windows", "Firefox", "Chrome"))
    assert all(word in said for word in ("Android", "iOS", "curl", "Python", "Node"))
    assert said.endswith("Nothing has been changed; paste what you want.\n")
    assert run("trust", "--system", "node", "--dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert f"  $ export NODE_EXTRA_CA_CERTS={tmp_path}/ca/ca.pem\n" in said
    assert "Debian" not in said


def test_trust_nothing(tmp_path: Path) -> None:
    """Without an authority there is nothing to trust, and nothing is made for it."""
    with pytest.raises(UsageFault, match=r"no authority; make it: \./wsfront certs ca --dir"):
        run("trust", "--dir", tmp_path / "none")
    with pytest.raises(UsageFault, match="no authority; nothing is to be undone"):
        run("untrust", "--dir", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_untrust_former(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Taking trust back covers the authorities that were replaced too."""
    run("ca", "--dir", tmp_path)
    run("issue", "a.example", "--dir", tmp_path)
    capsys.readouterr()
    assert run("untrust", "--system", "chrome", "--dir", tmp_path) == 0
    said = capsys.readouterr().out
    assert said.count("certutil -D") == 2
    assert "ca/former-" in said
