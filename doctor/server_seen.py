"""What was seen on a machine, as data: nothing here asks or judges."""

from dataclasses import dataclass

from .findings import Finding
from .server_apache import Apache, Dump
from .server_paths import Hop


@dataclass(frozen=True)
class Seen:
    """Hold all that was seen.

    Attributes:
        apache: which Apache was asked.
        told: what it says of its configuration.
        main_file: its main file.
        linted: what reading its configuration found.
        path: the path of a socket that was asked about; empty: all.
        answering: what answers for it in each vhost: its name, whether sockets pass, the line.
        hops: the ways of sockets to backends.
        not_seen: what could not be asked or read, a sentence each.
    """

    apache: Apache
    told: Dump
    main_file: str
    linted: tuple[Finding, ...] = ()
    path: str = ""
    answering: tuple[tuple[str, bool, str], ...] = ()
    hops: tuple[Hop, ...] = ()
    not_seen: tuple[str, ...] = ()
