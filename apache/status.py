"""Where our backend asks Apache for the generation that it is in: mod_status, on loopback alone.

Knows nothing of what the backend makes of it (server/generations.py).
"""

from collections.abc import Sequence

from . import modules
from .hop import listens
from .site import Site
from .target import Target
from .values import Address


def status_address(sites: Sequence[Site], target: Target) -> str | None:
    """Return where our backend asks for Apache's generation; None where Apache does not say it, is not ours, or on another machine."""
    if not modules.has_status(target):
        return None
    if target.layout == "private":
        host = target.listen[0]
    elif target.layout == "debian" and not all(address.is_remote for address in listens(sites, target)):
        host = "127.0.0.1"
    else:
        return None
    return Address(host, target.http_port).authority
