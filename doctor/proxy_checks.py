"""What can be wrong with ProxyPass, its workers and the modules behind them, seen in the files alone."""

import functools
import re
from collections.abc import Iterator, Sequence

from .configuration import Configuration
from .findings import Edit, Finding
from .modules import loading
from .proxying import Mapped, has_tunnels, mappings_of, seconds, worker_parameters
from .reading import Directive, Section, shown, word_spans
from .rewrite_checks import guards_upgrades
from .rewriting import rules_of

_SOCKET_PATH = re.compile(r"/(?:websockets?|socket\.io)(?:/|$)", re.IGNORECASE)
_SHORT = 10  # seconds; nothing in common use pings as often as every five


def proxy_findings(configuration: Configuration) -> Iterator[Finding]:
    """Yield what is wrong with what is proxied."""
    mapped = mappings_of(configuration)
    for number, each in enumerate(mapped):
        yield from _slash(configuration, each)
        if each.is_tunnel:
            yield from _order(configuration, each, mapped[:number])
        else:
            yield from _upgrade_missing(configuration, each)
    yield from _origin(configuration, mapped)
    yield from _any(configuration)
    yield from _idle(configuration, mapped)
    yield from _modules(configuration)
    yield from _over_http2(configuration)


def change_word(
    configuration: Configuration, directive: Directive, argument: int, new: str, *, is_safe: bool = True
) -> Edit | None:
    """Return the change that puts another word in an argument's place; None where the file was not read."""
    content = configuration.contents.get(directive.file)
    spans = word_spans(content, directive) if content is not None else []
    if len(spans) <= argument:
        return None
    start, end = spans[argument]
    return Edit(directive.file, ((start, end, new.encode()),), is_safe=is_safe)


def _order(configuration: Configuration, mapped: Mapped, before: Sequence[Mapped]) -> Iterator[Finding]:
    """Yield a tunnel that an earlier line takes the requests of; those in sections are ordered otherwise."""
    if mapped.in_location:
        return
    for earlier in before:
        if earlier.target == "!" or earlier.is_tunnel or earlier.directive.scope != mapped.directive.scope:
            continue
        if not (
            earlier.takes_all
            or (not earlier.is_pattern and not mapped.is_pattern and _covers(earlier.path, mapped.path))
        ):
            continue
        first, later = earlier.directive, mapped.directive
        edit = None
        content = configuration.contents.get(later.file)
        if content is not None and first.file == later.file and first.sections == later.sections:
            moved = content[later.start : later.end]
            if not moved.endswith(b"\n"):
                moved += b"\n"
            edit = Edit(later.file, ((first.start, first.start, moved), (later.start, later.end, b"")))
        yield Finding("proxypass-order", later.file, later.line, shown(later.text), edit)
        return


def _covers(short: str, long: str) -> bool:
    """Tell whether a path of ProxyPass takes another's requests: it is the same, or above it."""
    return long.startswith(short) and (short.endswith("/") or long[len(short) :][:1] in {"", "/"})


def _slash(configuration: Configuration, mapped: Mapped) -> Iterator[Finding]:
    if (
        mapped.is_pattern
        or not mapped.path.endswith("/")
        or mapped.target.endswith("/")
        or "$" in mapped.target
        or "%" in mapped.target
    ):
        return
    directive = mapped.directive
    # For pages a target with a path may be meant so: all that is wrong then is another path.
    pattern = r"[^?]*://[^?]*" if mapped.is_tunnel else r"https?://[^/?]+"
    if not re.fullmatch(pattern, mapped.target, re.IGNORECASE) or mapped.target.lower().startswith(
        "balancer:"
    ):
        return
    argument = 0 if mapped.in_location else 1
    edit = change_word(configuration, directive, argument, f'"{mapped.target}/"')
    yield Finding("proxypass-slash", directive.file, directive.line, shown(directive.text), edit)


def _upgrade_missing(configuration: Configuration, mapped: Mapped) -> Iterator[Finding]:
    """Yield a path that says itself what it is for, where nothing else tunnels in this vhost."""
    directive = mapped.directive
    if (
        mapped.is_pattern
        or not _SOCKET_PATH.search(mapped.path)
        or not re.match(r"(?:unix:[^|]*\|)?https?://", mapped.target, re.IGNORECASE)
    ):
        return
    vhost = directive.inside("virtualhost")
    if configuration.unchecked or any(
        rule.is_tunnel and rule.directive.inside("virtualhost") in {vhost, None}
        for rule in rules_of(configuration)
    ):
        return
    edit = None
    content = configuration.contents.get(directive.file)
    spans = word_spans(content, directive) if content is not None else []
    if spans:
        edit = Edit(directive.file, ((spans[-1][1], spans[-1][1], b" upgrade=websocket"),))
    yield Finding("proxypass-upgrade-missing", directive.file, directive.line, shown(directive.text), edit)


def _origin(configuration: Configuration, mapped: Sequence[Mapped]) -> Iterator[Finding]:
    if configuration.unchecked or guards_upgrades(configuration):
        return
    told = {rule.directive.inside("virtualhost") for rule in rules_of(configuration) if rule.is_tunnel}
    for each in mapped:
        vhost = each.directive.inside("virtualhost")
        if each.is_tunnel and vhost not in told:
            told.add(vhost)
            yield Finding(
                "origin-unchecked",
                each.directive.file,
                each.directive.line,
                shown(each.directive.text),
                left="the safe form depends on the vhost: `./wsfront render --layout include` writes it",
            )


def _any(configuration: Configuration) -> Iterator[Finding]:
    for directive in configuration.named("proxypass", "proxypassmatch", "proxyset", "balancermember"):
        for number, word in enumerate(directive.words):
            key, _, value = word.partition("=")
            if key.lower() == "upgrade" and {"any", "*"} & set(value.lower().split(",")):
                edit = change_word(configuration, directive, number, "upgrade=websocket", is_safe=False)
                yield Finding("upgrade-any", directive.file, directive.line, shown(directive.text), edit)


def _idle(configuration: Configuration, mapped: Sequence[Mapped]) -> Iterator[Finding]:
    """Yield tunnels that are cut within seconds, as far as both times that govern it are written down."""
    tunnels = [(each.directive, each.parameters) for each in mapped if each.is_tunnel]
    tunnels += [
        (rule.directive, worker_parameters(configuration, rule.target))
        for rule in rules_of(configuration)
        if rule.is_tunnel and not configuration.is_htaccess
    ]
    for directive, worker in tunnels:
        client = _governing(configuration, directive, "timeout")
        told = worker.get("timeout") or _governing(configuration, directive, "proxytimeout") or client
        limits = [seconds(text) for text in (client, told) if text]
        if not client or None in limits or max(limit for limit in limits if limit is not None) >= _SHORT:
            continue
        number = next(
            (at for at, word in enumerate(directive.words) if word.lower().startswith("timeout=")), None
        )
        edit = None
        if directive.name == "proxypass" and number is not None:
            edit = change_word(configuration, directive, number, "timeout=120")
        yield Finding(
            "idle-timeout-short",
            directive.file,
            directive.line,
            f"Timeout {client}, timeout={told}: {shown(directive.text, 48)}",
            edit,
        )


def _governing(configuration: Configuration, directive: Directive, name: str) -> str:
    """Return the value of a server's directive for the vhost that a line is in."""
    values = _of_vhosts(configuration, name)
    return values.get(directive.inside("virtualhost")) or values.get(None, "")


@functools.lru_cache(maxsize=8)
def _of_vhosts(configuration: Configuration, name: str) -> dict[Section | None, str]:
    return {each.inside("virtualhost"): each.word(0) for each in configuration.named(name)}


def _modules(configuration: Configuration) -> Iterator[Finding]:
    for directive in configuration.named("proxywebsocketfallbacktoproxyhttp"):
        if directive.word(0).lower() == "off":
            edit = change_word(configuration, directive, 0, "On")
            yield Finding("websocket-legacy", directive.file, directive.line, shown(directive.text), edit)
    if not configuration.is_whole:
        return
    modules = configuration.modules
    if "proxy_wstunnel" in modules and "proxy_http" not in modules:
        (first, *_) = [
            each
            for each in configuration.named("loadmodule")
            if each.word(0).lower() == "proxy_wstunnel_module"
        ]
        needed = loading(configuration, "proxy_http")
        yield Finding("websocket-legacy", first.file, first.line, shown(first.text), instead=needed)
    elif has_tunnels(configuration) and "proxy_http" not in modules:
        lines = [each.directive for each in mappings_of(configuration) if each.is_tunnel]
        lines += [rule.directive for rule in rules_of(configuration) if rule.is_tunnel]
        needed = loading(configuration, *sorted({"proxy", "proxy_http"} - modules))
        yield Finding("module-missing", lines[0].file, lines[0].line, shown(lines[0].text), instead=needed)
    for directive in configuration.named("loglevel"):
        yield from _log_level(configuration, directive)


def _log_level(configuration: Configuration, directive: Directive) -> Iterator[Finding]:
    """Yield a line that names modules which are not loaded, without those words."""
    content = configuration.contents.get(directive.file)
    gone = [number for number, word in enumerate(directive.words) if _is_unloaded(configuration, word)]
    if not gone:
        return
    edit = None
    if content is not None and len(gone) == len(directive.words):
        edit = Edit(directive.file, ((directive.start, directive.end, b""),))
    elif content is not None and (spans := word_spans(content, directive)):
        # Each with the blanks before it.
        indent = re.match(rb"[ \t]*", content[directive.start :])
        name = directive.start + (indent.end() if indent else 0) + len(directive.name)
        ends = [name, *(end for _, end in spans)]
        edit = Edit(directive.file, tuple((ends[number], spans[number][1], b"") for number in gone))
    yield Finding("loglevel-module-missing", directive.file, directive.line, shown(directive.text), edit)


def _is_unloaded(configuration: Configuration, word: str) -> bool:
    """Tell whether a word of LogLevel names a module that no distribution builds in, and none loads here."""
    name = word.partition(":")[0].lower().removeprefix("mod_").removesuffix(".c").removesuffix("_module")
    return (
        ":" in word
        and bool(re.match(r"proxy|rewrite$|ssl$|http2$|md$|remoteip$", name))
        and name not in configuration.modules
    )


def _over_http2(configuration: Configuration) -> Iterator[Finding]:
    for directive in configuration.named("h2websockets"):
        if directive.word(0).lower() == "on":
            edit = change_word(configuration, directive, 0, "off", is_safe=False)
            yield Finding("http2-websockets", directive.file, directive.line, shown(directive.text), edit)
