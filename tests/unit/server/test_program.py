"""A program for each connection: lines and messages, the handshake in variables, and what it may not do."""

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from server.settings import ProcessLimits, Socket
from tests.needs import find
from tests.unit.server.harness import SECONDS, Launch, Start, handshake, until
from tests.unit.server.test_main import run

UPPER = "while line := sys.stdin.readline(): print(line.rstrip().upper(), flush=True)"
SHOW = "print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


def python(text: str) -> tuple[str, ...]:
    """Name a program of a few lines of Python, on one of them."""
    return (sys.executable, "-S", "-c", f"import json, os, signal, sys, time\n{text}")


async def end_of(client: ClientConnection) -> tuple[int | None, str | None]:
    """Read to the end; return the close code and reason."""
    async with asyncio.timeout(SECONDS):
        try:
            while True:
                await client.recv()
        except ConnectionClosed:
            return client.close_code, client.close_reason


async def heard(client: ClientConnection) -> Any:
    """Return the next message's JSON."""
    async with asyncio.timeout(SECONDS):
        return json.loads(await client.recv())


def is_alive(pid: int) -> bool:
    """Tell whether a process runs."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


async def test_lines(start: Start) -> None:
    """A message is a line of its input, and a line of its output a message; each client has a process of its own."""
    here = await start(program=python("print(os.getpid(), flush=True)\n" + UPPER))
    ada, bob = await here.connect(), await here.connect("/ws/anything/below")
    assert await heard(ada) != await heard(bob)
    await ada.send("grüße")
    await bob.send("x" * 65_000)
    assert (await ada.recv(), await bob.recv()) == ("GRÜSSE", "X" * 65_000)


async def test_php(start: Start) -> None:
    """A PHP script serves, and reads the handshake where PHP has it."""
    php = find("php")
    if php is None:
        pytest.skip("needs php-cli")
    script = """
        echo $_SERVER["QUERY_STRING"], " ", $_SERVER["REMOTE_ADDR"], "\\n";
        while (($line = fgets(STDIN)) !== false) echo strrev(rtrim($line)), PHP_EOL;
    """
    here = await start(program=(str(php), "-n", "-r", script))
    client = await here.connect("/ws/?name=Ada&x=%20")
    assert await client.recv() == "name=Ada&x=%20 127.0.0.1"
    await client.send("olleh")
    assert await client.recv() == "hello"


async def test_variables(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """The handshake is in CGI's variables, with the true client's address; nothing of ours, no credentials, no proxy is there."""
    monkeypatch.setenv("WSFRONT_REDIS", "redis://:secret@127.0.0.1/0")
    monkeypatch.setenv("SECRET", "secret")
    here = await start(program=python(SHOW), sockets=(Socket("/live/", "/public/live/"),))
    client = await here.connect(
        "/live/a%20b/%C3%BC?q=1;2&x",
        additional_headers={
            "X-Forwarded-For": "6.6.6.6, 203.0.113.9",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "chat.example.org",
            "Proxy": "http://evil.example",
            "Authorization": "Basic c2VjcmV0",
            "Cookie": "a=b",
            "X_Forwarded_Host": "evil",
        },
        user_agent_header="me",
    )
    shown = await heard(client)
    wanted = {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "HTTPS": "on",
        "HTTP_COOKIE": "a=b",
        "HTTP_USER_AGENT": "me",
        "HTTP_X_FORWARDED_HOST": "chat.example.org",
        "PATH_INFO": "/a b/ü",
        "QUERY_STRING": "q=1;2&x",
        "REMOTE_ADDR": "203.0.113.9",
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/live/a%20b/%C3%BC?q=1;2&x",
        "SCRIPT_NAME": "/public/live",
        "SERVER_NAME": "chat.example.org",
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_SOFTWARE": "wsfront",
    }
    assert wanted.items() <= shown.items()
    assert not {"HTTP_PROXY", "HTTP_AUTHORIZATION"} & set(shown)
    assert not [name for name, value in shown.items() if "secret" in value or "WSFRONT" in name]


async def test_no_variable(start: Start) -> None:
    """A path that no variable can hold is refused, and starts nothing."""
    here = await start(program=python(UPPER))
    assert await here.status(handshake("/ws/a%00b")) == 400
    assert await here.status(handshake("/elsewhere")) == 404
    assert not here.backend.processes.running


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("print('bye', end='')", (1000, "the program ended")),
        ("sys.exit(3)", (1011, "the program failed")),
        ("os.kill(os.getpid(), 11)", (1011, "the program failed")),
        ("sys.stdout.buffer.write(b'\\xff\\n')", (1011, "the program failed")),
        ("print('x' * 200_000)", (1011, "the program failed")),
    ],
)
async def test_end(start: Start, text: str, expected: tuple[int, str]) -> None:
    """A program that ends well closes with 1000; one that fails, or writes what is no message, with 1011. Others go on."""
    here = await start(
        program=python(f"if 'end' in os.environ['QUERY_STRING']:\n {text}\n sys.exit()\n{UPPER}")
    )
    other = await here.connect()
    assert await end_of(await here.connect("/ws/?end")) == expected
    await other.send("still here")
    assert await other.recv() == "STILL HERE"
    await until(lambda: here.backend.open == len(here.backend.processes.running) == 1)


async def test_last_words(start: Start) -> None:
    """What a program has written before it ended arrives, without a line's end too."""
    here = await start(program=python("print('one\\ntwo', end='')"))
    client = await here.connect()
    assert [await client.recv(), await client.recv()] == ["one", "two"]
    assert await end_of(client) == (1000, "the program ended")


@pytest.mark.parametrize(
    ("message", "code"), [(b"bytes", 1003), ("two\nlines", 1008), ("carriage\rreturn", 1008)]
)
async def test_no_line(start: Start, message: str | bytes, code: int) -> None:
    """A message that is no line, being binary or having a line break, closes the socket and never reaches the program."""
    here = await start(program=python(UPPER))
    client = await here.connect()
    await client.send(message)
    assert (await end_of(client))[0] == code


async def test_not_started(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A program that cannot be started closes with 1011, and is one line in the log."""
    here = await start(program=("/no/such/program",))
    assert await end_of(await here.connect()) == (1011, "the program did not start")
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line.partition(" ")[2] for line in lines] == [
        "/no/such/program did not start: No such file or directory"
    ]


async def test_standard_error(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """What it says on standard error is in the log under the connection's id, made printable."""
    caplog.set_level("INFO", "server")
    here = await start(program=python("print('oh\\x1b[31m', os.environ['UNIQUE_ID'], file=sys.stderr)"))
    await end_of(await here.connect())
    said = [record.getMessage() for record in caplog.records if "stderr:" in record.getMessage()]
    name = said[0].split()[0]
    assert said == [f"{name} stderr: oh\\x1b[31m {name}"]


async def test_flood(start: Start, tmp_path: Path) -> None:
    """A program that floods a client who does not read is held up by its pipe; the server's memory is not filled."""
    text = "for n in range(5000):\n os.write(1, b'x' * 60_000 + b'\\n')\n os.truncate(sys.argv[1], n)"
    counter = tmp_path / "counter"
    counter.touch()
    here = await start(program=(*python(text), str(counter)))
    client = await here.connect(max_queue=1, compression=None)
    wire = next(iter(here.backend.live))
    await until(lambda: wire.transport.get_write_buffer_size() > 0)
    size = -1
    while size != (size := os.stat(counter).st_size):  # noqa: PTH116, ASYNC110  # no event tells that nothing happens
        await asyncio.sleep(0.3)
    assert size < 1000  # of 60 kB each: what sockets, pipes and buffers hold
    assert wire.transport.get_write_buffer_size() < 1 << 20
    client.transport.abort()


async def test_gone(start: Start) -> None:
    """When the client is gone, the program's input ends, and it has time to end by itself."""
    here = await start(program=python("print(os.getpid(), flush=True)\n" + UPPER))
    client = await here.connect()
    pid = await heard(client)
    assert is_alive(pid)
    await client.close()
    await until(lambda: not is_alive(pid) and not here.backend.open)


async def test_stubborn(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ignores the end of its input and SIGTERM is killed, and with it what it started."""
    monkeypatch.setattr("server.workers.processes.PATIENCE_AT_END", 0.1)
    monkeypatch.setattr("server.workers.processes.PATIENCE_AT_TERM", 0.1)
    text = "signal.signal(15, signal.SIG_IGN)\nchild = os.fork()\nif child: print([os.getpid(), child], flush=True)\ntime.sleep(1000)"
    here = await start(program=python(text))
    client = await here.connect()
    pids = await heard(client)
    await client.close()
    await until(lambda: not any(map(is_alive, pids)))


async def test_leftovers(start: Start) -> None:
    """What a program leaves running in its group is ended with it, and holds nothing up."""
    here = await start(program=python("child = os.fork()\nif not child: time.sleep(1000)\nprint(child)"))
    client = await here.connect()
    child = await heard(client)
    assert await end_of(client) == (1000, "the program ended")
    await until(lambda: not is_alive(child))


@pytest.mark.parametrize(
    ("limits", "text"),
    [
        (ProcessLimits(memory=100), "x = bytearray(200 << 20)"),
        (ProcessLimits(files=10), "x = [open('/dev/null') for _ in range(20)]"),
        (ProcessLimits(cpu=1), "while True: pass"),
    ],
)
async def test_limits(start: Start, limits: ProcessLimits, text: str) -> None:
    """Too much memory, too many files or too much CPU ends that program alone, with 1011."""
    here = await start(
        program=python(f"if 'end' in os.environ['QUERY_STRING']:\n {text}\n{UPPER}"), process_limits=limits
    )
    other = await here.connect()
    assert await end_of(await here.connect("/ws/?end")) == (1011, "the program failed")
    await other.send("still here")
    assert await other.recv() == "STILL HERE"


async def test_nothing_inherited(start: Start) -> None:
    """A program has three descriptors, and signals as they are by default."""
    text = (
        "fds = os.listdir('/proc/self/fd')\n"
        "ignored = [line for line in open('/proc/self/status') if line.startswith('SigIgn')]\n"
        "print(json.dumps([sorted(fds)[:3], len(fds), signal.getsignal(15) == signal.SIG_DFL, ignored]))"
    )
    here = await start(program=(sys.executable, "-I", "-S", "-c", f"import json, os, signal\n{text}"))
    first, count, default, ignored = await heard(await here.connect())
    assert (first, count, default) == (
        ["0", "1", "2"],
        4,
        True,
    )  # the fourth is the folder that is being listed
    assert int(ignored[0].split()[1], 16) & (1 << (signal.SIGTERM - 1)) == 0


async def test_parent_dies(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """When the warm parent is killed, its connections are closed with 1011, and the next connection has a new one."""
    here = await start(program=python(UPPER))
    client = await here.connect()
    await client.send("a")
    assert await client.recv() == "A"
    parent = here.backend.processes._parent
    assert parent is not None
    parent.kill()
    assert (await end_of(client))[0] == 1011
    await until(lambda: here.backend.processes._parent is None)
    client = await here.connect()
    await client.send("b")
    assert await client.recv() == "B"
    assert "has died" in caplog.text


async def test_stop(start: Start) -> None:
    """A stop closes with 1012, and leaves no process behind."""
    here = await start(program=python("print(os.getpid(), flush=True)\ntime.sleep(1000)"))
    client = await here.connect()
    pid = await heard(client)
    parent = here.backend.processes._parent
    assert parent is not None
    ending = asyncio.create_task(end_of(client))
    await here.stop(1012, "service restart")
    assert await ending == (1012, "service restart")
    assert not is_alive(pid)
    assert not is_alive(parent.pid)


async def test_counts(start: Start) -> None:
    """The limit of connections is exact, and an ended program frees its place."""
    here = await start(program=python(UPPER), connections=2)
    first, _ = await here.connect(), await here.connect()
    assert await here.status(handshake("/ws/")) == 503
    await first.close()
    await until(lambda: here.backend.open == 1)
    await here.connect()
    assert await here.status(handshake("/ws/")) == 503


async def test_plain(start: Start) -> None:
    """Without an upgrade a program's paths answer 426, and the health is told as ever."""
    here = await start(program=python(UPPER))
    assert [(await here.get(path))[0] for path in ("/ws/x", "/healthz", "/other")] == [426, 200, 404]


def test_command_line(launch: Launch) -> None:
    """All that follows --exec is the program's; one that is missing is a line, and status 2."""
    backend = launch(arguments=("--process-limits", "files=32,cpu=5", "--exec", "cat", "--show-ends", "-"))
    command = Path(f"/proc/{backend.popen.pid}/cmdline").read_bytes()
    assert command.endswith(b"--exec\0cat\0--show-ends\0-\0")
    assert backend.end() == 0
    assert run("--exec", "no-such-program", "--listen") == (
        2,
        ["server: --exec: no program 'no-such-program'; name one that this user can run"],
    )
    assert run("--process-limits", "ram=3")[1] == [
        "server: WSFRONT_PROCESS_LIMITS: 'ram=3' is no limit; expected memory=… cpu=… files=… processes=…"
    ]
