"""Ask this machine's Apache of itself: which one runs, its version, its modules, and its configuration as it reads it.

Changes nothing: `-t` opens no log and no port, and mod_info is loaded for that one reading alone.
"""

import contextlib
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from apache import httpd
from apache.errors import HttpdError

from .reading import shown

_SECONDS = 3.0
_NAMES = ("apache2", "httpd")
_ENVIRONMENT = Path("/etc/apache2/envvars")
_ANYWHERE = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_UNREADABLE = re.compile(r"does not exist or is empty|[Pp]ermission denied|[Cc]ould not open|Unable to open")
_WITH_VALUE = {"-D", "-d", "-f", "-C", "-c", "-k", "-E"}
_KEPT = {"-D", "-d", "-f", "-C", "-c"}


class ServerError(Exception):
    """Say why there is nothing to be examined on this machine, and what would be right."""


@dataclass(frozen=True)
class Apache:
    """Hold which Apache is asked, and how.

    Attributes:
        binary: the program.
        arguments: what it was started with, as far as it chooses the configuration.
        environment: the variables that its configuration may name.
        main: the process id of the one that all children come from; None where none runs with this configuration.
        banner: its name for itself, as `Apache/2.4.71 (Debian)`.
    """

    binary: Path
    arguments: tuple[str, ...]
    environment: dict[str, str]
    main: int | None
    banner: str

    @property
    def version(self) -> str:
        """Return its version, as 2.4.71."""
        match = re.search(r"Apache/(\d+\.\d+\.\d+)", self.banner)
        return match[1] if match else ""


@dataclass(frozen=True)
class Dump:
    """Hold what Apache says of its configuration.

    Attributes:
        refused: its own words, where it does not take it; the rest is empty then.
        text: all directives with their files and lines, behind a LoadModule line for each module; empty where mod_info is not to be had.
        modules: the names of all modules, as proxy_http.
        root: its ServerRoot.
        log: the ErrorLog of the server itself.
        user: the id of the user that its children are; None where it changes to none.
        is_limited: whether it reads files that this user may not.
    """

    refused: str = ""
    text: bytes = b""
    modules: frozenset[str] = frozenset()
    root: str = ""
    log: str = ""
    user: int | None = None
    is_limited: bool = False


def find(binary: str | None = None, config: str | None = None) -> Apache:
    """Return the Apache to ask: the one that runs with this configuration, else the one installed.

    Args:
        binary: the program; default: the one that runs, else the one found.
        config: the main file, as Apache is given it by -f; default: the one that runs without such, or the only one that runs.

    Raises:
        ServerError: there is none on this machine.
    """
    if not Path("/proc/self/stat").exists():
        raise ServerError(
            "there is no /proc here, which tells of processes on Linux: ./wsfront lint reads a configuration anywhere"
        )
    main, arguments = _running(config)
    try:
        program = Path(binary) if binary else _program(main) or httpd.find()
    except HttpdError as error:
        raise ServerError(str(error)) from None
    if main is None and config:
        arguments = ["-f", str(Path(config).resolve())]
    environment = _environment(main, own=config is None)
    banner = re.search(r"Server version: (.+)", _said(program, ["-v"], environment)[1])
    if not banner or "Apache/" not in banner[1]:
        raise ServerError(f"{program} does not say an Apache's version: name the right program by --apache")
    return Apache(program, tuple(arguments), environment, main, banner[1].strip())


def dump(apache: Apache) -> Dump:
    """Return what Apache says of its configuration.

    Raises:
        ServerError: it does not answer in time.
    """
    # Where it only dumps, it does not ask for the files of certificates; as another user it may not find them.
    status, _, words = _said(apache.binary, [*apache.arguments, "-t"], apache.environment)
    is_limited = bool(status and os.geteuid() and _UNREADABLE.search(words))
    if status and not is_limited:
        return Dump(refused=_words(status, words))
    asked = [*apache.arguments, "-t", "-D", "DUMP_RUN_CFG", "-D", "DUMP_MODULES"]
    status, output, words = _said(apache.binary, asked, apache.environment)
    if status:
        return Dump(refused=_words(status, words), is_limited=is_limited)
    modules = frozenset(re.findall(r"^ (\w+)_module \(", output, re.MULTILINE))
    user = re.search(r'^User: name="([^"]*)" id=(\d+)( not_used)?', output, re.MULTILINE)
    root = re.search(r'^ServerRoot: "(.*)"', output, re.MULTILINE)
    log = re.search(r'^Main ErrorLog: "(.*)"', output, re.MULTILINE)
    return Dump(
        text=_directives(apache, modules),
        modules=modules,
        root=root[1] if root else "",
        log=log[1] if log else "",
        user=int(user[2]) if user and not user[3] else None,
        is_limited=is_limited,
    )


def _words(status: int, said: str) -> str:
    """Return Apache's words for a refusal, without those on its own name."""
    lines = [line.strip() for line in said.splitlines()]
    kept = [line for line in lines if line and not re.search(r"AH0055[78]|AH00112", line)]
    return " ".join(kept) or f"it ends with status {status} and says nothing"


def main_file(apache: Apache) -> str:
    """Return the main configuration file."""
    for flag, value in zip(apache.arguments, apache.arguments[1:], strict=False):
        if flag == "-f" and value.startswith("/"):
            return value
    built = _said(apache.binary, ["-V"], apache.environment)[1]
    root = re.search(r'HTTPD_ROOT="([^"]*)"', built)
    file = re.search(r'SERVER_CONFIG_FILE="([^"]*)"', built)
    return os.path.join(root[1], file[1]) if root and file else ""  # noqa: PTH118 (the second may be absolute)


def _directives(apache: Apache, modules: frozenset[str]) -> bytes:
    """Return the whole configuration as mod_info prints it; LoadModule lines, which it leaves out, before it."""
    load: list[str] = []
    if "info" not in modules:
        try:
            folder = httpd.modules_folder(apache.binary)
        except HttpdError:
            return b""
        load = ["-C", f"LoadModule info_module {folder}/mod_info.so"]
    status, output, _ = _said(
        apache.binary, [*apache.arguments, *load, "-t", "-D", "DUMP_CONFIG"], apache.environment
    )
    start = output.find("# In file:")
    if status or start < 0:
        return b""
    loaded = "".join(f"LoadModule {name}_module loaded\n" for name in sorted(modules))
    # What follows the directives is of no file: each of its lines would be read as one.
    listing = re.split(r"^(?:ServerRoot: |Loaded Modules:)", output[start:], maxsplit=1, flags=re.MULTILINE)[
        0
    ]
    return f"# In file: apache2 -M\n{loaded}{listing}".encode()


def _running(config: str | None) -> tuple[int | None, list[str]]:
    """Return the main process that is meant, and the arguments that choose its configuration."""
    found = [(pid, _kept(words)) for pid, words in _mains().items()]
    if config:
        wanted = Path(config).resolve()
        found = [
            each
            for each in found
            if "-f" in each[1] and Path(each[1][each[1].index("-f") + 1]).resolve() == wanted
        ]
        return found[0] if found else (None, [])
    own = [each for each in found if "-f" not in each[1]] or found
    if len(own) > 1:
        files = [
            each[1][each[1].index("-f") + 1] if "-f" in each[1] else f"process {each[0]}" for each in own
        ]
        raise ServerError(
            f"several Apaches run here: name the main file of one by --config: {shown(', '.join(files), 300)}"
        )
    return own[0] if own else (None, [])


def _mains() -> dict[int, list[str]]:
    """Return the processes of this machine that are the first of an Apache, with their command lines."""
    parents: dict[int, int] = {}
    commands: dict[int, list[str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if Path(words[0]).name in _NAMES and _is_here(folder):
                pid = int(folder.name)
                parents[pid] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                commands[pid] = words
    return {pid: words for pid, words in sorted(commands.items()) if parents[pid] not in commands}


def _is_here(folder: Path) -> bool:
    """Tell whether a process is no container's, as far as may be known."""
    try:
        return (folder / "ns/pid").readlink() == Path("/proc/self/ns/pid").readlink()
    except OSError:
        return True


def _kept(words: list[str]) -> list[str]:
    """Return the arguments that choose a configuration, without those that start something."""
    kept: list[str] = []
    rest = words[1:]
    while rest:
        flag = rest.pop(0)
        value = ""
        if flag[:2] in _WITH_VALUE:
            value = flag[2:] or (rest.pop(0) if rest else "")
            flag = flag[:2]
        if flag in _KEPT and value != "FOREGROUND":
            kept += [flag, value]
    return kept


def _program(main: int | None) -> Path | None:
    if main is None:
        return None
    with contextlib.suppress(OSError):
        return Path(str(Path(f"/proc/{main}/exe").readlink()).removesuffix(" (deleted)"))
    with contextlib.suppress(OSError):
        named = Path(Path(f"/proc/{main}/cmdline").read_text().partition("\0")[0])
        return named if named.is_absolute() else None
    return None


def _environment(main: int | None, *, own: bool) -> dict[str, str]:
    """Return the variables of the one that runs; else those that Debian's apachectl sets before it."""
    if main is not None:
        with contextlib.suppress(OSError):
            raw = Path(f"/proc/{main}/environ").read_bytes().decode(errors="replace")
            return dict(each.split("=", 1) for each in raw.split("\0") if "=" in each)
    if own and _ENVIRONMENT.is_file():
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            shell = ["sh", "-c", f'. "{_ENVIRONMENT}" >/dev/null 2>&1; env -0']
            done = subprocess.run(
                shell,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
                env={"PATH": _ANYWHERE, "LANG": "C"},
            )
            raw = done.stdout.decode(errors="replace")
            return dict(each.split("=", 1) for each in raw.split("\0") if "=" in each)
    return {"PATH": _ANYWHERE, "LANG": "C"}


def _said(binary: Path, arguments: list[str], environment: dict[str, str]) -> tuple[int, str, str]:
    """Return a status and what was said on both outputs."""
    try:
        done = subprocess.run(
            [binary, *arguments],
            capture_output=True,
            check=False,
            timeout=_SECONDS,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise ServerError(f"{binary}: {error.strerror}: name an Apache's program by --apache") from None
    except subprocess.TimeoutExpired:
        raise ServerError(
            f"{shown(str(binary))} {' '.join(arguments[-1:])} does not answer within {_SECONDS:.0f} s: "
            "is a name in its configuration that no DNS server answers for?"
        ) from None
    return done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace")
