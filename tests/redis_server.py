"""A Redis (or Valkey) of a test's own, on a unix socket: started, killed, stalled and started again.

Holds no test and no fixture.
"""

import os
import signal
import socket
import subprocess
from pathlib import Path

from apache.httpd import die_with_parent
from tests import needs
from tests.waiting import until


class RedisServer:
    """A Redis with its data in a folder; every write is on disk before it is answered."""

    def __init__(self, folder: Path, *options: str, password: str = "") -> None:
        self.folder = folder
        self.path = folder / "r"
        self.options = options
        self.password = password
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def address(self) -> str:
        """The address as the setting takes it."""
        return f"unix:{self.path}"

    def start(self) -> None:
        """Start it, or start it again on the same data, and wait until it answers."""
        program = needs.find("redis")
        assert program
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    program, "--port", "0", "--unixsocket", self.path, "--dir", self.folder, "--save", "",
                    "--appendonly", "yes", "--appendfsync", "always", *self.options,
                    *(["--requirepass", self.password] if self.password else []),
                ],
                stdout=log, stderr=log, preexec_fn=die_with_parent,  # noqa: PLW1509 (a prctl)
            )  # fmt: skip
        until(self._answers, 10)

    def command(self, *words: str) -> bytes:
        """Send a command; return the first bytes of what it says."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(5)
            sock.connect(str(self.path))
            if self.password:
                sock.sendall(f"AUTH {self.password}\r\n".encode())
                sock.recv(100)
            sock.sendall(" ".join(words).encode() + b"\r\n")
            return sock.recv(1000)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, as SIGSTOP to stall it and SIGCONT to let it go on."""
        assert self._process
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """End it at once, as a crash would."""
        assert self._process
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            return b"PONG" in self.command("PING")
        except OSError:
            return False
