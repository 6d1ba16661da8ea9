"""Find the verb, let it read its arguments, and turn what it raises into one line and an exit status."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from types import ModuleType

from .errors import Fault

VERBS = ("up", "test", "render", "check", "certs", "schema", "serve")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return 0 when all went well, 1 when the run failed, 2 when the input or the use is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    verb = given[0] if given and given[0] in VERBS else None
    # Only the chosen verb is imported: each brings libraries that the others do without.
    modules = {
        name: importlib.import_module(f".{name}", __package__) for name in VERBS if verb in {name, None}
    }
    try:
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
        sys.stderr.close()
        return 1


def _run(module: ModuleType, args: argparse.Namespace) -> int:
    status: int = module.run(args)
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
