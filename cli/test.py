"""The verb `test`: run the project's own tests with pytest.

All arguments belong to pytest: `PASS_THROUGH` tells the front door to hand them over unparsed.
Does not install anything: the launcher has done that by the time this runs.
"""

import argparse
import os
from pathlib import Path

SUMMARY = "run the tests; all arguments go to pytest"
PASS_THROUGH = True

# 4 is wrong use, 5 that no test was selected: https://docs.pytest.org/en/stable/reference/exit-codes.html
_WRONG_USE = {4, 5}


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments, for the usage line alone."""
    parser.add_argument("arguments", nargs="*", metavar="PYTEST ARGS", help="whatever pytest takes")


def run(args: argparse.Namespace) -> int:
    """Run pytest from the root of the project.

    In this very process, so that Ctrl-C and signals reach pytest and nobody else.

    Args:
        args: `arguments`, the list of strings for pytest; relative paths in it are relative to the root.

    Returns:
        0 when all passed, 1 when a test or the run failed, 2 when the arguments are wrong or select nothing.
    """
    import pytest  # noqa: PLC0415 -- only the environment for tests has it; the help text is for all

    os.chdir(Path(__file__).parent.parent)
    status = pytest.main(args.arguments)
    if status == pytest.ExitCode.OK:
        return 0
    return 2 if status in _WRONG_USE else 1
