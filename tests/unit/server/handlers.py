"""Handlers for the tests of forked connections: each does what its client says."""

import json
import os
import resource
import sys
import time

from server.workers.handler import Connection

KEPT: list[bytes] = []


def obey(connection: Connection) -> None:  # noqa: C901, PLR0912  # a list of all that can go wrong
    """Do what each message says."""
    for message in connection:
        match message.split() if isinstance(message, str) else ["binary"]:
            case ["crash"]:
                os.kill(os.getpid(), 11)
            case ["raise"]:
                raise RuntimeError("on purpose")
            case ["block"]:
                time.sleep(1000)
            case ["spin"]:
                while True:
                    pass
            case ["leak"]:
                while True:
                    KEPT.append(bytes(1 << 20))
            case ["fork"]:
                fork_on(connection)
            case ["garble"]:
                os.write(connection._out, b"?" * 100)
            case ["pid"]:
                connection.send(str(os.getpid()))
            case ["print"]:
                print("printed")  # noqa: T201  # that is what is tried
            case ["kept"]:
                KEPT.append(b"")
                connection.send(str(len(KEPT)))
            case ["close", code]:
                connection.close(int(code), "told to")
            case ["close", code, reason]:
                connection.close(int(code), reason)
            case ["half"]:
                connection.close(4001, "\ud83d")
            case ["say", *words]:
                connection.hand_on(json.dumps({"type": "usermsg", "name": "Ada", "message": " ".join(words)}))
            case ["where"]:
                connection.send(f"{connection.request['REMOTE_ADDR']} {connection.request['QUERY_STRING']}")
            case ["limits"]:
                kinds = (
                    resource.RLIMIT_AS,
                    resource.RLIMIT_CPU,
                    resource.RLIMIT_NOFILE,
                    resource.RLIMIT_NPROC,
                )
                connection.send(" ".join(str(resource.getrlimit(kind)[0]) for kind in kinds))
            case ["secret"]:
                connection.send(os.environ.get("WSFRONT_SECRET", "none"))
            case ["descriptors"]:
                shown = sorted(os.listdir("/proc/self/fd"), key=int)  # noqa: PTH208  # names alone
                connection.send(" ".join(shown[:-1]))
            case ["end"]:
                return
            case ["exit"]:
                sys.exit("with words")
            case _:
                connection.send(message)


def fork_on(connection: Connection) -> None:
    """Fork without end, and tell where that ends."""
    number = 0
    try:
        while number < 200:
            if not os.fork():
                time.sleep(1000)
            number += 1
    except OSError as fault:
        connection.send(f"{fault.strerror} after {number}")
    connection.send("that was all")
    time.sleep(1000)
