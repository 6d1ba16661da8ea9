"""The few Apaches that most tests share, each started once; Apache's log is read after every test."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stacks import Running, running

FORMS = """
websockets:
- {path: /ws/, backend: 127.0.0.1:8888, origins: any}
- {path: /tunnel/, backend: 127.0.0.1:8888, origins: any, tunnel: ws}
"""
"""One backend by both forms of the tunnel, at the same paths behind and before."""


@pytest.fixture(scope="session")
def plain() -> Iterator[Running]:
    """Run the plain case: no description at all."""
    with running() as instance:
        yield instance


@pytest.fixture
def stack(plain: Running) -> Iterator[Running]:
    """Lend the plain case to one test, and read Apache's log after it."""
    yield plain
    plain.check_log()


@pytest.fixture(scope="session")
def forms() -> Iterator[Running]:
    """Run our backend behind both forms of the tunnel."""
    with running(FORMS) as instance:
        yield instance


@pytest.fixture
def both(forms: Running) -> Iterator[Running]:
    """Lend our backend behind `/ws/` and, by a ws:// URL, `/tunnel/`."""
    yield forms
    forms.check_log()


@pytest.fixture(scope="session")
def alone() -> Iterator[Running]:
    """Run an Apache for both forms of the tunnel with nothing behind it."""
    with running(FORMS, backend=False) as instance:
        yield instance


@pytest.fixture
def front(alone: Running) -> Iterator[Running]:
    """Lend an Apache to a test that puts its own backend at `front.backend_port`; the paths are those of `both`."""
    yield alone
    alone.check_log()


@pytest.fixture(params=["/ws/", "/tunnel/"], ids=["upgrade", "ws"])
def path(request: pytest.FixtureRequest) -> str:
    """Name the path of each form of the tunnel in turn."""
    return str(request.param)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Lend an empty folder with a short name that Apache's children, another user, may enter and read."""
    with tempfile.TemporaryDirectory(prefix="wsfront-") as name:
        Path(name).chmod(0o755)
        yield Path(name)
