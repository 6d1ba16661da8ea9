"""Which paths there are, from the settings.

Knows nothing of requests.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from .settings import Socket


@dataclass(frozen=True)
class Route:
    """What a path serves, as part of which socket, and which part of the path is the socket's own (no slash at its end)."""

    is_echo: bool
    socket: Socket
    folder: str = ""


def chat_path(path: str) -> str:
    """Name the chat's path under a socket's path."""
    return f"{path}chat" if path.endswith("/") else path


def program_route(sockets: Sequence[Socket], path: str) -> Route | None:
    """Find the socket that a path is at or below, for a program; ``/`` is the first socket's too."""
    for entry in sorted(sockets, key=lambda entry: len(entry.path), reverse=True):
        folder = _quoted(entry.path).rstrip("/")
        if path == folder or path.startswith(f"{folder}/"):
            return Route(is_echo=False, socket=entry, folder=folder)
    return Route(is_echo=False, socket=sockets[0]) if path == "/" else None


def _quoted(path: str) -> str:
    return quote(path, safe="/%:@!$&'()*+,;=~")


def routes_of(sockets: Sequence[Socket]) -> dict[str, Route]:
    """Lay out the paths of all sockets; the upgrade at ``/`` is the chat too."""
    routes: dict[str, Route] = {}
    for entry in sockets:
        path = _quoted(entry.path)
        folders = {path, f"{path.rstrip('/')}/"}
        for chat in (path, *(f"{folder}chat" for folder in folders)):
            routes[chat] = Route(is_echo=False, socket=entry, folder=path.rstrip("/"))
        for folder in folders:
            routes[f"{folder}echo"] = Route(is_echo=True, socket=entry, folder=path.rstrip("/"))
    routes.setdefault("/", Route(is_echo=False, socket=sockets[0]))
    return routes
