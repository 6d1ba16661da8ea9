"""From rows to medians, ratios, tables and pictures."""

import json
from pathlib import Path

import pytest

from bench.output import write
from bench.report import markdown, number
from bench.results import Results, Row
from bench.runner import all_scenarios
from bench.scenarios.base import Cpu, Goal, Options
from bench.scenarios.figures import percentile

HANDSHAKES = all_scenarios()["handshakes"]


def row(stack: str, rate: float, turn: int = 1, *, busiest: float = 1.0, machine: float = 4.0) -> Row:
    """Make a row of ten seconds."""
    cpu = Cpu(elapsed=10, proxy=1, backend=1, load=2, busiest_load=busiest, machine=machine)
    return Row(turn, "handshakes", stack, "wsfront", values={"rate": rate, "failed": 0}, cpu=cpu)


@pytest.fixture
def results() -> Results:
    """Make a run of three rounds, of which nginx lost one."""
    return Results(
        options=Options(),
        rounds=3,
        cores=2,
        scenarios=(HANDSHAKES,),
        titles={"wsfront": "Apache by wsfront", "nginx": "nginx", "caddy": "Caddy"},
        conditions={"machine": "a test's"},
        left_out={"Caddy": "caddy is not installed: on Debian type `apt-get install caddy`"},
        rows=[
            *(row("wsfront", rate, turn) for turn, rate in enumerate((300, 420, 400), 1)),
            row("nginx", 500, 1),
            row("nginx", 600, 2),
            Row(3, "handshakes", "nginx", "wsfront", fault="nginx ended at its start"),
        ],
    )


def test_medians_and_ratio(results: Results) -> None:
    """A figure is the median of the rounds that gave one; the ratio is the medians'."""
    ours, theirs = results.lines(HANDSHAKES)
    assert (ours.median("rate"), theirs.median("rate")) == (400, 550)
    assert results.ratio(HANDSHAKES, ours, "rate", Goal("nginx", 0.8)) == 400 / 550
    (goal,) = results.goals(HANDSHAKES)
    assert (goal["goal"], goal["met"]) == (0.8, False)


def test_goal_with_another_backend() -> None:
    """A goal may compare ours with our backend to another stack with another backend; no other line of ours has it."""
    burst = all_scenarios()["burst"]
    rates = {
        ("wsfront", "wsfront"): 70.0,
        ("wsfront", "stock"): 5.0,
        ("nginx", "wsfront"): 90.0,
        ("nginx", "stock"): 10.0,
    }
    rows = [
        Row(1, "burst", stack, backend, values={"rate": rate}) for (stack, backend), rate in rates.items()
    ]
    titles = {"wsfront": "Apache by wsfront", "nginx": "nginx"}
    results = Results(Options(), 1, 2, (burst,), titles, {}, rows=rows)
    (goal,) = results.goals(burst)
    assert (goal["ratio"], goal["met"]) == (7, True)
    assert "deliveries: 7.00 of nginx + stock's; wanted at least 6: met" in markdown(results)


def test_report_says_it_all(results: Results) -> None:
    """The report holds the conditions, each stack's figures with their range, the goal, the fault, and what was left out."""
    text = markdown(results)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "- machine: a test's" in lines
    assert "| | Apache by wsfront | nginx |" in lines
    assert "| handshakes per second, /s | 400 (300 to 420) | 550 (500 to 600) |" in lines
    assert "| CPU of load | 10% | 10% |" in lines
    assert "- handshakes per second: 0.73 of nginx's; wanted at least 0.8: missed" in lines
    assert "- nginx: nginx ended at its start" in lines
    assert "- Caddy: caddy is not installed: on Debian type `apt-get install caddy`" in lines
    assert "it may have been the limit" not in text
    assert "other programs" not in text


def test_report_warns(results: Results) -> None:
    """A load generator at its own limit and a machine that is not quiet are said."""
    results.rows.append(row("nginx", 550, 4, busiest=9.5))
    results.rows += [row("wsfront", 400, turn, machine=14) for turn in range(4, 9)]
    text = markdown(results)
    assert "- nginx: a process of the load generator took 95% of a core: it may have been the limit" in text
    assert "- other programs took up to 50% of the machine: measure again when it is quiet" in text


def test_files(results: Results, tmp_path: Path) -> None:
    """A run leaves JSON, Markdown and a picture of each scenario; the JSON holds every row."""
    files = write(results, tmp_path / "new" / "folder")
    assert [file.name for file in files] == ["results.json", "results.md", "handshakes.png"]
    data = json.loads(files[0].read_text())
    assert data["scenarios"]["handshakes"]["medians"]["nginx"]["rate"] == 550
    assert len(data["rows"]) == 6
    assert "![handshakes](handshakes.png)" in files[1].read_text()
    assert files[2].read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (0, "0"), (0.12345, "0.123"), (12.345, "12.3"), (123.45, "123"), (28_000, "28,000")],
)
def test_numbers_have_three_digits(value: float | None, text: str) -> None:
    """A figure is printed with the digits that count."""
    assert number(value) == text


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_percentile(percent: float, value: float) -> None:
    """The nearest rank: so many percent of the values are no larger."""
    assert percentile(range(100, 0, -1), percent) == value
