"""Which origins pass, as patterns and lists that Apache can compare: one source for the vhost and for the rules to copy.

Defined in site.py; tested against tests/origins.yaml. Knows nothing of directives.
"""

from collections.abc import Sequence

from .quoting import Quoted, join, literal, pattern
from .values import DEFAULT_PORTS

_HOST = r"(\[[^ \]]+\]|[^ :]+)"

# Each matches "HOST ORIGIN", the two headers with a blank between, which can stand in neither: the same text, or the same
# host with the scheme's default port named or not on either side.
_SAME_HTTPS = (r"^([^ ]+) https://\1$", rf"^{_HOST}(?::443)? https://\1(?::443)?$")
_SAME_HTTP = (r"^([^ ]+) http://\1$", rf"^{_HOST}(?::80)? http://\1(?::80)?$")


def allowed(origins: Sequence[str]) -> list[Quoted]:
    """Return the spellings, in lower case, that a list of origins admits: each with its default port named or not."""
    return [literal(spelling) for origin in origins for spelling in _spellings(origin)]


def expression(origins: str | Sequence[str], *, tls: bool) -> Quoted | None:
    """Return the expression (https://httpd.apache.org/docs/2.4/expr.html) that a handshake has to pass; None where any does."""
    if origins == "any":
        return None
    if origins == "same":
        # On a plain request both schemes pass, since a balancer may have ended TLS before us.
        tests = [test for scheme in (["https"] if tls else ["https", "http"]) for test in _same(scheme)]
        return join(" || ", [Quoted("%{HTTP:Origin} == ''"), *tests])
    spellings = join(", ", [Quoted(f"'{spelling}'") for spelling in allowed(origins)])
    return Quoted(f"tolower(%{{HTTP:Origin}}) in {{ {spellings} }}")


def refused(origins: str | Sequence[str]) -> list[Quoted]:
    """Return the conditions of mod_rewrite that all hold for a handshake to be refused; none where any origin passes.

    The rules do not know whether TLS is on where they are copied to, so `%{HTTPS}` stands before the plain patterns.
    """
    if origins == "any":
        return []
    if origins == "same":
        return [
            Quoted("%{HTTP:Origin} ."),
            *(Quoted(f'"%{{HTTP_HOST}} %{{HTTP:Origin}}" "!{form}"') for form in _SAME_HTTPS),
            *(
                Quoted(f'"%{{HTTPS}} %{{HTTP_HOST}} %{{HTTP:Origin}}" "!^off {form[1:]}"')
                for form in _SAME_HTTP
            ),
        ]
    return [Quoted(f'%{{HTTP:Origin}} "!^{pattern(spelling)}$"') for spelling in allowed(origins)]


def _same(scheme: str) -> list[Quoted]:
    """Return the tests of which one must hold for an origin of this scheme: as the patterns above.

    A vhost compares without patterns: what PCRE works in stays with the thread, 20 KiB for the life of its tunnel (PCRE2 10.41
    and newer, pcre2_match.c: heapframes).
    """
    host, origin, port = "tolower(%{HTTP_HOST})", "tolower(%{HTTP:Origin})", f"':{DEFAULT_PORTS[scheme]}'"
    has_no_port = "(%{HTTP_HOST} -strmatch '*]' || !(%{HTTP_HOST} -strmatch '*:*'))"
    return [
        Quoted(f"{origin} == '{scheme}://' . {host}"),
        Quoted(f"{origin} . {port} == '{scheme}://' . {host}"),
        Quoted(f"({origin} == '{scheme}://' . {host} . {port} && {has_no_port})"),
    ]


def _spellings(origin: str) -> list[str]:
    scheme, _, authority = origin.partition("://")
    has_port = ":" in authority.rpartition("]")[2]
    return [origin] if has_port else [origin, f"{origin}:{DEFAULT_PORTS[scheme]}"]
