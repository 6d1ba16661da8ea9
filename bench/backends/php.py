"""Our own backend with a PHP script for each connection."""

import shutil
import subprocess
from dataclasses import replace

from bench.errors import MissingFault

from .wsfront import BACKEND as SHARED

_SCRIPT = "while (($line = fgets(STDIN)) !== false) echo $line;"


def _version() -> str:
    if shutil.which("php") is None:
        raise MissingFault("needs `php`: apt-get install php-cli")
    done = subprocess.run(
        ["php", "-n", "-r", "echo PHP_VERSION;"], capture_output=True, text=True, check=True
    )
    return f"PHP {done.stdout}"


BACKEND = replace(
    SHARED,
    name="wsfront-exec-php",
    rank=12,
    version=_version,
    command=lambda port: [*SHARED.command(port), "--exec", "php", "-n", "-r", _SCRIPT],
)
