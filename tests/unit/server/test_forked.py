"""A process for each connection: what takes down one, and what it takes down no other."""

import asyncio
import os
import resource
import socket
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection

from server.settings import ProcessLimits, Socket
from server.workers.processes import Processes, StartError
from tests.unit.server.harness import (
    SECONDS,
    Launch,
    Running,
    Start,
    handshake,
    hear,
    open_socket,
    say,
    until,
)
from tests.unit.server.test_main import run
from tests.unit.server.test_program import end_of, is_alive

OBEY = "tests.unit.server.handlers:obey"
FAILED = (1011, "the program failed")


async def ask(client: ClientConnection, message: str | bytes) -> str | bytes:
    """Send a message and return the next one."""
    await client.send(message)
    async with asyncio.timeout(SECONDS):
        return await client.recv()


async def obeying(start: Start, **settings: object) -> Running:
    """Run a backend whose connections do what they are told."""
    return await start(workers="forked", handler=OBEY, **settings)


async def test_own_process(start: Start) -> None:
    """Each connection has a process and a memory of its own, and the handshake in CGI's variables."""
    here = await obeying(start)
    ada, bob = await here.connect("/ws/below/?x=1"), await here.connect()
    assert await ask(ada, "pid") != await ask(bob, "pid")
    assert [await ask(ada, "kept"), await ask(ada, "kept"), await ask(bob, "kept")] == ["1", "2", "1"]
    assert await ask(ada, "where") == "127.0.0.1 x=1"
    assert await ask(bob, "grüße") == "grüße"
    assert await ask(bob, b"\0\xff") == b"\0\xff"
    assert await ask(bob, "x" * 65_000) == "x" * 65_000


@pytest.mark.parametrize(
    ("order", "expected", "words"),
    [
        ("crash", FAILED, "ended with signal 11"),
        ("raise", FAILED, "RuntimeError: on purpose"),
        ("leak", FAILED, "MemoryError"),
        ("spin", FAILED, "ended with signal 24"),
        ("garble", FAILED, "wrote what is no record"),
        ("exit", FAILED, "ended with exit status 1"),
        ("end", (1000, "the program ended"), "closed 1000"),
        ("close 4001", (4001, "told to"), "closed 4001"),
        ("close 1015", FAILED, "wrote what is no record"),
        ("close 4001 " + "ü" * 100, (4001, "ü" * 61), "closed 4001"),
        ("half", FAILED, "wrote what is no record"),
    ],
)
async def test_alone(
    start: Start, caplog: pytest.LogCaptureFixture, order: str, expected: tuple[int, str], words: str
) -> None:
    """A handler that crashes, raises, leaks, spins or talks nonsense ends its own connection alone, and the counters come back."""
    caplog.set_level("INFO", "server")
    here = await obeying(start, process_limits=ProcessLimits(memory=150, cpu=1), connections=2)
    other, victim = await here.connect(), await here.connect()
    assert await ask(other, "kept") == "1"
    await victim.send(order)
    assert await end_of(victim) == expected
    await until(lambda: here.backend.open == len(here.backend.processes.running) == 1)
    await until(lambda: words in caplog.text)
    assert await ask(other, "kept") == "2"
    assert await ask(await here.connect(), "kept") == "1"


async def test_block(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler that blocks for ever holds up nobody else, and is gone soon after its client."""
    monkeypatch.setattr("server.workers.processes.PATIENCE_AT_END", 0.1)
    here = await obeying(start)
    other, victim = await here.connect(), await here.connect()
    pid = int(await ask(victim, "pid"))
    await victim.send("block")
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await ask(other, "hello") == "hello"
    assert loop.time() - began < 1
    assert is_alive(pid)
    await victim.close()
    await until(lambda: not is_alive(pid) and here.backend.open == 1)


async def test_many_forks(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a handler forked goes with it."""
    monkeypatch.setattr("server.workers.processes.PATIENCE_AT_END", 0.1)
    here = await obeying(start)
    other, victim = await here.connect(), await here.connect()
    leader = int(await ask(victim, "pid"))
    assert await ask(victim, "fork") == "that was all"
    group = [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if group_of(pid) == leader]  # noqa: PTH208
    assert len(group) == 201
    await victim.close()
    await until(lambda: not any(map(is_alive, group)))
    assert await ask(other, "hello") == "hello"


def group_of(pid: int) -> int:
    """Return a process's group; 0 where it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return 0


async def test_rooms(start: Start) -> None:
    """Rooms hold across processes: what one hands on, all in the room hear, with the chat's own answers."""
    here = await obeying(start)
    ada, bob = await here.connect("/ws/?room=x"), await here.connect("/ws/?room=x")
    elsewhere = await here.connect("/ws/?room=y")
    await ada.send("say hello all")
    assert (await hear(ada))["message"] == (await hear(bob))["message"] == "hello all"
    assert await ask(elsewhere, "nothing here") == "nothing here"
    await until(lambda: set(here.backend.hall.rooms) == {"x", "y"})
    await bob.send("crash")
    await end_of(bob)
    await ada.send("say still here")
    assert (await hear(ada))["message"] == "still here"


async def test_chat(start: Start) -> None:
    """Without a handler the chat and the echo are as ever, with a process for each socket; a killed one takes its own away."""
    here = await start(workers="forked")
    ada, bob = await here.joined("Ada"), await here.joined("Bob")
    await say(ada, type="usermsg", message="Hello")
    assert (await hear(bob, "usermsg"))["name"] == "Ada"
    await ada.send("nonsense")
    assert (await hear(ada, "error"))["code"] == "bad-json"
    assert await ask(await here.connect("/ws/echo"), "hello") == "hello"
    assert len(here.backend.processes.running) == 3
    first = min(here.backend.processes.running)
    here.backend.processes.running[first].signal(9)
    assert await end_of(ada) == FAILED
    assert (await hear(bob, "presence"))["left"][0]["name"] == "Ada"
    await say(bob, type="usermsg", message="Alone")
    assert (await hear(bob, "usermsg"))["message"] == "Alone"


async def test_limits_are_exact(start: Start) -> None:
    """The limits of connections, in all and of one address, hold as they do in one process."""
    here = await obeying(start, connections=3, sockets=(Socket(per_address=2),))
    first = await here.connect()
    await here.connect()
    assert await here.status(handshake("/ws/")) == 429
    await here.connect(additional_headers={"X-Forwarded-For": "203.0.113.9"})
    assert await here.status(handshake("/ws/", "X-Forwarded-For: 203.0.113.10")) == 503
    await first.send("crash")
    await end_of(first)
    await until(lambda: here.backend.open == 2)
    await here.connect()


async def test_print(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What a handler prints is in the log, and never among its messages."""
    caplog.set_level("INFO", "server")
    here = await obeying(start)
    client = await here.connect()
    await client.send("print")
    assert await ask(client, "hello") == "hello"
    await client.send("end")
    await end_of(client)
    assert "stderr: printed" in caplog.text


async def test_send_home(start: Start) -> None:
    """Who is sent home is told 1012, and the process ends."""
    here = await obeying(start)
    client = await here.connect()
    pid = int(await ask(client, "pid"))
    ending = asyncio.create_task(end_of(client))
    await here.backend.send_home()
    assert await ending == (1012, "service restart")
    await until(lambda: not is_alive(pid))
    await here.connect()


@pytest.mark.parametrize("name", ["no_such_module:x", "json:no_such_function"])
async def test_no_handler(name: str) -> None:
    """A handler that is none is told at the start."""
    processes = Processes(ProcessLimits())
    try:
        with pytest.raises(StartError, match="no_such"):
            await processes.warm(name)
    finally:
        processes.close()


async def test_limits_are_set(start: Start) -> None:
    """Every limit is the kernel's own, for the process alone; how many processes a user may have does not bind root."""
    here = await obeying(start, process_limits=ProcessLimits(memory=300, cpu=7, files=33, processes=44))
    assert await ask(await here.connect(), "limits") == f"{300 << 20} 7 33 44"
    here = await obeying(start, process_limits=ProcessLimits(0, 0, 0, 0))
    assert await ask(await here.connect(), "limits") == " ".join(
        str(resource.getrlimit(what)[0])
        for what in (resource.RLIMIT_AS, resource.RLIMIT_CPU, resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC)
    )


def test_command_line() -> None:
    """A wrong handler is a line, with status 2 where its form is wrong, and 1 where it cannot be imported."""
    assert run("--handler", "x") == (2, ["server: --handler: 'x' is no handler; expected module:function"])
    assert run("--handler", "x:y", "--listen", "127.0.0.1:0", WSFRONT_CONNECTIONS="100") == (
        1,
        ["server: x:y: ModuleNotFoundError: No module named 'x'"],
    )
    assert run("--workers", "many") == (
        2,
        ["server: WSFRONT_WORKERS: 'many' is neither forked nor a number from 1 to 64"],
    )
    assert run("--handler", "x:y", "--workers", "1")[1] == [
        "server: WSFRONT_WORKERS: a handler runs in a process for each connection; set it to forked"
    ]
    assert run("--workers", "forked", "--exec", "cat")[0] == 2


async def test_no_python(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the user that serves may not run Python's file, the warm parent is forked from the server; it inherits no descriptor."""
    monkeypatch.setattr("server.workers.processes.sys.executable", str(Path(__file__).parent))
    monkeypatch.setenv("WSFRONT_SECRET", "secret")
    here = await obeying(start)
    assert type(here.backend.processes._parent).__name__ == "_Forked"
    ada, bob = await here.connect(), await here.connect()
    assert await ask(ada, "descriptors") == "0 1 2 3 4"
    assert await ask(ada, "secret") == "none"
    await bob.send("crash")
    assert await end_of(bob) == FAILED
    parent = here.backend.processes._parent
    assert parent is not None
    parent.kill()
    assert await end_of(ada) == FAILED
    assert await ask(await here.connect(), "hello") == "hello"
    pid = here.backend.processes._parent.pid  # type: ignore[union-attr]  # started again just now
    await here.stop(1012, "service restart")
    assert not is_alive(pid)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user(launch: Launch) -> None:
    """A server that root started as another user forks for it, whether or not that user may run Python's file."""
    backend = launch(
        arguments=("--user", "nobody", "--workers", "forked"),
        WSFRONT_CONNECTIONS="100",
        WSFRONT_DRAIN_SECONDS="60",
    )
    with open_socket(backend.ports[0], "/ws/echo") as sock:
        sock.sendall(bytes([0x81, 0x82, 0, 0, 0, 0]) + b"hi")
        assert sock.recv(4, socket.MSG_WAITALL) == b"\x81\x02hi"
    assert backend.end() == 0
    assert not [line for line in backend.lines if " INFO " not in line]
