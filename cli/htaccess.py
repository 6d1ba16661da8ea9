"""The verb `htaccess`: print the rules to copy, or put them into a file of somebody's and take them out again.

Does not know what the rules say (`apache/` does); it changes one file, whole or not at all, and keeps a copy of what was there.
"""

import argparse
import codecs
import difflib
import os
import re
import stat
import sys
from pathlib import Path

from apache import block, httpd
from apache.errors import ApacheError, HttpdError
from apache.render import render
from apache.target import Target

from .descriptions import add_site_option, read_sites
from .errors import RunFault, UsageFault
from .replacing import replace

SUMMARY = "print the rules for an .htaccess, or put them into one and take them out again"
_SIZE_LIMIT = 1 << 20  # bytes; Apache reads the file at every request


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `htaccess`."""
    add_site_option(parser)
    parser.add_argument(
        "--into",
        type=Path,
        metavar="FILE",
        help="put the rules into this file, at its top, in a block of their own",
    )
    parser.add_argument("--remove", action="store_true", help="take the block out of that file again")
    parser.add_argument(
        "--replace", action="store_true", help="take rules copied from elsewhere out of that file too"
    )


def run(args: argparse.Namespace) -> int:
    """Print, insert or remove."""
    if args.into is None:
        if args.remove or args.replace:
            raise UsageFault("--remove and --replace need --into FILE: the file to change")
        sys.stdout.write(_rules(args))
        return 0
    try:
        before = _read(args.into, missing_is_empty=not args.remove)
        if args.remove:
            after = block.remove(before)
        else:
            clean = block.without_copied(before)
            after = block.insert(clean, _rules(args))
            if clean != before and not args.replace:
                _offer(args.into, before, after)
    except block.BlockError as error:
        raise UsageFault(f"{args.into}: {error}") from None
    if after == before and args.into.exists():
        sys.stderr.write(f"{args.into} is as it should be\n")
    else:
        replace(args.into, before, after)
    if after.startswith(codecs.BOM_UTF8):
        sys.stderr.write(
            f"{args.into} begins with a byte order mark, so Apache answers 500: save it without one\n"
        )
    return 0


def _rules(args: argparse.Namespace) -> str:
    sites = read_sites(args.site)
    if len(sites) > 1:
        raise UsageFault("--site: an .htaccess is one site's: name one description")
    try:
        target = httpd.probe("htaccess")
    except HttpdError:
        target = Target(
            layout="htaccess"
        )  # the server may be another machine: rules need nothing of this one
    try:
        (text,) = render(sites, target).values()
    except ApacheError as error:
        raise UsageFault(str(error)) from None
    return text


def _read(path: Path, *, missing_is_empty: bool) -> bytes:
    try:
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            raise UsageFault(f"{path}: is a symbolic link: name the file itself, {path.resolve()}")
        if not stat.S_ISREG(status.st_mode):
            raise UsageFault(f"{path}: is no regular file: name an .htaccess")
        if status.st_size > _SIZE_LIMIT:
            raise UsageFault(
                f"{path}: is larger than 1 MiB, and Apache would read it at every request: it is hardly an .htaccess"
            )
        if not os.access(path, os.W_OK) or not status.st_mode & 0o222:
            raise UsageFault(f"{path}: is read-only: make it writable first, `chmod u+w {path}`")
        return path.read_bytes()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise UsageFault(f"{path.parent}: there is no such folder") from None
        if missing_is_empty:
            return b""
        raise UsageFault(f"{path}: there is no such file") from None
    except OSError as error:
        raise UsageFault(f"{path}: cannot be read: {error.strerror}") from None


def _offer(path: Path, before: bytes, after: bytes) -> None:
    """Show what --replace would do, and stop."""
    name = os.fsencode(path).decode(errors="replace")
    lines = difflib.unified_diff(_text_lines(before), _text_lines(after), name, f"{name} with --replace")
    sys.stdout.writelines(
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    )
    raise RunFault(
        f"{path}: has a rule copied from elsewhere that tunnels upgrades unchecked: nothing was changed; --replace does what is shown"
    )


def _text_lines(content: bytes) -> list[str]:
    return re.findall(r"[^\n]*\n|[^\n]+", content.decode(errors="replace"))
