"""Nothing lost, nothing twice, in order: backends and Apache are restarted, killed and reloaded under a crowd that keeps ledgers.

Small by default. In full size it is a measurement for an idle machine, printed with `-s`:

    export WSFRONT_LEDGER="sockets=1000 rate=100 restarts=10 kills=5 reloads=10 spacing=16 gap=2"
    ./wsfront test tests/integration/test_ledger.py -s
"""

import itertools
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apache.capacity import plan
from apache.httpd import die_with_parent
from apache.views import LEAVE_SECONDS
from bench import proc
from bench.load.processes import Load
from tests import crowd
from tests.redis_server import RedisServer
from tests.stacks import MEMBER_OUT, Running, running
from tests.unit.server.harness import ACTIVATE, ROOT
from tests.waiting import SECOND, until

OUT = (
    *MEMBER_OUT,
    "AH01102",  # a backend that died in a handshake
    "AH00898",
    "AH00485",  # scoreboard is full, at MaxRequestWorkers
)
FAULTS = ("start", "behind", "miscounted", "twice", "missing", "conflicts", "gaps")
PROCESSES = 2
REVIVED_AFTER = 0.1  # seconds: RestartSec of the service


@dataclass
class Size:
    """How much is asked of it; rate: lines a second, all together; spacing: seconds from one blow to the next; gap: seconds allowed."""

    sockets: int = 60
    rate: int = 20
    restarts: int = 2
    kills: int = 1
    reloads: int = 2
    spacing: float = 2.0
    gap: float = 5.0

    @classmethod
    def asked(cls) -> "Size":
        """Read it from WSFRONT_LEDGER: name=number, several of them."""
        pairs = (word.partition("=") for word in os.environ.get("WSFRONT_LEDGER", "").split())
        return cls(**{name: json.loads(text) for name, _, text in pairs})

    @property
    def blows(self) -> int:
        """How many there are."""
        return self.restarts + self.kills + self.reloads + 1


SIZE = Size.asked()
pytestmark = [
    pytest.mark.needs("apache"),
    pytest.mark.timeout(SIZE.blows * (SIZE.spacing + 10) + SIZE.sockets / 5 + 100),
]


class Member:
    """A backend as systemd runs it: the port stays open while it restarts, and it is started again when it dies."""

    def __init__(self, folder: Path, number: int) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.address = f"127.0.0.1:{self.sock.getsockname()[1]}"
        self.log = folder / f"backend-{number}.log"
        self.settings: Path | None = None
        self.environment: dict[str, str] = {}
        self.popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it may not be ready yet."""
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    ACTIVATE,
                    str(self.sock.fileno()),
                    "",
                    "--env-file",
                    str(self.settings),
                ],
                cwd=ROOT,
                env={**os.environ, "LISTEN_FDS": "1", **self.environment},
                stderr=log,
                pass_fds=[self.sock.fileno()],
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (a prctl)
            )

    def restart(self) -> None:
        """Stop it as systemd does, and start it again once it has ended."""
        assert self.popen
        self.popen.terminate()
        assert self.popen.wait(20) in {0, -signal.SIGTERM}  # the latter of one that had not quite started
        self.start()

    def die(self) -> None:
        """Kill it, and start it again as systemd does."""
        assert self.popen
        self.popen.kill()
        self.popen.wait()
        time.sleep(REVIVED_AFTER)
        self.start()

    def close(self) -> None:
        """Be gone for good: the machine answers for its port no more."""
        if self.popen:
            self.popen.kill()
            self.popen.wait()
        self.sock.close()

    @property
    def complaints(self) -> list[str]:
        """What it has said above INFO."""
        return [line for line in self.log.read_text().splitlines() if " INFO " not in line]


@dataclass
class Site:
    """An Apache before some members, and who speaks through it."""

    stack: Running
    members: list[Member]
    load: Load

    def cpu(self) -> Counter[str]:
        """Return the CPU seconds so far of each party."""
        pid = self.stack.stack.httpd.pid
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        backends = proc.cpu_seconds([each.popen.pid for each in self.members if each.popen])
        return Counter(
            {
                "clients": proc.cpu_seconds(self.load.pids),
                "Apache": proc.cpu_seconds([pid] if pid else []),
                "backends": backends + ended.ru_utime + ended.ru_stime,
                "all": proc.machine_seconds(),
            }
        )


@contextmanager
def site(bus: str, count: int) -> Iterator[Site]:
    """Run an Apache before so many members, all of them ready, and let the crowd come."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wsfront-")))
        folder.chmod(0o755)
        members = [stack.enter_context(closing(Member(folder, number))) for number in range(count)]
        description: dict[str, Any] = {
            "websockets": [
                {
                    "path": "/ws/",
                    "connections": SIZE.sockets + 50,
                    "backend": [each.address for each in members],
                }
            ],
            "pages": {"proxy": members[0].address},
        }
        if bus == "redis":
            redis = RedisServer(folder)
            stack.callback(redis.kill)
            description["bus"] = {"redis": {"address": redis.address, "password_file": None}}
        front = stack.enter_context(running(json.dumps(description), backend=False))
        front.allow(*OUT)
        for member in members:
            member.settings = front.stack.directory / "backend.env"
            if len(members) > 1:
                # In the file where members are on machines of their own.
                member.environment["WSFRONT_LEAVE_SECONDS"] = str(LEAVE_SECONDS)
            if bus == "memory":
                member.environment["WSFRONT_HISTORY_FILE"] = str(folder / "history")
            member.start()
        until(lambda: all(each.log.read_text().count("listening on") for each in members), 20)
        load = stack.enter_context(
            Load(PROCESSES, port=front.https_port, path="/ws/chat", authority=str(front.stack.store.ca))
        )
        shares = [
            {"number": number, "count": share} for number, share in enumerate(load.shares(SIZE.sockets))
        ]
        load.call(crowd.enter, shares)
        yield Site(front, members, load)


def blows(here: Site) -> list[tuple[str, Callable[[], None]]]:
    """Return what is done to it, one kind after the other by turns."""
    turns = itertools.cycle(here.members)
    kinds = [
        [("restart", lambda: next(turns).restart())] * SIZE.restarts,
        [("reload", here.stack.stack.httpd.reload)] * SIZE.reloads * (len(here.members) > 1),
        [("kill", lambda: next(turns).die())] * SIZE.kills * (len(here.members) > 1),
    ]
    mixed = [each for turn in itertools.zip_longest(*kinds) for each in turn if each]
    return [*mixed, ("one left", here.members[-1].close)] if len(here.members) > 1 else mixed


@pytest.mark.parametrize(
    ("bus", "count"), [pytest.param("redis", 2, marks=pytest.mark.needs("redis")), ("memory", 1)]
)
def test_ledgers(bus: str, count: int) -> None:
    """Under blows to backends and Apache 0 lines are lost, 0 come twice, 0 out of order, and hardly anybody waits for long."""
    with site(bus, count) as here:
        sized = plan(here.stack.stack.sites, here.stack.stack.target)
        what = blows(here)
        apart = sized.reload_interval / 2 if ("reload", here.stack.stack.httpd.reload) in what else 0
        spacing = max(SIZE.spacing, apart)
        seconds = 2 + spacing * len(what) + 2
        before = here.cpu()
        began = time.monotonic()
        here.load.begin(crowd.talk, rate=SIZE.rate / PROCESSES, seconds=seconds)
        struck = []
        for number, (name, blow) in enumerate(what):
            time.sleep(max(0.0, began + 2 + number * spacing - time.monotonic()))
            struck.append((time.monotonic(), name))
            blow()
        late = max(here.load.collect(seconds + 60))
        settled = here.load.call(crowd.settle, seconds=60 * SECOND)
        assert not [each["waiting"] for each in settled if each["waiting"]], settled
        said = sum(each["said"] for each in settled)
        elapsed, spent = time.monotonic() - began, here.cpu() - before
        books = here.load.call(crowd.close_books, offset=said, seconds=10 * SECOND)
        tell(books, struck, said, late, {name: used / elapsed for name, used in spent.items()})
        for book in books:
            assert {key: book[key] for key in FAULTS} == dict.fromkeys(FAULTS, 0)
            assert book["log"] == books[0]["log"]
        is_complete(books[0]["log"], said)
        gaps = sorted(gap for book in books for _, gap, *_ in book["unserved"])
        assert share(gaps, 0.99) < SIZE.gap * SECOND
        assert not [line for member in here.members for line in member.complaints]


def is_complete(log: list[str | None], said: int) -> None:
    """Check that what was kept is all that was said, each line once, and each speaker's in the order spoken."""
    assert len(log) == len(set(log)) == said
    numbers: dict[str, int] = {}
    for line in log:
        assert line
        name, _, number = line.partition("-")
        assert int(number) == numbers.get(name, 0) + 1, line
        numbers[name] = int(number)


def share(ordered: list[float], part: float) -> float:
    """Return the value that such a part is not above."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))] if ordered else 0.0


def tell(
    books: list[dict[str, Any]],
    struck: list[tuple[float, str]],
    said: int,
    late: float,
    cpu: dict[str, float],
) -> None:
    """Print what was measured."""
    found: dict[str, list[tuple[float, float]]] = {}
    for book in books:
        for at, gap, waited, _ in book["unserved"]:
            name = next((name for moment, name in reversed(struck) if moment <= at + 0.2), "before")
            found.setdefault(name, []).append((gap, gap - waited))
            found.setdefault("all", []).append((gap, gap - waited))
    blows = Counter(name for _, name in struck)
    lines = [
        f"{said} lines said by {SIZE.sockets} sockets, the latest {late:.2f} s late; blows: {dict(blows)}"
    ]
    lines += [f"gap after {name}: {spread([gap for gap, _ in pairs])}" for name, pairs in found.items()]
    lines.append(f"gap without the client's own pause: {spread([rest for _, rest in found.get('all', ())])}")
    stories = sorted(((gap, story) for book in books for _, gap, _, story in book["unserved"]), reverse=True)
    lines += [f"  {gap:.2f} s: {story}" for gap, story in stories[:5]]
    silences = [each for book in books for each in book["silences"]]
    lines += [
        f"silence above {crowd.SILENCE} s on an open socket: {spread(silences)}",
        "cores used: " + ", ".join(f"{name} {used:.2f}" for name, used in cpu.items()),
        f"ends: {sum((Counter(book['ended']) for book in books), Counter())}",
        f"errors: {Counter(each for book in books for each in book['errors'])}",
        *(f"{key}: {[book[key] for book in books]}" for key in FAULTS),
    ]
    print("\n" + "\n".join(lines))  # noqa: T201 (a measurement)


def spread(values: list[float]) -> str:
    """Say how seconds are spread."""
    ordered = sorted(values)
    shown = (share(ordered, part) for part in (0.5, 0.99, 1.0))
    return f"{len(ordered)} times, median {{:.2f}} s, p99 {{:.2f}} s, longest {{:.2f}} s".format(*shown)
