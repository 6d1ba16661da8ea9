"""The verb `bundle`: pack the backend with everything that a server needs to run it, but Python itself.

The archive holds server/, wheels for the server's Python, a lock of exactly those, and pip to put them into place:
the server needs neither a package index nor ensurepip. The same contents give the same bytes and the same name.
"""

import argparse
import contextlib
import fcntl
import hashlib
import io
import json
import platform
import re
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from .errors import RunFault, UsageFault
from .paths import state_directory
from .wheels import Package, Server, collect, select, sha256

SUMMARY = "pack the backend, and wheels for a server's Python, into one archive"

_ROOT = Path(__file__).parent.parent
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}
_KEPT = 5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bundle`."""
    parser.add_argument(
        "--python",
        default=platform.python_version(),
        metavar="VERSION",
        help="the server's Python, as 3.11 or 3.11.2 (default: this one's)",
    )
    parser.add_argument(
        "--machine",
        default=platform.machine(),
        help="the server's processor, as `uname -m` says there (default: this one's)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the archive goes (default: a folder of state)"
    )
    parser.add_argument("--json", action="store_true", help="print what it is and where, as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Pack, and print the archive's name."""
    if not re.fullmatch(r"3\.(1[1-9]|[2-9][0-9])(\.[0-9]+)?", args.python):
        raise UsageFault(f"--python: {args.python!r} is no version that can run the backend; 3.11 or newer")
    machine = _ALIASES.get(args.machine.lower(), args.machine)
    if not re.fullmatch(r"[A-Za-z0-9_]+", machine):
        raise UsageFault(f"--machine: {machine!r} is no processor, as x86_64 or aarch64")
    server = Server(args.python, machine)
    state = state_directory()
    folder = args.out or state / "bundles"
    try:
        with _alone(state):
            packages = select(_locked("server"), server)
            tool = select(_locked("pip"), server)
            wheels = collect([*packages, *tool], server, state / "wheels")
            content = pack(contents(packages, wheels))
            name = hashlib.sha256(content).hexdigest()[:12]
            archive = folder / f"wsfront-backend-{name}.tar"
            _put(archive, content)
            if not args.out:
                _discard_old(folder)
    except OSError as error:
        raise RunFault(
            f"{error.filename or folder}: cannot be written: {error.strerror}; make room, or choose another --out"
        ) from None
    found = {
        "id": name,
        "archive": str(archive.resolve()),
        "python": server.series,
        "machine": machine,
        "pip": wheels[tool[0]].name,
        "packages": {package.name: package.version for package in packages},
    }
    sys.stdout.write(f"{json.dumps(found, indent=2) if args.json else archive}\n")
    return 0


def contents(packages: list[Package], wheels: Mapping[Package, Path]) -> dict[str, bytes]:
    """Return the files of a release: path -> bytes."""
    server = _ROOT / "server"
    files = {
        f"server/{path.relative_to(server).as_posix()}": path.read_bytes()
        for path in server.rglob("*")
        if path.is_file()
        and not any(part.startswith((".", "__pycache__")) for part in path.relative_to(server).parts)
    }
    lines = [
        f"{package.name}=={package.version} --hash=sha256:{sha256(wheels[package])}\n" for package in packages
    ]
    files["requirements.txt"] = "".join(lines).encode()
    return files | {f"wheels/{path.name}": path.read_bytes() for path in wheels.values()}


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a tar archive that depends on paths and contents alone."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            entry = tarfile.TarInfo(name)
            entry.size = len(files[name])
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(files[name]))
    return archive.getvalue()


def _locked(name: str) -> str:
    return (_ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")


@contextlib.contextmanager
def _alone(state: Path) -> Iterator[None]:
    """Let one at a time pack: a playbook asks for all its servers at once."""
    state.mkdir(parents=True, exist_ok=True)
    with (state / "bundle.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; what is there already is as good."""
    if path.exists() and path.read_bytes() == content:
        path.touch()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _discard_old(folder: Path) -> None:
    """Keep the archives that were asked for last."""
    archives = sorted(folder.glob("wsfront-backend-*.tar"), key=lambda path: path.stat().st_mtime)
    for path in archives[:-_KEPT]:
        path.unlink(missing_ok=True)
