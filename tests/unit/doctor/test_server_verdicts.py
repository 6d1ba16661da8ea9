"""What follows from what was seen, without a machine."""

import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest

from apache import versions
from doctor.findings import CATALOGUE
from doctor.findings.logged import LOGGED
from doctor.reading import Directive
from doctor.server_answers import Answer
from doctor.server_apache import Apache, Dump
from doctor.server_backend import Reached
from doctor.server_certificates import Certificate
from doctor.server_log import Log, Mention
from doctor.server_machine import Child, Processes
from doctor.server_paths import Hop
from doctor.server_seen import Seen, Sizes
from doctor.server_system import System
from doctor.server_verdicts import judged

NOW = dt.datetime(2026, 11, 23, 14, tzinfo=dt.UTC)
OLD = NOW.timestamp() - 3600
LINE = Directive("proxypass", (), "ProxyPass /ws/ ws://127.0.0.1:8888/", "a.conf", 7, 0, 0, (), ())
HOP = Hop(LINE, "/ws/", "site.test", "127.0.0.1", 8888, "", "ws", "/ws/", is_exact=True, idle=120)
WELL = Reached(HOP, (("127.0.0.1:8888", ""),), "", 101, "", accepted=True)
SIZES = Sizes("event", 100, 10, 25, "/etc/apache2/mpm.conf", 3)
SEEN = Seen(
    Apache(Path("/usr/sbin/apache2"), (), {}, 10, "Apache/2.4.71 (Debian)"),
    Dump(modules=frozenset({"mpm_event", "proxy_http"}), log="/var/log/apache2/error.log"),
    "/etc/apache2/apache2.conf",
    sizes=SIZES,
    has_tunnels=True,
    reached=(WELL,),
    processes=Processes(OLD, (Child(11, OLD, 27), Child(12, OLD, 27)), 33, 8192, 4915),
    ports=28232,
    answer=Answer(answers=True, busy=2, idle=48),
    now=NOW,
)


def children(full: int, leaving: int) -> Processes:
    """Return so many children at work, and so many that leave."""
    assert SEEN.processes
    each = [Child(number, OLD, 27) for number in range(full)]
    return replace(SEEN.processes, children=(*each, *(Child(100 + n, OLD, 3) for n in range(leaving))))


def logged(*numbers: str) -> Log:
    """Return a log with these numbers."""
    return Log(mentions=tuple(Mention(number, 3, OLD, "words") for number in numbers))


def certificate(begin: int, end: int, **more: object) -> Certificate:
    """Return a certificate that is valid from and to so many days from now."""
    day = dt.timedelta(days=1)
    return Certificate("/a.pem", LINE, NOW + begin * day, NOW + end * day, **more)  # type: ignore[arg-type] # as declared


def banner(version: str, by: str = "Debian") -> Apache:
    """Return another Apache."""
    return replace(SEEN.apache, banner=f"Apache/{version} ({by})")


SILENT = Answer(answers=False)
CASES: dict[str, tuple[dict[str, object], list[str]]] = {
    "well": ({}, []),
    "not running": ({"apache": replace(SEEN.apache, main=None), "processes": None}, ["server-not-running"]),
    "too old": ({"apache": banner("2.4.46")}, ["apache-too-old"]),
    "unsafe": ({"apache": banner("2.4.55")}, ["apache-unsafe"]),
    "old number, mended silently": ({"apache": banner("2.4.58", "Ubuntu")}, []),
    "full": ({"answer": SILENT, "connections": {"127.0.0.1:8888": 100}}, ["workers-exhausted"]),
    "full, by the log": ({"answer": SILENT, "log": logged("AH00484")}, ["workers-exhausted"]),
    "silent": ({"answer": SILENT}, ["server-silent"]),
    "nearly full": ({"answer": Answer(answers=True, busy=96, idle=4)}, ["workers-few"]),
    "was full": ({"log": logged("AH00484", "AH10159")}, ["workers-were-exhausted"]),
    "no slot": ({"answer": SILENT, "processes": children(0, 10), "connections": {"x": 100}}, ["slots-exhausted"]),
    "few slots": ({"processes": children(3, 7)}, ["slots-few"]),
    "slots enough": ({"processes": children(4, 6)}, []),
    "no reserve": ({"sizes": Sizes("event", 100, 4, 25, "/etc/apache2/mpm.conf", 3)}, ["slots-no-reserve"]),
    "no reserve, no sockets": (
        {"sizes": Sizes("event", 100, 4, 25, "/etc/apache2/mpm.conf", 3), "has_tunnels": False, "reached": ()},
        [],
    ),
    "cgid is no child": ({"processes": replace(children(2, 0), children=(Child(9, OLD, 1),))}, []),
    "cgid holds no slot": (
        {
            "answer": SILENT,
            "sizes": Sizes("event", 50, 4, 25, "a", 1),
            "processes": replace(children(2, 1), children=(Child(9, OLD, 1), *children(2, 1).children)),
        },
        ["server-silent"],
    ),
    "files": ({"processes": replace(children(2, 0), files=64)}, ["files-limit"]),
    "tasks": ({"processes": replace(children(2, 0), tasks=64)}, ["tasks-limit"]),
    "ports": ({"connections": {"127.0.0.1:8888": 80}, "ports": 82}, ["ports-few"]),
    "replaced": ({"processes": replace(children(2, 0), is_replaced=True)}, ["apache-not-restarted"]),
    "not restarted": ({"log": logged("AH00501")}, ["limits-need-restart"]),
    "down": ({"reached": (replace(WELL, addresses=(("127.0.0.1:8888", "refused"),), status=None),)}, ["backend-down"]),
    "denied": ({"reached": (replace(WELL, addresses=(("x", "denied"),), status=None),)}, ["backend-denied"]),
    "no route": ({"reached": (replace(WELL, addresses=(("x", "silent"),), status=None),)}, ["backend-no-route"]),
    "no name": ({"reached": (replace(WELL, addresses=(), fault="unknown", status=None),)}, ["backend-name-unknown"]),
    "one family": (
        {"reached": (replace(WELL, addresses=(("[::1]:8888", "refused"), ("127.0.0.1:8888", ""))),)},
        ["backend-first-address"],
    ),
    "other family": ({"reached": (replace(WELL, addresses=(("127.0.0.1:8888", ""), ("[::1]:8888", "refused"))),)}, []),
    "forbidden": ({"reached": (replace(WELL, status=401),)}, []),
    "full backend": ({"reached": (replace(WELL, status=503),)}, []),
    "SELinux": ({"system": System(denies=True), "log": logged("AH00957")}, ["selinux-denies"]),
    "SELinux, web port": ({"system": System(denies=True), "reached": (replace(WELL, hop=replace(HOP, port=80)),)}, []),
    "expired": ({"certificates": (certificate(-90, -1),)}, ["certificate-expired"]),
    "soon": ({"certificates": (certificate(-85, 5),)}, ["certificate-soon"]),
    "other key": ({"certificates": (certificate(-1, 80, is_matched=False),)}, ["certificate-mismatch"]),
    "unread": ({"certificates": (Certificate("/a.pem", LINE, fault="No such file"),)}, ["certificate-unread"]),
    "not got": ({"certificates": (Certificate("/a.pem", LINE, fault="x", is_managed=True),)}, ["md-no-certificate"]),
    "backend is back": ({"log": logged("AH00957", "AH01114", "AH01102")}, []),
    "scanners": ({"log": logged("AH01630", "AH02032", "AH10508", "AH00026")}, []),
    "crash": ({"log": logged("AH00052")}, ["log-ah00052"]),
    "override": ({"log": Log(overrides=("/srv/.htaccess",))}, ["htaccess-ignored"]),
    "refused": ({"told": Dump(refused="AH00526: Syntax error")}, ["server-refused"]),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "expected"), CASES.values(), ids=CASES)
def test_verdict(changes: dict[str, object], expected: list[str]) -> None:
    """What was seen leads to these findings and no others; a check tells of each, and of what is well that it is."""
    found = judged(replace(SEEN, **changes))  # type: ignore[arg-type] # the table names fields
    assert [finding.id for finding in found.findings] == expected
    grave = any(finding.entry.severity == "error" for finding in found.findings)
    assert any(check.outcome == "bad" for check in found.checks) == grave
    for check in found.checks:
        assert len(check.name) <= 12


def test_one_cause_with_its_symptoms() -> None:
    """What several words of the log and a silent server come from is said once, and nothing else beside it."""
    found = judged(
        replace(
            SEEN,
            answer=SILENT,
            connections={"127.0.0.1:8888": 100},
            log=logged("AH00484", "AH10159", "AH00957"),
        )
    )
    (finding,) = found.findings
    assert finding.id == "workers-exhausted"
    assert [symptom.partition(" ")[0] for symptom in finding.symptoms] == ["a", "AH00484", "AH10159"]


def test_gravest_first() -> None:
    """Errors stand before warnings; among equals, what explains the most is first."""
    down = replace(WELL, addresses=(("127.0.0.1:8888", "refused"),), status=None)
    found = judged(
        replace(
            SEEN,
            apache=banner("2.4.55"),
            reached=(down,),
            certificates=(certificate(-90, -1),),
            log=logged("AH00957", "AH01114"),
        )
    )
    assert [finding.id for finding in found.findings] == [
        "backend-down",
        "certificate-expired",
        "apache-unsafe",
    ]


def test_version_that_is_mended_silently() -> None:
    """Where a distribution mends old numbers, what the number would mean is not checked."""
    (sentence,) = judged(replace(SEEN, apache=banner("2.4.58", "Ubuntu"))).not_checked
    assert "Ubuntu" in sentence


def test_causes_are_findings() -> None:
    """Each number of the log names causes that are in the catalogue, and has an entry of its own."""
    for number, logged_number in LOGGED.items():
        assert set(logged_number.causes) <= set(CATALOGUE)
        assert f"log-{number.lower()}" in CATALOGUE


def test_flaws_by_version_and_module() -> None:
    """A flaw is known from the release that has it to the one that mends it, where its module is loaded."""
    assert versions.flaws("2.4.71", {"http2", "rewrite", "proxy", "md", "ssl"}) == []
    assert [flaw.name for flaw in versions.flaws("2.4.66", {"http2"}) if flaw.since] == ["CVE-2026-23918"]
    assert not [flaw for flaw in versions.flaws("2.4.65", {"http2"}) if flaw.since]
    assert not [flaw for flaw in versions.flaws("2.4.66", set()) if flaw.module]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"answer": SILENT, "log": logged("AH00484")}, "ServerLimit 16\nMaxRequestWorkers 200"),
        ({"sizes": Sizes("event", 100, 4, 25, "a", 1)}, "ServerLimit 16"),
        ({"reached": (replace(WELL, fault="host", status=403),)}, "ProxyPreserveHost On"),
        (
            {"reached": (replace(WELL, fault="tls", status=None),)},
            "SSLProxyEngine on\nProxyPass /ws/ wss://127.0.0.1:8888/",
        ),
    ],
)
def test_lines_to_write(changes: dict[str, object], lines: str) -> None:
    """Where the lines that mend it follow from what was seen, they are said to the letter."""
    (finding,) = judged(replace(SEEN, **changes)).findings  # type: ignore[arg-type] # the table names fields
    assert finding.instead == lines
