"""Examine the Apache of this machine, and what is behind it.

Observes first (the `server_*.py` beside it), then judges (`server_verdicts.py`). Writes nothing and reloads nothing.
"""

import os
from pathlib import Path

from .configuration import Configuration, UnreadableError, read
from .examination import Examination
from .lint import lint
from .reading import shown
from .server_apache import Apache, ServerError, dump, find, main_file
from .server_paths import answering, hops
from .server_seen import Seen
from .server_verdicts import judged

__all__ = ["ServerError", "examine"]

DUMPED = "DUMP_CONFIG"


def examine(
    *,
    apache: str | None = None,
    config: str | None = None,
    path: str | None = None,
    htaccess: str | None = None,
) -> Examination:
    """Return what is wrong with sockets on this machine.

    Args:
        apache: Apache's program; default: the one that runs, else the one found.
        config: its main file, as given to it by -f; default: the one that runs, else the system's own.
        path: the path of a socket, as browsers ask for it; default: all that the configuration has.
        htaccess: an .htaccess to be read too; default: those of the DocumentRoots.

    Raises:
        ServerError: there is no Apache on this machine, or it does not answer.
    """
    asked = find(apache, config)
    return judged(_seen(asked, path, htaccess))


def _seen(apache: Apache, path: str | None, htaccess: str | None) -> Seen:
    told = dump(apache)
    main = main_file(apache)
    if told.refused:
        if os.geteuid() and apache.main is not None:
            raise ServerError(
                "this user may not read all that Apache reads, so that it refuses its own configuration here: run it as root, by sudo"
            )
        return Seen(apache, told, main)
    not_seen: list[str] = []
    name, given = (DUMPED, {DUMPED: told.text}) if told.text else (main, {})
    if not told.text:
        not_seen.append(
            "the configuration as Apache itself has it: mod_info is not to be had; its files were read instead"
        )
    try:
        configuration = read(name, given=given)
    except UnreadableError as error:
        return Seen(apache, told, main, not_seen=(*not_seen, str(error)))
    files = [htaccess] if htaccess else _htaccess_files(configuration)
    try:
        report = lint([name, *files], given=given)
    except UnreadableError as error:
        raise ServerError(str(error)) from None
    answers = [
        (
            vhost,
            bool(line and line.is_tunnel),
            f"{shown(line.directive.text)} ({line.directive.file}:{line.directive.line})" if line else "",
        )
        for vhost, line in (answering(configuration, path) if path else [])
    ]
    return Seen(
        apache,
        told,
        main,
        linted=tuple(report.findings),
        path=path or "",
        answering=tuple(answers),
        hops=tuple(hops([configuration, *(read(file) for file in files)], path)),
        not_seen=(*not_seen, *report.not_checked),
    )


def _htaccess_files(configuration: Configuration) -> list[str]:
    """Return the .htaccess of each DocumentRoot that has one which can be read."""
    roots = dict.fromkeys(each.word(0) for each in configuration.named("documentroot"))
    files = [f"{root.rstrip('/')}/.htaccess" for root in roots if root.startswith("/")]
    return [file for file in files if Path(file).is_file() and os.access(file, os.R_OK)]
