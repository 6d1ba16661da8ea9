"""Debian systems on disk, made of Debian's own packages: what a test host or a virtual machine starts from.

A root is built once by mmdebstrap and kept in the user's cache. It is a fresh server with no way out: all that a
playbook may install lies in it as a local repository, so apt inside works without a network. Mirror, proxies and
the like are taken from the apt of this machine. Knows nothing of booting: machines.py and the virtual machine do that.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SUITES = ("bookworm", "trixie")

# A fresh server as most hosters hand it out. Without python3-apt: Ansible has to bring that itself.
SERVER = (
    *("systemd-sysv", "dbus", "openssh-server", "sudo", "python3", "ca-certificates", "netbase", "tzdata"),
    *("iproute2", "iputils-ping", "nftables", "procps", "logrotate", "less", "kmod", "adduser"),
)

# What playbooks and tests install there.
ARCHIVE = (
    *("apache2", "ssl-cert", "python3-venv", "python3-apt", "redis-server", "openssl", "curl", "acl"),
    *("nginx-light", "libapache2-mod-php", "rsync", "unattended-upgrades"),
)

REPOSITORY = Path("/srv/packages")  # inside the root

_MAX_AGE = 14 * 24 * 3600  # seconds; Debian's archive moves on, and old fixes are no fresh server
_LAYOUT = 1  # of the root; another one makes roots anew

# Options of this machine's apt that say how packages are reached.
_REACH = re.compile(
    r"Acquire::(https?|proxy|check-valid-until|check-date|retries|forceipv[46])\b", re.IGNORECASE
)


def cache_directory() -> Path:
    """Return the folder of the built roots: under $XDG_CACHE_HOME, default ~/.cache."""
    home = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".cache") / "wsfront" / "roots"


def build(suite: str, include: Sequence[str] = SERVER, archive: Sequence[str] = ARCHIVE) -> Path:
    """Return the folder of a root, built where the cache has none or an old one.

    Nothing may be written into it: several hosts and runs start from it at once.

    Args:
        suite: Debian's code name.
        include: the packages installed, beside the essential ones and apt.
        archive: the packages that apt inside can install, with all they depend on and recommend.

    Raises:
        RuntimeError: mmdebstrap or apt failed; holds the end of what they said.
    """
    wanted = repr((_LAYOUT, suite, platform.machine(), sorted(include), sorted(archive)))
    name = f"{suite}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    cache = cache_directory()
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / name
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_fresh(root):
            return root
        # Where a build of this root was cut off, its remains are nobody's: the lock is ours.
        unfinished = cache / f"{name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        print(f"building a {suite} root in {root}", file=sys.stderr)  # noqa: T201 # it takes half a minute
        _bootstrap(suite, unfinished, include, archive)
        _make_repository(unfinished)
        # A host that still runs on the old one keeps its files: they go with the next build but this.
        outdated = cache / f"{name}.outdated"
        shutil.rmtree(outdated, ignore_errors=True)
        if root.exists():
            root.rename(outdated)
        os.utime(unfinished)
        unfinished.rename(root)
    _discard_old(cache)
    return root


def _discard_old(cache: Path) -> None:
    """Remove roots that nobody has asked for since their packages were out of date."""
    for each in cache.iterdir():
        if each.is_dir() and time.time() - each.stat().st_mtime > 2 * _MAX_AGE:
            shutil.rmtree(each, ignore_errors=True)


def _is_fresh(root: Path) -> bool:
    try:
        return time.time() - root.stat().st_mtime < _MAX_AGE
    except FileNotFoundError:
        return False


def _bootstrap(suite: str, root: Path, include: Sequence[str], archive: Sequence[str]) -> None:
    """Install the packages into a new folder, and download the others there."""
    packages = " ".join(archive)
    fetch = (
        'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" apt-get -qq --yes --download-only '
        f"-o APT::Install-Recommends=true install {packages}"
    )
    # In a mount namespace of its own: whatever becomes of mmdebstrap, nothing stays mounted.
    command = [
        "unshare",
        "--mount",
        "--kill-child",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
    ]
    command += [f"--include={','.join(include)}", *(f"--aptopt={option}" for option in _apt_options())]
    command += ["--skip=cleanup/apt", *([f"--customize-hook={fetch}"] if archive else []), suite, str(root)]
    _run([*command, *_sources(suite)])


def _apt_options() -> list[str]:
    """Return how this machine's apt reaches packages: proxies, certificates and the like."""
    lines = _run(["apt-config", "dump"]).splitlines()
    return [line for line in lines if _REACH.match(line) and not line.endswith(' "";')]


def _sources(suite: str) -> list[str]:
    """Return apt's lines for a suite, from where this machine's apt has its own; none: as mmdebstrap knows them."""
    release = dict(re.findall(r'^(\w+)="?([^"\n]*)', Path("/etc/os-release").read_text(), re.MULTILINE))
    own = release.get("VERSION_CODENAME", "")
    said = _run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    )
    rows = [line.split() for line in said.splitlines()]
    places = {row[0]: row[2] for row in reversed(rows) if len(row) == 3 and row[1] == "main"}
    if release.get("ID") != "debian" or not {own, f"{own}-security"} <= places.keys():
        return []
    archive, security = places[own], places[f"{own}-security"]
    return [
        f"deb {archive} {suite} main",
        f"deb {archive} {suite}-updates main",
        f"deb {security} {suite}-security main",
    ]


def _make_repository(root: Path) -> None:
    """Turn what was downloaded into the one repository that apt inside knows."""
    folder = root / REPOSITORY.relative_to("/")
    folder.mkdir(parents=True)
    index = []
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        content = package.read_bytes()
        fields = _run(["dpkg-deb", "--field", str(package)]).rstrip()
        digest = hashlib.sha256(content).hexdigest()
        index.append(f"{fields}\nFilename: ./{package.name}\nSize: {len(content)}\nSHA256: {digest}\n")
        shutil.move(package, folder / package.name)
    (folder / "Packages").write_text("\n".join(index))
    # Names of mirrors and proxies are this machine's affair; the host name and resolver are each test host's.
    for name in (
        "etc/apt/apt.conf.d/99mmdebstrap",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/apt/sources.list",
    ):
        (root / name).unlink(missing_ok=True)
    for path in (root / "etc/apt/sources.list.d").iterdir():
        path.unlink()
    (root / "etc/apt/sources.list.d/packages.list").write_text(f"deb [trusted=yes] file:{REPOSITORY} ./\n")
    for path in (root / "var/lib/apt/lists").glob("*_*"):
        path.unlink()
    _run(["chroot", str(root), "apt-get", "-qq", "update"])


def _run(command: Sequence[str]) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C.UTF-8"}
    )
    if done.returncode:
        said = "\n".join((done.stderr or done.stdout).strip().splitlines()[-20:])
        raise RuntimeError(f"{command[0]} failed with status {done.returncode}:\n{said}")
    return done.stdout
