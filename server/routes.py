"""Which paths there are, from the settings.

Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .origins import Policy
from .settings import Socket


@dataclass(frozen=True)
class Route:
    """What a path serves, and to which origins."""

    is_echo: bool
    origins: Policy


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
            routes[chat] = Route(is_echo=False, origins=entry.origins)
        for folder in folders:
            routes[f"{folder}echo"] = Route(is_echo=True, origins=entry.origins)
    routes.setdefault("/", Route(is_echo=False, origins=sockets[0].origins))
    return routes
