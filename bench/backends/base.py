"""What all backends share: a command in the foreground, which listens on the port that it is given."""

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from apache import httpd
from bench.stacks.base import end_group, wait_until_it_listens

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Backend:
    """Describe one backend.

    Attributes:
        name: as in tables; scenarios name it so.
        rank: where it stands among the others.
        version: returns its version, or raises MissingFault.
        command: returns the command for a port.
        echo: the path at which it sends back what it gets.
        room: the path at which all hear what one says.
        environment: returns more variables for a port and a number of connections.
    """

    name: str
    rank: int
    version: Callable[[], str]
    command: Callable[[int], list[str]]
    echo: str
    room: str
    environment: Callable[[int, int], Mapping[str, str]] = field(default=lambda _port, _connections: {})


class Running:
    """Keep one backend running."""

    def __init__(self, backend: Backend, directory: Path, port: int, connections: int) -> None:
        log = directory / "backend.log"
        with log.open("ab") as output, httpd.stop_signals_held():
            self.process = subprocess.Popen(
                backend.command(port),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": str(_ROOT),
                    "PYTHONSAFEPATH": "1",
                    **backend.environment(port, connections),
                },
                preexec_fn=httpd.die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
            )
        try:
            wait_until_it_listens(self.process, port, f"the backend {backend.name}", log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop it."""
        end_group(self.process)
