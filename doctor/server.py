"""Examine the Apache of this machine, and what is behind it.

Observes first (the `server_*.py` beside it), then judges (`server_verdicts.py`). Writes nothing and reloads nothing.
"""

import concurrent.futures
import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .configuration import Configuration, UnreadableError, read
from .examination import Examination
from .lint import lint
from .proxying import has_tunnels
from .reading import shown
from .server_answers import Answer, asked
from .server_apache import Apache, Dump, ServerError, dump, find, main_file
from .server_backend import Reached, reached
from .server_certificates import certificates
from .server_log import Log, read_logs
from .server_machine import connections, local_ports, processes
from .server_paths import Hop, answering, hops
from .server_seen import Seen, sizes
from .server_system import system
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
    return judged(_seen(find(apache, config), path, htaccess))


def _seen(apache: Apache, path: str | None, htaccess: str | None) -> Seen:
    told = dump(apache)
    main = main_file(apache)
    if told.refused:
        if told.is_limited:
            raise ServerError(
                "this user may not read all that Apache reads, so that it refuses its own configuration here: run it as root, by sudo"
            )
        return Seen(apache, told, main)
    not_seen: list[str] = []
    name, given = (DUMPED, {DUMPED: told.text}) if told.text else (main, {})
    if not told.text:
        why = "it reads files that this user may not" if told.is_limited else "mod_info is not to be had"
        not_seen.append(f"the configuration as Apache itself has it: {why}; its files were read instead")
    try:
        configuration = read(name, given=given)
    except UnreadableError as error:
        return Seen(apache, told, main, not_seen=(*not_seen, str(error)))
    files = [htaccess] if htaccess else _htaccess_files(configuration)
    try:
        report = lint([name, *files], given=given, version=apache.version)
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
    read_in = [configuration, *(read(file) for file in files)]
    running = processes(apache.main) if apache.main is not None else None
    user = running.user if running and running.user is not None else told.user
    ways = hops(read_in, path)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        backends = pool.submit(reached, ways, user)
        answer = pool.submit(asked, configuration) if running else None
        found, unasked = backends.result()
        own = answer.result() if answer else Answer()
    now = dt.datetime.now(dt.UTC)
    files_of_log, elsewhere = _logs(configuration, told)
    log, unread = read_logs(files_of_log, started=running.started if running else 0.0, now=now.timestamp())
    if own.answers and own.busy is None:
        unread.append(
            "how many workers are at work: mod_status is not to be asked on loopback; sockets were counted instead"
        )
    certified, denied = certificates(configuration, told.root)
    return Seen(
        apache,
        told,
        main,
        linted=tuple(report.findings),
        htaccess=tuple(files),
        sizes=sizes(configuration, told.modules),
        path=path or "",
        answering=tuple(answers),
        has_tunnels=any(map(has_tunnels, read_in)),
        has_way=bool(ways),
        reached=tuple(found),
        processes=running,
        connections=_open(found, hops(read_in, None), user) if running else {},
        ports=local_ports(),
        answer=own,
        log=log if running else Log(),
        certificates=tuple(certified),
        system=system(),
        now=now,
        not_seen=(*not_seen, *report.not_checked, *unasked, *elsewhere, *unread, *denied),
    )


def _open(found: Sequence[Reached], ways: Sequence[Hop], user: int | None) -> dict[str, int]:
    """Return how many connections to each backend are open, by its address."""
    counts = connections(user, [way.socket for way in ways if way.socket]) if user is not None else Counter()
    places = {where for each in found for where, _ in each.addresses} | {way.address for way in ways}
    return {where: counts[where] for where in sorted(places) if counts[where]}


def _logs(configuration: Configuration, told: Dump) -> tuple[list[str], list[str]]:
    """Return the error logs that are files, the server's own first; and what is said of those that are none."""
    names = [told.log, *(each.word(0) for each in configuration.named("errorlog"))]
    elsewhere = dict.fromkeys(name for name in names if re.match(r"[|]|syslog\b", name))
    files = [name for name in names if name and name not in elsewhere and name != "/dev/null"]
    unread = [f"the error log {shown(name, 60)}: it is no file" for name in elsewhere]
    return [name if name.startswith("/") else f"{told.root}/{name}" for name in files], unread


def _htaccess_files(configuration: Configuration) -> list[str]:
    """Return the .htaccess of each DocumentRoot that has one which can be read."""
    roots = dict.fromkeys(each.word(0) for each in configuration.named("documentroot"))
    files = [f"{root.rstrip('/')}/.htaccess" for root in roots if root.startswith("/")]
    return [file for file in files if Path(file).is_file() and os.access(file, os.R_OK)]
