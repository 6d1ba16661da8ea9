"""The verb `plan`: size a server for its connections, show the arithmetic, and say where it ends."""

import argparse
import json
import shutil
import sys
import textwrap
from dataclasses import asdict

from apache import httpd
from apache.capacity import Demand, demand, plan_for
from apache.errors import ApacheError, HttpdError
from apache.reasons import reasons
from apache.target import Target
from apache.target import read as read_target

from .descriptions import add_site_option, read_sites
from .errors import RunFault, UsageFault
from .paths import file_or_input

SUMMARY = "size the server for its connections, show the arithmetic, and say where it ends"

_CONNECTIONS_MAX = 1_000_000_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    add_site_option(parser)
    parser.add_argument(
        "--connections", type=int, metavar="N", help="so many by wss to one backend, instead of descriptions"
    )
    parser.add_argument(
        "--target",
        type=file_or_input,
        metavar="FILE",
        help="JSON facts of another machine, - for standard input (default: this one and its Apache)",
    )
    parser.add_argument("--reloads", type=int, metavar="N", help="graceful reloads that a socket may outlive")
    parser.add_argument("--http-reserve", type=int, metavar="N", help="workers kept for pages")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, as render --json has it under plan"
    )


def run(args: argparse.Namespace) -> int:
    """Plan and print."""
    if args.connections is None:
        wanted = demand(read_sites(args.site))
    elif args.site:
        raise UsageFault(
            "--connections and --site: give one of them, since descriptions say how many they need"
        )
    elif not 1 <= args.connections <= _CONNECTIONS_MAX:
        raise UsageFault(f"--connections is {args.connections}; must be 1 to {_CONNECTIONS_MAX}")
    else:
        number = args.connections
        wanted = Demand(number, number, "127.0.0.1:8888", number, number, number)
    try:
        target = _target(args)
        made = plan_for(wanted, target)
    except HttpdError as error:
        raise RunFault(f"{error}; or describe the machine it is for by --target FILE") from None
    except ApacheError as error:
        raise UsageFault(str(error)) from None
    if args.json:
        json.dump(asdict(made), sys.stdout, indent=2)
        sys.stdout.write("\n")
        return 0
    width = min(100, shutil.get_terminal_size((100, 24)).columns)
    print(
        f"{made.connections} connections, {wanted.encrypted} of them by wss: Apache {target.apache}, mpm_{target.mpm}, "
        f"{target.cores} cores, {target.memory >> 20} MiB\n"
    )
    for subject, paragraph in reasons(made, target).items():
        print(
            textwrap.fill(
                paragraph,
                width,
                initial_indent=f"{subject:<10}",
                subsequent_indent=" " * 10,
                break_on_hyphens=False,
            )
        )
    return 0


def _target(args: argparse.Namespace) -> Target:
    target = read_target(args.target) if args.target else httpd.probe("debian")
    given = {"reloads": args.reloads, "http_reserve": args.http_reserve}
    for name, number in given.items():
        if number is not None:
            low, high = bounds(name)
            if not low <= number <= high:
                raise UsageFault(f"--{name.replace('_', '-')} is {number}; must be {low} to {high}")
    return target.model_copy(update={name: number for name, number in given.items() if number is not None})


def bounds(name: str) -> tuple[int, int]:
    """Return the least and the most that a target takes for one of its numbers."""
    constraints = Target.model_fields[name].metadata
    return next(c.ge for c in constraints if hasattr(c, "ge")), next(
        c.le for c in constraints if hasattr(c, "le")
    )
