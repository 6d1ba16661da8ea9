"""Which paths there are, from the settings.

Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .settings import Socket


@dataclass(frozen=True)
class Route:
    """What a path serves, and as part of which socket."""

    is_echo: bool
    socket: Socket


def chat_path(path: str) -> str:
    """Name the chat's path under a socket's path."""
    return f"{path}chat" if path.endswith("/") else path


def routes_of(sockets: Sequence[Socket]) -> dict[str, Route]:
    """Lay out the paths of all sockets; the upgrade at ``/`` is the chat too."""
    routes: dict[str, Route] = {}
    for entry in sockets:
        path = quote(entry.path, safe="/%:@!$&'()*+,;=~")
        folders = {path, f"{path.rstrip('/')}/"}
        for chat in (path, *(f"{folder}chat" for folder in folders)):
            routes[chat] = Route(is_echo=False, socket=entry)
        for folder in folders:
            routes[f"{folder}echo"] = Route(is_echo=True, socket=entry)
    routes.setdefault("/", Route(is_echo=False, socket=sockets[0]))
    return routes
