"""One process of the load generator: reads orders as lines of JSON, does them, answers each with a line.

The first line says whom to connect to; every other one names a function `module:name` of this package and its arguments. While there is
no order, pings are answered. The end of the input is the end of the process, so it never outlives who started it.
"""

import importlib
import json
import os
import select
import sys
from typing import Any

from .client import Client

_INPUT = 0


def main() -> int:
    """Obey until the input ends."""
    buffer = b""
    client: Client | None = None
    while True:
        while client and not client.turn(60, also=_INPUT):
            pass
        data = os.read(_INPUT, 1 << 16)
        if not data:
            return 0
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            order = json.loads(line)
            if client is None:
                client = Client(**order)
                client.poll.register(_INPUT, select.EPOLLIN)
                _answer({})
            else:
                _answer(_do(client, order))


def _do(client: Client, order: Any) -> Any:
    module, name = order["work"].split(":")
    work = getattr(importlib.import_module(module), name)
    try:
        return work(client, **order["arguments"])
    finally:
        client.calm()


def _answer(reply: Any) -> None:
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
