"""One way to run an Apache: found, probed, tested, started in the foreground as our child, stopped cleanly.

Knows nothing of descriptions; it is given files and a folder. The only place that starts an Apache.
"""

import contextlib
import ctypes
import os
import pwd
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

from .error_log import Line, parse
from .errors import HttpdError
from .limits import MALLOC
from .target import MPMS, Layout, Mpm, Target

_NAMES = ("apache2", "httpd")
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/local/apache2/bin")
_MODULE_FOLDERS = (
    "/usr/lib/apache2/modules",
    "/usr/lib64/httpd/modules",
    "/usr/lib/httpd/modules",
    "/usr/lib64/apache2",
    "/usr/lib/apache2",
)
FOLDERS = ("logs", "run", "empty")
"""What a private Apache writes to below its ServerRoot, and the empty folder that is nobody's page."""

_START_SECONDS = 20.0
_STOP_SECONDS = 3.0  # a tunnel whose client is silent ignores SIGTERM, and Apache itself waits 10 s for it
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_KILL_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


def find() -> Path:
    """Return the Apache of this machine.

    Raises:
        HttpdError: there is none, with the command that installs one.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS])
    for name in _NAMES:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    raise HttpdError(
        "there is no Apache on this machine: on Debian type `apt-get install apache2-bin`, on Fedora `dnf install httpd mod_ssl`"
    )


def probe(
    layout: Layout,
    *,
    binary: Path | None = None,
    directory: Path | None = None,
    https_port: int = 443,
    http_port: int = 80,
) -> Target:
    """Return what is true of this machine and its Apache.

    Args:
        layout: for which the files are meant.
        binary: the Apache to ask; default: the one found.
        directory: where the configuration's own files lie; default: /etc/wsfront.
        https_port: port for TLS.
        http_port: port for plain HTTP.

    Raises:
        HttpdError: no Apache is found, or it does not answer.
    """
    binary = binary or find()
    version = re.search(r"Apache/(\d+\.\d+\.\d+)", _output(binary, "-v"))
    if not version:
        raise HttpdError(f"{binary} does not say its version: is it an Apache httpd?")
    static = {
        name.removeprefix("mod_")
        for name in re.findall(r"^\s+(\w+)\.c$", _output(binary, "-l"), re.MULTILINE)
    }
    folder = modules_folder(binary)
    shared = sorted(file.stem.removeprefix("mod_") for file in folder.glob("mod_*.so"))
    user, group = _unprivileged()
    return Target(
        layout=layout,
        apache=version[1],
        openssl=_openssl(folder),
        mpm=_mpm(static, shared, layout),
        modules=tuple(shared),
        static_modules=tuple(sorted(static | {"mpm_" + name for name in static & set(MPMS)})),
        modules_directory=str(folder),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        cores=os.cpu_count() or 1,
        user=user,
        group=group,
        directory=str(directory or "/etc/wsfront"),
        listen=loopback_addresses(),
        https_port=https_port,
        http_port=http_port,
    )


def loopback_addresses() -> tuple[str, ...]:
    """Return the loopback addresses that can be bound here: browsers try ::1 for localhost first."""
    with socket.socket(socket.AF_INET6) as probe_socket:
        try:
            probe_socket.bind(("::1", 0))
        except OSError:
            return ("127.0.0.1",)
    return ("127.0.0.1", "[::1]")


def free_ports(count: int) -> list[int]:
    """Return ports free on all loopback addresses just now; somebody may take one before we do, so be ready to try again.

    They are below those that a system takes for outgoing connections by itself (ip(7), ip_local_port_range).
    """
    hosts = [address.strip("[]") for address in loopback_addresses()]
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        while len(ports) < count:
            port = random.randrange(20000, 32768)  # noqa: S311 (no secret)
            with contextlib.suppress(OSError):
                for host in hosts:
                    family = socket.AF_INET6 if ":" in host else socket.AF_INET
                    held.enter_context(socket.socket(family)).bind((host, port))
                ports.append(port)
        return ports


class Httpd:
    """Run one private Apache in a folder of its own.

    Args:
        directory: its ServerRoot, which holds httpd.conf, logs/, run/ and empty/; made where missing.
        binary: the Apache to run; default: the one found.
        malloc: its GLIBC_TUNABLES, where the environment has none.
    """

    def __init__(self, directory: Path, binary: Path | None = None, malloc: str = MALLOC) -> None:
        self.directory = directory
        self._environment = {"GLIBC_TUNABLES": malloc, **os.environ}
        self.binary = binary or find()
        self.config = directory / "httpd.conf"
        self.log = directory / "logs" / "error.log"
        self._process: subprocess.Popen[bytes] | None = None

    def write(self, files: Mapping[str, str]) -> None:
        """Put files into the folder, each whole or not at all.

        Raises:
            OSError: the disk is full, or the folder is not ours.
        """
        for name in FOLDERS:
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            temporary = self.directory / f".{name}.new"
            try:
                temporary.write_text(text, encoding="utf-8")
                temporary.replace(self.directory / name)
            finally:
                temporary.unlink(missing_ok=True)

    def test(self) -> None:
        """Let Apache read the configuration.

        Raises:
            HttpdError: it refuses it, in Apache's own words.
        """
        done = subprocess.run([*self._command(), "-t"], capture_output=True, text=True, check=False)
        if done.returncode:
            words = [line for line in done.stderr.splitlines() if line.strip()]
            raise HttpdError("Apache refuses the configuration: " + " ".join(words))

    def start(self) -> None:
        """Start in the foreground and return once Apache listens.

        Raises:
            HttpdError: it ends instead, with the last of its log.
        """
        position = self.log.stat().st_size if self.log.exists() else 0
        with (self.directory / "logs" / "start.log").open("w+b") as output:
            # A session of its own, so that Ctrl-C reaches us alone and we stop things in order.
            with stop_signals_held():
                self._process = subprocess.Popen(
                    [*self._command(), "-DFOREGROUND"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=self._environment,
                    start_new_session=True,
                    preexec_fn=die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
                )
            deadline = time.monotonic() + _START_SECONDS
            # Said once its sockets are bound and its signal handlers are in place, by all MPMs: server/mpm/event/event.c, event_run.
            while "resuming normal operations" not in self.log_text(position):
                ended = self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    self.stop()
                    output.seek(0)
                    words = output.read().decode(errors="replace").split("\n") + self.log_text(
                        position
                    ).split("\n")
                    last = [line for line in words if line.strip()][-3:]
                    state = "ended at its start" if ended else f"did not listen within {_START_SECONDS:.0f} s"
                    raise HttpdError(f"Apache {state}: {' '.join(last) or 'it said nothing'}")
                time.sleep(0.005)

    @property
    def pid(self) -> int | None:
        """Return the process id while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def reload(self) -> None:
        """Ask for a graceful reload: open tunnels stay with the old generation."""
        if self.pid:
            os.kill(self.pid, signal.SIGUSR1)

    def stop(self) -> None:
        """Stop it and all its children, within a bounded time."""
        process = self._process
        if process is None:
            return
        self._process = None
        end(process, _STOP_SECONDS)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            # Until the last child is gone, it holds our ports.
            deadline = time.monotonic() + _KILL_SECONDS
            while time.monotonic() < deadline:
                os.killpg(process.pid, signal.SIGKILL)
                time.sleep(0.005)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def log_text(self, position: int = 0) -> str:
        """Return the error log from a position in bytes on."""
        try:
            with self.log.open("rb") as file:
                file.seek(position)
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def log_lines(self, position: int = 0) -> list[Line]:
        """Return the error log as data, from a position in bytes on."""
        return parse(self.log_text(position))

    def _command(self) -> list[str]:
        return [str(self.binary), "-d", str(self.directory), "-f", str(self.config)]


def _output(binary: Path, flag: str) -> str:
    try:
        return subprocess.run([binary, flag], capture_output=True, text=True, check=False, timeout=10).stdout
    except (OSError, subprocess.TimeoutExpired) as error:
        raise HttpdError(f"{binary} {flag} does not answer: {error}") from None


def modules_folder(binary: Path) -> Path:
    """Return the folder of an Apache's modules.

    Raises:
        HttpdError: it has none with mod_proxy in it.
    """
    root = re.search(r'HTTPD_ROOT="([^"]+)"', _output(binary, "-V"))
    folders = [
        *(Path(folder) for folder in _MODULE_FOLDERS),
        *([Path(root[1]) / "modules"] if root else []),
        binary.parent.parent / "lib/httpd/modules",
    ]
    for folder in folders:
        if (folder / "mod_proxy.so").exists():
            return folder
    raise HttpdError(f"{binary} has no folder of modules with mod_proxy.so: install Apache's proxy modules")


def _mpm(static: set[str], shared: list[str], layout: Layout) -> Mpm:
    enabled = set(static)
    if layout != "private":
        enabled |= {
            file.stem.removeprefix("mpm_") for file in Path("/etc/apache2/mods-enabled").glob("mpm_*.load")
        }
    loadable = {name.removeprefix("mpm_") for name in shared}
    return next((name for choice in (enabled, loadable) for name in MPMS if name in choice), "event")


def _openssl(modules_folder: Path) -> str:
    """Return the version of the OpenSSL that mod_ssl runs with."""
    ldd = shutil.which("ldd")
    if ldd:
        listing = subprocess.run(
            [ldd, modules_folder / "mod_ssl.so"], capture_output=True, text=True, check=False
        ).stdout
        library = re.search(r"libcrypto\S* => (\S+)", listing)
        if library:
            version = ctypes.CDLL(library[1]).OpenSSL_version
            version.restype = ctypes.c_char_p
            match = re.search(r"(\d+\.\d+\.\d+[a-z]*)", version(0).decode())
            if match:
                return match[1]
    tool = shutil.which("openssl")
    listing = (
        subprocess.run([tool, "version"], capture_output=True, text=True, check=False).stdout if tool else ""
    )
    match = re.search(r"OpenSSL (\d+\.\d+\.\d+[a-z]*)", listing)
    return match[1] if match else "1.1.1"


def _unprivileged() -> tuple[str, str]:
    """Return the user and group that Apache's children drop to; empty when we are no root to begin with."""
    if os.geteuid() != 0:
        return "", ""
    for name in ("www-data", "apache", "www", "_www", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return name, _group_name(entry.pw_gid)
    raise HttpdError(
        "there is no user such as www-data or nobody to whom Apache's children could drop: make one"
    )


def _group_name(gid: int) -> str:
    import grp  # noqa: PLC0415 (only where we are root)

    return grp.getgrgid(gid).gr_name


def end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask a child to stop by SIGTERM, and kill it when it has not within these seconds."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def stop_signals_held() -> Iterator[None]:
    """Keep what stops us waiting until a child just started is known, so that it is stopped too."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """Make a child that has just been forked ours: stop signals reach it, and the kernel stops it when we are killed.

    Source: prctl(2), PR_SET_PDEATHSIG; elsewhere than on Linux nobody does it. Cleared when the child changes its user.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
