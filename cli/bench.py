"""The verb `bench`: WebSocket stacks side by side on this machine, each with fresh processes, interleaved.

The table goes to standard output, progress to standard error.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from apache.errors import ApacheError
from bench.errors import BenchFault, LimitFault
from bench.output import write
from bench.report import markdown
from bench.runner import all_backends, all_scenarios, all_stacks
from bench.runner import run as measure
from bench.scenarios.base import Options

from .errors import RunFault, UsageFault
from .paths import state_directory

SUMMARY = "measure this Apache beside nginx, HAProxy and others, side by side"
_ALWAYS = "wsfront"
_MOST = 1_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `bench`."""
    defaults = Options()
    scenarios, stacks = (
        ", ".join(all_scenarios()),
        ", ".join(name for name in all_stacks() if name != _ALWAYS),
    )
    parser.add_argument("scenario", nargs="*", metavar="SCENARIO", help=f"of {scenarios} (default: all)")
    parser.add_argument(
        "--against", nargs="+", metavar="NAME", help=f"what to put beside ours, of {stacks} (default: all)"
    )
    parser.add_argument(
        "--backends",
        nargs="+",
        metavar="NAME",
        help=f"which of {', '.join(all_backends())} (default: all that a scenario has)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where results go (default: a folder of the day and time)"
    )
    parser.add_argument(
        "--connections", type=_count, default=defaults.connections, metavar="N", help="default: %(default)s"
    )
    parser.add_argument("--rounds", type=_count, default=3, metavar="N", help="default: %(default)s")
    parser.add_argument(
        "--hold",
        type=_seconds,
        default=defaults.hold,
        metavar="SECONDS",
        help="for which idle sockets are held (default: %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(args: argparse.Namespace) -> int:
    """Measure, write the results, and print them."""
    # As Ctrl-C: what has been started is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    # Its cache of fonts belongs to our own folder too.
    os.environ.setdefault("MPLCONFIGDIR", str(state_directory() / "matplotlib"))
    scenarios = _chosen(args.scenario or [*all_scenarios()], all_scenarios(), "SCENARIO")
    stacks = _chosen([_ALWAYS, *(args.against or all_stacks())], all_stacks(), "--against")
    backends = _chosen(args.backends or [*all_backends()], all_backends(), "--backends")
    directory = args.out or state_directory() / "bench" / datetime.now(UTC).strftime("%Y-%m-%dT%H%M%S")
    try:
        results = measure(
            [
                replace(each, backends=tuple(name for name in each.backends if name in backends))
                for name, each in all_scenarios().items()
                if name in scenarios
            ],
            [each for name, each in all_stacks().items() if name in stacks],
            Options(connections=args.connections, hold=args.hold),
            rounds=args.rounds,
            say=_say,
        )
        files = write(results, directory)
    except LimitFault as fault:
        raise UsageFault(f"--connections: {fault}") from None
    except (BenchFault, ApacheError) as fault:
        raise RunFault(str(fault)) from None
    sys.stdout.write(json.dumps(results.data(), indent=2) + "\n" if args.json else markdown(results))
    for file in files:
        _say(str(file))
    return 0


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _chosen(names: list[str], known: Mapping[str, object], what: str) -> set[str]:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageFault(f"{what}: there is no {unknown[0]}: choose of {', '.join(known)}")
    return set(names)


def _count(text: str) -> int:
    count = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= count <= _MOST:
        raise argparse.ArgumentTypeError(f"{text!r} is no count: a number from 1 to {_MOST}")
    return count


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= 86400:  # noqa: PLR2004 (a day)
        raise argparse.ArgumentTypeError(f"{text!r} is no time: seconds from 0 to 86400")
    return seconds
