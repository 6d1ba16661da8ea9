"""How our backend is, is for this machine alone to ask; what somebody else's backend says is its own affair."""

from collections.abc import Iterator

import pytest

from tests.raw import ask
from tests.scripted import scripted
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")

FROM_OUTSIDE = "X-Forwarded-For: 203.0.113.9"  # of a proxy that is believed: so comes a client from elsewhere
OURS = """
trusted_proxies: [127.0.0.1/32]
websockets:
- {path: /ws/, backend: 127.0.0.1:8888}
- {path: /all/, backend: 127.0.0.1:8888, backend_path: /}
"""
THEIRS = """
trusted_proxies: [127.0.0.1/32]
websockets:
- {path: /ws/, backend: 127.0.0.1:1}
- {path: /all/, backend: 127.0.0.1:8888, backend_path: /}
pages: {proxy: 127.0.0.1:8888}
"""
SPELLINGS = (
    *("/healthz", "/healthz?x=1", "//healthz", "/./healthz", "/x/../healthz", "/%68ealthz", "/healthz%3f"),
    *("/all/healthz", "/all//healthz", "/all/%68ealthz", "/healthz/", "/healthz;x"),
)


@pytest.fixture(scope="module")
def ours() -> Iterator[Running]:
    """Run an Apache before our backend, which a test stands in for."""
    with running(OURS, backend=False) as instance:
        yield instance


@pytest.mark.parametrize("url", SPELLINGS)
def test_closed_from_outside(ours: Running, url: str) -> None:
    """However it is spelt, no question after our backend's health comes in from outside."""
    ours.allow("AH01630", "AH10508", "AH00026", "AH10244")
    with scripted(ours.backend_port) as seen:
        ask(ours, url, FROM_OUTSIDE)
    assert not [request.path for request in seen if request.path.partition("?")[0] == "/healthz"]
    ours.check_log()


@pytest.mark.parametrize("url", ["/healthz", "/all/healthz"])
def test_open_to_this_machine(ours: Running, url: str) -> None:
    """This machine itself may ask, and other pages are anybody's."""
    with scripted(ours.backend_port) as seen:
        assert ask(ours, url).status == 200
        assert ask(ours, "/health", FROM_OUTSIDE).status == 200
        assert ask(ours, "/healthz.html", FROM_OUTSIDE).status == 200
    assert [request.path for request in seen] == ["/healthz", "/health", "/healthz.html"]
    ours.allow("AH01630")
    assert ask(ours, url, FROM_OUTSIDE).status == 403
    ours.check_log()


def test_backend_of_somebody_else() -> None:
    """A foreign backend's own /healthz goes through."""
    with running(THEIRS, backend=False) as stack, scripted(stack.backend_port) as seen:
        for url in ("/healthz", "/all/healthz"):
            assert ask(stack, url, FROM_OUTSIDE).status == 200
    assert [request.path for request in seen] == ["/healthz", "/healthz"]
