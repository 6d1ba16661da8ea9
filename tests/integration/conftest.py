"""The plain case, run once for all tests that only talk to it."""

from collections.abc import Iterator

import pytest

from tests.stacks import Running, running


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
