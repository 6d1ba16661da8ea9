#!/usr/bin/python
"""Swap wsfront's part of Debian's /etc/apache2 in one go: try it, put it in place, have Apache read it, or leave all as it was.

Owns 000-wsfront-name.conf, wsfront.conf, sites-available/wsfront-*.conf, their links and the modules that it enabled; touches nothing else.
Runs on the machine with Python's standard library alone; the trial itself is files/trial, a few lines of shell.
"""

import fnmatch
import hashlib
import json
import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

from ansible.module_utils import debian_apache as debian
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

ETC = debian.ETC
TRIAL = Path("/usr/local/lib/wsfront/trial")
# Of the Apache that runs: its unit removes the folder when another one starts.
RUN = Path("/run/wsfront/apache")
LOADED = RUN / "loaded.json"  # the files that it has read, by hash, and the limits that it started with
RESTART_NEEDED = RUN / "restart-needed"
STATE = Path("/var/lib/wsfront/apache.json")
OWN_DIRECTIVES = Path("/etc/wsfront/sites.d")  # the user's, which our vhosts include
COPIED = ("/var/lib/apache2",)
SKELETONS = ("/run/apache2", "/run/lock/apache2", "/var/log/apache2")
OWN = (("conf", "000-wsfront-name.conf"), ("conf", "wsfront.conf"), ("sites", "wsfront-*.conf"))


def main() -> None:
    """Compare, and swap where something differs."""
    module = AnsibleModule(
        argument_spec={
            "files": {"type": "dict", "default": {}},
            "modules": {"type": "list", "elements": "str", "default": []},
            "names": {"type": "list", "elements": "str", "default": []},
            "watch": {"type": "list", "elements": "str", "default": []},
            "allow_restart": {"type": "bool", "default": False},
            "state": {"choices": ["present", "absent"], "default": "present"},
        },
        supports_check_mode=True,
    )
    try:
        result = Swap(module.params).run(check=module.check_mode)
    except debian.Fault as fault:
        module.fail_json(msg=str(fault))
    except OSError as error:
        module.fail_json(
            msg=f"{error.filename or ETC}: {error.strerror}; nothing of Apache's was changed; make room or mend that, and start again"
        )
    module.exit_json(**result)


class Swap:
    """Hold what is wanted and what differs from it."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params
        present = params["state"] == "present"
        self.files: dict[Path, str] = {}
        if present:
            self.files = {
                Path("/", name): text
                for name, text in params["files"].items()
                if Path("/", name).is_relative_to(ETC)
            }
        self.write = {path: text for path, text in self.files.items() if debian.read(path) != text}
        self.remove = [path for path in _own("available") if path not in self.files]
        self.enable = [path for path in self.files if not debian.enabled(path).is_symlink()]
        self.disable = [link for link in _own("enabled") if link not in map(debian.enabled, self.files)]
        self.modules_on = [name for name in params["modules"] if present and _is_off(name)]
        self.modules_off = [] if present else [name for name in _ours() if not _is_off(name)]

    @property
    def differs(self) -> bool:
        """Tell whether anything on disk is to be changed."""
        return any((self.write, self.remove, self.enable, self.disable, self.modules_on, self.modules_off))

    def run(self, *, check: bool) -> dict[str, Any]:
        """Do what is to be done and return Ansible's result."""
        diff = [
            {
                "before": debian.read(path) or "",
                "after": text,
                "before_header": str(path),
                "after_header": str(path),
            }
            for path, text in self.write.items()
        ] + [
            {"before": debian.read(path), "after": "", "before_header": str(path), "after_header": str(path)}
            for path in self.remove
        ]
        result = {"changed": True, "diff": diff, "applied": "nothing"}
        active, loaded = debian.is_active(), _noted().get("files")
        stale = active and (self._is_newer_than_apache() if loaded is None else loaded != self._hashes())
        if not (self.differs or (self.files and (stale or not active or RESTART_NEEDED.exists()))):
            if self.files and not check:
                self._require_soundness()
                _note(files=self._hashes())
            return {**result, "changed": False}
        if check:
            return result
        try:
            restart = self._try(active=active)
        except debian.Fault:
            if not self.modules_off:
                raise
            self.modules_off = []  # somebody else's files have come to need them
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

    def _require_soundness(self) -> None:
        """See that what is on disk would be accepted at the next reload, whoever asks for that."""
        done = debian.said("apache2ctl", "-t", "-D", "DUMP_VHOSTS")
        if done.returncode:
            raise debian.Fault(
                f"Apache goes on with what it has read, but refuses what is on disk now: {debian.one_line(debian.told(done.stderr))}"
            )
        self._require_own_names(done.stdout)

    def _try(self, *, active: bool) -> bool:
        """Try the whole of Apache with the new files; return whether it has to be restarted for them.

        Raises:
            Fault: in Apache's own words, or for a name that another vhost has.
        """
        RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
        for rest in RUN.glob("trial-*"):  # of a play that was cut off: there are keys in it
            shutil.rmtree(rest, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix="trial-", dir=RUN) as folder:
            candidate = Path(folder)
            etc = candidate / "etc"
            shutil.copytree(ETC, etc, symlinks=True)
            for path, text in self.write.items():
                debian.write(etc / path.relative_to(ETC), text)
            for path in self.remove:
                (etc / path.relative_to(ETC)).unlink()
            for place in COPIED:
                debian.copy(Path(place), candidate / place[1:], files=True)
            for place in SKELETONS:
                debian.copy(Path(place), candidate / place[1:], files=False)
            (candidate / "commands").write_text(
                "".join(f"{command}\n" for command in [*self._before(), *self._after()])
            )
            # Apache's children look for their files below. Not before all is copied: what is half copied could be read by anybody, and
            # in folders that are theirs they could send what root writes elsewhere, by links.
            candidate.chmod(0o711)
            done = debian.said(str(TRIAL), folder, timeout=debian.PATIENCE * 2)
            if done.returncode:
                raise debian.Fault(
                    f"Apache refuses the new configuration, and keeps the old one: {debian.words(candidate, done)}"
                )
            self._require_own_names((candidate / "vhosts").read_text())
            after = debian.limits((candidate / "config").read_text())
            before = _noted().get("limits") or debian.limits((candidate / "config-before").read_text())
        if active:
            _note(limits=before)
        raised = {
            name: f"{name} {before[name]} -> {after[name]}" for name in after if after[name] > before[name]
        }
        restart = bool(active and self.files and (raised or RESTART_NEEDED.exists()))
        if restart and not self._is_first() and not self.params["allow_restart"]:
            raise debian.Fault(
                f"Apache reads ServerLimit and ThreadLimit at a start only ({', '.join(raised.values()) or 'changed before'}): a restart "
                "closes every open socket, clients come back by themselves; allow it by -e apache_allow_restart=true. Nothing was changed"
            )
        return restart

    def _is_first(self) -> bool:
        """Tell whether nothing but the distribution's own sites, as they were shipped, has been served here."""
        shipped = debian.said("dpkg-query", "-W", "-f=${Conffiles}", "apache2").stdout.split()
        sums = {
            hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
            for path in (ETC / "sites-enabled").glob("*")
            if path.is_file()
        }
        return sums <= set(shipped) and not (ETC / "conf-enabled" / "wsfront.conf").exists()

    def _require_own_names(self, vhosts: str) -> None:
        """Refuse a name that another enabled vhost has too, by Apache's own list (`-D DUMP_VHOSTS`)."""
        place, own = "", {name.lower() for name in self.params["names"]}
        for line in vhosts.splitlines():
            vhost = re.search(r"(?:namevhost |default server |^\S+:\d+ +)(\S+) \((.+)\)$", line)
            alias = re.match(r"\s+(?:wild )?alias (\S+)$", line)
            if vhost:
                place = vhost.group(2)
            name = next((found.group(1).lower() for found in (vhost, alias) if found), None)
            file = Path(place.rpartition(":")[0])
            if name in own and not fnmatch.fnmatch(file.name, OWN[-1][1]):
                raise debian.Fault(
                    f"{place}: another enabled vhost answers to {name}; a2dissite {file.stem}, "
                    "or take the name out of it. Nothing was changed"
                )

    def _before(self) -> list[str]:
        """Return Debian's own commands to give before the files are there: every state between is sound."""
        return [
            *(f"a2dissite -q -p {link.stem}" for link in self.disable if link.parent.name == "sites-enabled"),
            *(f"a2disconf -q -p {link.stem}" for link in self.disable if link.parent.name == "conf-enabled"),
            *(f"a2enmod -q {name}" for name in self.modules_on),
        ]

    def _after(self) -> list[str]:
        """Return those to give once they are."""
        return [
            *(f"a2enconf -q {path.stem}" for path in self.enable if path.parent.name == "conf-available"),
            *(f"a2ensite -q {path.stem}" for path in self.enable if path.parent.name == "sites-available"),
            *(f"a2dismod -q -p -f {name}" for name in self.modules_off),
        ]

    def _put_in_place(self) -> debian.Snapshot:
        """Change /etc/apache2 as tried; return what brings the old state back."""
        before = debian.Snapshot([*self.write, *self.remove])
        was_on = debian.enabled_modules()
        try:
            # First: whoever cuts this off, they can be taken out again.
            _keep_ours({*_ours(), *self.modules_on})
            for command in self._before():
                debian.do(command)
            for path, text in self.write.items():
                debian.write(path, text)
            for command in self._after():
                debian.do(command)
            for path in self.remove:
                path.unlink()
            now_on = debian.enabled_modules()
            _keep_ours((set(_ours()) | (now_on - was_on)) & now_on)
        except (OSError, debian.Fault):
            before.bring_back()
            raise
        return before

    def _apply(self, *, active: bool, restart: bool, undo: debian.Snapshot | None) -> str:
        """Have Apache read what is there now.

        Raises:
            Fault: it does not come up; the old state is back, and Apache runs with it.
        """
        verb = "start" if not active else "restart" if restart else "reload"
        if not self.files and verb == "start":
            return "nothing"
        # mod_md takes its first reading for the dry run that every start makes, so that one which comes by a reload sleeps until the next:
        # md_post_config_before_ssl, modules/md/mod_md.c.
        orders = [verb, verb] if verb == "reload" and "md" in self.modules_on else [verb]
        for order in orders:
            before, at = debian.main_process(), time.monotonic()
            done = debian.said("systemctl", order, "apache2", timeout=120)
            if done.returncode or not debian.has_come_up(before if verb == "reload" else None, at):
                break
        else:
            return verb
        words = debian.one_line(done.stderr) or debian.one_line(
            debian.said("journalctl", "-u", "apache2", "-n", "8", "-o", "cat", "--no-pager").stdout
        )
        if undo:
            undo.bring_back()
            _note(files={})
            if not debian.is_active() or verb != "reload":
                debian.said("systemctl", "reset-failed", "apache2")
                debian.said("systemctl", "restart" if debian.is_active() else "start", "apache2", timeout=120)
        raise debian.Fault(
            f"Apache did not {verb} with the new configuration, and the old one is back: {words}"
        )

    def _read_by_apache(self) -> list[Path]:
        """Return the files that Apache reads and that we know of, as far as they are there."""
        paths = [*self.files, *map(Path, self.params["watch"]), *OWN_DIRECTIVES.glob("*/*.conf")]
        return sorted(path for path in paths if path.exists())

    def _is_newer_than_apache(self) -> bool:
        """Tell whether one of them was written since Apache started: nothing is noted of an Apache that the machine started."""
        started = debian.started()
        return any(path.stat().st_ctime > started for path in self._read_by_apache())

    def _hashes(self) -> dict[str, str]:
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in self._read_by_apache()}


def _noted() -> dict[str, Any]:
    try:
        return dict(json.loads(LOADED.read_text()))
    except (OSError, ValueError):
        return {}


def _note(**facts: object) -> None:
    RUN.mkdir(mode=0o755, parents=True, exist_ok=True)
    debian.write(LOADED, json.dumps({**_noted(), **facts}))


def _ours() -> list[str]:
    try:
        return list(json.loads(STATE.read_text())["modules"])
    except (OSError, ValueError, KeyError):
        return []


def _keep_ours(modules: set[str]) -> None:
    STATE.parent.mkdir(mode=0o755, exist_ok=True)
    debian.write(STATE, json.dumps({"modules": sorted(modules)}) + "\n")


def _is_off(name: str) -> bool:
    available = ETC / "mods-available" / f"{name}.load"
    linked = ETC / "mods-enabled" / f"{name}.load"
    return (available.exists() or not ETC.exists()) and not linked.exists()


def _own(kind: str) -> list[Path]:
    return sorted(path for folder, pattern in OWN for path in (ETC / f"{folder}-{kind}").glob(pattern))


if __name__ == "__main__":
    main()
