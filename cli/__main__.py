"""Find the verb, let it read its arguments, and turn what it raises into one line and an exit status."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from types import ModuleType

from .errors import Fault

VERBS = (
    "up",
    "test",
    "render",
    "check",
    "plan",
    "certs",
    "bundle",
    "htaccess",
    "doctor",
    "lint",
    "schema",
    "bench",
    "serve",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 when all went well, 1 when the run failed, 2 when the input or the use is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = given[0] if given and given[0] in VERBS else None
    _open_standard_streams()
    try:
        # Only the chosen verb is imported: each brings libraries that the others do without.
        modules = {
            name: importlib.import_module(f".{name}", __package__) for name in VERBS if verb in {name, None}
        }
        if verb and getattr(modules[verb], "PASS_THROUGH", False):
            return _run(modules[verb], argparse.Namespace(arguments=given[1:]))
        args = _parser(modules).parse_args(given)
        return _run(modules[args.verb], args)
    except Fault as fault:
        for line in str(fault).splitlines():
            sys.stderr.write(f"wsfront: {line}\n")
        return fault.status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output left: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        _drop_output()
        return 1
    except OSError as error:
        # Verbs word what happens to their own files; what comes up to here is a full disk behind standard output.
        _drop_output()
        sys.stderr.write(f"wsfront: {error.filename or 'standard output'}: {error.strerror}\n")
        return 1


def _open_standard_streams() -> None:
    """Put nothing in the place of a standard stream that is closed, lest a file of ours take its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number free
            setattr(sys, name, open(number, "r" if number == 0 else "w", encoding="utf-8"))  # noqa: PTH123, SIM115 (a number)


def _drop_output() -> None:
    """Let what is left for standard output go nowhere, so that the interpreter does not stumble over it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _run(module: ModuleType, args: argparse.Namespace) -> int:
    status: int = module.run(args)
    sys.stdout.flush()
    return status


def _parser(modules: dict[str, ModuleType]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wsfront", description="A real Apache in front of a WebSocket backend."
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name, module in modules.items():
        module.configure(verbs.add_parser(name, help=module.SUMMARY, description=_sentence(module.SUMMARY)))
    return parser


def _sentence(summary: str) -> str:
    return f"{summary[0].upper()}{summary[1:]}."


if __name__ == "__main__":
    sys.exit(main())
