"""From what was seen to what is said, without a network."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from doctor.findings import CATALOGUE
from doctor.remote_http import Answer, Failure
from doctor.remote_http2 import Http2Seen
from doctor.remote_seen import Observations, Reach, Shake, Wanted
from doctor.remote_socket import CLOSE_CODE, SocketSeen
from doctor.remote_tls import Certificate, TlsSeen
from doctor.remote_url import parse
from doctor.remote_verdicts import judge

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
UPGRADED = Answer(
    "",
    101,
    (("upgrade", "websocket"), ("connection", "Upgrade"), ("sec-websocket-accept", "x")),
    seconds=0.01,
)
OPEN = Shake(UPGRADED, is_accepted=True)
CERTIFICATE = Certificate(("example.org", "*.example.org"), "Example CA", NOW - 30 * DAY, NOW + 60 * DAY)
TLS = TlsSeen(version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", certificate=CERTIFICATE, sent=2)
PAGE = '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 4.01//EN">\n<html><head>\n<title>{0}</title>\n</head><body>\n<h1>{0}</h1>'


def answer(status: int, body: str = "", **headers: str) -> Answer:
    """Return an answer; its body where there is none is Apache's own page."""
    fields = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer("", status, fields, (body or PAGE.format(status)).encode())


def refused(status: int, body: str = "", **headers: str) -> Shake:
    """Return a handshake that was answered so."""
    return Shake(answer(status, body, **headers))


def failed(failure: Failure) -> Shake:
    """Return a handshake that came to nothing."""
    return Shake(Answer(failure))


def left() -> SocketSeen:
    """Return a socket that did all that it should."""
    return SocketSeen(pong_seconds=0.01, close_code=CLOSE_CODE, is_left=True, is_answered=True)


def healthy(url: str = "wss://example.org/ws/", **wanted: object) -> Observations:
    """Return what a healthy site shows."""
    return Observations(
        parse(url),
        Wanted(**wanted),  # type: ignore[arg-type] # each test's own
        NOW,
        reaches=[Reach("192.0.2.1", seconds=0.02), Reach("2001:db8::1", seconds=0.02)],
        tls=TLS if url.startswith("wss") else None,
        page=answer(200, "<html>"),
        plain=answer(426, "a socket"),
        shakes={
            "chrome": OPEN,
            "firefox": OPEN,
            "none": OPEN,
            "foreign": refused(403),
            "query": OPEN,
            "slash": refused(404),
            "question": refused(403),
        },
        socket=left(),
    )


def closed(shake: Shake, **more: Shake) -> Observations:
    """Return what a site shows whose handshakes all end like this one."""
    seen = healthy()
    seen.shakes = {"chrome": shake, "firefox": shake, "none": shake, **more}
    seen.socket = None
    return seen


def found(seen: Observations) -> list[str]:
    """Return what is found, in its order."""
    return [finding.id for finding in judge(seen).findings]


def test_healthy() -> None:
    """Nothing is found on a healthy site, and every check is good; it fits one screen."""
    examination = judge(healthy())
    assert not examination.findings
    assert {check.outcome for check in examination.checks} == {"good"}
    assert len(examination.checks) < 20


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"end": NOW - DAY}, ["certificate-expired"]),
        ({"begin": NOW + DAY}, ["certificate-not-yet"]),
        ({"end": NOW + 5 * DAY}, ["certificate-soon"]),
        ({"begin": NOW - DAY, "end": NOW + 5 * DAY}, []),  # of six days
        ({"names": ("example.com",)}, ["certificate-other-name"]),
        ({"names": ("*.org",)}, []),
        ({"issuer": "Apache Managed Domain Fallback", "names": ()}, ["md-no-certificate"]),
    ],
)
def test_certificate(change: Mapping[str, object], names: list[str]) -> None:
    """Dates and names are held against the clock and the host."""
    seen = healthy()
    seen.tls = replace(TLS, certificate=replace(CERTIFICATE, **change))  # type: ignore[arg-type] # as above
    assert found(seen) == names


@pytest.mark.parametrize(
    ("code", "sent", "change", "name"),
    [
        (18, 1, {"is_own_issuer": True}, "certificate-self-signed"),
        (20, 1, {"is_fetchable": True}, "certificate-chain-incomplete"),
        (20, 1, {}, "certificate-unknown-authority"),
        (20, 2, {"is_fetchable": True}, "certificate-unknown-authority"),
        (19, 2, {}, "certificate-unknown-authority"),
        (20, 1, {"issuer": "wsfront local authority, wsfront x"}, "certificate-local-authority"),
    ],
)
def test_chain(code: int, sent: int, change: Mapping[str, object], name: str) -> None:
    """Where the chain ends tells what to do about it."""
    seen = healthy()
    certificate = replace(CERTIFICATE, **change)  # type: ignore[arg-type] # as above
    seen.tls = replace(TLS, certificate=certificate, verify_code=code, verify_words="no", sent=sent)
    assert found(seen) == [name]


@pytest.mark.parametrize(
    ("shake", "name"),
    [
        (refused(200, "<html>"), "handshake-answered-page"),
        (refused(301, location="https://example.org/login"), "handshake-redirected"),
        (refused(400, "Bad Request\n'upgrade' token not found"), "upgrade-not-forwarded"),
        (refused(400, '{"code":3,"message":"Bad request"}'), "upgrade-not-forwarded"),
        (refused(400), "handshake-bad-request"),
        (refused(401), "handshake-needs-login"),
        (refused(403), "handshake-forbidden"),
        (refused(404), "handshake-not-found"),
        (refused(404, "no socket"), "backend-not-found"),
        (refused(405), "handshake-refused"),
        (refused(421), "sni-mismatch"),
        (refused(426, "Upgrade Required"), "upgrade-not-forwarded"),
        (refused(429), "too-many-requests"),
        (refused(500), "apache-error"),
        (refused(500, "Traceback"), "backend-error"),
        (refused(500, PAGE.format(500) + "DNS lookup failure for: x"), "backend-name-unknown"),
        (refused(500, PAGE.format(500) + "Error during SSL Handshake with remote server"), "backend-tls-failed"),
        (refused(501, "no"), "backend-error"),
        (refused(502), "backend-bad-answer"),
        (refused(503), "backend-unreachable"),
        (refused(502, "nginx"), "proxy-bad-gateway"),
        (refused(503, "full"), "backend-full"),
        (refused(503, "No server is available to handle this request."), "proxy-bad-gateway"),
        (refused(504), "backend-timeout"),
        (refused(522, "cloudflare"), "edge-error"),
        (failed("silent"), "handshake-hangs"),
        (failed("closed"), "connection-cut"),
        (failed("not-http"), "not-http"),
        (failed("endless"), "answer-endless"),
        (Shake(UPGRADED), "accept-wrong"),
        (Shake(Answer("", 101)), "upgrade-incomplete"),
    ],
)  # fmt: skip
def test_refusal(shake: Shake, name: str) -> None:
    """Each answer that is no upgrade has its one reading."""
    assert found(closed(shake)) == [name]


def test_everything_hangs() -> None:
    """Where pages hang as well it is the server that does."""
    seen = closed(failed("silent"))
    seen.page = seen.plain = Answer("silent")
    (finding,) = judge(seen).findings
    assert finding.id == "server-hangs"
    assert len(finding.symptoms) == 2


def test_forbidden_for_all() -> None:
    """A path that is forbidden to plain requests too, and 500 for all, have causes of their own."""
    seen = closed(refused(403))
    seen.plain = answer(403)
    assert found(seen) == ["path-forbidden"]
    seen = closed(refused(500))
    seen.plain = seen.page = answer(500)
    assert found(seen) == ["apache-error-everywhere"]


@pytest.mark.parametrize(("path", "status"), [("/a%2Fb", 404), ("/a%3Fb", 403)])
def test_encoded_path(path: str, status: int) -> None:
    """What Apache refuses for its encoding is told from what it does not know or forbids."""
    seen = replace(closed(refused(status)), asked=parse(f"wss://example.org{path}"))
    assert found(seen) == [{404: "encoded-slash", 403: "encoded-question"}[status]]


def test_one_browser_alone() -> None:
    """Which of the two browsers fails tells which condition is wrong; who is merely busy tells nothing of the kind."""
    seen = healthy()
    seen.shakes["firefox"] = refused(404)
    assert found(seen) == ["handshake-firefox"]
    seen.shakes |= {"chrome": refused(403), "firefox": OPEN}
    assert found(seen) == ["handshake-chrome"]
    seen.shakes |= {"chrome": refused(503), "firefox": OPEN}
    assert found(seen) == ["backend-unreachable"]


def test_origin() -> None:
    """A foreign page is to be refused unless it is meant, the site's own page is not; having no Origin is nobody's fault."""
    seen = healthy()
    seen.shakes["foreign"] = OPEN
    assert found(seen) == ["origin-unchecked"]
    seen.wanted = Wanted(any_origin=True)
    assert found(seen) == []
    assert found(closed(refused(403), none=OPEN)) == ["origin-refused"]
    seen = healthy()
    seen.shakes["none"] = refused(403)
    assert found(seen) == []


def test_slash() -> None:
    """Where the path with, or without, its slash opens, that is written out."""
    seen = closed(refused(404), sibling=OPEN)
    seen.sibling = "/ws"
    (finding,) = judge(seen).findings
    assert (finding.id, finding.instead) == ("path-slash", "wss://example.org/ws")


@pytest.mark.parametrize(
    ("socket", "names"),
    [
        (SocketSeen(is_cut=True), ["socket-cut"]),
        (SocketSeen(close_code=1011), ["socket-failed"]),
        (SocketSeen(close_code=4401, close_reason="who are you"), []),
        (SocketSeen(fault="invalid opcode"), ["frames-broken"]),
        (replace(left(), pong_seconds=None), ["pong-missing"]),
        (replace(left(), echoes={"small": True, "64 KiB": False}), ["echo-broken"]),
        (replace(left(), is_answered=False, close_code=None), ["close-unanswered"]),
        (replace(left(), close_code=1000), []),
        (SocketSeen(is_left=True), ["socket-deaf"]),
        (SocketSeen(is_loud=True), []),
    ],
)
def test_socket(socket: SocketSeen, names: list[str]) -> None:
    """What an open socket does wrong has its name; what an application may do has none."""
    seen = healthy(echo=True)
    seen.socket = socket
    assert found(seen) == names


@pytest.mark.parametrize(
    ("idle", "names"),
    [
        (replace(left(), idle_seconds=90), []),
        (SocketSeen(is_cut=True, idle_seconds=60.02), ["idle-cut"]),
        (SocketSeen(idle_seconds=90), ["idle-cut"]),
        (SocketSeen(close_code=4000, idle_seconds=30), []),
    ],
)
def test_idle(idle: SocketSeen, names: list[str]) -> None:
    """A socket that is cut or dead after a silence is found, with how long it lived; one that the application closes is not."""
    seen = healthy(idle=90)
    seen.idle = idle
    assert found(seen) == names
    if idle.is_cut:
        assert "60 s" in judge(seen).findings[0].seen


@pytest.mark.parametrize(
    ("http2", "names"),
    [
        (Http2Seen(), []),
        (Http2Seen(is_announced=True, status=200, socket=left()), []),
        (Http2Seen(is_announced=True, status=501), ["http2-refused"]),
        (Http2Seen(is_announced=True, status=200, socket=replace(left(), is_first_held=True)), ["http2-websockets"]),
        (Http2Seen(is_announced=True, status=200, socket=replace(left(), pong_seconds=None)), ["http2-refused"]),
    ],
)  # fmt: skip
def test_http2(http2: Http2Seen, names: list[str]) -> None:
    """Sockets over HTTP/2 are judged where they are announced."""
    seen = healthy()
    seen.http2, seen.socket = http2, replace(left(), first=7)
    assert found(seen) == names


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("new WebSocket('ws://example.org/ws/')", ["page-plain-socket"]),
        ("new WebSocket((tls ? 'wss://' : 'ws://') + host)", []),
        ("<p>no socket here, but 'ws://example.org'</p>", []),
    ],
)
def test_page(page: str, names: list[str]) -> None:
    """A page by https:// that knows ws:// alone is told."""
    seen = healthy()
    seen.page = answer(200, page)
    assert found(seen) == names


@pytest.mark.parametrize(
    ("policy", "is_good"),
    [
        ("default-src 'self'", True),
        ("default-src 'none'; connect-src 'self'", True),
        ("connect-src wss://example.org", True),
        ("connect-src wss://*.example.org https://example.org", True),
        ("connect-src wss:", True),
        ("img-src 'none'", True),
        ("default-src 'none'", False),
        ("default-src 'self'; connect-src https://api.example.com", False),
        ("connect-src 'self', default-src 'none'", False),  # two policies: both have to allow it
        ("connect-src wss://example.org:8443", False),
    ],
)
def test_policy(policy: str, is_good: bool) -> None:  # noqa: FBT001 (a column)
    """A Content-Security-Policy that forbids the socket of a page that opens one is told."""
    seen = healthy()
    seen.page = answer(200, "new WebSocket('/ws/')", content_security_policy=policy)
    assert found(seen) == ([] if is_good else ["page-policy"])


def test_address_that_is_dead() -> None:
    """One of several addresses without an answer is told; where a whole family has none it may be the network from here."""
    seen = healthy()
    seen.reaches[1] = Reach("2001:db8::1", "refused")
    assert found(seen) == ["address-dead"]
    seen.reaches[1] = Reach("192.0.2.2", "silent")
    assert found(seen) == ["address-dead"]
    for failure in ("unreachable", "silent"):
        seen.reaches[1] = Reach("2001:db8::1", failure)
        examination = judge(seen)
        assert not examination.findings
        assert examination.not_checked[0].startswith("2001:db8::1: ")


@pytest.mark.parametrize(
    ("failure", "name"),
    [("refused", "port-refused"), ("silent", "port-silent"), ("unreachable", "host-unreachable")],
)
def test_no_connection(failure: Failure, name: str) -> None:
    """Without a connection that is the one finding."""
    seen = Observations(parse("wss://example.org/"), Wanted(), NOW, reaches=[Reach("192.0.2.1", failure)])
    assert found(seen) == [name]


def test_gravest_first() -> None:
    """Errors come before warnings, and within each what is met first."""
    seen = closed(refused(503))
    seen.old_tls = "TLSv1.1"
    seen.tls = replace(TLS, certificate=replace(CERTIFICATE, names=("other.example",)))
    assert found(seen) == ["certificate-other-name", "backend-unreachable", "tls-protocol-weak"]


def test_time_that_was_over() -> None:
    """What there was no time for is not checked, and not guessed; that it was not enough is a finding."""
    seen = Observations(parse("ws://example.org/"), Wanted(), NOW, reaches=[Reach("192.0.2.1")], is_cut=True)
    examination = judge(seen)
    assert [finding.id for finding in examination.findings] == ["site-slow"]
    assert len(examination.not_checked) == 2


def test_what_comes_from_outside_is_bounded() -> None:
    """What a site says of itself is not told at any length."""
    seen = closed(refused(302, location="https://example.org/" + "x" * 10_000))
    examination = judge(seen)
    assert all(len(finding.seen) < 500 for finding in examination.findings)
    assert set(found(seen)) <= set(CATALOGUE)
    seen.page = answer(200, "<html>", server="x" * 10_000)
    assert all(len(check.seen) < 500 for check in judge(seen).checks)
