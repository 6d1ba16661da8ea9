"""Debian's /etc/apache2 and its service: read and write files whole, run Debian's own commands, wait for Apache.

Knows nothing of what wsfront wants there. Runs on the machine with Python's standard library alone.
"""

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

ETC = Path("/etc/apache2")
AT_START_ONLY = {"serverlimit": 16, "threadlimit": 64}  # and their defaults: server/mpm/event/event.c
PATIENCE = 30  # seconds


class Fault(Exception):  # noqa: N818 (a word for people)
    """What stands in the way: one line with the remedy."""


class Snapshot:
    """Hold the links in /etc/apache2, and some of its files, as they are."""

    def __init__(self, paths: list[Path]) -> None:
        self.links = {path: path.readlink() for path in links()}
        self.texts = {path: read(path) for path in paths}

    def bring_back(self) -> None:
        """Make them again what they were."""
        for path in links():
            if path not in self.links:
                path.unlink()
        for path, text in self.texts.items():
            if text is None:
                path.unlink(missing_ok=True)
            elif read(path) != text:  # a full disk has no room for what is there anyway
                write(path, text)
        for path, target in self.links.items():
            if not path.is_symlink():
                path.symlink_to(target)


def links() -> list[Path]:
    """Return the links by which modules, configurations and sites are enabled."""
    return [path for path in ETC.glob("*-enabled/*") if path.is_symlink()]


def enabled_modules() -> set[str]:
    """Return the names of the modules that are enabled."""
    return {path.stem for path in (ETC / "mods-enabled").glob("*.load")}


def do(command: str) -> None:
    """Run one of Debian's commands, as a2ensite.

    Raises:
        Fault: in its own words.
    """
    done = said(*command.split())
    if done.returncode:
        raise Fault(f"{command}: {one_line(done.stderr or done.stdout)}; the old files are back")


def enabled(path: Path) -> Path:
    """Return where the link to a file of sites-available or conf-available lies."""
    return path.parent.with_name(path.parent.name.replace("-available", "-enabled")) / path.name


def read(path: Path) -> str | None:
    """Return a file's text; None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    new = path.with_name(f".{path.name}.new")
    try:
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.chmod(0o644)
        new.replace(path)
    finally:
        with contextlib.suppress(OSError):
            new.unlink()


def copy(source: Path, copy: Path, *, files: bool) -> None:
    """Copy a tree with its owners: all of it, or its folders alone."""
    copy.mkdir(parents=True, exist_ok=True)
    for folder, _, names in os.walk(source):
        there = copy / Path(folder).relative_to(source)
        there.mkdir(exist_ok=True)
        for name in [".", *(names if files else ())]:
            origin, target = Path(folder, name), there / name
            if name != "." and not origin.is_file():
                continue
            if name != ".":
                shutil.copyfile(origin, target)
            facts = origin.stat()
            os.chown(target, facts.st_uid, facts.st_gid)
            target.chmod(facts.st_mode & 0o7777)


def limits(config: str) -> dict[str, int]:
    """Return what Apache reads at a start only, from its own dump of a configuration."""
    found = dict(AT_START_ONLY)
    for line in config.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].lower() in found and words[1].isdigit():  # noqa: PLR2004 (a directive and its value)
            found[words[0].lower()] = int(words[1])
    return {"ServerLimit": found["serverlimit"], "ThreadLimit": found["threadlimit"]}


def words(candidate: Path, done: subprocess.CompletedProcess[str]) -> str:
    """Return what Apache said: on standard error, and in the logs that it began."""
    lines = done.stderr.splitlines()
    for path in sorted((candidate / "var/log/apache2").rglob("*")):
        if path.is_file():
            lines += [
                line
                for line in path.read_text(errors="replace").splitlines()
                if re.search(r":(emerg|alert|crit|error)\]", line)
            ]
    return one_line(told("\n".join(lines))).replace(str(candidate / "etc"), str(ETC))


def told(text: str) -> str:
    """Return the last lines, without their times and without AH00557 and AH00558: no global ServerName, harmless and everywhere."""
    lines = [re.sub(r"^\[[^]]*\d{4}\] ", "", line) for line in text.splitlines() if line.strip()]
    return "\n".join([line for line in lines if not re.search("AH0055[78]", line)][-6:])


def one_line(text: str) -> str:
    """Join lines by semicolons."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def said(*command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and return what it said.

    Raises:
        Fault: it takes longer than `timeout` seconds.
    """
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout,
            env=environment,
        )
    except subprocess.TimeoutExpired:
        raise Fault(
            f"{command[0]} took longer than {timeout} s; see what it waits for, and start again"
        ) from None


def is_active() -> bool:
    """Tell whether Apache runs."""
    return said("systemctl", "is-active", "-q", "apache2").returncode == 0


def main_process() -> int:
    """Return the process id of the one that all children of Apache come from; 0 where it does not run."""
    number = said("systemctl", "show", "-P", "MainPID", "apache2").stdout.strip()
    return int(number) if number.isdigit() else 0


def started() -> float:
    """Return when the main process started, in seconds since the epoch; now, where there is none."""
    try:
        words = Path(f"/proc/{main_process()}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return time.time()
    age = time.clock_gettime(time.CLOCK_BOOTTIME) - int(words[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - age


def has_come_up(same: int | None, since: float) -> bool:
    """Wait until Apache has a child that is younger than the order; `same` is the main process that must have stayed."""
    ticks = os.sysconf("SC_CLK_TCK")
    born_after = (time.clock_gettime(time.CLOCK_BOOTTIME) - (time.monotonic() - since)) * ticks - 1
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        main = main_process()
        if not main or (same and main != same):
            return False
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                words = stat.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(words[1]) == main and int(words[19]) >= born_after:
                return True
        time.sleep(0.1)
    return False
