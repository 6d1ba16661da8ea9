"""What `up` says of the sockets that it has just put up: one line when all is well.

Knows of nothing that is not on this machine: names are taken to be here, whatever DNS says.
"""

import asyncio
import sys
import time
from urllib.parse import urlsplit

from apache.parts import WebSocket
from apache.site import Site
from doctor.examination import Examination
from doctor.remote import examine

from .stack import Stack, address_of

_MOST = 4  # sockets: the rest are of the same make


def check_up(stack: Stack) -> None:
    """Examine the first sockets of a stack that runs, and write to standard error what was found."""
    sockets = [(site, websocket) for site in stack.sites for websocket in site.websockets][:_MOST]
    begun = time.monotonic()
    examinations = asyncio.run(_examined(stack, sockets))
    found = [finding for each in examinations for finding in each.findings]
    for finding in found:
        sys.stderr.write(
            f"doctor: {finding.file}: {finding.entry.severity}: {finding.entry.title} ({finding.seen}): "
            f"./wsfront doctor --explain {finding.id}\n"
        )
    if not found:
        paths = ", ".join(urlsplit(each.subject).path for each in examinations)
        sys.stderr.write(f"doctor: {paths} healthy, {time.monotonic() - begun:.1f} s\n")


async def _examined(stack: Stack, sockets: list[tuple[Site, WebSocket]]) -> list[Examination]:
    return await asyncio.gather(*(_one(stack, site, websocket) for site, websocket in sockets))


async def _one(stack: Stack, site: Site, websocket: WebSocket) -> Examination:
    page = address_of(site, stack.target, site.server_name).rstrip("/")
    origins = websocket.origins
    return await examine(
        page.replace("http", "ws", 1) + websocket.path,
        ca_file=None if site.tls.mode in {"files", "none"} else str(stack.store.ca),
        address="127.0.0.1",
        origin="" if isinstance(origins, str) else origins[0],
        any_origin=origins == "any",
    )
