"""Which processes are still there: what a test started must be gone after it."""

from pathlib import Path


def processes_of(folder: Path) -> list[int]:
    """Return the processes that name a folder on their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "cmdline").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue
    return found
