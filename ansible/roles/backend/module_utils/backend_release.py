"""Releases of the backend below /opt/wsfront/releases: made whole or not at all, found again, and removed when there are too many.

Knows nothing of services. Runs on the machine with Python's standard library alone.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Collection
from pathlib import Path

ROOT = Path("/opt/wsfront")
RELEASES = ROOT / "releases"
SEAL = "release.json"  # written last: a folder without it is the rest of a play that was cut off
PIP_OPTIONS = (
    *("--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--root-user-action=ignore"),
    *("--no-index", "--no-deps", "--require-hashes", "--only-binary=:all:"),
)


class ReleaseError(Exception):
    """Say why there is no such release, and what to do about it."""


def whole() -> list[Path]:
    """Return the finished releases, the oldest first."""
    found = RELEASES.iterdir() if RELEASES.is_dir() else iter(())
    return sorted(path for path in found if (path / SEAL).is_file() and (path / "venv/bin/python").exists())


def of(identity: str) -> Path | None:
    """Return the newest release made of a bundle, where there is one."""
    return next((path for path in reversed(whole()) if path.name.endswith(f"-{identity}")), None)


def named(name: str) -> Path:
    """Return a release by its name.

    Raises:
        ReleaseError: there is none; names those that there are.
    """
    found = next((path for path in whole() if path.name == name), None)
    if found is None:
        there = ", ".join(path.name for path in whole()) or "none"
        raise ReleaseError(f"there is no release {name}; there are: {there}")
    return found


def make(archive: Path, identity: str, pip: str) -> Path:
    """Make a release of a bundle.

    Args:
        archive: the bundle, on this machine.
        identity: what its contents' digest begins with.
        pip: the name of the wheel in it that installs the others.

    Raises:
        ReleaseError: it cannot be; nothing of it is left.
    """
    discard_unfinished()
    folder = RELEASES / f"{time.strftime('%Y-%m-%dT%H%M%S', time.gmtime())}-{identity}"
    os.umask(0o022)
    try:
        _require_whole(archive, identity)
        folder.mkdir(parents=True)
        with tarfile.open(archive) as tar:
            # Debian 12's Python knows the attribute's effect as little as the argument; the newest would be that strict by itself.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(folder)  # noqa: S202 (it is ours, to the last byte)
        python = str(folder / "venv/bin/python")
        _run(sys.executable, "-I", "-m", "venv", "--without-pip", str(folder / "venv"))
        wheels = folder / "wheels"
        _run(
            *(python, "-I", str(wheels / pip / "pip"), "install", *PIP_OPTIONS),
            *("--find-links", str(wheels), "--requirement", str(folder / "requirements.txt")),
        )
        # The service cannot write here.
        _run(python, "-I", "-m", "compileall", "-q", str(folder / "server"))
        shutil.rmtree(wheels)
        (folder / SEAL).write_text(json.dumps({"id": identity, "python": sys.version.split()[0]}) + "\n")
    except (OSError, ReleaseError, tarfile.TarError) as fault:
        shutil.rmtree(folder, ignore_errors=True)
        words = fault.strerror or str(fault) if isinstance(fault, OSError) else str(fault)
        remedy = "; make room, 100 MB will do" if "No space left" in words else ""
        raise ReleaseError(f"no release could be made in {RELEASES}: {words}{remedy}") from None
    return folder


def discard_unfinished() -> bool:
    """Remove what was left of releases that were never finished; tell whether there was any."""
    good = {path.name for path in whole()}
    rest = [path for path in RELEASES.iterdir() if path.name not in good] if RELEASES.is_dir() else []
    for path in rest:
        shutil.rmtree(path, ignore_errors=True)
    return bool(rest)


def surplus(keep: int, needed: Collection[Path | None]) -> list[Path]:
    """Return the releases beyond the newest ones, those needed excepted."""
    good = whole()
    return [path for path in good[: max(0, len(good) - keep)] if path not in needed]


def _require_whole(archive: Path, identity: str) -> None:
    if not hashlib.sha256(archive.read_bytes()).hexdigest().startswith(identity):
        raise ReleaseError(f"{archive} did not arrive as it was sent; run the playbook again")


def _run(*command: str) -> None:
    clean = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=clean)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        raise ReleaseError("; ".join(line.strip() for line in lines[-3:]) or f"{command[0]} failed")
