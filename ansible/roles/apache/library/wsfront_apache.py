#!/usr/bin/python
"""Swap wsfront's part of Debian's /etc/apache2 in one go: try it, put it in place, have Apache read it, or leave all as it was.

Owns conf-available/wsfront.conf, sites-available/wsfront-*.conf, their links and the modules that it enabled itself; nothing else is touched.
Runs on the machine with Python's standard library alone; the trial itself is files/trial, a few lines of shell.
"""

import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: wsfront_apache
short_description: Swap wsfront's part of /etc/apache2 in one go
description: Tries the files in a copy, in namespaces of its own, puts them in place and has Apache read them; or leaves all as it was.
options:
  files:
    description: Path below the root of the file system to text.
    type: dict
    default: {}
  modules:
    description: Names for a2enmod.
    type: list
    elements: str
    default: []
  names:
    description: Server names, which no other enabled vhost may have.
    type: list
    elements: str
    default: []
  watch:
    description: Files that Apache holds in memory; it is reloaded when they have changed.
    type: list
    elements: str
    default: []
  limit_nofile:
    description: Open files that Apache needs.
    type: int
    default: 0
  allow_restart:
    description: Whether Apache may be restarted, where a reload is not enough.
    type: bool
    default: false
  state:
    description: Whether the files are to be there.
    choices: [present, absent]
    default: present
author: wsfront
"""

RETURN = """
applied:
  description: What Apache had to do, start, restart, reload or nothing.
  type: str
  returned: always
"""

EXAMPLES = """
- name: Swap Apache's files
  wsfront_apache:
    files: "{{ wsfront.files }}"
"""

ETC = Path("/etc/apache2")
TRIAL = Path("/usr/local/lib/wsfront/trial")
RUN = Path("/run/wsfront/apache")  # of the Apache that runs: its unit removes the folder when another one starts
LOADED = RUN / "loaded.json"  # the files that it has read, by hash, and the limits that it started with
RESTART_NEEDED = RUN / "restart-needed"
STATE = Path("/var/lib/wsfront/apache.json")
OWN_DIRECTIVES = Path("/etc/wsfront/sites.d")  # the user's, which our vhosts include
COPIED = ("/var/lib/apache2",)
SKELETONS = ("/run/apache2", "/run/lock/apache2", "/var/log/apache2")
OWN = {"conf": "wsfront.conf", "sites": "wsfront-*.conf"}
DEFAULT_SITES = {"000-default.conf", "default-ssl.conf"}
AT_START_ONLY = {"serverlimit": 16, "threadlimit": 64}  # and their defaults: server/mpm/event/event.c
PATIENCE = 30  # seconds


class Fault(Exception):  # noqa: N818 (a word for people)
    """What stands in the way: one line with the remedy."""


def main():
    """Compare, and swap where something differs."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "default": {}},
            "modules": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "watch": {"type": "list", "elements": "str", "default": []},
            "limit_nofile": {"type": "int", "default": 0},
            "allow_restart": {"type": "bool", "default": False},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = Swap(module.params).run(check=module.check_mode)
    except Fault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or ETC}: {error.strerror}; nothing of Apache's was changed; make room or mend that, and start again"
        )
    module.exit_json(**result)


class Swap:
    """Hold what is wanted and what differs from it."""

    def __init__(self, params):
        self.params = params
        present = params["state"] == "present"
        self.files = {}
        if present:
            self.files = {
                Path("/", name): text
                for name, text in params["files"].items()
                if Path("/", name).is_relative_to(ETC)
            }
        self.write = {path: text for path, text in self.files.items() if _read(path) != text}
        self.remove = [path for path in _own("available") if path not in self.files]
        self.enable = [path for path in self.files if not _enabled(path).is_symlink()]
        self.disable = [link for link in _own("enabled") if link not in map(_enabled, self.files)]
        self.modules_on = [name for name in params["modules"] if present and _is_off(name)]
        self.modules_off = [] if present else [name for name in _ours() if not _is_off(name)]

    @property
    def differs(self):
        """Tell whether anything on disk is to be changed."""
        return any(
            (self.write, self.remove, self.enable, self.disable, self.modules_on, self.modules_off)
        )

    def run(self, *, check):
        """Do what is to be done and return Ansible's result."""
        diff = [
            {"before": _read(path) or "", "after": text, "before_header": str(path), "after_header": str(path)}
            for path, text in self.write.items()
        ] + [
            {"before": _read(path), "after": "", "before_header": str(path), "after_header": str(path)}
            for path in self.remove
        ]
        result = {"changed": True, "diff": diff, "applied": "nothing"}
        active, loaded = _is_active(), _noted().get("files")
        stale = active and loaded not in (None, self._hashes())
        if not (self.differs or (self.files and (stale or not active or RESTART_NEEDED.exists()))):
            if self.files and not check:
                self._require_soundness()
                _note(files=self._hashes())
            return {**result, "changed": False}
        if check:
            return result
        restart = self._try(active=active)
        _note(files={})  # what it has read no longer answers to what is there
        if restart:
            RESTART_NEEDED.touch()
        undo = self._put_in_place() if self.differs else None
        result["applied"] = self._apply(active=active, restart=restart, undo=undo)
        if result["applied"] != "reload":
            shutil.rmtree(RUN, ignore_errors=True)
        _note(files=self._hashes())
        return result

    def _require_soundness(self):
        """See that what is on disk would be accepted at the next reload, whoever asks for that."""
        done = _said("apache2ctl", "-t", "-D", "DUMP_VHOSTS")
        if done.returncode:
            raise Fault(
                f"Apache goes on with what it has read, but refuses what is on disk now: {_one_line(_told(done.stderr))}"
            )
        self._require_own_names(done.stdout)

    def _try(self, *, active):
        """Try the whole of Apache with the new files; return whether it has to be restarted for them.

        Raises:
            Fault: in Apache's own words, or for a name that another vhost has.
        """
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="trial-", dir=RUN) as folder:
            candidate = Path(folder)
            candidate.chmod(0o711)  # Apache's children look for their files below
            etc = candidate / "etc"
            shutil.copytree(ETC, etc, symlinks=True)
            for path, text in self.write.items():
                _write(etc / path.relative_to(ETC), text)
            for path in self.remove:
                (etc / path.relative_to(ETC)).unlink()
            for place in COPIED:
                _copy(Path(place), candidate / place[1:], files=True)
            for place in SKELETONS:
                _copy(Path(place), candidate / place[1:], files=False)
            (candidate / "commands").write_text("".join(f"{command}\n" for command in self._commands()))
            done = _said(str(TRIAL), folder, timeout=PATIENCE * 2)
            if done.returncode:
                raise Fault(f"Apache refuses the new configuration, and keeps the old one: {_words(candidate, done)}")
            self._require_own_names((candidate / "vhosts").read_text())
            after = _limits((candidate / "config").read_text())
            before = _noted().get("limits") or _limits((candidate / "config-before").read_text())
        if active:
            _note(limits=before)
        raised = {name: f"{name} {before[name]} -> {after[name]}" for name in after if after[name] > before[name]}
        restart = bool(active and self.files and (raised or RESTART_NEEDED.exists()))
        if restart and not self._is_first():
            self._ask(restart=True, why=", ".join(raised.values()))
        return restart

    def _ask(self, *, restart, why=""):
        if restart and not self.params["allow_restart"]:
            raise Fault(
                f"Apache reads ServerLimit and ThreadLimit at a start only{f' ({why})' if why else ''}: a restart closes every open socket, "
                "clients come back by themselves; allow it by -e apache_allow_restart=true. Nothing was changed"
            )

    def _is_first(self):
        """Tell whether nothing but the distribution's own page has been served here."""
        enabled = {path.name for path in (ETC / "sites-enabled").glob("*")}
        return enabled <= DEFAULT_SITES and not (ETC / "conf-enabled" / "wsfront.conf").exists()

    def _require_own_names(self, vhosts):
        wanted = set(self.params["names"]) if self.files else set()
        place = ""
        for line in vhosts.splitlines():
            found = re.search(r"(?:namevhost |default server |^\S+:\d+ +)(\S+) \((.+)\)$", line)
            alias = re.match(r"\s+(?:wild )?alias (\S+)$", line)
            if found and found.group(1) != "is":
                place = found.group(2)
            name = (found or alias).group(1) if found or alias else None
            if name in wanted and not fnmatch.fnmatch(Path(place.rpartition(":")[0]).name, "wsfront-*.conf"):
                raise Fault(
                    f"{place}: another enabled vhost answers to {name}; a2dissite {Path(place.rpartition(':')[0]).stem}, "
                    "or take the name out of it. Nothing was changed"
                )

    def _commands(self):
        """Return Debian's own commands that make the links, in an order in which every state between is sound."""
        return [
            *(f"a2dissite -q -p {link.stem}" for link in self.disable if link.parent.name == "sites-enabled"),
            *(f"a2disconf -q -p {link.stem}" for link in self.disable if link.parent.name == "conf-enabled"),
            *(f"a2enmod -q {name}" for name in self.modules_on),
            *(f"a2enconf -q {path.stem}" for path in self.enable if path.parent.name == "conf-available"),
            *(f"a2ensite -q {path.stem}" for path in self.enable if path.parent.name == "sites-available"),
            *(f"a2dismod -q -p -f {name}" for name in self.modules_off),
        ]

    def _put_in_place(self):
        """Change /etc/apache2 as tried; return what brings the old state back."""
        links = {path: os.readlink(path) for path in ETC.glob("*-enabled/*") if path.is_symlink()}
        texts = {path: _read(path) for path in (*self.write, *self.remove)}
        was_on = {path.stem for path in (ETC / "mods-enabled").glob("*.load")}

        def undo():
            for path in ETC.glob("*-enabled/*"):
                if path.is_symlink() and path not in links:
                    path.unlink()
            for path, text in texts.items():
                if text is not None:
                    _write(path, text)
                elif path.exists():
                    path.unlink()
            for path, target in links.items():
                if not path.is_symlink():
                    path.symlink_to(target)

        try:
            for command in self._commands():
                if command.startswith(("a2dis", "a2enmod")):
                    self._do(command)
            for path, text in self.write.items():
                _write(path, text)
            for command in self._commands():
                if command.startswith(("a2enconf", "a2ensite")):
                    self._do(command)
            for path in self.remove:
                path.unlink()
            now_on = {path.stem for path in (ETC / "mods-enabled").glob("*.load")}
            ours = sorted((set(_ours()) | (now_on - was_on)) & now_on)
            STATE.parent.mkdir(mode=0o755, exist_ok=True)
            _write(STATE, json.dumps({"modules": ours}) + "\n")
        except (OSError, Fault):
            undo()
            raise
        return undo

    @staticmethod
    def _do(command):
        done = _said(*command.split())
        if done.returncode:
            raise Fault(f"{command}: {_one_line(done.stderr or done.stdout)}; the old files are back")

    def _apply(self, *, active, restart, undo):
        """Have Apache read what is there now.

        Raises:
            Fault: it does not come up; the old state is back, and Apache runs with it.
        """
        verb = "start" if not active else "restart" if restart else "reload"
        if not self.files and verb == "start":
            return "nothing"
        if verb == "reload":
            self._raise_files()
        before, at = _main_process(), time.monotonic()
        done = _said("systemctl", verb, "apache2", timeout=120)
        if done.returncode == 0 and _has_come_up(before if verb == "reload" else None, at):
            return verb
        words = _one_line(done.stderr) or _one_line(
            _said("journalctl", "-u", "apache2", "-n", "8", "-o", "cat", "--no-pager").stdout
        )
        if undo:
            undo()
            _note(files={})
            if not _is_active() or verb != "reload":
                _said("systemctl", "reset-failed", "apache2")
                _said("systemctl", "restart" if _is_active() else "start", "apache2", timeout=120)
        raise Fault(f"Apache did not {verb} with the new configuration, and the old one is back: {words}")

    def _raise_files(self):
        """Allow the running Apache as many open files as its unit does; new children inherit it (prlimit(2))."""
        import resource  # noqa: PLC0415 (only here)

        wanted = self.params["limit_nofile"]
        pid = _main_process()
        if pid and wanted and resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] < wanted:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (wanted, wanted))

    def _hashes(self):
        own = sorted(map(str, OWN_DIRECTIVES.glob("*/*.conf")))
        paths = [*map(str, self.files), *self.params["watch"], *own]
        return {
            path: hashlib.sha256(Path(path).read_bytes()).hexdigest()
            for path in sorted(paths)
            if Path(path).exists()
        }


def _noted():
    try:
        return json.loads(LOADED.read_text())
    except (OSError, ValueError):
        return {}


def _note(**facts):
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    _write(LOADED, json.dumps({**_noted(), **facts}))


def _own(kind):
    return sorted(
        path for folder, pattern in OWN.items() for path in (ETC / f"{folder}-{kind}").glob(pattern)
    )


def _enabled(path):
    return path.parent.with_name(path.parent.name.replace("-available", "-enabled")) / path.name


def _is_off(name):
    available = ETC / "mods-available" / f"{name}.load"
    linked = ETC / "mods-enabled" / f"{name}.load"
    return (available.exists() or not ETC.exists()) and not linked.exists()


def _ours():
    try:
        return json.loads(STATE.read_text())["modules"]
    except (OSError, ValueError, KeyError):
        return []


def _read(path):
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


def _write(path, text):
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


def _copy(source, copy, *, files):
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


def _limits(config):
    """Return what Apache reads at a start only, from its own dump of a configuration."""
    found = dict(AT_START_ONLY)
    for line in config.splitlines():
        words = line.split()
        if len(words) == 2 and words[0].lower() in found and words[1].isdigit():  # noqa: PLR2004 (a directive and its value)
            found[words[0].lower()] = int(words[1])
    return {"ServerLimit": found["serverlimit"], "ThreadLimit": found["threadlimit"]}


def _words(candidate, done):
    """Return what Apache said: on standard error, and in the logs that it began."""
    lines = done.stderr.splitlines()
    for path in sorted((candidate / "var/log/apache2").rglob("*")):
        if path.is_file():
            lines += [line for line in path.read_text(errors="replace").splitlines() if re.search(r":(emerg|alert|crit|error)\]", line)]
    return _one_line(_told("\n".join(lines))).replace(str(candidate / "etc"), str(ETC))


def _told(text):
    """Return the last lines, without their times and without AH00557 and AH00558: no global ServerName, harmless and everywhere."""
    lines = [re.sub(r"^\[[^]]*\d{4}\] ", "", line) for line in text.splitlines() if line.strip()]
    return "\n".join([line for line in lines if not re.search("AH0055[78]", line)][-6:])


def _one_line(text):
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())


def _said(*command, timeout=60):
    environment = {**os.environ, "LC_ALL": "C", "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=timeout, env=environment
        )
    except subprocess.TimeoutExpired:
        raise Fault(f"{command[0]} took longer than {timeout} s; see what it waits for, and start again") from None


def _is_active():
    return _said("systemctl", "is-active", "-q", "apache2").returncode == 0


def _main_process():
    said = _said("systemctl", "show", "-P", "MainPID", "apache2").stdout.strip()
    return int(said) if said.isdigit() else 0


def _has_come_up(same, since):
    """Wait until Apache has a child that is younger than the order; `same` is the main process that must have stayed."""
    ticks = os.sysconf("SC_CLK_TCK")
    born_after = (time.clock_gettime(time.CLOCK_BOOTTIME) - (time.monotonic() - since)) * ticks - 1
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        main = _main_process()
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


if __name__ == "__main__":
    main()
