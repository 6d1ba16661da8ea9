"""The locked lists: whole, hashed, at one version each, and free of addresses."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LISTS = ("server", "run", "bench", "ansible", "test", "pip", "scan")

# In pieces, so that this file passes its own test.
REGISTRIES = [".".join(pieces) for pieces in (
    ("pypi", "org"), ("python" + "hosted", "org"), ("npmjs", "org"), ("npmjs", "com"), ("yarnpkg", "com"),
    ("deb", "debian", "org"), ("security", "debian", "org"), ("archive", "ubuntu", "com"),
)]  # fmt: skip


def versions(name: str) -> dict[str, str]:
    """Read a list; the version of each package."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE))


def test_no_registry_is_named() -> None:
    """No committed file holds the address of a package registry."""
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in files.stdout.split("\0") if name]
    pattern = re.compile("|".join(map(re.escape, REGISTRIES)).encode(), re.IGNORECASE)
    assert [path for path in paths if path.is_file() and pattern.search(path.read_bytes())] == []


@pytest.mark.parametrize("name", LISTS)
def test_every_package_is_pinned_and_hashed(name: str) -> None:
    """A list holds comments, pinned packages and their hashes, and nothing else: no option, no address."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    package = re.compile(r"[a-z0-9.-]+==[0-9][0-9a-z.]*( ; [^;\\]+)? \\")
    digest = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")
    assert [line for line in lines if not package.fullmatch(line) and not digest.fullmatch(line)] == []
    follows = list(zip(lines, [*lines[1:], ""], strict=True))
    assert [line for line, after in follows if line.endswith("\\") != after.startswith(" ")] == []


@pytest.mark.parametrize(
    ("small", "large"), [("server", "run"), ("run", "bench"), ("bench", "test"), ("ansible", "test")]
)
def test_smaller_list_is_part_of_the_larger(small: str, large: str) -> None:
    """What the smaller list installs, the larger installs at the same version."""
    assert versions(small).items() <= versions(large).items()


@pytest.mark.parametrize("name", LISTS)
def test_what_is_asked_for_is_locked(name: str) -> None:
    """Every package named in NAME.in is in NAME.txt."""
    text = (ROOT / "requirements" / f"{name}.in").read_text()
    asked = re.findall(r"^([A-Za-z][A-Za-z0-9-]*)", text, re.MULTILINE)
    assert {each.lower() for each in asked} <= versions(name).keys()
