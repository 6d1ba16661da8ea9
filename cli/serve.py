"""The verb `serve`: run the backend alone, the same as `python -m server`."""

import argparse

from server.__main__ import main

SUMMARY = "run the backend alone; the same as python -m server"
PASS_THROUGH = True


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, for the usage line alone."""
    parser.add_argument("arguments", nargs="*", metavar="ARGS", help="see `wsfront serve --help`")


def run(args: argparse.Namespace) -> int:
    """Serve until told to stop."""
    return main(args.arguments)
