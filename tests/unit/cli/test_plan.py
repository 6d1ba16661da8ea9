"""The verb `plan`."""

import json
from pathlib import Path

import pytest

from apache.target import Target
from tests.unit.cli.commands import wsfront

MACHINE = json.dumps({"memory": 4 << 30})


def test_plan_of_a_number(tmp_path: Path) -> None:
    """Connections and a machine come to numbers, with the arithmetic and what is full first."""
    file = tmp_path / "machine.json"
    file.write_text(MACHINE, encoding="utf-8")
    done = wsfront("plan", "--connections", "10000", "--target", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "10000 connections, 10000 of them by wss: Apache 2.4.71, mpm_event, 2 cores, 4096 MiB\n"
    )
    assert "MaxRequestWorkers 10500" in done.stdout.replace("\n          ", " ")
    assert "This machine is full at " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


def test_json_is_what_render_prints(tmp_path: Path) -> None:
    """The object is the one that render --json has under plan; the machine may come by standard input."""
    site = tmp_path / "site.yaml"
    site.write_text("websockets: [{connections: 500}]\n", encoding="utf-8")
    options = ("--site", site, "--target", "-", "--json")
    planned = wsfront("plan", *options, input=MACHINE)
    rendered = wsfront("render", *options, input=MACHINE)
    assert (planned.returncode, planned.stderr) == (0, "")
    plan = json.loads(planned.stdout)
    assert plan == json.loads(rendered.stdout)["plan"]
    assert plan["connections"] == 500
    assert set(plan["restart_directives"]) == {"ServerLimit", "ThreadLimit", "ListenBacklog"}


def test_options_stand_above_the_machine() -> None:
    """Reloads and the reserve for pages may be given."""
    options = ("--reloads", "7", "--http-reserve", "9")
    given = wsfront("plan", "--connections", "10", *options, "--target", "-", "--json", input=MACHINE)
    plan = json.loads(given.stdout)
    assert (plan["reloads"], plan["http_reserve"]) == (7, 9)


def test_too_many_are_refused_with_the_most() -> None:
    """One line names what runs out and how far this machine goes, and that many it takes."""
    done = wsfront("plan", "--connections", "1000000", "--target", "-", input=MACHINE)
    assert (done.returncode, done.stdout) == (2, "")
    line = done.stderr.removesuffix("\n")
    assert "\n" not in line
    assert "MiB of memory" in line
    most = line.rpartition(" ")[2]
    assert wsfront("plan", "--connections", most, "--target", "-", input=MACHINE).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--connections", "0"), "wsfront: --connections is 0; must be 1 to 1000000000"),
        (("--connections", "-5"), "wsfront: --connections is -5; must be 1 to 1000000000"),
        (("--connections", "9" * 30), f"wsfront: --connections is {'9' * 30}; must be 1 to 1000000000"),
        (("--reloads", "-1"), "wsfront: --reloads is -1; must be 0 to 50"),
        (("--http-reserve", "0"), "wsfront: --http-reserve is 0; must be 1 to 10000"),
        (
            ("--connections", "5", "--site", "wsfront.example.yaml"),
            "wsfront: --connections and --site: give one of them, since descriptions say how many they need",
        ),
    ],
)
def test_absurd_numbers(arguments: tuple[str, ...], line: str) -> None:
    """A number out of its range is one line that says the range."""
    done = wsfront("plan", "--target", "-", *arguments, input=MACHINE)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{line}\n")


def test_prefork() -> None:
    """On prefork the price is told, and the way out."""
    done = wsfront("plan", "--target", "-", input=Target(mpm="prefork").model_dump_json())
    assert done.returncode == 2
    assert "mpm_prefork" in done.stderr
    assert "php-fpm" in done.stderr


@pytest.mark.needs("apache")
def test_this_machine() -> None:
    """With nothing given it is the plain case on this machine."""
    done = wsfront("plan")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1000 connections, 1000 of them by wss: Apache 2.4.")
