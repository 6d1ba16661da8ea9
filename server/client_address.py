"""Who the client is, whether it came by TLS and which host it asked for, when a proxy stands in between.

Only a peer on this machine (loopback or a unix socket), or one of the fronts named in the settings, is believed.
Knows nothing of sockets or of requests.
"""

import ipaddress
import re
from collections.abc import Sequence
from typing import NamedTuple

from .settings import Network

REQUEST = re.compile(r"[A-Za-z0-9._:=@-]{1,64}")


class Client(NamedTuple):
    """The client's address as text (``unix`` where there is none), whether it came by TLS, and the host it asked for.

    The host is empty where no proxy says: then it is the Host header's. ``request`` is the id that the proxy's log has, or empty.
    """

    address: str
    tls: bool
    host: str = ""
    request: str = ""


def client_of(
    peer: str | None,
    forwarded_for: list[str],
    forwarded_proto: list[str],
    forwarded_host: list[str],
    *,
    fronts: Sequence[Network] = (),
    request: Sequence[str] = (),
) -> Client:
    """Name the client behind a peer (its address; None: a unix socket) from the forwarding headers, and a front's id for its request.

    The rightmost entry is what our own proxy saw; all to the left of it is the client's word.
    """
    address = _address(peer) if peer else None
    if peer and not (address and (address.is_loopback or any(address in network for network in fronts))):
        return Client(str(address or peer), tls=False)
    entry = _rightmost(forwarded_for)
    forwarded = _address(entry) or _address(_without_port(entry))
    return Client(
        str(forwarded or address or "unix"),
        tls=_rightmost(forwarded_proto).lower() == "https",
        host=_rightmost(forwarded_host),
        request=request[-1] if request and REQUEST.fullmatch(request[-1]) else "",
    )


def neighbourhood_of(client: Client) -> str:
    """Name what counts as one address: an IPv6 network of 64 bits, which one line has to itself (RFC 6177); empty where there is none."""
    address = _address(client.address)
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((address.packed[:8] + bytes(8), 64)))
    return str(address or "")


def _rightmost(values: list[str]) -> str:
    return values[-1].rpartition(",")[2].strip() if values else ""


def _without_port(entry: str) -> str:
    return entry.rpartition(":")[0].removeprefix("[").removesuffix("]")


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
