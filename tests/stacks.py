"""Run a real Apache with the backend behind it for tests, on free ports, in a folder that Apache's children can read.

Whatever Apache logs at warn or above fails the test, unless its AH number is allowed by name.
"""

import contextlib
import re
import shutil
import socket
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect

from apache.description import parse
from apache.error_log import faults
from apache.errors import HttpdError
from apache.httpd import free_ports
from apache.site import Site
from cli.errors import RunFault
from cli.stack import Stack

TRIES = 3  # somebody may take a free port before we do
DEFAULT_BACKEND = "127.0.0.1:8888"

MEMBER_OUT = (
    "AH00957",  # connection refused
    "AH01114",  # so no answer
    "AH00959",  # the member is left out
    "AH03301",  # a check failed, the member is out
    "AH01171",  # it is tried again
    "AH00951",
)
"""What Apache's log may say of a balanced backend that is gone, and is back."""

ABANDONED = (
    "AH00957",  # connection refused
    "AH01114",  # so no answer
    "AH01102",  # a connection that the backend closed
    "AH00898",  # so no answer
)
"""What it may say as all is stopped, where clients that gave up still wait in its queue: their requests come to a backend that ends."""


class Running:
    """Hold a stack while it runs, its ports, and the AH numbers that a test has announced."""

    def __init__(self, stack: Stack, backend_port: int) -> None:
        self.stack = stack
        self.backend_port = backend_port
        self.https_port = stack.target.https_port
        self.http_port = stack.target.http_port
        self.url = stack.url
        self.site = stack.sites[0]
        self._allowed: set[str] = set()
        self._read = 0

    def allow(self, *numbers: str) -> None:
        """Announce the AH numbers that the test provokes."""
        self._allowed |= set(numbers)

    def check_log(self) -> None:
        """Fail on lines of Apache's log, new since the last check, that nobody announced; then forget what was announced."""
        lines = self.stack.httpd.log_lines(self._read)
        self._read = len(self.stack.httpd.log_text().encode())
        unexpected = [line.text for line in faults(lines, self._allowed)]
        self._allowed.clear()
        assert not unexpected, "\n".join(unexpected)

    def websocket(
        self, path: str = "/ws/echo", *, site: Site | None = None, name: str = "localhost", **options: Any
    ) -> connect:
        """Return a client's connection through Apache, to be entered; the local authority is trusted."""
        chosen = site or self.site
        plain = chosen.tls.mode == "none"
        port = self.http_port if plain else self.https_port
        options.setdefault("ssl", self.stack.client_context(chosen))
        options.setdefault("host", "127.0.0.1")
        options.setdefault("proxy", None)
        return connect(f"{'ws' if plain else 'wss'}://{name}:{port}{path}", **options)


@contextmanager
def held(*ports: int) -> Iterator[None]:
    """Let nobody find these ports free but who sets SO_REUSEADDR, as servers do; until then connections are refused (socket(7))."""
    with contextlib.ExitStack() as sockets:
        for port in ports:
            holder = sockets.enter_context(socket.socket())
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            holder.bind(("127.0.0.1", port))
        yield


class _Amended(Stack):
    """Set facts of the target, and directives of the server, otherwise than this machine and the plan would."""

    def __init__(
        self,
        *args: Any,
        facts: Mapping[str, object],
        without: Collection[str],
        directives: Mapping[str, int],
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        modules = tuple(name for name in self.target.modules if name not in without)
        self.target = self.target.model_copy(update={"modules": modules, **facts})
        self.directives = directives

    def prepare(self) -> None:
        super().prepare()
        text = self.httpd.config.read_text(encoding="utf-8")
        for name, number in self.directives.items():
            text, count = re.subn(rf"^{name} .*$", f"{name} {number}", text, flags=re.MULTILINE)
            assert count == 1, name
        self.httpd.config.write_text(text, encoding="utf-8")


@contextmanager
def running(
    *descriptions: str,
    backend: bool = True,
    own_directives: str = "",
    facts: Mapping[str, object] | None = None,
    without: Collection[str] = (),
    directives: Mapping[str, int] | None = None,
) -> Iterator[Running]:
    """Start a stack for descriptions in YAML, and stop it; none at all is the plain case.

    Args:
        descriptions: backends at 127.0.0.1:8888 are moved to a free port.
        backend: start ours there.
        own_directives: what a user would put into the first site's folder of own directives.
        facts: of the target, otherwise than they are.
        without: modules that Apache is said not to have.
        directives: of the server, otherwise than planned.
    """
    given = [parse(text, "test.yaml") for text in descriptions] or [Site()]
    folder = Path(tempfile.mkdtemp(prefix="wsfront-test-"))
    folder.chmod(0o755)  # Apache's children are another user
    own = folder / "sites.d" / given[0].server_name / "test.conf"
    own.parent.mkdir(parents=True)
    own.write_text(own_directives)
    try:
        instance = _started(
            given, folder, backend=backend, facts=facts or {}, without=without, directives=directives or {}
        )
        try:
            with contextlib.nullcontext() if backend else held(instance.backend_port):
                yield instance
        finally:
            instance.stack.stop()
        # Read once all is stopped, which has its own ways to go wrong; one is httpd's: a connection that goes idle just then.
        instance.allow("AH03093")
        instance.check_log()
    finally:
        shutil.rmtree(folder)


def _started(
    given: list[Site],
    folder: Path,
    *,
    backend: bool,
    facts: Mapping[str, object],
    without: Collection[str],
    directives: Mapping[str, int],
) -> Running:
    attempt = 1
    while True:
        https_port, http_port, backend_port = free_ports(3)
        sites = [site.relocated({DEFAULT_BACKEND: f"127.0.0.1:{backend_port}"}) for site in given]
        stack = _Amended(
            sites,
            folder,
            https_port=https_port,
            http_port=http_port,
            backend=backend,
            facts=facts,
            without=without,
            directives=directives,
        )
        try:
            stack.__enter__()
        except (HttpdError, RunFault) as error:
            # A RunFault is the backend's, whose own words are on standard error.
            if attempt == TRIES or not (isinstance(error, RunFault) or "in use" in str(error)):
                raise
            attempt += 1
        else:
            return Running(stack, backend_port)
