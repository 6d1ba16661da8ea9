"""One row of the fault matrix, as data."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from tests.integration.faults.evidence import Evidence
from tests.integration.faults.places import Place, Site

AS_LINT = "as lint"
"""What the doctor on the machine says first, where lint sees the fault in the files: the same."""


@dataclass(frozen=True)
class Mend:
    """Say how a fault goes where no finding changes the file itself.

    Attributes:
        site: what it is like then.
        instead_of: the lines of the configuration in whose place a finding's own lines (`instead`) are written; a pattern.
        url: where to ask for the socket from then on, in place of where it was asked for.
    """

    site: Site | None = None
    instead_of: str = ""
    url: str = ""


@dataclass(frozen=True)
class Fault:
    """Describe one cause, and who finds it.

    Attributes:
        shows: what a client sees of it.
        lint: what lint says first; empty where it cannot see it.
        remote: what the doctor says first from afar.
        server: what it says first on the machine.
        beside: what else is true, and said behind it.
        mend: how it goes; none: by the change that the finding itself holds.
        during: what goes on meanwhile.
        idle: the seconds of silence in which the doctor sees it from afar.
        patience: the seconds that it waits there for an answer.
    """

    shows: Evidence
    lint: str = ""
    remote: str = ""
    server: str = AS_LINT
    beside: tuple[str, ...] = ()
    mend: Mend | None = None
    during: Callable[[Place], AbstractContextManager[Any]] = nullcontext
    idle: float = 0
    patience: float = 2

    @property
    def first(self) -> dict[str, str]:
        """Return what each examiner says first; empty for nothing."""
        server = self.lint if self.server == AS_LINT else self.server
        return {"lint": self.lint, "server": server, "remote": self.remote}

    @property
    def names(self) -> set[str]:
        """Return what it is called, by whomever."""
        return {*self.first.values(), *self.beside} - {""}


@dataclass(frozen=True)
class Row:
    """Hold a site with one fault or more, in the order in which they are found and mended.

    Attributes:
        name: of the test.
        number: the problem in the list of those that people have most.
        site: the site with all its faults.
        faults: them.
        path: where the socket is.
        then: the kind of backend that the site is healthy with, where another shows the fault.
        url: where the socket is asked for, where that is part of the fault.
        around: what goes on all the time.
    """

    name: str
    number: int
    site: Site
    faults: tuple[Fault, ...]
    path: str = "/ws/echo"
    then: str = ""
    url: str = ""
    around: Callable[[Place], AbstractContextManager[Any]] = nullcontext
