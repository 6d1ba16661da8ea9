"""Where the commands keep what must outlive them.

Does not know what is kept there: each verb names its own folder below.
"""

import os
from pathlib import Path


def state_directory() -> Path:
    """Return the user's folder for state, which need not exist yet.

    A relative $XDG_STATE_HOME is ignored, as the XDG Base Directory Specification wants it.
    """
    home = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "state") / "wsfront"
