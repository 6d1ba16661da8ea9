"""WebSocket servers that are not ours, as a context manager: one in Node, one in plain PHP.

Both send every frame back, broadcast a text `{"type":"usermsg",…}`, and answer a plain GET with a line.
Knows nothing of Apache: the port is for whoever puts something in front.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests import needs
from tests.waiting import SECOND

FOLDER = Path(__file__).parent
COMMANDS = {"node": ["echo.js"], "php": ["-n", "echo.php"]}  # -n: no php.ini, so no extension that it names


@contextmanager
def foreign_server(kind: str, port: int = 0) -> Iterator[int]:
    """Run a foreign server on 127.0.0.1 until the block ends, then stop it by SIGTERM.

    Args:
        kind: "node" or "php", as in the marker `needs`.
        port: 0 lets the kernel choose.

    Yields:
        The port on which it listens.

    Raises:
        RuntimeError: it did not start; holds what it said.
    """
    program = needs.find(kind)
    if program is None:
        raise RuntimeError(f"{kind} is missing; {needs.NEEDS[kind].remedy}")
    *options, script = COMMANDS[kind]
    with subprocess.Popen(
        [program, *options, FOLDER / script, str(port), "--with-parent"],
        env=os.environ | {"NODE_PATH": needs.NODE_PATH},
        stdin=subprocess.PIPE,  # never written to: its end tells the server that we are gone
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("ready "):
                process.kill()
                raise RuntimeError(f"{script} on port {port}: {line}{process.stdout.read()}")
            yield int(line.rpartition(":")[2])
        finally:
            process.terminate()
            try:
                process.wait(5 * SECOND)
            except subprocess.TimeoutExpired:
                process.kill()
