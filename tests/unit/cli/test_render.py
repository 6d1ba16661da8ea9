"""`render`: the renderer's own files, on standard output, below a folder or as JSON, or one line for each fault."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from apache import modules
from apache.deployment import deployment
from apache.description import read
from apache.render import render
from apache.target import Target
from tests.unit.cli.commands import COMMAND, ROOT, environment, in_its_own_mounts, wsfront

TARGET = '{"apache": "2.4.71", "openssl": "3.0.19"}'
REFUSED = ROOT / "tests" / "golden" / "refused"


@pytest.fixture
def given(tmp_path: Path) -> list[str | Path]:
    """Return arguments that name a description and a target, so that the machine does not matter."""
    (tmp_path / "site.yaml").write_text("server_name: chat.example.org\n")
    (tmp_path / "target.json").write_text(TARGET)
    return ["--site", tmp_path / "site.yaml", "--target", tmp_path / "target.json"]


def files_below(folder: Path) -> dict[str, str]:
    """Return all files below a folder: path -> text."""
    return {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_json_for_a_machine_is_all_that_a_playbook_moves(given: list[str | Path], tmp_path: Path) -> None:
    """For Debian's layout the JSON is the whole deployment, the same bytes each time."""
    first, second = (wsfront("render", *given, "--json") for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    assert json.loads(first.stdout) == deployment([read(tmp_path / "site.yaml")], Target())


def test_the_target_may_come_by_standard_input_and_the_name_as_an_option() -> None:
    """A playbook hands over the machine's facts without a file, and the inventory's name where no description says one."""
    done = wsfront("render", "--target", "-", "--server-name", "chat.example.org", "--json", input="{}")
    assert done.returncode == 0, done.stderr
    assert [site["name"] for site in json.loads(done.stdout)["sites"]] == ["chat.example.org"]


def test_a_wrong_server_name_is_a_fault_of_the_option() -> None:
    """A name that no host can have is refused in a line."""
    done = wsfront("render", "--target", "-", "--server-name", "a b", "--json", input="{}")
    assert done.returncode == 2
    assert done.stderr.startswith("wsfront: --server-name: server_name: 'a b' is no host name")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("layout", ["include", "private"])
def test_json_is_complete_and_stable(given: list[str | Path], tmp_path: Path, layout: str) -> None:
    """The JSON has all files and the modules to enable, the same bytes each time."""
    first, second = (wsfront("render", *given, "--layout", layout, "--json") for _ in range(2))
    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout == second.stdout
    sites, target = [read(tmp_path / "site.yaml")], Target.model_validate({"layout": layout})
    assert json.loads(first.stdout) == {
        "files": render(sites, target),
        "modules": modules.needed(sites, target),
    }


def test_out_writes_the_same_files(given: list[str | Path], tmp_path: Path) -> None:
    """What is written below a folder is what the JSON holds; standard output stays empty, and each file is named."""
    wanted = json.loads(wsfront("render", *given, "--json").stdout)["files"]
    for _ in range(2):
        done = wsfront("render", *given, "--out", tmp_path / "out")
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr.splitlines() == [f"wrote {tmp_path}/out/{name}" for name in wanted]
        assert files_below(tmp_path / "out") == wanted


def test_prints_all_files(given: list[str | Path]) -> None:
    """Without a folder every file is printed, below a line that names it."""
    wanted = json.loads(wsfront("render", *given, "--json").stdout)["files"]
    done = wsfront("render", *given)
    assert done.stdout == "".join(f"# ----- {name} -----\n{text}\n" for name, text in wanted.items())


def test_prints_utf8_anywhere(given: list[str | Path], tmp_path: Path) -> None:
    """Names beyond ASCII are printed as Apache reads them, whatever the locale."""
    (tmp_path / "site.yaml").write_text("pages: {root: /var/www/ü}\n", encoding="utf-8")
    done = wsfront("render", *given, encoding="utf-8", env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"))
    assert done.returncode == 0
    assert 'DocumentRoot "/var/www/ü"' in done.stdout


def test_several_sites(given: list[str | Path], tmp_path: Path) -> None:
    """Each --site is a name of its own on one server."""
    (tmp_path / "other.yaml").write_text("server_name: other.example.org\n")
    done = wsfront("render", *given, "--site", tmp_path / "other.yaml", "--json")
    assert {Path(name).name for name in json.loads(done.stdout)["files"]} >= {
        "wsfront-chat.example.org.conf",
        "wsfront-other.example.org.conf",
    }


@pytest.mark.parametrize("obstacle", ["file for a folder", "folder for a file"])
def test_all_or_nothing(given: list[str | Path], tmp_path: Path, obstacle: str) -> None:
    """Where one file cannot be written, none is, what was there stays, and one line names the place."""
    out = tmp_path / "out"
    wanted = list(json.loads(wsfront("render", *given, "--json").stdout)["files"])
    in_the_way = out / wanted[-1]
    if obstacle == "file for a folder":
        in_the_way = in_the_way.parent
        in_the_way.parent.mkdir(parents=True)
        in_the_way.write_text("mine\n")
    else:
        in_the_way.mkdir(parents=True)
    before = sorted(out.rglob("*"))
    done = wsfront("render", *given, "--out", out)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"wsfront: {in_the_way}")
    assert line.endswith("make room or choose another --out")
    assert sorted(out.rglob("*")) == before


@pytest.mark.needs("mounts")
@pytest.mark.parametrize("kilobytes", [4, 12])
def test_full_disk(given: list[str | Path], tmp_path: Path, kilobytes: int) -> None:
    """On a full disk nothing is left behind, and one line says what to do."""
    place = tmp_path / "small"
    place.mkdir()
    watched = f"mount -t tmpfs -o size={kilobytes}k none {place}\n"
    watched += f'trap \'status=$?; find {place} -mindepth 1; exit "$status"\' EXIT\n"$@"\nexit'
    done = in_its_own_mounts(watched, "render", *given, "--out", place / "out")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "No space left on device; make room or choose another --out" in line


@pytest.mark.parametrize(
    "case",
    [
        "unknown_key",
        "wrong_types",
        "many_faults",
        "empty",
        "not_a_mapping",
        "newline_in_name",
        "unknown_key_with_newline",
    ],
)
def test_faulty_description(case: str, tmp_path: Path) -> None:
    """Each fault is a line on standard error, with the status of wrong input, and nothing is written."""
    site = REFUSED / case / "site.yaml"
    done = wsfront("render", "--site", site, "--out", tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    wanted = (REFUSED / case / "error.txt").read_text(encoding="utf-8")
    assert done.stderr == wanted.replace("site.yaml: ", f"wsfront: {site}: ")
    assert not (tmp_path / "out").exists()


def test_faults_of_all_files_at_once(tmp_path: Path) -> None:
    """Two descriptions' faults come together, and a missing file is one of them."""
    (tmp_path / "a.yaml").write_text("x: 1\n")
    done = wsfront("render", "--site", tmp_path / "a.yaml", "--site", tmp_path / "none.yaml")
    assert done.returncode == 2
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        f"{tmp_path}/a.yaml",
        f"{tmp_path}/none.yaml",
    ]


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ('{"apache": "2.4.46"}', "Apache 2.4.46 is older than 2.4.47"),
        ('{"mpm": "prefork"}', "this Apache runs mpm_prefork"),
        ('{"modules": ["ssl"]}', "this Apache lacks mod_authn_core"),
        ('{"memory": "much"}', "target.json: memory: "),
        ("{", "target.json: "),
    ],
)
def test_target_that_will_not_do(given: list[str | Path], tmp_path: Path, target: str, words: str) -> None:
    """A machine that cannot do what is asked for, and facts that are none, are told in one line."""
    (tmp_path / "target.json").write_text(target)
    done = wsfront("render", *given)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert words in line


def test_private_folder_is_taken_as_it_is(given: list[str | Path], tmp_path: Path) -> None:
    """A private configuration for a folder that Apache would expand is refused."""
    done = wsfront("render", "--layout", "private", "--out", tmp_path / "a*", *given[:2])
    assert done.returncode == 2
    assert done.stderr.startswith("wsfront: --out: ")


def test_reader_that_leaves(given: list[str | Path]) -> None:
    """When nobody reads its output, it ends without a word."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = wsfront("render", *given, capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (1, "")


def test_closed_standard_output(given: list[str | Path], tmp_path: Path) -> None:
    """With no standard output at all it still writes its files."""
    shell = [
        "sh",
        "-c",
        'exec "$@" >&- <&-',
        "sh",
        *COMMAND,
        "render",
        *map(str, given),
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(shell, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert files_below(tmp_path / "out")


@pytest.mark.parametrize("verb", ["render", "schema"])
def test_full_standard_output(verb: str) -> None:
    """A full disk behind standard output is one line and status 1."""
    with Path("/dev/full").open("wb") as full:
        done = wsfront(verb, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, "wsfront: standard output: No space left on device\n")
