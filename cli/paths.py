"""Where the commands keep what must outlive them.

Does not know what is kept there: each verb names its own folder below.
"""

import os
from pathlib import Path

from apache.values import file_path

from .errors import UsageFault


def state_directory() -> Path:
    """Return the user's folder for state, which need not exist yet.

    A relative $XDG_STATE_HOME is ignored, as the XDG Base Directory Specification wants it.
    """
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "wsfront"


def file_or_input(text: str) -> Path:
    """Return the path that an option names; - is standard input."""
    return Path("/dev/stdin" if text == "-" else text)


def plain_directory(directory: Path, option: str) -> Path:
    """Return a folder's whole path, which Apache is to take as it is.

    Raises:
        UsageFault: some directive would expand it.
    """
    try:
        return Path(file_path(str(directory.resolve())))
    except ValueError as error:
        raise UsageFault(f"{option}: {error}") from None
