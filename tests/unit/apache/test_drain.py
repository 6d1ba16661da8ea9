"""The script that has the backend's sockets closed before Apache ends: with a systemctl that says what a test wants."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.waiting import SECOND

SCRIPT = Path(__file__).parents[3] / "ansible/roles/apache/files/drain"

SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$LOG"
case $1 in
is-active) exit "$ACTIVE" ;;
show) head -n1 "$STATUS" && sed -i '2,$!d' "$STATUS" ;;
esac
"""


def drained(folder: Path, *statuses: str, active: bool = True, seconds: int = 10) -> list[str]:
    """Run the script and return what it asked of systemctl.

    Args:
        folder: an empty one.
        statuses: what the backend says of itself, one after another.
        active: whether there is one.
        seconds: how long it may take.
    """
    program, log, status = folder / "systemctl", folder / "log", folder / "status"
    program.write_text(SYSTEMCTL, encoding="utf-8")
    program.chmod(0o755)
    status.write_text("".join(f"{each}\n" for each in statuses), encoding="utf-8")
    environment = os.environ | {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "LOG": str(log),
        "STATUS": str(status),
        "ACTIVE": "0" if active else "3",
    }
    done = subprocess.run(
        [SCRIPT, str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=20 * SECOND,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return [line.split()[0] for line in log.read_text(encoding="utf-8").splitlines()]


def test_waits_until_nobody_is_left(tmp_path: Path) -> None:
    """It tells the backend once, and ends as soon as that holds no connection."""
    assert drained(tmp_path, "2 connections", "0 connections") == ["is-active", "kill", "show", "show"]


def test_a_backend_that_is_not_there(tmp_path: Path) -> None:
    """Where our backend is not running, nothing is waited for."""
    assert drained(tmp_path, active=False) == ["is-active"]


def test_latecomers_are_sent_away_too(tmp_path: Path) -> None:
    """Who came in while the listeners closed is told in the next round."""
    told = drained(tmp_path, *["1 connections"] * 3, "0 connections")
    assert told == ["is-active", "kill", "show", "show", "show", "kill", "show"]


@pytest.mark.parametrize("status", ["5 connections", ""])
def test_ends_in_bounded_time(tmp_path: Path, status: str) -> None:
    """A backend that never gets there, or says nothing, holds Apache up for the seconds given."""
    assert drained(tmp_path, *[status] * 5, seconds=2).count("show") == 2
