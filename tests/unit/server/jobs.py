"""``python -m tests.unit.server.jobs``: a process of the pool that does what the job says, good or bad."""

import os
import sys
import time

from server.pooled import Rejected, work


def do(job: bytes) -> bytes:  # noqa: C901, PLR0912  # a list of deeds, one line or two each
    """Do what the first word says with the rest."""
    word, _, rest = job.partition(b" ")
    match word.decode():
        case "echo":
            return rest
        case "who":
            return str(os.getpid()).encode()
        case "settings":
            return ",".join(sorted(name for name in os.environ if name.startswith("WSFRONT"))).encode()
        case "print":
            print("noise", flush=True)  # noqa: T201  # what a library might do
            return rest
        case "reject":
            raise Rejected(rest.decode())
        case "sleep":
            time.sleep(float(rest))  # what a pool's deadline is for
        case "spin":
            while True:
                pass
        case "die":
            os._exit(7)
        case "allocate":
            return b"%d" % len(bytearray(int(rest)))
        case "flood":
            while True:
                os.write(3, b"\xff" * 65536)
        case _:
            raise ValueError(word)
    return b""


if __name__ == "__main__":
    sys.exit(work(do, sys.argv[1:]))
