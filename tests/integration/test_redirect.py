"""The port for plain HTTP sends everything to TLS, and nowhere else."""

import pytest

from tests.raw import Answer, ask
from tests.stacks import Running, running

pytestmark = pytest.mark.needs("apache")


def redirected(stack: Running, path: str, host: str = "localhost", **options: str) -> str:
    """Return where a plain request is sent, without the scheme, which must be https."""
    answer: Answer = ask(stack, path, host=host, plain=True, **options)
    assert answer.status == 301
    (location,) = answer.headers.get_all("Location", [])
    assert location.startswith("https://")
    return str(location.removeprefix("https://"))


def test_path_and_query_are_kept(stack: Running) -> None:
    """A redirect keeps path and query, and names the port for TLS."""
    assert redirected(stack, "/ws/chat?room=a&b=c") == f"localhost:{stack.https_port}/ws/chat?room=a&b=c"
    assert redirected(stack, "/") == f"localhost:{stack.https_port}/"


@pytest.mark.parametrize(
    "path", ["/a%20b", "/caf%C3%A9", "/a%3Fb", "/a%23b?c%23d", "/100%25", "/a+b?c+d", "/a?%2520"]
)
def test_percent_signs_are_kept(stack: Running, path: str) -> None:
    """What was percent-encoded stays so, once, in the path and in the query."""
    assert redirected(stack, path) == f"localhost:{stack.https_port}{path}"


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST", "localhost:8080", "127.0.0.1", "[::1]", "[::1]:80"]
)
def test_names_of_ours_are_kept(stack: Running, host: str) -> None:
    """Whoever came by a name of the site stays at it; its port becomes the one for TLS."""
    name = host if host == "[::1]" else host.rpartition(":")[0] or host
    assert redirected(stack, "/x", host).lower() == f"{name}:{stack.https_port}/x".lower()


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "evil.example:80", "xlocalhost", "127.0.0.2"]
)
def test_other_names_become_the_main_one(stack: Running, host: str) -> None:
    """A name that is not the site's is never redirected to: nobody borrows us for a link."""
    assert redirected(stack, "/x", host) == f"localhost:{stack.https_port}/x"


@pytest.mark.parametrize(
    "path", ["/%0d%0aSet-Cookie:%20a=b", "/x?%0d%0aSet-Cookie:%20a=b", "/%0aX:1", "/x%E5%98%8AX:1"]
)
def test_no_header_is_injected(stack: Running, path: str) -> None:
    """A line break in the address stays an escape in Location, and makes no header."""
    answer = ask(stack, path, host="localhost", plain=True)
    assert "Set-Cookie" not in answer.headers
    assert "X" not in answer.headers
    assert answer.status in {301, 403, 404}
    assert "\n" not in answer.headers.get("Location", "")


def test_wildcard_stands_for_one_label() -> None:
    """A wildcard alias keeps any one label, and nothing that would end the host's name in the redirect."""
    with running("server_aliases: ['*.example.org']\n", backend=False) as stack:
        assert redirected(stack, "/x", "a-1.example.org") == f"a-1.example.org:{stack.https_port}/x"
        for label in (
            "evil.example?",
            "evil.example#",
            "a.b",
            "evil?",
            "evil#",
            "evil%2f",
            "u@evil",
            "evil&",
        ):
            answer = ask(stack, "/x", host=f"{label}.example.org", plain=True)
            assert answer.headers.get("Location", "https://localhost").startswith("https://localhost")


def test_target_elsewhere_is_not_followed(stack: Running) -> None:
    """Slashes and whole addresses in the request line cannot make another host of the redirect's."""
    for path in ("//evil.example/x", "/\\evil.example", "/@evil.example", "/.evil.example"):
        assert redirected(stack, path).startswith(f"localhost:{stack.https_port}/")
    assert redirected(stack, "http://evil.example/x").startswith(f"localhost:{stack.https_port}/")


def test_challenges_are_spared(stack: Running) -> None:
    """What an ACME authority asks for is not redirected (RFC 8555, 8.3): here nobody answers it."""
    stack.allow("AH01630")  # there is no folder of challenges here
    assert ask(stack, "/.well-known/acme-challenge/token", plain=True).status == 403
    assert redirected(stack, "/.well-known/other") == f"localhost:{stack.https_port}/.well-known/other"
    assert redirected(stack, "/x/.well-known/acme-challenge/token").endswith(
        "/x/.well-known/acme-challenge/token"
    )


def test_posts_and_upgrades_are_redirected_too(stack: Running) -> None:
    """No method gets past the redirect, nor does a handshake: a socket is never opened without TLS."""
    assert redirected(stack, "/x", method="POST") == f"localhost:{stack.https_port}/x"
    answer = ask(stack, "/ws/chat", "Connection: Upgrade", "Upgrade: websocket", plain=True)
    assert answer.status == 301
