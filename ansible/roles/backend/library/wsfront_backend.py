#!/usr/bin/python
"""Bring a release of the backend to life: try it, put it in the old one's place, or leave all as it was.

Owns /opt/wsfront, the units wsfront-backend.* and /etc/wsfront/backend.env; touches nothing else. The port stays open throughout, unless
its address itself is another one. Runs on the machine with Python's standard library alone.
"""

import grp
import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

from ansible.module_utils import backend_release as releases
from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: wsfront_backend
short_description: Bring a release of the backend to life, or leave all as it was
description: Makes a release of a bundle, tries it in a unit of its own, and puts it in the place of the one that lives.
options:
  files:
    description: Path below the root of the file system to text.
    type: dict
    default: {}
  release:
    description: C(latest) for the one of the bundle, C(previous) for the one that lived before, or a name.
    type: str
    default: latest
  id:
    description: What the digest of the bundle begins with.
    type: str
    default: ""
  archive:
    description: The bundle, on the machine.
    type: path
    default: /var/lib/wsfront/backend.tar
  pip:
    description: The name of the wheel in the bundle that installs the others.
    type: str
    default: ""
  keep:
    description: How many releases to keep.
    type: int
    default: 5
  state:
    description: Whether there is to be a backend.
    choices: [present, absent]
    default: present
author: wsfront
"""

RETURN = """
release:
  description: The release that lives now.
  type: str
  returned: success
"""

EXAMPLES = """
- name: Go back to the release that lived before
  wsfront_backend:
    files: "{{ wsfront.files }}"
    release: previous
"""

SOCKET, SERVICE = "wsfront-backend.socket", "wsfront-backend.service"
TRIAL = "wsfront-backend-trial@{}.service"
UNITS, TRIAL_UNITS = Path("/etc/systemd/system"), Path("/run/systemd/system")
SETTINGS, TRIAL_SETTINGS = Path("/etc/wsfront/backend.env"), Path("/etc/wsfront/trial.env")
TRIAL_SOCKET = "/run/wsfront-trial/backend.sock"
CURRENT, PREVIOUS = releases.ROOT / "current", releases.ROOT / "previous"
STATE = Path("/var/lib/wsfront")
PENDING = STATE / "backend.pending"  # there while files are new and the service is not
GROUP = "wsfront"
PUBLIC, SHARED = 0o644, 0o640  # the latter with GROUP
PATIENCE = 120
NOISE = re.compile(
    r" INFO |\"level\":\"info\"|^[\s~^]*$|sys\.exit\(main\(\)\)$"
)  # of a traceback and of a process that did as it was told


class SwapError(Exception):
    """Say what went wrong, in the words of whoever said it first, and what goes on meanwhile."""


def main() -> None:
    """Compare, and swap where something differs."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "default": {}},
            "release": {"type": "str", "default": "latest"},
            "id": {"type": "str", "default": ""},
            "archive": {"type": "path", "default": str(STATE / "backend.tar")},
            "pip": {"type": "str", "default": ""},
            "keep": {"type": "int", "default": 5},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        if module.params["state"] == "absent":
            result = _remove(check=module.check_mode)
        else:
            result = Swap(module.params).run(check=module.check_mode)
        module.exit_json(**result)
    except (SwapError, releases.ReleaseError) as fault:
        module.fail_json(msg=str(fault))
    except OSError as fault:
        module.fail_json(msg=f"{fault.filename}: {fault.strerror}; mend that, and run the playbook again")


class Swap:
    """Hold what is wanted, and what is there."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        files = params["files"]
        self.wanted = {
            UNITS / SOCKET: files[f"etc/systemd/system/{SOCKET}"],
            UNITS / SERVICE: files[f"etc/systemd/system/{SERVICE}"],
            SETTINGS: files["etc/wsfront/backend.env"],
        }
        self.trial = files[f"run/systemd/system/{TRIAL.format('')}"]
        self.before = {path: _read(path) for path in self.wanted}
        self.live = CURRENT.resolve() if CURRENT.is_symlink() and CURRENT.exists() else None
        self.previous = _target(PREVIOUS)
        self.chosen = self._choose()
        self.is_up = _is_active(SOCKET) and _is_active(SERVICE)
        self.differs = {path for path, text in self.wanted.items() if self.before[path] != text}

    def run(self, *, check: bool) -> dict[str, Any]:
        """Do what is to be done and return Ansible's result."""
        enabled = all(_systemctl("is-enabled", "-q", unit).returncode == 0 for unit in (SOCKET, SERVICE))
        swaps = self.chosen is None or self.chosen != self.live or bool(self.differs) or PENDING.exists()
        swaps = swaps or not (self.is_up and enabled)
        if swaps and not check:
            _require_here(self.wanted[UNITS / SOCKET])
            self._bring_up()
        old = releases.surplus(self.params["keep"], {self.live, _target(PREVIOUS)})
        cleaned = releases.discard_unfinished() if not check and releases.RELEASES.is_dir() else False
        for path in old if not check else ():
            shutil.rmtree(path, ignore_errors=True)
        return {
            "changed": swaps or bool(old) or cleaned,
            "release": self.live.name if self.live else "",
            "removed": [path.name for path in old],
            "diff": [self._diff(path) for path in sorted(self.differs)],
        }

    def _bring_up(self) -> None:
        """Have the release wanted live; one that was made for it and fails is not kept."""
        release = self.chosen or releases.make(
            Path(self.params["archive"]), self.params["id"], self.params["pip"]
        )
        try:
            self._try(release)
            self._go_live(release)
        except SwapError:
            if self.chosen is None:
                shutil.rmtree(release, ignore_errors=True)
            raise
        self.live = release

    def _choose(self) -> Path | None:
        """Return the release wanted; None where it has to be made of the bundle."""
        found: Path | None
        wanted = self.params["release"]
        if wanted == "latest":
            found = releases.of(self.params["id"])
        elif wanted != "previous":
            found = releases.named(wanted)
        elif (found := self.previous) is None:
            raise SwapError(
                "there is no release before this one; `ls /opt/wsfront/releases` shows those that there are"
            )
        return found

    def _diff(self, path: Path) -> dict[str, str]:
        header = {"before_header": str(path), "after_header": str(path)}
        return {"before": self.before[path] or "", "after": self.wanted[path], **header}

    def _try(self, release: Path) -> None:
        """Start the release beside the living one, in the same sandbox and with the new settings, and ask how it is."""
        unit, since = TRIAL.format(release.name), time.time()
        goes_on = f"{self.live.name} goes on" if self.live and self.is_up else "nothing was put in place"
        try:
            _systemctl(
                "stop", TRIAL.format("*")
            )  # of a play that was cut off: it would keep the trial's socket
            _write(TRIAL_UNITS / TRIAL.format(""), self.trial, PUBLIC)
            _write(TRIAL_SETTINGS, self.wanted[SETTINGS], SHARED)
            _reload()
            if _systemctl("start", unit).returncode:
                raise SwapError(
                    f"release {release.name} does not start, and {goes_on}: {_words(unit, since)}"
                )
            answer = _health()
            if " 200 " not in answer:
                raise SwapError(
                    f"release {release.name} starts, but /healthz answers {answer or 'nothing'}, and {goes_on}"
                )
        finally:
            _systemctl("stop", unit)
            _systemctl("reset-failed", unit)
            for path in (TRIAL_UNITS / TRIAL.format(""), TRIAL_SETTINGS):
                path.unlink(missing_ok=True)
            _reload()

    def _go_live(self, release: Path) -> None:
        """Put the release and the files in place and restart; where it does not come up, put the old ones back."""
        since = time.time()
        PENDING.parent.mkdir(parents=True, exist_ok=True)
        PENDING.touch()
        try:
            if self._put_in_place(release):
                _systemctl("enable", "-q", SOCKET, SERVICE)
                PENDING.unlink()
                return
            words = _words(SERVICE, since) or _words(SOCKET, since)
        except (OSError, SwapError) as fault:
            words = str(fault)
        ends = "nothing was put in place" if self.live is None else f"{self.live.name} is back"
        if not self._put_back():
            ends = "the one before does not come up, either"
        PENDING.unlink()
        taken = "Address already in use" in words
        remedy = (
            "; `ss -lntpx` shows who has it: stop that, or give the backend another address" if taken else ""
        )
        raise SwapError(
            f"release {release.name} passed its trial and does not start in earnest; {ends}: {words}{remedy}"
        )

    def _put_in_place(self, release: Path) -> bool:
        """Put the release and the files in place and restart; tell whether that worked."""
        if self.params["release"] != "previous" and self.live not in (None, release):
            _link(PREVIOUS, self.live)  # first: whoever cuts this off, the way back is known
        for path in self.differs:
            _write(path, self.wanted[path], SHARED if path == SETTINGS else PUBLIC)
        _link(CURRENT, release)
        _reload()
        return self._restart()

    def _restart(self) -> bool:
        """Start all anew, the port without ever closing it where its unit is as it was; tell whether that worked."""
        if UNITS / SOCKET in self.differs:
            _systemctl("stop", SOCKET, SERVICE)
        _systemctl("reset-failed", SOCKET, SERVICE)
        return not _systemctl("start", SOCKET).returncode and not _systemctl("restart", SERVICE).returncode

    def _put_back(self) -> bool:
        """Put back what was there, and start it; tell whether it is up again."""
        if self.previous:
            _link(PREVIOUS, self.previous)
        else:
            PREVIOUS.unlink(missing_ok=True)
        if self.live is None:
            _systemctl("stop", SOCKET, SERVICE)
        else:
            _link(CURRENT, self.live)
        for path in self.differs:
            text = self.before[path]
            if text is None:
                path.unlink(missing_ok=True)
            else:
                _write(path, text, SHARED if path == SETTINGS else PUBLIC)
        if self.live is None:
            CURRENT.unlink(missing_ok=True)
            _reload()
            _systemctl("reset-failed", SOCKET, SERVICE)
            return True
        _reload()
        return self._restart()


def _remove(*, check: bool) -> dict[str, Any]:
    """Take out all that this module put in."""
    paths = [UNITS / SOCKET, UNITS / SERVICE, SETTINGS, PENDING, STATE / "backend.tar"]
    paths += [TRIAL_UNITS / TRIAL.format(""), TRIAL_SETTINGS]  # of a play that was cut off
    there = [path for path in (*paths, releases.ROOT) if path.exists()]
    if there and not check:
        _systemctl("stop", TRIAL.format("*"))
        _systemctl("disable", "-q", "--now", SOCKET, SERVICE)
        for path in there:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        _reload()
        _systemctl("reset-failed", SOCKET, SERVICE)
    return {"changed": bool(there), "removed": [str(path) for path in there]}


def _require_here(unit: str) -> None:
    """Refuse an address of another machine: with FreeBind= systemd would listen on it without a word."""
    for host in re.findall(r"^ListenStream=\[?([0-9A-Fa-f.:]+?)\]?:\d+$", unit, re.MULTILINE):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((host, 0))
        except OSError as fault:
            raise SwapError(
                f"the backend cannot listen on {host} here: {fault.strerror}; "
                "in wsfront.yaml name an address that `ip address` shows on the backend's machine"
            ) from None


def _health() -> str:
    """Ask the release on trial how it is; return its status line."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(10)
        try:
            asking.connect(TRIAL_SOCKET)
            asking.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return asking.recv(4096).decode("latin-1").partition("\r\n")[0]
        except OSError as fault:
            return fault.strerror or str(fault)


def _words(unit: str, since: float) -> str:
    """Return the last that a unit's own processes said, or else what systemd says of it."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False, timeout=PATIENCE)
    for field in ("_SYSTEMD_UNIT", "UNIT"):
        command = ["journalctl", "-q", "-o", "cat", "--no-pager", f"--since=@{since:.3f}", f"{field}={unit}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        lines = [line.strip() for line in done.stdout.splitlines() if not NOISE.search(line)]
        if lines:
            return "; ".join(lines[-3:])
    return ""


def _is_active(unit: str) -> bool:
    return _systemctl("is-active", "-q", unit).returncode == 0


def _reload() -> None:
    done = _systemctl("daemon-reload")
    if done.returncode:
        raise SwapError(f"systemd does not read its units: {done.stderr.strip()}")


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            ["systemctl", *words], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise SwapError(
            f"systemctl {' '.join(words)} took longer than {PATIENCE} s; see `systemctl list-jobs`, and start again"
        ) from None


def _target(link: Path) -> Path | None:
    """Return the whole release that a link names."""
    return next((path for path in releases.whole() if link.is_symlink() and link.resolve() == path), None)


def _link(link: Path, release: Path) -> None:
    """Have a link name a release, without a moment in which it names nothing."""
    new = link.with_name(f".{link.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(release.relative_to(link.parent))
    new.replace(link)


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path: Path, text: str, mode: int) -> None:
    """Write a file whole or not at all; settings are for the service's group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    try:
        with os.fdopen(
            os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8"
        ) as file:
            os.fchown(file.fileno(), 0, grp.getgrnam(GROUP).gr_gid if mode == SHARED else 0)
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
