"""What the modules do on the machine that no play on a whole machine would show."""

import __future__

import ast
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from apache.versions import FLOOR

PARAMS = {"state": "present", "files": {}, "modules": [], "names": ["chat.test"]}
ANSIBLE = Path(__file__).parents[3] / "ansible"


def load(path: str) -> Any:
    """Import a file as it is."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ANSIBLE / path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def debian(tmp_path: Path) -> Any:
    """Give the module of Debian's /etc/apache2, that folder a test's own."""
    module = load("roles/apache/module_utils/debian_apache.py")
    module.ETC = tmp_path / "apache2"
    for folder in ("sites-available", "sites-enabled"):
        (module.ETC / folder).mkdir(parents=True)
    return module


@pytest.fixture
def apache(debian: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the module that swaps Apache's files, all its folders a test's own."""
    monkeypatch.setitem(sys.modules, "ansible.module_utils.debian_apache", debian)
    monkeypatch.setattr("ansible.module_utils.debian_apache", debian, raising=False)
    module = load("roles/apache/library/wsfront_apache.py")
    module.RUN, module.STATE = tmp_path / "run", tmp_path / "state"
    return module


def test_old_python() -> None:
    """The look at a machine runs on a Python that is too old, and can say so."""
    text = (ANSIBLE / "library/wsfront_host.py").read_text()
    ast.parse(text, feature_version=(3, 7))
    code = compile(text, "wsfront_host.py", "exec", dont_inherit=True)
    assert code.co_flags & __future__.annotations.compiler_flag


def test_machine_without_lists_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where apt does not know yet which Apache it would install, nothing is planned that only the newest can do."""
    module = load("library/wsfront_host.py")
    monkeypatch.setattr(module, "output", lambda *_: "")
    assert module.target()["apache"] == FLOOR


def test_bring_back_on_a_full_disk(debian: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not changed is not written again, so that links come back on a full disk, too."""
    site = debian.ETC / "sites-available" / "wsfront-a.conf"
    link = debian.ETC / "sites-enabled" / "wsfront-a.conf"
    site.write_text("old")
    link.symlink_to("../sites-available/wsfront-a.conf")
    before = debian.Snapshot([site])
    link.unlink()

    def is_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(debian, "write", is_full)
    before.bring_back()
    assert link.read_text() == "old"


def test_nobody_reads_what_is_half_copied(apache: Any, debian: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """While keys are copied for the trial, nobody but root comes near them."""
    modes: list[int] = []
    copytree = shutil.copytree

    def look(source: Path, copy: Path | str, *rest: Any, **options: Any) -> None:
        modes.append((apache.RUN / Path(copy).relative_to(apache.RUN).parts[0]).stat().st_mode & 0o777)
        copytree(source, copy, *rest, **options)

    def look_again(_source: Path, copy: Path, **_options: bool) -> None:
        modes.append((apache.RUN / Path(copy).relative_to(apache.RUN).parts[0]).stat().st_mode & 0o777)

    def refuse(_trial: str, folder: str, **_options: float) -> None:
        modes.append(Path(folder).stat().st_mode & 0o777)
        raise debian.Fault("refused")

    monkeypatch.setattr(shutil, "copytree", look)
    monkeypatch.setattr(debian, "copy", look_again)
    monkeypatch.setattr(debian, "said", refuse)
    swap = apache.Swap(PARAMS)
    with pytest.raises(debian.Fault, match="refused"):
        swap._try(active=True)
    assert set(modes[:-1]) == {0o700}
    assert modes[-1] == 0o711


def test_restart_unasked(apache: Any, debian: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Apache is restarted unasked beside Debian's own site as it was shipped, and not beside what somebody made of that."""
    site = debian.ETC / "sites-enabled" / "000-default.conf"
    shipped = f"\n {site} 3fc3ad1c8e0de8ac0e7d9ccd9bd1ec12\n /etc/other 900150983cd24fb0d6963f7d28e17f72\n"
    monkeypatch.setattr(debian, "said", lambda *_: subprocess.CompletedProcess((), 0, shipped, ""))
    swap = apache.Swap(PARAMS)
    assert swap._is_first()
    site.write_text("abc")  # of this sum
    assert swap._is_first()
    site.write_text("somebody's own")
    assert not swap._is_first()


def test_name_of_another_vhost(apache: Any, debian: Any) -> None:
    """Another vhost's name is ours in capitals, too; our own vhosts may have it."""
    swap = apache.Swap(PARAMS)
    swap._require_own_names("*:80   chat.test (/etc/apache2/sites-enabled/wsfront-chat.test.conf:2)\n")
    with pytest.raises(debian.Fault, match=r"other.conf:1: another enabled vhost answers to chat.test"):
        swap._require_own_names("*:80   Chat.Test (/etc/apache2/sites-enabled/other.conf:1)\n")
