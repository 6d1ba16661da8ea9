"""Which origins may open a WebSocket.

Pure: text in, a verdict out. Knows nothing of connections, of HTTP, or of who the client is.
"""

import re
from typing import Literal, NamedTuple

DEFAULT_PORTS = {"http": 80, "https": 443}

# A serialized origin has a scheme, a host and at most a port: https://www.rfc-editor.org/rfc/rfc6454#section-6.2
HOST_PORT = r"(?P<host>[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::(?P<port>[1-9][0-9]{0,4}))?"
ORIGIN = re.compile(rf"(?P<scheme>https?)://{HOST_PORT}")
HOST = re.compile(HOST_PORT)


class Origin(NamedTuple):
    """An origin in lower case, its port always given."""

    scheme: str
    host: str
    port: int


Policy = Literal["same", "any"] | frozenset[Origin]


def parse_origin(text: str) -> Origin | None:
    """Read a serialized origin; None where it is not exactly scheme, host and maybe port."""
    found = ORIGIN.fullmatch(text.lower()) if text.isascii() else None
    if found is None:
        return None
    return Origin(found["scheme"], found["host"], int(found["port"] or DEFAULT_PORTS[found["scheme"]]))


def passes(policy: Policy, *, tls: bool, hosts: list[str], origins: list[str]) -> bool:
    """Tell whether an upgrade with these Host and Origin header values may go on.

    On a plain request an https origin passes too, since a balancer in front may have ended TLS.
    """
    if policy == "any":
        return True
    if not any(origins):
        return policy == "same"
    if len(origins) > 1 or (origin := parse_origin(origins[0])) is None:
        return False
    if policy != "same":
        return origin in policy
    if len(hosts) != 1 or (tls and origin.scheme != "https"):
        return False
    host = HOST.fullmatch(hosts[0].lower()) if hosts[0].isascii() else None
    return (
        host is not None
        and host["host"] == origin.host
        and int(host["port"] or DEFAULT_PORTS[origin.scheme]) == origin.port
    )
