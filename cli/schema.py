"""The verb `schema`: print the JSON Schema of a description, for editors."""

import argparse
import sys

from apache.description import schema

SUMMARY = "print the JSON Schema of wsfront.yaml, for editors"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare no arguments."""


def run(_: argparse.Namespace) -> int:
    """Print the schema."""
    sys.stdout.write(schema())
    return 0
