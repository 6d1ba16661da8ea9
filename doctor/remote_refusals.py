"""What a handshake that failed says to somebody who has seen many: one cause for each answer.

Pure: observations in, findings out.
"""

import html
import re
from http import HTTPStatus

from .findings import Finding
from .remote_http import UPGRADED, Answer
from .remote_seen import Observations, Shake
from .remote_url import joined

_FAILURES = {
    "refused": "the connection was refused",
    "unreachable": "no way to the host",
    "silent": "no answer",
    "closed": "the connection ended without an answer",
    "not-http": "an answer that is no HTTP",
    "endless": "headers without an end",
    "tls": "TLS failed",
}
_HANGING = {"silent": "", "closed": "connection-cut", "not-http": "not-http", "endless": "answer-endless"}
_TLS_WANTED = re.compile(rb"plain HTTP to an SSL-enabled|plain HTTP request was sent to HTTPS", re.IGNORECASE)
_NO_UPGRADE = re.compile(
    rb"upgrade|websocket|transport unknown|\{\"code\":[0-5],\"message\":\"", re.IGNORECASE
)
_REASON = re.compile(rb"Reason: <strong>(.{1,200}?)</strong>", re.DOTALL)
_STATUSES = {
    401: "handshake-needs-login",
    407: "handshake-needs-login",
    421: "sni-mismatch",
    426: "upgrade-not-forwarded",
    429: "too-many-requests",
    504: "backend-timeout",
}
_EDGE = range(
    520, 531
)  # https://developers.cloudflare.com/support/troubleshooting/http-status-codes/cloudflare-5xx-errors/


def words_of(answer: Answer) -> str:
    """Return an answer in a few words: `404 Not Found, Apache's own page`."""
    if answer.failure:
        return _FAILURES[answer.failure] + (f" ({answer.detail})" if answer.detail else "")
    try:
        phrase = f" {HTTPStatus(answer.status).phrase}"
    except ValueError:
        phrase = ""
    whose = ", Apache's own page" if answer.is_apache_page else ""
    return f"{answer.status}{phrase}{whose}"


def refusal(seen: Observations) -> Finding | None:
    """Return why a handshake does not open a socket, or not in every browser; None where it does."""
    chrome, firefox = seen.shakes["chrome"], seen.shakes["firefox"]
    if chrome.is_open and firefox.is_open:
        return None
    if (chrome.is_open or firefox.is_open) and _is_judgement(firefox if chrome.is_open else chrome):
        refused = firefox if chrome.is_open else chrome
        name = "handshake-firefox" if chrome.is_open else "handshake-chrome"
        return _finding(seen, name, words_of(refused.answer))
    failed = firefox if chrome.is_open else chrome
    without, sibling = seen.shakes.get("none"), seen.shakes.get("sibling")
    if without and without.is_open and not (chrome.is_open or firefox.is_open):
        said = f"{words_of(failed.answer)} to Origin {seen.wanted.origin or seen.asked.origin}; 101 without Origin"
        return _finding(seen, "origin-refused", said)
    if sibling and sibling.is_open:
        said = f"{words_of(failed.answer)} at {seen.asked.path}; 101 at {seen.sibling}"
        return _finding(seen, "path-slash", said, symptoms=_symptoms(seen, failed.answer))
    name = _cause(seen, failed)
    return _finding(seen, name, _said(failed.answer), symptoms=_symptoms(seen, failed.answer))


def _is_judgement(shake: Shake) -> bool:
    """Tell whether somebody looked at the handshake and said no, rather than being busy or gone."""
    status = shake.answer.status
    return not shake.answer.failure and status not in {UPGRADED, 429} and status < 500  # noqa: PLR2004 (RFC 9110, 15.6)


def _cause(seen: Observations, shake: Shake) -> str:  # noqa: PLR0911 (a table with conditions)
    answer, asked = shake.answer, seen.asked
    if answer.failure == "silent":
        pages = [each for each in (seen.page, seen.plain) if each and not each.failure]
        return "handshake-hangs" if pages else "server-hangs"
    if answer.failure:
        is_h2_alone = seen.tls and seen.tls.alpn == "h2" and answer.failure in {"tls", "closed", "not-http"}
        return "http2-alone" if is_h2_alone else _HANGING.get(answer.failure) or "connection-cut"
    status = answer.status
    if status == UPGRADED:
        is_whole = "upgrade" in answer.header("connection").lower() and answer.header("upgrade")
        return "accept-wrong" if is_whole else "upgrade-incomplete"
    if status in _STATUSES:
        return _STATUSES[status]
    if 200 <= status < 300:  # noqa: PLR2004 (RFC 9110, 15.3)
        return "handshake-answered-page"
    if 300 <= status < 400:  # noqa: PLR2004 (RFC 9110, 15.4)
        target = joined(asked.origin, answer.header("location"))
        is_tls = not asked.is_secure and target.scheme in {"https", "wss"} and target.hostname == asked.host
        return "handshake-redirected-tls" if is_tls else "handshake-redirected"
    if status in _EDGE:
        return "edge-error"
    return _READ.get(status, _other)(seen, answer)


def _bad_request(_: Observations, answer: Answer) -> str:
    if _TLS_WANTED.search(answer.body):
        return "plain-to-tls"
    is_told = not answer.is_apache_page and _NO_UPGRADE.search(answer.body)
    return "upgrade-not-forwarded" if is_told else "handshake-bad-request"


def _forbidden(seen: Observations, answer: Answer) -> str:
    is_encoded = "%3f" in seen.asked.path.lower() and answer.is_apache_page
    if is_encoded:
        return "encoded-question"
    return "path-forbidden" if _is_for_all(seen, answer) else "handshake-forbidden"


def _not_found(seen: Observations, answer: Answer) -> str:
    if not answer.is_apache_page:
        return "backend-not-found"
    return "encoded-slash" if "%2f" in seen.asked.path.lower() else "handshake-not-found"


def _error(seen: Observations, answer: Answer) -> str:
    if not answer.is_apache_page:
        return "backend-error"
    if b"DNS lookup failure" in answer.body:
        return "backend-name-unknown"
    if b"Error during SSL Handshake" in answer.body:
        return "backend-tls-failed"
    is_all = _is_for_all(seen, answer) and seen.page and seen.page.status == answer.status
    return "apache-error-everywhere" if is_all and seen.asked.path != "/" else "apache-error"


def _bad_gateway(seen: Observations, answer: Answer) -> str:
    if not answer.is_apache_page:
        return "proxy-bad-gateway"
    cause = _error(seen, answer)
    return cause if cause in {"backend-name-unknown", "backend-tls-failed"} else "backend-bad-answer"


def _is_for_all(seen: Observations, answer: Answer) -> bool:
    """Tell whether a plain GET of the path is refused as the handshake is."""
    return bool(seen.plain and seen.plain.status == answer.status)


def _unavailable(_: Observations, answer: Answer) -> str:
    if b"No server is available" in answer.body:  # HAProxy's words
        return "proxy-bad-gateway"
    return "backend-unreachable" if answer.is_apache_page else "backend-full"


def _other(_: Observations, answer: Answer) -> str:
    return "backend-error" if answer.status >= 500 and not answer.is_apache_page else "handshake-refused"  # noqa: PLR2004 (RFC 9110, 15.6)


_READ = {
    400: _bad_request,
    403: _forbidden,
    404: _not_found,
    500: _error,
    502: _bad_gateway,
    503: _unavailable,
}


def _said(answer: Answer) -> str:
    """Return the answer with what it says of itself."""
    words = words_of(answer)
    if location := answer.header("location"):
        words += f", to {location[:200]}"
    if reason := _REASON.search(answer.body):
        words += ": " + html.unescape(reason[1].decode("latin-1")).strip()
    elif answer.status >= 400 and not answer.is_apache_page and b"<" not in answer.body:  # noqa: PLR2004 (as above)
        text = " ".join(answer.body[:200].decode("utf-8", "replace").split())
        words += f": {text[:120]}" if text else ""
    return words


def _symptoms(seen: Observations, answer: Answer) -> tuple[str, ...]:
    """Return what else this explains: the same refusal to other questions."""
    if 200 <= answer.status < 300:  # noqa: PLR2004 (as above)
        return ()
    others = {
        "Firefox's handshake": seen.shakes["firefox"].answer,
        "the plain GET of the path": seen.plain,
        "the page at /": seen.page,
    }
    return tuple(
        f"{name}: {other.status or words_of(other)}"
        for name, other in others.items()
        if other and other is not answer and (other.failure, other.status) == (answer.failure, answer.status)
    )


def _finding(seen: Observations, name: str, said: str, *, symptoms: tuple[str, ...] = ()) -> Finding:
    instead = ""
    if name == "handshake-redirected-tls":
        instead = f"wss://{joined(seen.asked.origin, seen.shakes['chrome'].answer.header('location')).netloc}{seen.asked.target}"
    elif name == "plain-to-tls":
        instead = f"wss://{seen.asked.authority}{seen.asked.target}"
    elif name == "path-slash":
        instead = str(seen.asked).removesuffix(seen.asked.target) + seen.sibling
    return Finding(name, str(seen.asked), 0, said, instead=instead, symptoms=symptoms)
