"""From what was seen of a site to checks and findings.

Pure: nothing is asked here. What belongs to no fault is a check, and never a finding.
"""

import re
from datetime import timedelta

from .examination import Examination
from .findings import SEVERITIES, Finding
from .remote_book import Book, milliseconds
from .remote_http import Answer
from .remote_refusals import refusal, words_of
from .remote_seen import Observations, Reach
from .remote_socket_verdicts import sockets
from .remote_tls import Certificate, TlsSeen

_SOON = timedelta(days=14)
_SOON_PART = 5  # of a life that is shorter than ten weeks
_WEAK = "tls-protocol-weak"
_SELF_SIGNED, _NO_ISSUER = {18}, {2, 20, 21}  # X509_V_ERR_… (openssl-verification-options(1))
_DATES = {9, 10}
_OURS = "wsfront local authority"
_FALLBACK = "Apache Managed Domain Fallback"
_CHAIN = ("server", "via", "x-cache", "x-served-by", "x-powered-by")
_TRACES = {
    "cf-ray": "Cloudflare",
    "x-amz-cf-id": "CloudFront",
    "x-varnish": "Varnish",
    "x-azure-ref": "Azure Front Door",
    "x-vercel-id": "Vercel",
    "fly-request-id": "Fly.io",
    "x-akamai-transformed": "Akamai",
    "x-fastly-request-id": "Fastly",
}
_PLAIN_SOCKET = re.compile(rb"[\"'`]ws://[^\"'`\s]{0,60}")


def judge(seen: Observations) -> Examination:
    """Return what the observations come to: the cause that explains the most first."""
    book = Book(seen)
    if seen.no_name:
        words = f"{seen.asked.host}: {seen.no_name}"
        book.check("name", words, book.finding("name-unknown", words))
        book.unchecked("all that comes after the name")
    elif not seen.reaches:
        book.unchecked("anything: the time was over before the first answer")
    elif all(each.failure for each in seen.reaches):
        _reached(seen, book)
        book.unchecked("all that comes after the connection")
    else:
        _reached(seen, book)
        is_spoken = _tls(seen, seen.tls, book) if seen.tls else True
        if not is_spoken:
            book.unchecked("all that comes after TLS")
        elif not {"chrome", "firefox"} <= seen.shakes.keys():
            book.unchecked("the handshake: the time was over before it")
        else:
            _asked(seen, book)
    if seen.is_cut:
        book.check("time", "over before all was asked", book.finding("site-slow", "not all could be asked"))
        book.unchecked("what else there was to ask")
    # Stable: within a severity the order is that of the way in, where what comes first explains what comes later.
    book.examination.findings.sort(key=lambda each: SEVERITIES.index(each.entry.severity))
    return book.examination


def _reached(seen: Observations, book: Book) -> None:
    addresses = ", ".join(each.address for each in seen.reaches)
    if not seen.wanted.address and seen.asked.host != addresses:
        book.check("name", f"{seen.asked.host} is {addresses}")
    good = [each for each in seen.reaches if not each.failure]
    port = seen.asked.port
    if not good:
        names = {"refused": "port-refused", "unreachable": "host-unreachable"}
        name = names.get(seen.reaches[0].failure, "port-silent")
        words = f"port {port} of {addresses}: {_failed(seen.reaches[0])}"
        book.check("connection", words, book.finding(name, words))
        return
    dead = [each for each in seen.reaches if each.failure and not each.is_here]
    # Where no address of a family answers, the fault may be this machine's own network.
    families = {each.is_ipv6 for each in good}
    untold = [each for each in dead if each.failure != "refused" and each.is_ipv6 not in families]
    for each in untold:
        book.unchecked(f"{each.address}: {_failed(each)} from here, which may be this machine's own network")
    told = [each for each in dead if each not in untold]
    words = ", ".join(f"{each.address} in {milliseconds(each.seconds)}" for each in good)
    lost = ", ".join(f"{each.address}: {_failed(each)}" for each in told)
    book.check(
        "connection",
        f"{words}; {lost}" if lost else words,
        book.finding("address-dead", f"port {port} of {lost}") if lost else None,
    )


def _failed(reach: Reach) -> str:
    words = {"refused": "refused", "silent": "no answer", "unreachable": "unreachable"}
    return words.get(reach.failure, reach.failure) + (f" ({reach.detail})" if reach.detail else "")


def _tls(seen: Observations, tls: TlsSeen, book: Book) -> bool:
    """Judge TLS; return whether anything can be asked by it."""
    if tls.failure:
        plain = seen.plain
        if plain and not plain.failure:
            name, words = "tls-not-spoken", f"plain HTTP: {words_of(plain)}"
        elif tls.failure == "silent":
            name, words = "tls-silent", "no answer to the ClientHello"
        else:
            name, words = (
                "tls-failed",
                tls.detail or words_of(Answer("closed" if tls.failure == "closed" else "tls")),
            )
        book.check("TLS", words, book.finding(name, words))
        return False
    old = book.finding(_WEAK, f"{seen.old_tls} is agreed to") if seen.old_tls else None
    words = f"{tls.version}, {tls.cipher}" + (f"; {seen.old_tls} too" if old else "")
    book.check("TLS", words, old)
    if tls.certificate:
        found = _certificate(seen, tls, tls.certificate, book)
        book.check("certificate", _certificate_words(seen, tls.certificate), *found)
    else:
        book.unchecked("the certificate: it cannot be read")
    return True


def _certificate_words(seen: Observations, certificate: Certificate) -> str:
    days = (certificate.end - seen.now).days
    left = f"{days} days left" if days >= 0 else f"over since {-days} days"
    return f"by {certificate.issuer}; {left}"


def _certificate(
    seen: Observations, tls: TlsSeen, certificate: Certificate, book: Book
) -> list[Finding | None]:
    names = ", ".join(certificate.names[:4]) or "no name"
    if _FALLBACK in certificate.issuer:
        return [book.finding("md-no-certificate", f"by {certificate.issuer}")]
    found: list[Finding | None] = []
    life = certificate.end - certificate.begin
    if seen.now > certificate.end:
        found.append(book.finding("certificate-expired", f"valid until {certificate.end:%Y-%m-%d %H:%M} UTC"))
    elif seen.now < certificate.begin:
        found.append(
            book.finding("certificate-not-yet", f"valid from {certificate.begin:%Y-%m-%d %H:%M} UTC")
        )
    elif certificate.end - seen.now < min(_SOON, life / _SOON_PART):
        found.append(book.finding("certificate-soon", f"valid until {certificate.end:%Y-%m-%d %H:%M} UTC"))
    if not certificate.is_for(seen.asked.host):
        found.append(book.finding("certificate-other-name", f"for {names}; asked for {seen.asked.host}"))
    if tls.verify_code and tls.verify_code not in _DATES:
        found.append(
            book.finding(_chain_fault(tls, certificate), f"{tls.verify_words}: {certificate.issuer}")
        )
    return found


def _chain_fault(tls: TlsSeen, certificate: Certificate) -> str:
    if _OURS in certificate.issuer:
        return "certificate-local-authority"
    if certificate.is_own_issuer or tls.verify_code in _SELF_SIGNED:
        return "certificate-self-signed"
    # One that says where its issuer is to be fetched comes of an authority with more than one step.
    if tls.verify_code in _NO_ISSUER and tls.sent == 1 and certificate.is_fetchable:
        return "certificate-chain-incomplete"
    return "certificate-unknown-authority"


def _asked(seen: Observations, book: Book) -> None:
    if seen.page and not seen.page.failure:
        location = seen.page.header("location")
        words = f"GET /: {words_of(seen.page)}" + (f" to {location}" if location else "")
        book.check("page", words, *_page(seen, seen.page, book))
    if seen.port_80:
        location = seen.port_80.header("location")
        book.check("http://", words_of(seen.port_80) + (f" to {location}" if location else ""))
    if seen.plain and not seen.plain.failure:
        book.check("plain GET", f"GET {seen.asked.path}: {words_of(seen.plain)}")
    fault = refusal(seen)
    chrome, firefox = seen.shakes["chrome"], seen.shakes["firefox"]
    if chrome.is_open and firefox.is_open:
        book.check(
            "handshake", f"101 in {milliseconds(chrome.answer.seconds)}, as Chrome and Firefox send it"
        )
    else:
        words = f"Chrome's: {words_of(chrome.answer)}; Firefox's: {words_of(firefox.answer)}"
        if (chrome.answer.failure, chrome.answer.status) == (firefox.answer.failure, firefox.answer.status):
            words = words_of(chrome.answer)
        book.check("handshake", words, fault)
    sockets(seen, book)
    _way(seen, book)


def _page(seen: Observations, page: Answer, book: Book) -> list[Finding | None]:
    text = b"\n".join([page.body, *seen.scripts])
    found: list[Finding | None] = []
    plain = _PLAIN_SOCKET.search(text)
    opens = re.search(rb"\bWebSocket\(|socket\.io|SockJS", text)
    if seen.asked.is_secure and opens and plain and b"wss:" not in text:
        found.append(book.finding("page-plain-socket", plain[0].decode("latin-1")[1:]))
    # A page may open other sockets than this one, which its policy then rightly knows alone.
    path = seen.asked.path.rstrip("/").encode()
    if opens and path and path in text:
        for policy in page.header("content-security-policy").split(","):
            if not _allows(policy, seen):
                found.append(book.finding("page-policy", policy.strip()[:200]))
                break
    return found


def _allows(policy: str, seen: Observations) -> bool:
    """Tell whether a policy lets a page on this name open the socket (CSP 3, 6.7.2.8)."""
    directives = [each.split() for each in policy.lower().split(";") if each.split()]
    rules = {words[0]: words[1:] for words in reversed(directives)}  # the first of a name counts
    sources = rules.get("connect-src", rules.get("default-src"))
    if sources is None:
        return True
    asked = seen.asked
    scheme = "wss" if asked.is_secure else "ws"
    for source in sources:
        if source in {"*", "'self'", f"{scheme}:", "ws:"}:
            return True
        match = re.fullmatch(r"(?:(\w+)://)?([^/:]+)(?::(\d+|\*))?(?:/.*)?", source)
        if match and match[1] in {None, scheme, "ws", "https" if asked.is_secure else "http"}:
            host = match[2]
            is_same = asked.host == host or (host.startswith("*.") and asked.host.endswith(host[1:]))
            if is_same and match[3] in {None, "*", str(asked.port)}:
                return True
    return False


def _way(seen: Observations, book: Book) -> None:
    """Say what the proxies on the way say of themselves."""
    answers = [each for each in (seen.page, seen.plain, seen.shakes["chrome"].answer) if each]
    said: dict[str, None] = {}
    for answer in answers:
        for name, value in answer.headers:
            if name in _CHAIN:
                said[value if name == "server" else f"{name}: {value}"] = None
            elif name in _TRACES:
                said[_TRACES[name]] = None
    if said:
        book.check("on the way", "; ".join(said))
