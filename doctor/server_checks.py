"""What is wrong with a server beside its tunnels: TLS, whom it believes, what it lets through, how many workers it has."""

import ipaddress
import re
from collections.abc import Iterator

from .configuration import Configuration
from .findings import Edit, Finding
from .proxy_checks import change_word
from .proxying import has_tunnels, mappings_of
from .reading import Directive, shown
from .rewrite_checks import guards_upgrades
from .rewriting import rules_of

_OLD_PROTOCOLS = {"sslv2", "sslv3", "tlsv1", "tlsv1.1"}
# Without anonymous, NULL and export ones: mod_ssl leaves these out whatever is written (ssl_engine_config.c, ssl_cmd_SSLCipherSuite).
_WEAK_CIPHER = re.compile(
    r"(?:^|[-_+])(?:RC4|RC2|3DES|DES|CBC3|MD5|LOW)(?:$|[-_+])",
    re.IGNORECASE,
)
_PROXY_CHECKS = {
    "sslproxyverify": {"none", "optional", "optional_no_ca"},
    "sslproxycheckpeername": {"off"},
    "sslproxycheckpeerexpire": {"off"},
}
_THREADS = {"event", "worker"}


def server_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield what is wrong with the server."""
    yield from _forward_proxy(configuration)
    yield from _origin_header(configuration)
    yield from _proxy_tls(configuration)
    yield from _tls(configuration)
    yield from _client_address(configuration)
    yield from _workers(configuration)


def _told(name: str, directive: Directive, edit: Edit | None = None, left: str = "") -> Finding:
    return Finding(name, directive.file, directive.line, shown(directive.text), edit, left)


def _forward_proxy(configuration: Configuration) -> Iterator[Finding]:
    limits = [
        each
        for each in configuration.named("require", "deny", "allow", "order")
        if (section := each.inside("proxy", "proxymatch"))
        and section.words
        and section.words[0].rstrip("*") in {"", "."}
    ]
    if configuration.unchecked or any(" ".join(each.words).lower() != "all granted" for each in limits):
        return
    reverse = mappings_of(configuration) or any(rule.has("p") for rule in rules_of(configuration))
    for directive in configuration.named("proxyrequests"):
        if directive.word(0).lower() == "on":
            edit = change_word(configuration, directive, 0, "Off", is_safe=bool(reverse))
            left = (
                ""
                if reverse
                else "nothing else is proxied here, so a forward proxy may be what is wanted: then say who may use it"
            )
            yield _told("proxy-requests-on", directive, edit, left)


def _origin_header(configuration: Configuration) -> Iterator[Finding]:
    if guards_upgrades(configuration):
        return
    for directive in configuration.named("requestheader"):
        if directive.word(1).lower() == "origin" and directive.word(0).lower() in {
            "set",
            "unset",
            "edit",
            "edit*",
            "setifempty",
        }:
            edit = None
            if directive.file in configuration.contents:
                edit = Edit(directive.file, ((directive.start, directive.end, b""),), is_safe=False)
            left = "the backend may refuse sockets without it until it sees the Host: try ProxyPreserveHost On with it"
            yield _told("request-header-origin", directive, edit, left)


def _proxy_tls(configuration: Configuration) -> Iterator[Finding]:
    """Yield TLS to backends that checks nothing; on this machine there is nobody between."""
    targets = [each.target for each in mappings_of(configuration)] + [
        rule.target for rule in rules_of(configuration)
    ]
    secured = [target for target in targets if re.match(r"(?:https|wss|h2)://", target, re.IGNORECASE)]
    if not secured or not all(map(_is_loopback, secured)):
        for directive in configuration.named(*_PROXY_CHECKS):
            if directive.word(0).lower() in _PROXY_CHECKS[directive.name]:
                yield _told("proxy-tls-unverified", directive)
    engines = [each for each in configuration.named("sslproxyengine") if each.word(0).lower() == "on"]
    if engines or configuration.unchecked:
        return
    for mapped in mappings_of(configuration):
        inside = mapped.directive.inside("virtualhost")
        if inside and re.match(r"(?:https|wss)://", mapped.target, re.IGNORECASE):
            yield _told(
                "proxy-tls-engine-missing", mapped.directive, _before(configuration, mapped.directive)
            )


def _before(configuration: Configuration, directive: Directive) -> Edit | None:
    """Return the change that writes `SSLProxyEngine on` before a line."""
    content = configuration.contents.get(directive.file)
    if content is None or directive.inside("location", "locationmatch"):
        return None
    indent = re.match(rb"[ \t]*", content[directive.start :])
    line = (indent[0] if indent else b"") + b"SSLProxyEngine on\n"
    return Edit(directive.file, ((directive.start, directive.start, line),), is_safe=False)


def _is_loopback(target: str) -> bool:
    match = re.match(r"\w+://(\[[^\]]*\]|[^:/]*)", target)
    host = match[1].strip("[]") if match else ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tls(configuration: Configuration) -> Iterator[Finding]:
    """Yield what names broken TLS. `all` is left alone: what it comes to is OpenSSL's to say."""
    for directive in configuration.named("sslprotocol", "sslproxyprotocol"):
        allowed: set[str] = set()
        for word in directive.words:
            name = word.lstrip("+-").lower()
            if word.startswith("-"):
                allowed = set() if name == "all" else allowed - {name}
            else:
                # One without a sign takes the place of all before it (AH02532).
                allowed = {name, *(allowed if word.startswith("+") else ())}
        if allowed & _OLD_PROTOCOLS:
            yield _told(
                "tls-protocol-weak", directive, _whole(configuration, directive, "-all +TLSv1.2 +TLSv1.3")
            )
    for directive in configuration.named("sslciphersuite", "sslproxyciphersuite"):
        if directive.word(0).lower() == "tlsv1.3":
            continue
        tokens = re.split(r"[:, ]+", directive.word(len(directive.words) - 1))
        banned = {token[1:].lower() for token in tokens if token.startswith("!")}
        for token in tokens:
            weak = None if token.startswith(("!", "-", "+", "@")) else _WEAK_CIPHER.search(token)
            if weak and weak[0].strip("-_+").lower() not in banned:
                yield _told("tls-cipher-weak", directive)
                break


def _whole(configuration: Configuration, directive: Directive, words: str) -> Edit | None:
    """Return the change of all that stands behind a directive's name."""
    content = configuration.contents.get(directive.file)
    raw = content[directive.start : directive.end].rstrip(b"\r\n") if content is not None else b"\n"
    match = re.match(rb"[ \t]*\w+[ \t]+", raw)
    if not match or b"\n" in raw:
        return None
    return Edit(
        directive.file,
        ((directive.start + match.end(), directive.start + len(raw), words.encode()),),
        is_safe=False,
    )


def _client_address(configuration: Configuration) -> Iterator[Finding]:
    trusted = configuration.named("remoteipinternalproxy", "remoteiptrustedproxy")
    lists = configuration.named("remoteipinternalproxylist", "remoteiptrustedproxylist")
    for directive in trusted:
        if any(word.endswith("/0") for word in directive.words):
            yield _told("remoteip-trusts-everybody", directive)
    if not trusted and not lists and not configuration.unchecked:
        for directive in configuration.named("remoteipheader"):
            yield _told("remoteip-trusts-everybody", directive)
    required = {each.word(1) for each in configuration.named("require") if each.word(0).lower() == "env"}
    required |= {
        word[4:]
        for each in configuration.named("allow")
        for word in each.words
        if word.lower().startswith("env=")
    }
    for directive in configuration.named("setenvif", "setenvifnocase"):
        names = {word.partition("=")[0] for word in directive.words[2:]}
        if directive.word(0).lower() == "x-forwarded-for" and names & required:
            yield _told("forwarded-for-trusted", directive)


def _workers(configuration: Configuration) -> Iterator[Finding]:
    if configuration.is_whole and "mpm_prefork" in configuration.modules and has_tunnels(configuration):
        for directive in configuration.named("loadmodule"):
            if directive.word(0).lower() == "mpm_prefork_module":
                yield _told("mpm-prefork", directive)
    groups: dict[tuple[object, ...], dict[str, Directive]] = {}
    for directive in configuration.named(
        "maxrequestworkers", "maxclients", "serverlimit", "threadsperchild", "threadlimit"
    ):
        name = "maxrequestworkers" if directive.name == "maxclients" else directive.name
        groups.setdefault(directive.sections, {})[name] = directive
    for sections, group in groups.items():
        yield from _cut(configuration, _mpm(configuration, sections), group)


def _mpm(configuration: Configuration, sections: tuple[object, ...]) -> str:
    """Return the MPM that lines are for, as far as it is written down."""
    named = " ".join(word for section in sections for word in getattr(section, "words", ())).lower()
    loaded = " ".join(configuration.modules) if configuration.is_whole else ""
    found = re.search(r"(?<!!)\b(?:mod_)?mpm_(event|worker|prefork)", f"{named} {loaded}")
    return found[1] if found else ""


def _cut(configuration: Configuration, mpm: str, group: dict[str, Directive]) -> Iterator[Finding]:
    numbers = {
        name: int(each.word(0)) for name, each in group.items() if re.fullmatch(r"\d{1,9}", each.word(0))
    }
    wanted = numbers.get("maxrequestworkers")
    if mpm == "prefork" and wanted is not None and wanted > numbers.get("serverlimit", 256):
        edit = _raised(configuration, group, "ServerLimit", wanted)
        yield _told("mpm-workers-cut", group["maxrequestworkers"], edit)
    if mpm not in _THREADS:
        return
    threads, limit = numbers.get("threadsperchild", 25), numbers.get("threadlimit", 64)
    if threads > limit:
        edit = _raised(configuration, group, "ThreadLimit", threads)
        yield _told("mpm-workers-cut", group["threadsperchild"], edit)
    elif wanted is not None and threads and wanted > threads * numbers.get("serverlimit", 16):
        # Twice that: after a reload children with open sockets keep their slots.
        edit = _raised(configuration, group, "ServerLimit", 2 * -(-wanted // threads))
        yield _told("mpm-workers-cut", group["maxrequestworkers"], edit)
    elif wanted is not None and threads and wanted % threads:
        new = str(-(-wanted // threads) * threads)
        edit = change_word(configuration, group["maxrequestworkers"], 0, new, is_safe=False)
        yield _told("mpm-workers-cut", group["maxrequestworkers"], edit)


def _raised(configuration: Configuration, group: dict[str, Directive], name: str, number: int) -> Edit | None:
    """Return the change that gives a limit a number; where it is not written down, before the first line of its group."""
    if name.lower() in group:
        return change_word(configuration, group[name.lower()], 0, str(number), is_safe=False)
    first = min(group.values(), key=lambda each: (each.file, each.start))
    content = configuration.contents.get(first.file)
    if content is None:
        return None
    indent = re.match(rb"[ \t]*", content[first.start :])
    line = (indent[0] if indent else b"") + f"{name} {number}\n".encode()
    return Edit(first.file, ((first.start, first.start, line),), is_safe=False)
