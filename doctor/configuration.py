"""A whole configuration: a file, what it includes, and what is known of the server from it.

Runs nothing and asks no Apache. What cannot be followed is said in `unchecked`, and rules that need the whole then keep silent.
"""

import glob
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .findings import Finding
from .reading import Directive, Reader, shown

SIZE_LIMIT = 16 << 20  # bytes of one file
_TOTAL_LIMIT = 64 << 20  # bytes of a file and all that it includes
_FILES_LIMIT = 4096
_DEPTH_LIMIT = 32
_DIRECTIVES_LIMIT = 200_000
_VARIABLE = re.compile(r"\$\{(\w+)\}")
# Built in where distributions build them in, so that no LoadModule tells of them.
_PERHAPS_STATIC = {"core", "so", "http", "watchdog", "log_config", "logio", "version", "unixd", "mpm_event"}


class UnreadableError(Exception):
    """Say why a file cannot be read, and what would be right."""


@dataclass(eq=False)
class Configuration:
    """Hold what was read from one file on.

    Attributes:
        file: the file given.
        is_htaccess: whether it is one that Apache reads at every request.
        directives: all of them, in the order in which Apache reads them.
        findings: what Apache would refuse in the text itself.
        unchecked: what could not be followed, a sentence each.
        contents: file -> its bytes.
    """

    file: str
    is_htaccess: bool = False
    directives: list[Directive] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        """Tell whether this is all that a server reads: it listens, loads its modules, and nothing of it is missing here."""
        names = {directive.name for directive in self.directives}
        return not self.is_htaccess and not self.unchecked and {"listen", "loadmodule"} <= names

    @property
    def modules(self) -> set[str]:
        """Return the names of the modules loaded, as proxy_http."""
        return {
            directive.word(0).removesuffix("_module").lower()
            for directive in self.directives
            if directive.name == "loadmodule"
        }

    def named(self, *names: str) -> list[Directive]:
        """Return the directives of these names."""
        return [directive for directive in self.directives if directive.name in names]


def read(path: str, *, given: Mapping[str, bytes] | None = None) -> Configuration:
    """Read a file and what it includes.

    Args:
        path: the file.
        given: contents to take instead of those on the disk.

    Raises:
        UnreadableError: the file itself cannot be read.
    """
    name = Path(path).name
    found = Configuration(path, is_htaccess=name == ".htaccess" or name.endswith(".htaccess"))
    try:
        _Follower(found, given or {}).begin()
    except UnreadableError as error:
        raise UnreadableError(f"{shown(path, 1000)}: {error}") from None
    if found.is_whole:
        loaded = found.modules | _PERHAPS_STATIC
        found.directives = [each for each in found.directives if not _is_left_out(each, loaded)]
    found.directives = [each for each in found.directives if not _is_litespeeds(each)]
    return found


def content_of(path: str) -> bytes:
    """Return a regular file's bytes.

    Raises:
        UnreadableError: without its name; it is none, too large, or not ours to read.
    """
    try:
        status = Path(path).stat()
        if stat.S_ISDIR(status.st_mode):
            raise UnreadableError("is a folder: name the files in it")
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableError("is no regular file: name a configuration file or an .htaccess")
        if status.st_size > SIZE_LIMIT:
            raise UnreadableError(f"is larger than {SIZE_LIMIT >> 20} MiB: it is hardly a configuration")
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableError("there is no such file") from None
    except OSError as error:
        raise UnreadableError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnreadableError("is no name of a file") from None


class _Follower:
    """Read one file, and those it includes where they stand."""

    def __init__(self, found: Configuration, given: Mapping[str, bytes]) -> None:
        self._found = found
        self._given = given
        self._reader = Reader()
        self._defined: dict[str, str] = {}
        self._root = ""
        self._total = 0

    def begin(self) -> None:
        self._file(self._found.file, ())
        self._found.findings += [
            Finding(fault.id, fault.file, fault.line, fault.seen) for fault in self._reader.faults
        ]

    def _file(self, path: str, parents: tuple[str, ...]) -> None:
        content = self._given[path] if path in self._given else content_of(path)
        if not parents:
            self._root = _server_root(path)
        self._found.contents[path] = content
        self._total += len(content)
        chain = (*parents, _identity(path))
        for directive in self._reader.read(content, path):
            if len(self._found.directives) >= _DIRECTIVES_LIMIT:
                self._found.unchecked.append(
                    f"{path}:{directive.line}: what follows is more than any server reads"
                )
                return
            self._found.directives.append(directive)
            if directive.name == "define" and len(directive.words) > 1:
                self._defined[directive.word(0)] = self._expanded(directive.word(1))
            elif directive.name == "serverroot":
                self._root = self._expanded(directive.word(0))
            elif directive.name in {"include", "includeoptional"} and directive.words:
                self._include(directive, chain)

    def _include(self, directive: Directive, chain: tuple[str, ...]) -> None:
        wanted = self._expanded(directive.word(0))
        where = f"{directive.file}:{directive.line}: {shown(directive.text, 120)}"
        if "${" in wanted or "\0" in wanted or (not wanted.startswith("/") and not self._root):
            self._found.unchecked.append(
                f"{where}: not followed, since the folder it is in is not known here"
            )
            return
        pattern = wanted if wanted.startswith("/") else f"{self._root}/{wanted}"
        try:
            files = list(_matching(pattern))
        except (OSError, RuntimeError, ValueError) as error:
            self._found.unchecked.append(f"{where}: cannot be read: {error}")
            return
        if not files and directive.name == "include":
            self._found.unchecked.append(f"{where}: not followed, since there is no such file here")
        for path in files:
            if _identity(path) in chain:
                self._found.findings.append(
                    Finding("config-include-loop", directive.file, directive.line, shown(directive.text))
                )
            elif (
                len(chain) > _DEPTH_LIMIT
                or len(self._found.contents) >= _FILES_LIMIT
                or self._total > _TOTAL_LIMIT
            ):
                self._found.unchecked.append(
                    f"{where}: not followed: so much is included that no server would read it"
                )
                return
            else:
                try:
                    self._file(path, chain)
                except UnreadableError as error:
                    self._found.unchecked.append(f"{where}: {path} {error}")

    def _expanded(self, text: str) -> str:
        return _VARIABLE.sub(lambda match: self._defined.get(match[1], match[0]), text)


def _matching(pattern: str) -> Iterator[str]:
    """Yield the files that an Include names, in Apache's order; a folder stands for all files below it."""
    for path in sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]:  # noqa: PTH207 (a pattern of Apache's, absolute)
        if Path(path).is_dir():
            yield from sorted(str(file) for file in Path(path).rglob("*") if file.is_file())
        elif Path(path).exists():
            yield path


def _identity(path: str) -> str:
    return str(Path(path).resolve())


def _server_root(path: str) -> str:
    """Return the folder that relative names are below, where the file's own place tells: beside apache2.conf, or above conf/httpd.conf."""
    file = Path(path).resolve()
    for folder in file.parents:
        if (folder / "apache2.conf").is_file():
            return str(folder)
        if (folder / "conf" / "httpd.conf").is_file():
            return str(folder)
    return ""


def _is_left_out(directive: Directive, loaded: set[str]) -> bool:
    """Tell whether an `<IfModule>` around it asks for what is not there."""
    for section in directive.sections:
        if section.name == "ifmodule" and section.words:
            word = section.words[0].lower()
            name = word.lstrip("!").removeprefix("mod_").removesuffix(".c").removesuffix("_module")
            if name not in _PERHAPS_STATIC and (name in loaded) == word.startswith("!"):
                return True
    return False


def _is_litespeeds(directive: Directive) -> bool:
    return any(
        section.name == "ifmodule" and any(word.lower().startswith("litespeed") for word in section.words)
        for section in directive.sections
    )
