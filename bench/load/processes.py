"""What the measuring process holds of the load generator: its processes, and orders to all of them at once."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from apache import httpd
from bench.errors import BenchFault

_ROOT = Path(__file__).parents[2]


class Load:
    """Run several processes of `client.py` against one server.

    Args:
        count: how many processes.
        options: the arguments of Client.
    """

    def __init__(self, count: int, **options: Any) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._options = options
        self._count = count

    def __enter__(self) -> Self:
        try:
            for _ in range(self._count):
                with httpd.stop_signals_held():
                    process = subprocess.Popen(
                        [sys.executable, "-m", "bench.load"],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        start_new_session=True,
                        env={**os.environ, "PYTHONPATH": str(_ROOT), "PYTHONSAFEPATH": "1"},
                        preexec_fn=httpd.die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
                    )
                    self._processes.append(process)
                self._write(process, self._options)
            self.collect()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the processes, whatever they are at."""
        for process in self._processes:
            httpd.end(process, 1)
            for stream in (process.stdin, process.stdout):
                if stream:
                    stream.close()
        self._processes = []

    @property
    def pids(self) -> list[int]:
        """Return the processes' numbers, each the leader of a session of its own."""
        return [process.pid for process in self._processes]

    def shares(self, total: int) -> list[int]:
        """Split a number among the processes as evenly as can be."""
        count = len(self._processes)
        return [total // count + (index < total % count) for index in range(count)]

    def begin(
        self, work: Callable[..., Any], each: Sequence[dict[str, Any]] | None = None, **arguments: Any
    ) -> None:
        """Give all processes the same order, with the arguments that differ in `each`; collect() waits for the answers."""
        for index, process in enumerate(self._processes):
            own = each[index] if each else {}
            self._write(
                process, {"work": f"{work.__module__}:{work.__name__}", "arguments": {**arguments, **own}}
            )

    def collect(self, seconds: float = 600.0) -> list[Any]:
        """Return one answer from each process.

        Raises:
            BenchFault: a process ended, or does not answer in time.
        """
        answers = []
        deadline = time.monotonic() + seconds
        for process in self._processes:
            assert process.stdout is not None  # noqa: S101 (a pipe, as started above)
            readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            line = process.stdout.readline() if readable else b""
            if not line:
                state = (
                    f"did not answer within {seconds:.0f} s"
                    if not readable
                    else "ended: what it said is above"
                )
                raise BenchFault(f"a process of the load generator {state}")
            answers.append(json.loads(line))
        return answers

    def call(
        self, work: Callable[..., Any], each: Sequence[dict[str, Any]] | None = None, **arguments: Any
    ) -> list[Any]:
        """Give an order to all processes and wait for their answers."""
        self.begin(work, each, **arguments)
        return self.collect()

    def _write(self, process: subprocess.Popen[bytes], order: Any) -> None:
        assert process.stdin is not None  # noqa: S101 (a pipe, as started above)
        try:
            process.stdin.write(json.dumps(order).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            raise BenchFault("a process of the load generator ended: what it said is above") from None
