"""The verb `certs`: make, issue and show certificates, and say how to trust their authority.

Does not know how a certificate is made or judged (`certs/` does), and never touches a trust store.
"""

import argparse
import json
import os
import shlex
import sys
import tempfile
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import idna

from certs import pem
from certs.check import faults
from certs.errors import NameFault, PemFault, StoreFault
from certs.store import Store
from certs.summary import Summary, summary
from certs.trust import WAYS, steps

from .errors import RunFault, UsageFault
from .paths import state_directory

SUMMARY = "make certificates of a local authority, show them, and say how to trust it"
SOON = 30  # days; certificates of the store are renewed by then


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `certs` and its own verbs."""
    verbs = parser.add_subparsers(
        dest="certs_verb", metavar="{ca,issue,show,verify,trust,untrust}", required=True
    )
    for name, help_text, action in (
        ("ca", "make the authority unless it is there, and show it", _ca),
        ("issue", "issue a certificate for these names, localhost and loopback", _issue),
        ("show", "show the certificates there are, or those of PEM files", _show),
        ("verify", "say what is wrong with a certificate for these names", _verify),
        ("trust", "say how to trust the authority in each browser and system", _trust),
        ("untrust", "say how to take that trust back", _trust),
    ):
        verb = verbs.add_parser(name, help=help_text, description=f"{help_text.capitalize()}.")
        verb.set_defaults(certs_action=action)
        verb.add_argument(
            "--dir",
            type=Path,
            default=state_directory() / "certs",
            help="where they are (default: %(default)s)",
        )
        if name == "ca":
            verb.add_argument("--json", action="store_true", help="for scripts")
        if name == "issue":
            verb.add_argument("names", nargs="+", metavar="NAME", help="host name, wildcard or IP address")
            verb.add_argument("--site", metavar="NAME", help="the folder's name (default: the first name)")
            verb.add_argument("--json", action="store_true", help="for scripts")
        if name == "verify":
            verb.add_argument(
                "file",
                type=Path,
                metavar="FILE",
                help="PEM file, the server's own first; - for standard input",
            )
            verb.add_argument("names", nargs="+", metavar="NAME", help="host name, wildcard or IP address")
            verb.add_argument("--key", type=Path, metavar="FILE", help="its private key, to judge too")
        if name == "show":
            verb.add_argument("files", nargs="*", type=Path, metavar="FILE", help="a PEM file")
            verb.add_argument("--json", action="store_true", help="for scripts")
        if name in {"trust", "untrust"}:
            verb.add_argument("--system", choices=WAYS, metavar="NAME", help=f"one of {', '.join(WAYS)}")


def run(args: argparse.Namespace) -> int:
    """Carry the chosen verb out; return 0."""
    try:
        args.certs_action(args)
    except (NameFault, PemFault) as problem:
        raise UsageFault(str(problem)) from None
    except StoreFault as problem:
        raise RunFault(str(problem)) from None
    except PermissionError as problem:
        raise RunFault(f"{problem.filename}: may not be read by this user; run as its owner") from None
    return 0


def _ca(args: argparse.Namespace) -> None:
    store = Store(args.dir)
    made = store.ensure_authority()
    if args.json:
        print(json.dumps({"ca": str(store.ca), "made": made}, indent=2))
        return
    print("made" if made else "there already")
    _print_facts(store.ca, summary(pem.certificates(store.ca)[0]))
    if made:
        print(f"to trust it: {_again('trust', args)}")


def _issue(args: argparse.Namespace) -> None:
    names = [_encoded(name) for name in args.names]
    store = Store(args.dir)
    issued = store.ensure(args.site or names[0], names)
    if args.json:
        print(json.dumps(asdict(issued), indent=2, default=str))
        return
    print("issued" if issued.renewed else "good as it is")
    _print_facts(issued.certificate, summary(pem.certificates(issued.certificate)[0]))
    print(f"key file     {issued.key}\nauthority    {issued.ca}")
    if issued.new_ca:
        print(f"The authority is new; to trust it: {_again('trust', args)}")
    if issued.new_ca and store.former():
        print(f"It replaces one; where that was trusted, take it back: {_again('untrust', args)}")


def _verify(args: argparse.Namespace) -> None:
    """Print nothing where all is well.

    Raises:
        RunFault: with every fault, a line each.
    """
    names = [_encoded(name) for name in args.names]
    if str(args.file) != "-":
        found = faults(args.file, args.key, names)
    else:
        with tempfile.NamedTemporaryFile() as file:
            file.write(sys.stdin.buffer.read(pem.LARGEST + 1))
            file.flush()
            found = [
                fault.replace(file.name, "standard input")
                for fault in faults(Path(file.name), args.key, names)
            ]
    if found:
        raise RunFault("\n".join(found))


def _encoded(name: str) -> str:
    """Return a host name as A-labels (UTS #46, RFC 5891); others are left for the parser to judge."""
    if name.isascii():
        return name
    wildcard = "*." if name.startswith("*.") else ""
    try:
        return wildcard + idna.encode(name.removeprefix("*."), uts46=True).decode()
    except idna.IDNAError as problem:
        raise UsageFault(f"{name!r}: no certificate can carry this: {problem}; use a host name") from None


def _show(args: argparse.Namespace) -> None:
    store = Store(args.dir)
    paths = args.files or [path for path in (store.ca, *store.former(), *store.leaves()) if path.exists()]
    found = [(path, summary(one)) for path in paths for one in pem.certificates(path)]
    if args.json:
        listed = [{"file": str(path), **asdict(facts)} for path, facts in found]
        print(json.dumps({"certificates": listed}, indent=2, default=datetime.isoformat))
        return
    if not found:
        print(f"no certificates in {args.dir}; make some: ./wsfront certs issue NAME", file=sys.stderr)
    for path, facts in found:
        _print_facts(path, facts)


def _print_facts(path: Path, facts: Summary) -> None:
    expired = facts.days_left < 0
    left = "expired" if expired else f"{facts.days_left} days left"
    if expired or facts.days_left < SOON:
        left = _emphasized(left)
    print(f"\n{path}")
    print(f"subject      {facts.subject}\nissuer       {facts.issuer}")
    if facts.names:
        print(f"names        {', '.join(facts.names)}")
    if facts.permitted:
        print(f"may sign     {', '.join(facts.permitted)}, and what is below these names")
    print(f"key          {facts.key}")
    print(f"valid        {facts.not_before:%Y-%m-%d} to {facts.not_after:%Y-%m-%d}, {left}")
    print(f"SHA-256      {facts.sha256}")


def _emphasized(text: str) -> str:
    """Return the text in bold where that is wanted and shows (https://no-color.org)."""
    return f"\033[1m{text}\033[0m" if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else text


def _trust(args: argparse.Namespace) -> None:
    undo = args.certs_verb == "untrust"
    store = Store(args.dir)
    if not store.ca.exists() and not (undo and store.former()):
        remedy = "nothing is to be undone" if undo else f"make it: {_again('ca', args)}"
        raise UsageFault(f"{store.ca}: there is no authority; {remedy}, or name another --dir")
    authorities = [store.ca, *(store.former() if undo else ())]
    for path in filter(Path.exists, authorities):
        facts = summary(pem.certificates(path)[0])
        print(f"{path}\nname     {facts.subject}\nSHA-256  {facts.sha256}")
        print(f"may sign {', '.join(facts.permitted)}, and what is below these names")
        for system in [args.system] if args.system else WAYS:
            print(f"\n{WAYS[system].title}")
            for line in steps(system, path, facts, undo=undo):
                print(f"  {line}")
        print()
    print("Nothing has been changed; paste what you want.")


def _again(verb: str, args: argparse.Namespace) -> str:
    place = "" if args.dir == state_directory() / "certs" else f" --dir {shlex.quote(str(args.dir))}"
    return f"./wsfront certs {verb}{place}"
