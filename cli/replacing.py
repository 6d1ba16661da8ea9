"""Change one file of somebody's, whole or not at all, and keep a copy of what was there."""

import os
import shutil
import sys
import tempfile
from pathlib import Path

from .errors import RunFault, UsageFault

_BACKUP = ".wsfront-backup"


def replace(path: Path, before: bytes, after: bytes) -> None:
    """Put the new content in place, whole or not at all, with the old one kept beside it.

    Both are on the disk before either gets its name, so that a full disk leaves no trace.

    Raises:
        UsageFault: it is not ours to change.
        RunFault: there is no room.
    """
    like = path.stat() if path.exists() else None
    # What begins with .ht is what a server is told to serve to nobody, whatever the file itself is called.
    hidden = path.name if path.name.startswith(".ht") else f".ht{path.name}"
    backup = path.with_name(hidden + _BACKUP)
    first = not backup.exists()
    staged: list[Path] = []
    try:
        staged.append(_stage(path, hidden, after, like))
        if like:
            staged.append(_stage(path, hidden, before, like))
            staged[1].replace(backup)
        try:
            staged[0].replace(path)
        except OSError:
            if like and first:
                backup.unlink(missing_ok=True)
            raise
    except OSError as error:
        sentence = f"{path}: cannot be changed: {error.strerror}: nothing was changed"
        if isinstance(error, PermissionError):
            raise UsageFault(f"{sentence}; run this as its owner") from None
        raise RunFault(f"{sentence}; make room there") from None
    finally:
        for temporary in staged:
            temporary.unlink(missing_ok=True)
    sys.stderr.write(f"wrote {path}{f'; what it was is in {backup}' if like else ''}\n")


def _stage(path: Path, hidden: str, content: bytes, like: os.stat_result | None) -> Path:
    """Return a file beside the one to replace, flushed to the disk, of the same mode, owner and extended attributes.

    Raises:
        UsageFault: it belongs to somebody else, who would lose it.
        OSError: there is no room, or no permission.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{hidden}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if like is None:
            temporary.chmod(0o644)
            return temporary
        new = temporary.stat()
        if (new.st_uid, new.st_gid) != (like.st_uid, like.st_gid):
            try:
                os.chown(temporary, like.st_uid, like.st_gid)
            except PermissionError:
                raise UsageFault(f"{path}: belongs to another user or group: run this as its owner") from None
        shutil.copystat(path, temporary)
        os.utime(temporary)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
