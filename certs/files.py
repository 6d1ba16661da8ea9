"""Write a store's files so that a crash or a full disk leaves the old ones whole, one process at a time.

Does not know what is in them.
"""

import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from .errors import StoreFault

PATIENCE = 10.0  # seconds; the lock is held for some milliseconds


@dataclass(frozen=True, slots=True)
class File:
    """Hold one file to write: where, what, and its permission bits."""

    path: Path
    content: bytes
    mode: int


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Be the only process to work in the directory, which is made if missing, with mode 0700.

    Raises:
        StoreFault: if the directory cannot be used, or another process does not let go within 10 seconds.
    """
    place = directory / ".lock"
    try:
        _make(directory)
        handle = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except (OSError, ValueError) as problem:
        raise StoreFault(
            f"{directory}: cannot be used for certificates: {_reason(problem)}; "
            "correct that, or name another directory"
        ) from None
    try:
        _wait_for(handle, place)
        yield
    finally:
        os.close(handle)


def _wait_for(handle: int, place: Path) -> None:
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise StoreFault(
                    f"{place}: another process has held this lock for {PATIENCE:g} s; "
                    f"see which: fuser -v {place}"
                ) from None
            time.sleep(0.01)
        except OSError as problem:
            raise StoreFault(
                f"{place}: cannot be locked: {_reason(problem)}; name a directory on a local disk"
            ) from None
        else:
            return


def replace(files: Sequence[File]) -> None:
    """Write all files to the disk beside their places, and only then move each into its place, in this order.

    Raises:
        StoreFault: if they do not fit or may not be written; the old ones stay whole and no new one stays.
    """
    staged = [file.path.with_name(f".{file.path.name}.new") for file in files]
    try:
        for file, temporary in zip(files, staged, strict=True):
            _make(file.path.parent)
            _write(temporary, file)
        for file, temporary in zip(files, staged, strict=True):
            temporary.replace(file.path)
        for folder in {file.path.parent for file in files}:
            _sync_folder(folder)
    except OSError as problem:
        where = problem.filename or files[0].path.parent
        raise StoreFault(
            f"{where}: cannot be written: {_reason(problem)}; "
            "what was there is unharmed: correct that and try again"
        ) from None
    finally:
        for temporary in staged:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def _make(folder: Path) -> None:
    """Make a folder and its parents as needed, all of them private."""
    if not folder.is_dir():
        _make(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _write(temporary: Path, file: File) -> None:
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, file.mode)
    with os.fdopen(handle, "wb") as out:
        os.fchmod(handle, file.mode)
        out.write(file.content)
        out.flush()
        os.fsync(handle)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _reason(problem: OSError | ValueError) -> str:
    return (problem.strerror if isinstance(problem, OSError) else None) or str(problem)
