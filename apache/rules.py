"""What the template of the rules to copy sees of a site: the `htaccess` layout.

The rules match on the whole path, so the same text works in any folder at or above it.
Knows nothing of vhosts; what those must grant is told in htaccess/README.md.
"""

from types import SimpleNamespace

from . import origins
from .errors import TargetError
from .hop import is_secured
from .parts import WebSocket
from .quoting import Quoted, argument, comment, pattern
from .site import Site
from .views import worker_url


def rules_view(site: Site) -> SimpleNamespace:
    """Return one site as the rules see it.

    Raises:
        TargetError: it asks for what an .htaccess cannot do.
    """
    # Longest first: the first rule that matches wins.
    sockets = sorted(site.websockets, key=lambda socket: len(socket.path), reverse=True)
    return SimpleNamespace(sockets=[_socket(site, socket, index) for index, socket in enumerate(sockets)])


def _socket(site: Site, socket: WebSocket, index: int) -> SimpleNamespace:
    if len(socket.backends) > 1:
        raise TargetError(
            f"{socket.path}: an .htaccess cannot balance backends: name one, or use the layout debian or include"
        )
    if is_secured(site, socket.backends[0]):
        raise TargetError(
            f"{socket.path}: an .htaccess cannot speak TLS to a backend (SSLProxyEngine is the vhost's): "
            "use the layout debian or include, or hop.tls: false with the firewall"
        )
    base = worker_url("ws", socket.backends[0], f"wsfront-{index}.{site.server_name}")
    # Between host and what a client sent stands a slash of ours: without it a path could name another host.
    if socket.path.endswith("/"):
        below, target = "(.*)", f"{socket.target_path}%1"
    elif socket.target_path == "/":
        below, target = "(?:/(.*))?", "/%1"
    else:
        below, target = "(/.*)?", f"{socket.target_path}%1"
    return SimpleNamespace(
        comment=comment(f"{socket.path} -> {socket.backend[0]}{socket.target_path}"),
        uri_pattern=Quoted(f"^{pattern(socket.path)}{below}$"),
        rewrite=argument(base + target),
        origins_refused=origins.refused(socket.origins),
    )
