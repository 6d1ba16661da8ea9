"""Which headers the backend sees, whatever the client says, and which the client gets."""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from certs.store import Store
from cli.descriptions import ROOT
from tests.raw import Answer, ask, shake
from tests.scripted import answering, scripted
from tests.stacks import Running, running
from tests.waiting import until

pytestmark = pytest.mark.needs("apache")

SPOOFED = (
    "X-Forwarded-For: 203.0.113.9",
    "X-Forwarded-Host: evil.example",
    "X-Forwarded-Server: evil.example",
    "X-Forwarded-Proto: gopher",
    "X-Forwarded-Port: 1",
    "X-Real-IP: 203.0.113.9",
    "Forwarded: for=203.0.113.9;proto=gopher",
    "Proxy: http://evil.example",
)
FORWARDED = {line.partition(":")[0] for line in SPOOFED}
PATHS = ["/ws/x", "/tunnel/x", "/page"]


def sent(stack: Running, path: str, *lines: str, **options: Any) -> http.client.HTTPMessage:
    """Return the headers that the backend sees: of a handshake, or for /page of a plain request."""
    with scripted(stack.backend_port) as seen:
        if path == "/page":
            assert ask(stack, path, *lines, **options).status == 200
        else:
            assert shake(stack, path, *lines, **options).status == 101
    (request,) = seen
    return request.headers


def forwarded(headers: http.client.HTTPMessage) -> dict[str, list[str]]:
    """Return what the backend is told about the client, every value of it."""
    return {name: headers.get_all(name) or [] for name in sorted(FORWARDED) if name in headers}


def told(stack: Running, *, address: str = "127.0.0.1", proto: str = "https") -> dict[str, list[str]]:
    """Return what the backend must be told."""
    return {
        "X-Forwarded-For": [address],
        "X-Forwarded-Host": [f"localhost:{stack.https_port}"],
        "X-Forwarded-Proto": [proto],
        "X-Forwarded-Server": ["localhost"],
    }


@pytest.mark.parametrize("url", PATHS)
def test_backend_is_told_by_apache_alone(front: Running, url: str) -> None:
    """What a client says of itself is replaced or gone, for handshakes and for pages."""
    expected = told(front)
    assert forwarded(sent(front, url)) == expected
    assert forwarded(sent(front, url, *SPOOFED)) == expected
    assert forwarded(sent(front, url, *SPOOFED, *SPOOFED)) == expected


@pytest.mark.parametrize("url", PATHS)
def test_host_is_kept(front: Running, url: str) -> None:
    """The backend sees the Host that the browser sent: origins are judged by it."""
    assert sent(front, url)["Host"] == f"localhost:{front.https_port}"
    assert sent(front, url, host="chat.example:99")["Host"] == "chat.example:99"


@pytest.mark.parametrize("url", PATHS)
def test_other_headers_pass(front: Running, url: str) -> None:
    """Origin, cookies and a client's own headers reach the backend as they are."""
    lines = ["Origin: https://other.example", "Cookie: a=b; c=d", "Authorization: Bearer x", "X-Own: ü"]
    headers = sent(front, url, *lines)
    assert [headers[line.partition(":")[0]].encode("latin-1").decode() for line in lines] == [
        line.partition(": ")[2] for line in lines
    ]


@pytest.mark.parametrize("name", sorted(FORWARDED))
def test_connection_cannot_strip(front: Running, name: str) -> None:
    """A client that names a header in Connection hides neither its address nor Host from the backend of a page."""
    headers = sent(front, "/page", f"Connection: close, {name}")
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["Host"] == f"localhost:{front.https_port}"


TRUSTING = """
trusted_proxies: [127.0.0.1/32, 198.51.100.0/24]
websockets:
- {path: /ws/, origins: any}
- {path: /tunnel/, origins: any, backend: 127.0.0.1:8888, tunnel: ws}
"""


@pytest.fixture(scope="module")
def trusting() -> Iterator[Running]:
    """Run an Apache that stands behind a balancer: whoever comes from 127.0.0.1."""
    with running(TRUSTING, backend=False) as instance:
        yield instance


@pytest.fixture
def behind(trusting: Running) -> Iterator[Running]:
    """Lend it to one test, and read its log."""
    yield trusting
    trusting.check_log()


@pytest.mark.parametrize("url", PATHS)
def test_trusted_proxy_is_believed(behind: Running, url: str) -> None:
    """From a trusted proxy, X-Forwarded-For names the client and X-Forwarded-Proto its scheme."""
    for proto in ("http", "https"):
        headers = sent(behind, url, "X-Forwarded-For: 203.0.113.9", f"X-Forwarded-Proto: {proto}")
        assert forwarded(headers) == told(behind, address="203.0.113.9", proto=proto)


@pytest.mark.parametrize("url", PATHS)
def test_trusted_proxy_is_believed_no_further(behind: Running, url: str) -> None:
    """From a trusted proxy too, any other claim is replaced or gone, and a scheme that is none."""
    headers = sent(behind, url, *SPOOFED)
    assert forwarded(headers) == told(behind, address="203.0.113.9")
    assert forwarded(sent(behind, url)) == told(behind)


@pytest.mark.parametrize("url", PATHS)
def test_client_in_front_of_a_trusted_proxy_is_not_believed(behind: Running, url: str) -> None:
    """Of a list, the last address that is no proxy of ours is the client; what stands before it is a claim."""
    for chain, client in {
        "1.1.1.1, 203.0.113.9": "203.0.113.9",
        "1.1.1.1, 203.0.113.9, 198.51.100.7": "203.0.113.9",
        "203.0.113.9,198.51.100.7,198.51.100.8": "203.0.113.9",
        "2001:db8::9, 198.51.100.7": "2001:db8::9",
        "unknown, 203.0.113.9": "203.0.113.9",
    }.items():
        assert sent(behind, url, f"X-Forwarded-For: {chain}").get_all("X-Forwarded-For") == [client]


@pytest.mark.parametrize("url", PATHS)
def test_private_client_behind_a_private_proxy(behind: Running, url: str) -> None:
    """A proxy on a private network may name a client on one."""
    headers = sent(behind, url, "X-Forwarded-For: 10.1.2.3")
    assert headers["X-Forwarded-For"] == "10.1.2.3"


@pytest.mark.parametrize("url", PATHS)
def test_stranger_is_not_believed(behind: Running, url: str) -> None:
    """Who comes from elsewhere than a trusted proxy is who it is, whatever it says."""
    headers = sent(behind, url, *SPOOFED, "X-Forwarded-Proto: http", source="127.0.0.2")
    assert forwarded(headers) == told(behind, address="127.0.0.2")


def test_front_that_ended_tls() -> None:
    """With `mode: none` a trusted front says that it was https, and a page of its own opens a socket; a stranger does not say."""
    description = "tls: {mode: none}\ntrusted_proxies: [127.0.0.1/32]\n"
    lines = ["X-Forwarded-Proto: https", "Origin: https://chat.example.org"]
    with running(description, backend=False) as stack:
        for source, proto in (("127.0.0.1", "https"), ("127.0.0.2", "http")):
            headers = sent(stack, "/ws/x", *lines, host="chat.example.org", source=source)
            assert headers.get_all("X-Forwarded-Proto") == [proto]
    with running(description) as stack:
        assert shake(stack, "/ws/", *lines, host="chat.example.org").status == 101
        assert (
            shake(stack, "/ws/", lines[0], "Origin: http://chat.example.org", host="chat.example.org").status
            == 403
        )


def test_our_backend_knows_the_client(front: Running, folder: Path) -> None:
    """Our backend logs the client's own address, and not what the client says."""
    log = folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "--env-file", front.stack.directory / "backend.env"],
            cwd=ROOT,
            stderr=output,
        )
        try:
            until(lambda: "listening" in log.read_text(), 20)
            assert shake(front, "/ws/chat", *SPOOFED, source="127.0.0.5").status == 101
            until(lambda: "open from 127.0.0.5 as t=" in log.read_text())
        finally:
            process.terminate()
            process.wait()


def one(answer: Answer, name: str) -> str:
    """Return the value of a header that must be there once."""
    (value,) = answer.headers.get_all(name, [])
    return str(value)


def test_our_page_is_guarded(stack: Running) -> None:
    """The page, its files and its 404 say nosniff once, and a policy that lets in nothing from elsewhere."""
    for url, status in {"/": 200, "/static/chat.js": 200, "/healthz": 200, "/none": 404, "/ws/": 426}.items():
        answer = ask(stack, url)
        assert answer.status == status
        assert one(answer, "X-Content-Type-Options") == "nosniff"
        assert one(answer, "Content-Security-Policy").startswith("default-src 'none'; script-src 'self';")


def test_errors_of_apache_say_nosniff(front: Running) -> None:
    """Apache's own answers say nosniff too: nobody behind, a bad path, a handshake refused."""
    front.allow("AH00957", "AH01114", "AH00026", "AH01630")
    for answer, status in (
        (ask(front, "/"), 503),
        (ask(front, "/a%2fb"), 404),
        (shake(front, "/ws/", method="POST"), 403),
    ):
        assert answer.status == status
        assert one(answer, "X-Content-Type-Options") == "nosniff"


def test_nosniff_of_a_backend_is_not_doubled(front: Running) -> None:
    """A backend that says nosniff itself makes no second header, nor one of its own on an error."""
    for status in ("200 OK", "404 Not Found", "500 Oops"):
        with scripted(front.backend_port, answering(status, "X-Content-Type-Options: nosniff")):
            assert one(ask(front, "/"), "X-Content-Type-Options") == "nosniff"


def test_no_hsts_with_the_local_authority(stack: Running) -> None:
    """Without a certificate that everybody trusts, no browser is bound to TLS."""
    for url in ("/", "/none", "/a%2fb"):
        assert "Strict-Transport-Security" not in ask(stack, url).headers
    assert "Strict-Transport-Security" not in ask(stack, "/", plain=True).headers
    stack.allow("AH00026")


@pytest.mark.parametrize("mode", ["files", "local-ca"])
def test_hsts(folder: Path, mode: str) -> None:
    """With certificates of one's own, or where it is asked for, pages and errors bind the browser to TLS."""
    issued = Store(folder / "certs").ensure("localhost", ["localhost"])
    tls = {
        "files": f"mode: files\n  files: {{certificate: {issued.certificate}, key: {issued.key}}}",
        "local-ca": "hsts: 300",
    }
    seconds = {"files": 63072000, "local-ca": 300}
    with running(f"tls:\n  {tls[mode]}\n", backend=False) as stack:
        stack.allow("AH00957", "AH01114", "AH01630")
        for answer in (ask(stack, "/"), shake(stack, "/ws/", method="POST")):
            assert answer.status in {503, 403}
            assert one(answer, "Strict-Transport-Security") == f"max-age={seconds[mode]}"
        with scripted(stack.backend_port):
            assert one(ask(stack, "/"), "Strict-Transport-Security") == f"max-age={seconds[mode]}"
        assert "Strict-Transport-Security" not in ask(stack, "/", plain=True).headers


def test_page_from_a_directory_says_nosniff(folder: Path) -> None:
    """Files that Apache serves itself say nosniff."""
    (folder / "x.js").write_text("1")
    with running(f"pages: {{root: {folder}}}\n", backend=False) as stack:
        answer = ask(stack, "/x.js")
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/javascript")
        assert one(answer, "X-Content-Type-Options") == "nosniff"


@pytest.mark.parametrize("url", PATHS)
def test_one_id_in_both_logs(front: Running, url: str) -> None:
    """The backend is told an id, never the client's own, with which the request's line in Apache's access log ends."""
    told = sent(front, url, "X-Request-Id: mine").get_all("X-Request-Id")
    assert told is not None
    (request,) = told
    log = front.stack.directory / "logs" / "access.log"
    line = until(lambda: [each for each in log.read_text().splitlines() if each.endswith(f" {request}")])
    assert f"GET {url} " in line[0]
