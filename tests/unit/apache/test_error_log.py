"""Apache's error log as data: what is a fault, and what is not."""

import pytest

from apache.error_log import faults, parse

STAMP = "[Mon Nov 23 04:20:00.123456 2026]"


@pytest.mark.parametrize(
    ("text", "level", "number"),
    [
        (f"{STAMP} [mpm_event:notice] [pid 1:tid 2] AH00489: Apache configured", "notice", "AH00489"),
        (
            f"{STAMP} [proxy:error] [pid 1:tid 2] (111)Connection refused: AH00957: http: attempt",
            "error",
            "AH00957",
        ),
        (f"{STAMP} [ssl:warn] [pid 1] AH01909: a.example:443:0 server certificate", "warn", "AH01909"),
        (
            f"{STAMP} [core:alert] [pid 1:tid 2] [client 127.0.0.1:5] /a/.htaccess: not allowed here",
            "alert",
            "",
        ),
        (f"{STAMP} [-:trace8] [pid 1:tid 2] x", "trace8", ""),
        ("apache2: Syntax error on line 1", "other", ""),
        ("AH00112: Warning: DocumentRoot [/a] does not exist", "other", "AH00112"),
    ],
)
def test_line(text: str, level: str, number: str) -> None:
    """A line has a level and, where Apache gives one, a number; what is not of its form is `other`."""
    (line,) = parse(f"\n{text}\n\n")
    assert (line.level, line.number) == (level, number)
    assert text.endswith(line.text)


def test_faults() -> None:
    """Warnings, errors and unknown lines are faults, unless harmless or announced."""
    levels = ("trace1", "debug", "info", "notice", "warn", "error", "crit", "alert", "emerg")
    lines = parse(
        "".join(f"{STAMP} [a:{level}] [pid 1:tid 2] AH1000{n}: x\n" for n, level in enumerate(levels))
    )
    assert [line.level for line in faults(lines)] == ["warn", "error", "crit", "alert", "emerg"]
    assert [line.level for line in faults(lines, ["AH10005"])] == ["warn", "crit", "alert", "emerg"]
    assert faults(parse(f"{STAMP} [ssl:warn] [pid 1] AH01882: Init: built against OpenSSL 3\n")) == []
    assert faults(parse("Segmentation fault\n"))
