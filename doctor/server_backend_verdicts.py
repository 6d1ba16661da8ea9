"""What follows from what the backends did when they were asked straight."""

import re

from .examination import Check, Examination, Outcome
from .findings import Finding
from .findings.logged import ASTRAY
from .server_backend import Reached
from .server_seen import Seen

_FAULTS = {
    "unknown": "backend-name-unknown",
    "tls": "backend-speaks-tls",
    "plain": "backend-speaks-plain",
    "host": "host-not-preserved",
    "silent": "backend-silent",
    "closed": "backend-closes",
    "garbage": "backend-not-websocket",
}
_WORDS = {
    "unknown": "its name has no address",
    "tls": "it speaks TLS",
    "plain": "it speaks without TLS",
    "host": "403 with its own address as Host, 101 with the site's name",
    "silent": "no answer to a handshake",
    "closed": "it closes the connection",
    "garbage": "what it says is no HTTP",
}
_REASONS = {"refused": "backend-down", "missing": "backend-down", "denied": "backend-denied"}
_WEB_PORTS = {
    80,
    81,
    443,
    488,
    8008,
    8009,
    8443,
    9000,
}  # what SELinux lets httpd connect to as it is: http_port_t
_SWITCHED, _FORBIDDEN = 101, {401, 403}
_PAGE, _NO_PAGE = range(200, 400), {404, 405, 501}


def backends(seen: Seen, found: Examination) -> None:
    """Add what is wrong with backends."""
    astray = {(each.file, each.line) for each in found.findings if each.id in ASTRAY}
    for each in seen.reached:
        if (each.hop.directive.file, each.hop.directive.line) in astray:
            continue
        finding, words, doubt = _judged(each)
        if seen.system.denies and not each.hop.socket and each.hop.port not in _WEB_PORTS:
            line = each.hop.directive
            remedy = "setsebool -P httpd_can_network_connect 1"
            finding = Finding("selinux-denies", line.file, line.line, each.hop.address, instead=remedy)
            words, doubt = "SELinux lets Apache not connect", ""
        if finding:
            found.findings.append(finding)
        if doubt:
            found.not_checked.append(doubt)
        severity = finding.entry.severity if finding else ""
        outcome: Outcome = "bad" if severity == "error" else "odd" if severity else "good"
        place = f"{each.hop.vhost}{each.hop.path} -> " if each.hop.path else ""
        found.checks.append(Check("backend", outcome, f"{place}{each.hop.address}: {words}"))
    if idle := [each.hop.idle for each in seen.reached]:
        words = f"a socket is cut after {min(idle)} s without a byte: the backend has to ping before"
        found.checks.append(Check("silence", "good", words))


def _judged(each: Reached) -> tuple[Finding | None, str, str]:
    """Return what is wrong with a backend, what was seen of it in a few words, and what could not be told."""
    asked = f"{each.hop.address}{each.hop.target}"
    if each.addresses and all(why for _, why in each.addresses):
        name = next((_REASONS[why] for _, why in each.addresses if why in _REASONS), "backend-no-route")
        words = ", ".join(f"{where} {why}" for where, why in each.addresses)
        return _finding(each, name, words), words, ""
    if each.fault:
        words = _WORDS.get(each.fault, each.fault)
        return _finding(each, _FAULTS.get(each.fault, "backend-closes"), f"{asked}: {words}"), words, ""
    if each.status == _SWITCHED:
        return _switched(each)
    by = f" by {each.server}" if each.server else ""
    words = f"{asked} answers {each.status}{by}"
    is_own_path = each.hop.scheme in {"ws", "wss"} and each.hop.target != "/"
    if (
        each.is_old
        or (each.status in _PAGE and (each.hop.is_exact or is_own_path))
        or (each.status in _NO_PAGE and each.hop.is_exact)
    ):
        return _finding(each, "backend-not-websocket", words), f"answers {each.status}, not 101", ""
    if each.status in _FORBIDDEN:
        return (
            None,
            f"answers {each.status}",
            f"{words} to a handshake without cookies: it may want to know who asks",
        )
    hint = "its own log tells why" if each.hop.is_exact else "name the path of a socket by --path"
    return (
        None,
        f"answers {each.status}",
        f"whether WebSocket is spoken there: {words} to a handshake: {hint}",
    )


def _switched(each: Reached) -> tuple[Finding | None, str, str]:
    if not each.accepted:
        words = "101 with a wrong Sec-WebSocket-Accept"
        return _finding(each, "backend-not-websocket", words), words, ""
    first, why = each.addresses[0]
    if why:
        return _finding(each, "backend-first-address", f"{first} {why}"), f"101; {first} {why}", ""
    return None, "101 Switching Protocols", ""


def _finding(each: Reached, name: str, words: str) -> Finding:
    line = each.hop.directive
    return Finding(name, line.file, line.line, words, instead=_instead(each, name, line.text))


def _instead(each: Reached, name: str, text: str) -> str:
    """Return the lines that mend it, where they follow from what was seen."""
    if name == "host-not-preserved":
        return "ProxyPreserveHost On"
    if name == "backend-speaks-tls" and each.hop.host:
        return "SSLProxyEngine on\n" + re.sub(
            r"\b(ws|http)(?=://)", r"\1s", text, count=1, flags=re.IGNORECASE
        )
    if name == "backend-speaks-plain":
        return re.sub(r"\b(ws|http)s(?=://)", r"\1", text, count=1, flags=re.IGNORECASE)
    good = [where.rpartition(":")[0] for where, why in each.addresses if not why]
    if name == "backend-first-address" and good:
        return re.sub(r"(?<=://)localhost\b", good[0], text, count=1, flags=re.IGNORECASE)
    return ""
