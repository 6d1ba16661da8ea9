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
        keeps: its room keeps what is said: who comes back gets the rest, and who speaks an answer (server/PROTOCOL.md).
        metrics: the variable that tells it where to serve metrics; empty: it has none.
    """

    name: str
    rank: int
    version: Callable[[], str]
    command: Callable[[int], list[str]]
    echo: str
    room: str
    environment: Callable[[int, int], Mapping[str, str]] = field(default=lambda _port, _connections: {})
    keeps: bool = False
    metrics: str = ""


class Running:
    """Keep one backend running.

    Attributes:
        backend: which.
        process: its first process, the leader of a session.
        metrics_port: where it serves metrics; 0: nowhere.
    """

    def __init__(self, backend: Backend, directory: Path, port: int, connections: int) -> None:
        self.backend = backend
        self._directory = directory
        self._port = port
        self._connections = connections
        self.metrics_port = httpd.free_ports(1)[0] if backend.metrics else 0
        self._start()

    def restart(self) -> None:
        """Stop it as an administrator does, and start it anew on the same port."""
        self.stop()
        self._start()

    def stop(self) -> None:
        """Stop it."""
        end_group(self.process)

    def _start(self) -> None:
        log = self._directory / "backend.log"
        with log.open("ab") as output, httpd.stop_signals_held():
            self.process = subprocess.Popen(
                self.backend.command(self._port),
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={
                    **os.environ,
                    "PYTHONPATH": str(_ROOT),
                    "PYTHONSAFEPATH": "1",
                    **self.backend.environment(self._port, self._connections),
                    **({self.backend.metrics: f"127.0.0.1:{self.metrics_port}"} if self.metrics_port else {}),
                },
                preexec_fn=httpd.die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
            )
        try:
            wait_until_it_listens(self.process, self._port, f"the backend {self.backend.name}", log)
        except BaseException:
            self.stop()
            raise
