"""`./wsfront bench`: its figures are right on every stack that is here; speed is not tested."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from bench.proc import socket_bytes
from bench.results import Results, Row
from bench.runner import all_scenarios, all_stacks, run
from bench.scenarios.base import Options
from bench.stacks.base import Program, Stack
from tests.processes import processes_of
from tests.waiting import SECOND, until

ROOT = Path(__file__).parents[2]
SOCKETS = 20
ALONE = [scenario for scenario in all_scenarios().values() if not scenario.in_room]
SMALL = Options(connections=SOCKETS, seconds=0.4, hold=0.6, reloads=1)
pytestmark = [
    pytest.mark.needs("apache"),
    pytest.mark.timeout(600),
]  # seconds: some thirty trials, each with fresh processes


def measured(scenario: str, *stacks: type[Stack], options: Options = SMALL) -> Results:
    """Run one scenario once on these stacks."""
    return run([all_scenarios()[scenario]], stacks, options, rounds=1, say=lambda _line: None)


@pytest.fixture(scope="module")
def everything() -> Results:
    """Run all scenarios of one socket each on all stacks that are installed."""
    every = [*all_stacks().values()]
    return run(ALONE, every, SMALL, rounds=1, say=lambda _line: None)


def rows(results: Results, scenario: str) -> dict[str, Row]:
    """Return a scenario's rows by their stacks."""
    return {row.stack: row for row in results.rows if row.scenario == scenario}


def test_every_installed_stack_has_a_row(everything: Results) -> None:
    """Each scenario has a row without fault for each stack, but for those whose program is missing: these say the package."""
    left_out = {title for title, reason in everything.left_out.items() if "apt-get install" in reason}
    assert left_out == set(everything.left_out)
    present = {name for name, stack in all_stacks().items() if stack.title not in left_out}
    assert {"direct", "wsfront", "apache-debian"} <= present
    for scenario in ALONE:
        assert {name: row.fault for name, row in rows(everything, scenario.name).items()} == dict.fromkeys(
            present, ""
        )


def test_idle_sockets_are_all_there(everything: Results) -> None:
    """Every stack opens all sockets, every one answers, and each takes memory in the backend and in the kernel."""
    for name, row in rows(everything, "idle").items():
        assert (row.values["open"], row.values["answered"]) == (SOCKETS, SOCKETS), (name, row)
        # One socket of the backend for each, and with a proxy two more; threads that end and page tables given back take from that.
        least = socket_bytes() / 1024 * (1 if name == "direct" else 3) / 2
        assert least < row.values["kernel_memory"] < 100, (name, row)
        assert (row.values["proxy_memory"] > 10) == (name != "direct"), (name, row)


def test_handshakes_are_counted(everything: Results) -> None:
    """Every stack shakes hands, none fails, and the rate is that of the handshakes whose times are known."""
    for name, row in rows(everything, "handshakes").items():
        assert row.values["rate"] > 10, (name, row)
        assert row.values["failed"] == 0, (name, row)
        assert 0 < row.values["median"] <= row.values["p99"] < 5000, (name, row)
        assert (row.values["proxy_cpu"] > 0) == (name != "direct"), (name, row)


def test_echo_comes_back(everything: Results) -> None:
    """Every stack echoes; a round trip through a proxy takes its CPU."""
    for name, row in rows(everything, "echo").items():
        assert 5 < row.values["median"] <= row.values["p99"], (name, row)
        assert row.values["rate"] > 10, (name, row)
        assert not [note for note in row.notes if "ended" in note], (name, row)


def test_reload_keeps_apaches_sockets(everything: Results) -> None:
    """One graceful reload costs Apache no socket, by wsfront or as Debian ships it; somebody new comes in."""
    for name in ("direct", "wsfront", "apache-debian"):
        row = rows(everything, "reload")[name]
        assert (row.values["kept"], row.values["refused"]) == (100, 0), (name, row)
        assert row.values["shaken"] > 1, (name, row)


@pytest.mark.parametrize("scenario", ["burst", "paced"])
def test_room_is_heard(scenario: str) -> None:
    """With every backend that is here, directly and through Apache, all sockets hear every message."""
    results = measured(scenario, all_stacks()["direct"], all_stacks()["wsfront"])
    assert {"wsfront", "stock"} <= {row.backend for row in results.rows}
    for row in results.rows:
        assert not row.fault, row
        assert not [note for note in row.notes if "heard" in note or "opened" in note], row
        assert scenario == "paced" or row.values["rate"] > 100, row


def test_restart_of_the_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """A restart with people talking: every socket hears again, and with ours all that was said, once."""
    monkeypatch.setattr("bench.scenarios.restart._RESTARTS", 1)
    scenario = replace(all_scenarios()["restart"], backends=("wsfront", "stock"))
    results = run([scenario], [all_stacks()["direct"]], SMALL, rounds=1, say=lambda _line: None)
    ours, stock = results.rows
    assert (ours.fault, ours.notes, ours.values["lost"], ours.values["again"]) == ("", (), 0, 0)
    assert (stock.fault, stock.notes) == ("", ())
    assert 0 < stock.values["lost"] < 50
    for row in results.rows:
        assert 100 < row.values["median"] <= row.values["p99"] < 9000


def test_bad_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are heard in time beside slow readers and bombs; the bombs are opened, off the loop."""
    monkeypatch.setattr("bench.scenarios.neighbours._LARGE", {"rate": 10.0, "size": 2000, "seconds": 1.0})
    monkeypatch.setattr("bench.scenarios.neighbours._SMALL", {"rate": 10.0, "size": 100, "seconds": 3.0})
    scenario = replace(all_scenarios()["neighbours"], backends=("wsfront", "stock"))
    ours, stock = run([scenario], [all_stacks()["direct"]], SMALL, rounds=1, say=lambda _line: None).rows
    assert (ours.fault, ours.notes, stock.fault, stock.notes) == ("", (), "", ())
    assert {"alone_p99", "slow_p99", "slow_ratio", "slow_memory"} <= {*stock.values}
    assert "bombs" not in stock.values
    assert ours.values["bombs"] >= 1
    assert 0 < ours.values["calm_median"] <= ours.values["calm_p99"]
    assert (ours.values["dropped"], 0 <= ours.values["lag"] <= 100) == (0, True)


def test_lost_sockets_are_counted() -> None:
    """A reload that is a restart loses every socket, and each is counted."""

    class Restarting(all_stacks()["wsfront"]):  # type: ignore[misc]  # found at run time
        def reload(self) -> None:
            self.stop()
            self.start()

    (row,) = measured("reload", Restarting).rows
    assert (row.fault, row.values["lost"], row.values["kept"]) == ("", SOCKETS, 0)


def test_stack_that_takes_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where fewer sockets open than asked for, the row says how many, and is divided by those."""
    monkeypatch.setattr("bench.backends.wsfront._SPARE", -5)
    (row,) = measured("idle", all_stacks()["direct"]).rows
    assert (row.values["open"], row.values["answered"]) == (SOCKETS - 5, SOCKETS - 5)
    assert row.notes == (f"{SOCKETS - 5} of {SOCKETS} opened: 5 x answered 503",)


def test_missing_program_is_a_row_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack whose program is not installed is left out, with the package that brings it; the others are measured."""
    nginx = all_stacks()["nginx"]
    monkeypatch.setattr(nginx, "program", "nginx-is-not-here")
    results = measured("idle", all_stacks()["direct"], nginx)
    reason = "nginx-is-not-here is not installed: on Debian type `apt-get install nginx`"
    assert results.left_out == {"nginx": reason}
    assert [row.stack for row in results.rows] == ["direct"]


def test_stack_that_does_not_start_is_a_row_with_its_words() -> None:
    """A program that ends at its start costs its own rows alone, and what it said is in them."""

    class Broken(Program):
        name, title, package, program = "broken", "Broken", "none", "sh"
        version_arguments = ("-c", "echo 1.0")
        templates: ClassVar[dict[str, str]] = {}

        def command(self) -> list[str]:
            return ["-c", "echo no such luck; exit 3"]

    results = measured("idle", all_stacks()["direct"], Broken)
    assert [row.fault for row in results.rows] == ["", "Broken ended at its start: no such luck"]


def bench(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start the verb with a temporary directory of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "bench", *arguments],
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "TMPDIR": str(folder),
            "XDG_STATE_HOME": str(folder / "state"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    """Whatever ends a run, no process of it stays; what can still clean up leaves no file either."""
    tmp_path.chmod(0o755)
    with bench(tmp_path, "idle", "--connections", "5", "--hold", "60", "--against", "wsfront") as process:
        # Apache is up then, and sockets are opened and held.
        until(
            lambda: [*tmp_path.glob("wsfront-bench-*/trial-*/logs/access.log")] or process.poll() is not None,
            90,
        )
        assert process.poll() is None
        process.send_signal(number)
        _, errors = process.communicate(timeout=20 * SECOND)
    assert process.returncode == (-number if number is signal.SIGKILL else 130), errors
    until(lambda: not processes_of(tmp_path), 10)
    if number is not signal.SIGKILL:
        assert [*tmp_path.iterdir()] == []


def test_results_are_written(tmp_path: Path) -> None:
    """The verb prints the tables, says where it is on standard error, and leaves the files where told."""
    arguments = ("echo", "--connections", "5", "--rounds", "1", "--against", "direct", "--out", "results")
    with bench(tmp_path, *arguments) as process:
        output, errors = process.communicate(timeout=100 * SECOND)
    assert (process.returncode, "## Echo" in output) == (0, True), errors
    assert "[1/2] round 1, echo, " in errors
    assert {path.name for path in tmp_path.iterdir()} == {"results", "state"}
    assert {path.name for path in (tmp_path / "results").iterdir()} == {
        "results.json",
        "results.md",
        "echo.png",
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing"], "SCENARIO: there is no nothing: choose of idle, handshakes, echo, reload, burst, paced"),
        (["--against", "iis"], "--against: there is no iis: choose of direct, wsfront, apache-debian, nginx, haproxy, caddy"),
        (["--backends", "perl"], "--backends: there is no perl: choose of wsfront, stock, ws, socketify, wsfront-forked"),
        (["--connections", "900000"], "--connections: 900000 connections need more ports than net.ipv4.ip_local_port_range allows here"),
        (["--connections", "0"], "argument --connections: '0' is no count: a number from 1 to 1000000"),
        (["--hold", "soon"], "argument --hold: 'soon' is no time: seconds from 0 to 86400"),
    ],
)  # fmt: skip
def test_wrong_use(tmp_path: Path, arguments: list[str], words: str) -> None:
    """What cannot be measured is refused at once, with what would be right."""
    with bench(tmp_path, *arguments) as process:
        output, errors = process.communicate(timeout=20 * SECOND)
    assert (process.returncode, output) == (2, "")
    assert words in errors.splitlines()[-1]
