"""The verb `doctor`: ask a living site, or the machine that it runs on, and say why sockets do not work.

Does not know what is wrong with what (`doctor/` does); it prints.
"""

import argparse
import asyncio
import difflib
import json
import ssl
import sys
import time
from argparse import BooleanOptionalAction

from doctor import remote, server
from doctor.examination import Check, Examination, as_json
from doctor.findings import CATALOGUE, Finding

from .errors import UsageFault
from .showing import counted, is_coloured, painted, print_advice, printable, wrapped

SUMMARY = "find out why a WebSocket does not work, from anywhere or on the server itself"
_MARKS = {"good": ("✓", "good"), "odd": ("!", "warning"), "bad": ("✗", "error")}
_PLAIN_MARKS = {"✓": "+", "✗": "x", "…": "...", "!": "!"}
_NAME_WIDTH = 12
_MOST_SECONDS = 24 * 3600


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.add_argument("url", nargs="?", metavar="URL", help="wss://HOST/PATH; nothing else is needed")
    parser.add_argument("--server", action="store_true", help="examine the Apache of this machine")
    parser.add_argument(
        "--explain", metavar="ID", help="tell all that is known of a finding; `all` lists them"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, as doctor/examination.schema.json tells"
    )
    asked = parser.add_argument_group("with URL")
    asked.add_argument(
        "--idle", type=_seconds, default=0, metavar="SECONDS", help="leave a socket in silence that long"
    )
    asked.add_argument("--ca", metavar="FILE", help="authorities to trust beside the system's")
    asked.add_argument(
        "--address", default="", help="where to connect, whatever the name says: before DNS does, past a CDN"
    )
    asked.add_argument(
        "--origin", default="", help="of the page that opens the socket (default: a page on the same name)"
    )
    asked.add_argument(
        "--any-origin", action="store_true", help="pages of everybody are meant to open the socket"
    )
    asked.add_argument(
        "--echo",
        action=BooleanOptionalAction,
        help="whether the path sends messages back (default: where its last part says so); others are sent none",
    )
    asked.add_argument(
        "--timeout",
        type=_seconds,
        default=remote.LIMIT,
        metavar="SECONDS",
        help="for each answer (default: 5)",
    )
    here = parser.add_argument_group("with --server")
    here.add_argument("--path", help="of a socket, as browsers ask for it (default: all there are)")
    here.add_argument("--htaccess", metavar="FILE", help="default: those of the DocumentRoots")
    here.add_argument("--apache", metavar="PROGRAM", help="default: the one that runs, else the one found")
    here.add_argument("--config", metavar="FILE", help="its main file (default: the one that it was given)")


def run(args: argparse.Namespace) -> int:
    """Examine and print; return 1 when something is found."""
    if sum((bool(args.url), args.server, bool(args.explain))) != 1:
        raise UsageFault("one of URL, --server and --explain ID: write ./wsfront doctor wss://HOST/PATH")
    if args.explain:
        return _explain(args.explain)
    begun = time.monotonic()
    examination = _server(args) if args.server else _remote(args)
    seconds = time.monotonic() - begun
    if args.json:
        json.dump(as_json(examination, seconds), sys.stdout, indent=2)
        sys.stdout.write("\n")
    else:
        _print(examination, seconds)
    return 1 if examination.findings else 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 < seconds <= _MOST_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time: a number of seconds, more than 0 and at most {_MOST_SECONDS}"
        )
    return seconds


def _remote(args: argparse.Namespace) -> Examination:
    try:
        return asyncio.run(
            remote.examine(
                args.url,
                idle=args.idle,
                ca_file=args.ca,
                address=args.address,
                origin=args.origin,
                any_origin=args.any_origin,
                echo=args.echo,
                timeout=args.timeout,
            )
        )
    except remote.UrlError as error:
        raise UsageFault(str(error)) from None
    except OSError as error:
        why = "no certificates in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise UsageFault(f"--ca {args.ca}: {why}: name a file of certificates in PEM form") from None


def _server(args: argparse.Namespace) -> Examination:
    try:
        return server.examine(apache=args.apache, config=args.config, path=args.path, htaccess=args.htaccess)
    except server.ServerError as error:
        raise UsageFault(str(error)) from None


def _explain(name: str) -> int:
    if name == "all":
        for each, entry in CATALOGUE.items():
            print(f"{each}: {entry.title}")
        return 0
    if name not in CATALOGUE:
        near = difflib.get_close_matches(name, CATALOGUE, 1)
        raise UsageFault(
            f"{name!r} is no finding"
            + (f": did you mean {near[0]}?" if near else ": --explain all lists them")
        )
    entry = CATALOGUE[name]
    print(f"{painted(entry.severity, entry.severity, coloured=is_coloured())}: {name}")
    print(wrapped(f"{entry.title[0].upper()}{entry.title[1:]}."))
    print(f"\n{wrapped(entry.cause)}\n")
    print(wrapped(f"Instead: {entry.remedy}"))
    return 0


def _print(examination: Examination, seconds: float) -> None:
    coloured = is_coloured()
    print(printable(examination.subject))
    print()
    for check in examination.checks:
        _print_check(check, coloured=coloured)
    for finding in examination.findings:
        print()
        _print_finding(finding, examination.subject, coloured=coloured)
    if examination.not_checked:
        print()
    for sentence in examination.not_checked:
        print(wrapped(f"not checked: {sentence}", ""))
    counts = counted(finding.entry.severity for finding in examination.findings)
    print(f"\n{counts or 'healthy: nothing found'} in {seconds:.1f} s")


def _print_check(check: Check, *, coloured: bool) -> None:
    mark, colour = _MARKS[check.outcome]
    name = f"{check.name:<{_NAME_WIDTH}} "
    text = wrapped(check.seen, " " * (4 + len(name)), first=f"  {mark} {name}", most=2)
    print(_written(text.replace(mark, painted(colour, mark, coloured=coloured), 1)))


def _print_finding(finding: Finding, subject: str, *, coloured: bool) -> None:
    entry = finding.entry
    print(f"{painted(entry.severity, entry.severity, coloured=coloured)}: {finding.id}")
    place = f"{finding.file}:{finding.line}" if finding.line else finding.file
    if place != subject:
        print(wrapped(f"at {place}"))
    if finding.seen:
        print(_written(wrapped(finding.seen, "    | ", most=3)))
    print_advice(finding)


def _written(text: str) -> str:
    """Return text that standard output can take, in whatever it is encoded."""
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        for sign, plain in _PLAIN_MARKS.items():
            text = text.replace(sign, plain)
        return text.encode("ascii", "replace").decode()
    return text
