"""The verb `render`: write Apache's files, and the backend's environment, from descriptions."""

import argparse
import contextlib
import errno
import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from apache import httpd, modules
from apache.deployment import deployment
from apache.errors import ApacheError, HttpdError
from apache.httpd import FOLDERS
from apache.render import render
from apache.site import Site
from apache.target import Target
from apache.target import read as read_target

from .descriptions import add_site_option, read_sites
from .errors import RunFault, UsageFault
from .paths import file_or_input, plain_directory, state_directory

SUMMARY = "write Apache's files and the backend's environment from the descriptions"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `render`."""
    add_site_option(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="write below this folder (default: print)")
    parser.add_argument(
        "--layout",
        choices=["debian", "include", "private", "htaccess"],
        default="debian",
        help="which files (default: %(default)s)",
    )
    parser.add_argument(
        "--target",
        type=file_or_input,
        metavar="FILE",
        help="JSON facts of another machine, - for standard input (default: this one and its Apache)",
    )
    parser.add_argument(
        "--server-name", metavar="NAME", help="the name of a description that has none (default: localhost)"
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object: the files, and what else a playbook needs"
    )


def run(args: argparse.Namespace) -> int:
    """Render, then print or write."""
    sites = read_sites(args.site, server_name=args.server_name)
    try:
        target = _target(args)
        found: dict[str, Any] = (
            deployment(sites, target)
            if args.json and target.layout == "debian"
            else {"files": render(sites, target), "modules": modules.needed(sites, target)}
        )
    except HttpdError as error:
        raise RunFault(f"{error}; or describe the machine it is for by --target FILE") from None
    except ApacheError as error:
        raise UsageFault(str(error)) from None
    files = found["files"]
    if args.out:
        write_below(args.out, files)
        if args.layout == "private":
            _complete(args.out, sites)
    if args.json:
        json.dump(found, sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif not args.out:
        for path, text in files.items():
            # As bytes: Apache reads UTF-8, whatever the locale of this terminal.
            sys.stdout.buffer.write(f"# ----- {path} -----\n{text}\n".encode())
    return 0


def _complete(folder: Path, sites: Sequence[Site]) -> None:
    """Make the folders that a private Apache writes to, and say what makes the certificates."""
    for name in FOLDERS:
        (folder / name).mkdir(exist_ok=True)
    for site in sites:
        if site.tls.mode in {"local-ca", "acme"}:
            command = shlex.join(["./wsfront", "certs", "issue", *site.names, "--dir", str(folder / "certs")])
            sys.stderr.write(f"its certificate: {command}\n")


def _target(args: argparse.Namespace) -> Target:
    if args.target:
        target = read_target(args.target)
        return target.model_copy(update={"layout": args.layout})
    if args.layout == "private":
        directory = plain_directory(args.out, "--out") if args.out else state_directory()
        return httpd.probe("private", directory=directory, https_port=8443, http_port=8080)
    return httpd.probe(args.layout)


def write_below(folder: Path, files: Mapping[str, str]) -> None:
    """Write files below a folder, each whole or not at all: all are prepared before the first is put in place.

    Raises:
        RunFault: the folder cannot be written to, or the disk is full; what was there stays.
    """
    prepared: list[tuple[Path, Path]] = []
    made: list[Path] = []
    try:
        for name, text in files.items():
            final = folder / name
            if final.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(final))
            for parent in [path for path in reversed(final.parents) if not path.exists()]:
                parent.mkdir()
                made.append(parent)
            temporary = final.with_name(f".{final.name}.new")
            prepared.append((temporary, final))
            with temporary.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        for temporary, final in prepared:
            temporary.replace(final)
        made.clear()
    except OSError as error:
        raise RunFault(
            f"{error.filename or folder}: cannot be written: {error.strerror}; make room or choose another --out"
        ) from None
    finally:
        for temporary, _ in prepared:
            with contextlib.suppress(OSError):
                temporary.unlink()
        for parent in reversed(made):
            with contextlib.suppress(OSError):
                parent.rmdir()
    for _, final in prepared:
        sys.stderr.write(f"wrote {final}\n")
