"""Asking an Apache of itself, where it is a script that answers as one would."""

import os
from pathlib import Path

import pytest

from doctor.server import examine
from doctor.server_apache import ServerError, _kept, dump, find, main_file

ANSWERS = """#!/bin/sh
case "$*" in
*-v*) echo "Server version: Apache/2.4.71 (Debian)" ;;
*-V*) echo ' -D HTTPD_ROOT="/etc/apache2"'; echo ' -D SERVER_CONFIG_FILE="apache2.conf"' ;;
*) {} ;;
esac
"""


def script(folder: Path, rest: str) -> str:
    """Write a program that answers as an Apache, and else does this."""
    (program := folder / "apache2").write_text(ANSWERS.format(rest))
    program.chmod(0o755)
    return str(program)


def test_arguments_that_choose_a_configuration() -> None:
    """What starts, stops or keeps in the foreground is left out; what chooses the configuration is kept."""
    words = [
        "/usr/sbin/apache2",
        "-d",
        "/srv",
        "-f/a.conf",
        "-DFOREGROUND",
        "-D",
        "SSL",
        "-k",
        "start",
        "-X",
        "-e",
        "info",
    ]
    assert _kept(words) == ["-d", "/srv", "-f", "/a.conf", "-D", "SSL"]


def test_words_of_a_refusal(tmp_path: Path) -> None:
    """Apache's own words are kept, without what it says of its name."""
    program = script(
        tmp_path, "echo 'AH00558: no name' >&2; echo 'AH00526: Syntax error on line 3 of /a:' >&2; exit 1"
    )
    found = find(program, "/a.conf")
    assert (found.version, main_file(found)) == ("2.4.71", "/a.conf")
    assert dump(found).refused == "AH00526: Syntax error on line 3 of /a:"


def test_file_that_only_root_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Apache refuses for want of rights that this user does not have, that is no finding."""
    words = "SSLCertificateKeyFile: file '/etc/ssl/private/a.key' does not exist or is empty"
    program = script(tmp_path, f'echo "{words}" >&2; exit 1')
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ServerError, match="as root"):
        examine(apache=program, config="/a.conf")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert [each.id for each in examine(apache=program, config="/a.conf").findings] == ["server-refused"]


def test_apache_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs while it reads its configuration is given up."""
    monkeypatch.setattr("doctor.server_apache._SECONDS", 0.2)
    program = script(tmp_path, "exec sleep 20")
    with pytest.raises(ServerError, match="does not answer within"):
        examine(apache=program, config="/a.conf")


def test_garbage(tmp_path: Path) -> None:
    """Whatever it says, nothing but what is known of it follows."""
    program = script(tmp_path, r"head -c 100000 /dev/urandom; printf '\nServerRoot: \"/srv\"\n'")
    found = dump(find(program, "/a.conf"))
    assert (found.refused, found.user) == ("", None)
