"""The names that certificates carry: read from text, compared as clients compare them.

Does not know certificates, and does not encode Unicode: A-labels come in (RFC 5890 section 2.3.2.1).
"""

import ipaddress
import re
from collections.abc import Iterable

from .errors import NameFault

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Name = str | Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Subtree = str | Network

LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
LONGEST = 253  # RFC 1035 section 2.3.4, without the root's dot and length byte


def parse(text: str) -> Name:
    """Return a name in the one form in which it is compared: lower-case, or an IP address.

    A wildcard may stand for the whole leftmost label, with two labels or more after it: clients match no
    other.

    Raises:
        NameFault: for what is no host name, no such wildcard and no IP address.
    """
    try:
        return ipaddress.ip_address(text if "%" not in text else "")
    except ValueError:
        pass
    name = text.lower()
    labels = name.removeprefix("*.").split(".")
    if len(name) > LONGEST or not all(LABEL.fullmatch(label) for label in labels) or labels[-1].isdigit():
        raise NameFault(
            f"{text!r}: no certificate can carry this; use a name such as chat.example.org or 192.0.2.1"
        )
    if name.startswith("*.") and len(labels) < 2:  # noqa: PLR2004 -- `*.` and two labels
        raise NameFault(
            f"{text!r}: no client accepts such a wildcard; use one with more labels, as in *.example.org"
        )
    return name


def covers(pattern: Name, name: Name) -> bool:
    """Tell whether a certificate that carries the pattern is good for the name (RFC 9525 section 6.3)."""
    if pattern == name:
        return True
    if not isinstance(pattern, str) or not isinstance(name, str) or not pattern.startswith("*."):
        return False
    return name.partition(".")[2] == pattern.removeprefix("*.")


def subtree(name: Name) -> Subtree:
    """Return the narrowest constraint under which the name can be issued (RFC 5280 section 4.2.1.10)."""
    return name.removeprefix("*.") if isinstance(name, str) else ipaddress.ip_network(name)


def within(inner: Subtree, outer: Subtree) -> bool:
    """Tell whether one constraint permits nothing that the other does not."""
    if isinstance(inner, str) and isinstance(outer, str):
        return inner == outer or inner.endswith("." + outer)
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer)
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer)
    return False


def narrowest(subtrees: Iterable[Subtree]) -> list[Subtree]:
    """Return the constraints without those that another one contains, each once, in the order given."""
    unique = list(dict.fromkeys(subtrees))
    return [one for one in unique if not any(one != other and within(one, other) for other in unique)]
