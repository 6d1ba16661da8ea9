"""Which descriptions a verb works on: those named by --site, else wsfront.yaml beside the launcher, else the plain case."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from apache.description import parse, read
from apache.errors import DescriptionError
from apache.site import Site

from .errors import UsageFault

ROOT = Path(__file__).parent.parent
DEFAULT = ROOT / "wsfront.yaml"


def add_site_option(parser: argparse.ArgumentParser) -> None:
    """Add --site, which may be given more than once."""
    parser.add_argument(
        "--site",
        type=Path,
        action="append",
        metavar="FILE",
        help="a description; once for each name on the server (default: wsfront.yaml, else the plain case: localhost)",
    )


def read_sites(paths: Sequence[Path] | None, *, server_name: str | None = None) -> list[Site]:
    """Return the descriptions.

    Args:
        paths: files; none for the default one.
        server_name: the name of a description that has none.

    Raises:
        UsageFault: with every fault of every file.
    """
    chosen = list(paths or ([DEFAULT] if DEFAULT.exists() else []))
    sites: list[Site] = []
    faults: list[str] = []
    if not chosen:
        try:
            return [parse("{}", "--server-name", server_name=server_name)]
        except DescriptionError as error:
            raise UsageFault(str(error)) from None
    for path in chosen:
        try:
            sites.append(read(path, server_name=server_name))
        except DescriptionError as error:
            faults += error.faults
    if faults:
        raise UsageFault("\n".join(faults))
    return sites
