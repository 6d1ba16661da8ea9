"""Processes for heavy work: bounded, replaced when they fail, and gone when nobody needs them."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from server.pool import JOBS, UNDER_WAY, Busy, JobLost, NotStarted, Pool
from server.pooled import NICE, Rejected
from tests.unit.server.harness import ROOT, SECONDS, until
from tests.waiting import SECOND
from tests.waiting import until as wait_until

MODULE = "tests.unit.server.jobs"
MEMORY = 256 << 20


class Make(Protocol):
    """What makes a pool that is closed with the test."""

    def __call__(self, **options: Any) -> Pool:
        """Make one; options as `Pool` has them."""


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Give a function that makes pools."""
    async with AsyncExitStack() as stack:

        def begin(**options: Any) -> Pool:
            pool = Pool(MODULE, **{"size": 1, "waiting": 10, "seconds": SECONDS, "memory": MEMORY, **options})
            stack.push_async_callback(pool.close)
            return pool

        yield begin
    assert children() == []


def children() -> list[str]:
    """Name the processes that this one has started and that are still there, zombies too."""
    found = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "--ppid", str(os.getpid())],
        capture_output=True,
        text=True,
        check=False,
    )
    return [line for line in found.stdout.splitlines() if MODULE in line or "defunct" in line]


def gone(pid: int) -> bool:
    """Say whether a process is there no longer, not even as a zombie."""
    return not Path(f"/proc/{pid}").exists()


def weight_of_session(pid: int) -> str:
    """Return what the kernel tells of how a process's session is weighed (sched(7))."""
    file = Path(f"/proc/{pid}/autogroup")
    return file.read_text() if file.exists() else ""


async def test_lazy(make: Make) -> None:
    """Nothing runs until there is work, and the process that did some does the next."""
    pool = make(size=2)
    assert children() == []
    assert await pool.run(b"who") == await pool.run(b"who")
    assert len(children()) == 1


async def test_apart(make: Make) -> None:
    """What does the work takes its turn behind us, in a session of its own: the kernel weighs it against ours, not as a part of it."""
    worker = int(await make().run(b"who"))
    assert os.getsid(worker) == worker
    assert os.getpriority(os.PRIO_PROCESS, worker) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + NICE)
    if told := weight_of_session(worker):  # nothing where the kernel groups nothing
        assert told.endswith(f" nice {NICE}\n")


async def test_large(make: Make) -> None:
    """A job of many pipes' worth arrives whole, and so does its answer."""
    job = os.urandom(1 << 19)
    assert await make().run(b"echo " + job) == job


async def test_rejected(make: Make) -> None:
    """What a job says of its bytes reaches who sent them, and costs no process."""
    pool = make()
    who = await pool.run(b"who")
    with pytest.raises(Rejected, match=r"^no good$"):
        await pool.run(b"reject no good")
    assert await pool.run(b"who") == who


async def test_noise(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """What a job prints is no answer, but a line of the log, in the form that the log has."""
    assert await make().run(b"print yes") == b"yes"
    await until(lambda: f"{MODULE}: noise" in caplog.messages)


async def test_last_words(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """What a process says at its end is logged, too."""
    with pytest.raises(JobLost):
        await make().run(b"unheard-of")
    assert f"{MODULE}: a job failed: ValueError: b'unheard-of'" in caplog.messages


async def test_settings(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the server's is handed on: some are secret."""
    monkeypatch.setenv("WSFRONT_SECRET", "x")
    assert await make().run(b"settings") == b""


@pytest.mark.parametrize("job", [b"die", b"unheard-of", b"allocate 1000000000", b"flood"], ids=str)
async def test_lost(make: Make, job: bytes) -> None:
    """A process that dies, fails, wants too much memory or answers nonsense costs its one job, and is replaced."""
    pool = make()
    who = await pool.run(b"who")
    with pytest.raises(JobLost):
        await pool.run(job)
    assert gone(int(who))
    assert await pool.run(b"who") != who


async def test_memory_allowed(make: Make) -> None:
    """What fits is allowed."""
    assert await make().run(b"allocate 100000000") == b"100000000"


@pytest.mark.parametrize("job", [b"sleep 60", b"spin"], ids=str)
async def test_deadline(make: Make, job: bytes) -> None:
    """A process beyond its deadline is killed, whether it works or sleeps; who waits is served by the next."""
    pool = make(seconds=3 * SECOND)
    late = asyncio.create_task(pool.run(job))
    await until(lambda: bool(children()))
    waiting = asyncio.create_task(pool.run(b"echo x"))
    with pytest.raises(JobLost, match="more than"):
        await late
    assert await waiting == b"x"


async def test_killed_at_rest(make: Make) -> None:
    """A process that is killed while it rests costs nothing."""
    pool = make()
    who = int(await pool.run(b"who"))
    os.kill(who, signal.SIGKILL)
    await until(lambda: gone(who))
    assert int(await pool.run(b"who")) != who


async def test_busy(make: Make) -> None:
    """So many jobs may wait; one more is refused at once, and served later."""
    pool = make(size=1, waiting=2)
    jobs = [asyncio.create_task(pool.run(b"echo %d" % number)) for number in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Busy):
        await pool.run(b"echo x")
    assert await asyncio.gather(*jobs) == [b"0", b"1", b"2"]
    assert await pool.run(b"echo x") == b"x"


async def test_metrics(make: Make) -> None:
    """Each job is counted by how it ended, and none stays under way."""
    pool = make(waiting=0)

    def counted() -> dict[str, float]:
        return {end: JOBS.labels(MODULE, end)._value.get() for end in ("done", "rejected", "lost", "busy")}

    before = counted()
    for job in (b"echo x", b"reject x", b"die"):
        with suppress(Rejected, JobLost):
            await pool.run(job)
    jobs = [asyncio.create_task(pool.run(b"echo x")) for _ in range(2)]
    await asyncio.gather(*jobs, return_exceptions=True)
    after = counted()
    assert {end: after[end] - before[end] for end in after} == {
        "done": 2,
        "rejected": 1,
        "lost": 1,
        "busy": 1,
    }
    assert UNDER_WAY.labels(MODULE)._value.get() == 0


async def test_order(make: Make) -> None:
    """Jobs are done in the order in which they came."""
    pool = make()
    done: list[int] = []
    jobs = [asyncio.create_task(pool.run(b"echo x")) for _ in range(5)]
    for number, job in enumerate(jobs):
        job.add_done_callback(lambda _, number=number: done.append(number))  # type: ignore[misc]  # a default is all it takes
    await asyncio.gather(*jobs)
    assert done == [0, 1, 2, 3, 4]


async def test_side_by_side(make: Make) -> None:
    """As many processes work as there may be."""
    pool = make(size=2)
    slow = asyncio.create_task(pool.run(b"sleep 60"))
    assert await pool.run(b"echo x") == b"x"
    assert len(children()) == 2
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert len(children()) == 1


async def test_idle(make: Make) -> None:
    """A process without work ends after a while, and nothing of it is left."""
    pool = make(idle=0.01)
    who = int(await pool.run(b"who"))
    await until(lambda: gone(who))
    assert await pool.run(b"echo x") == b"x"


async def test_close(make: Make) -> None:
    """Closing ends who works and who rests, loses the jobs at hand, and starts nothing again."""
    pool = make(size=2)
    who = int(await pool.run(b"who"))
    slow = [asyncio.create_task(pool.run(b"sleep 60")) for _ in range(3)]
    await until(lambda: len(children()) == 2)
    await pool.close()
    assert gone(who)
    for result in await asyncio.gather(*slow, return_exceptions=True):
        assert isinstance(result, JobLost | NotStarted)
    with pytest.raises(NotStarted, match="closed"):
        await pool.run(b"echo x")


async def test_cannot_start(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that does not start costs the job, and one that will starts later."""
    pool = make()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(NotStarted):
            await pool.run(b"echo x")
    assert await pool.run(b"echo x") == b"x"


PARENT = """
import asyncio, sys
from server.pool import Pool

async def main():
    pool = Pool(sys.argv[1], size=2, waiting=0, seconds=60, memory=1 << 28)
    print((await pool.run(b"who")).decode(), flush=True)
    await asyncio.gather(pool.run(b"spin"), pool.run(b"sleep 60"))

asyncio.run(main())
"""


def test_orphans(capfd: pytest.CaptureFixture[str]) -> None:
    """After kill -9 of the parent nothing runs on, neither what works nor what sleeps."""
    command = [sys.executable, "-c", PARENT, MODULE]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout
        assert re.fullmatch(rb"\d+\n", parent.stdout.readline())

        def at_work() -> list[int]:
            found = subprocess.run(
                ["ps", "-o", "pid=", "--ppid", str(parent.pid)], capture_output=True, check=False
            )
            return [int(pid) for pid in found.stdout.split()]

        wait_until(lambda: len(at_work()) == 2)
        pids = at_work()
        parent.kill()
        parent.wait()
    wait_until(lambda: not any(_runs(pid) for pid in pids))
    assert "Traceback" not in capfd.readouterr().err


def _runs(pid: int) -> bool:
    """Say whether a process runs; whoever inherits orphans may be slow to bury them."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
