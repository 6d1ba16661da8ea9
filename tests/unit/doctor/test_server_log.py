"""The end of Apache's error logs, as data."""

import time
from pathlib import Path

from doctor.server_log import read_logs

NOW = time.mktime((2026, 11, 23, 14, 0, 0, 0, 0, -1))
BEGUN = "AH00489: Apache/2.4.71 configured -- resuming normal operations"
START = f"[Mon Nov 23 13:00:00.500000 2026] [mpm_event:notice] [pid 1:tid 1] {BEGUN}\n"
FULL = "[Mon Nov 23 {clock} 2026] [mpm_event:error] [pid 1:tid 1] AH00484: server reached MaxRequestWorkers setting\n"
ASKED = "[Mon Nov 23 13:30:00.000000 2026] [mpm_event:notice] [pid 1:tid 1] AH00493: SIGUSR1 received.  Doing graceful restart\n"


def started(clock: int) -> float:
    """Return a time of that day."""
    return time.mktime((2026, 11, 23, clock, 0, 0, 0, 0, -1))


def written(folder: Path, text: str) -> str:
    """Write a log and return its name."""
    (file := folder / "error.log").write_text(text)
    return str(file)


def test_numbers_since_the_last_start(tmp_path: Path) -> None:
    """A number is counted, with its last words, and what was before the last start is left out."""
    text = FULL.format(clock="12:00:00") + START + FULL.format(clock="13:01:00") * 2
    log, unread = read_logs([written(tmp_path, text)], started=started(13), now=NOW)
    assert unread == []
    (mention,) = log.mentions
    assert (mention.number, mention.count) == ("AH00484", 2)
    assert mention.words == "server reached MaxRequestWorkers setting"
    assert log.reloads == ()


def test_numbers_of_yesterday(tmp_path: Path) -> None:
    """What is older than a day says nothing of today."""
    text = FULL.format(clock="13:01:00").replace("Nov 23", "Nov 21")
    assert read_logs([written(tmp_path, text)], started=0, now=NOW)[0].mentions == ()


def test_reloads(tmp_path: Path) -> None:
    """A reload is known by the word of it; where logs were rotated, by a generation that begins long after the start."""
    begun = START.replace("13:00:00.5", "13:30:00.9")
    log, _ = read_logs([written(tmp_path, START + ASKED + begun)], started=started(13), now=NOW)
    assert len(log.reloads) == 1
    log, _ = read_logs([written(tmp_path, begun)], started=started(13), now=NOW)
    assert len(log.reloads) == 1


def test_override_that_is_not_granted(tmp_path: Path) -> None:
    """The file of a directive that AllowOverride does not admit is named once."""
    text = "[Mon Nov 23 13:01:00 2026] [core:alert] [pid 1] [client ::1:1] /srv/.htaccess: RewriteEngine not allowed here\n"
    assert read_logs([written(tmp_path, text * 2)], started=0, now=NOW)[0].overrides == ("/srv/.htaccess",)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """A log that is missing, or is none, is told of; bytes that are no lines are passed over."""
    (tmp_path / "folder").mkdir()
    (garbage := tmp_path / "garbage").write_bytes(
        bytes(range(256)) * 64 + b"\n[Mon Foo 99 99:99:99 2026] AH00484: x\n"
    )
    log, unread = read_logs(
        [str(tmp_path / "none"), str(tmp_path / "folder"), str(garbage)], started=0, now=NOW
    )
    assert log.mentions == ()
    assert len(unread) == 2
