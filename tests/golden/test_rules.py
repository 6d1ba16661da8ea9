"""The rules to copy are renderings, ready as they stand: each folder of apache/htaccess holds a description and what it comes to.

Where a front controller's own file is beside it, the rules are a block in that file.
`pytest tests/golden --update-golden` writes them anew: read the difference.
"""

from pathlib import Path

import pytest

from apache import block
from apache.description import parse
from apache.render import render
from apache.target import Target

FOLDERS = sorted(
    path.parent for path in (Path(__file__).parents[2] / "apache/htaccess").glob("*/wsfront.yaml")
)


def rendered(folder: Path) -> bytes:
    """Return what the folder's .htaccess must be."""
    site = parse((folder / "wsfront.yaml").read_text(encoding="utf-8"), "wsfront.yaml")
    (rules,) = render([site], Target(layout="htaccess")).values()
    before = folder / "before.htaccess"
    return block.insert(before.read_bytes(), rules) if before.exists() else rules.encode()


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_renders(folder: Path, request: pytest.FixtureRequest) -> None:
    """A folder's description comes to exactly the rules in it."""
    golden = folder / ".htaccess"
    if request.config.getoption("--update-golden"):
        golden.write_bytes(rendered(folder))
    assert golden.read_bytes() == rendered(folder)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_needs_no_editing(folder: Path) -> None:
    """The rules name no host of anybody's but the backend's, so that they fit every site as they are."""
    text = (folder / ".htaccess").read_text(encoding="utf-8")
    assert not [word for word in ("example", "CHANGE", "your-", "/home", "/var") if word in text]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_is_told_of(folder: Path) -> None:
    """The README says what each folder is for."""
    assert f"`{folder.name}/" in (folder.parent / "README.md").read_text(encoding="utf-8")
