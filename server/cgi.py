"""A handshake in CGI's variables, for a program or a handler.

Source: RFC 3875, section 4.1. Pure: knows nothing of processes.
"""

import re
from urllib.parse import unquote

from websockets.datastructures import Headers

from .client_address import Client

# Whoever answers for these headers has done so already; Proxy would become HTTP_PROXY, which programs believe (https://httpoxy.org).
WITHHELD = frozenset(
    {
        "AUTHORIZATION",
        "CONNECTION",
        "CONTENT_LENGTH",
        "CONTENT_TYPE",
        "PROXY",
        "PROXY_AUTHORIZATION",
        "UPGRADE",
    }
)
# A name with an underscore could pass for another's.
HEADER = re.compile(r"[A-Za-z0-9-]+")
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


def variables(
    client: Client, headers: Headers, target: str, *, script: str, folder: str, name: str
) -> dict[str, str]:
    """Make the variables of a handshake.

    Args:
        client: as client_address knows it.
        headers: of the request.
        target: its path and query as they came.
        script: which part of the public path is the program's own.
        folder: the same of the path that arrives; neither ends with a slash.
        name: the connection's id.

    Raises:
        ValueError: where the path has a character that no variable can hold.
    """
    info = unquote(target.partition("?")[0][len(folder) :], errors="replace")
    if CONTROL.search(info):
        raise ValueError("This path has a control character.")
    found: dict[str, str] = {}
    for key in dict.fromkeys(key.lower() for key, _ in headers.raw_items()):
        variable = key.upper().replace("-", "_")
        if HEADER.fullmatch(key) and variable not in WITHHELD:
            between = "; " if variable == "COOKIE" else ", "
            found[f"HTTP_{variable}"] = between.join(headers.get_all(key))
    host = HOST.fullmatch(client.host or headers.get_all("Host")[0] if headers.get_all("Host") else "")
    return found | {
        "GATEWAY_INTERFACE": "CGI/1.1",
        "SERVER_SOFTWARE": "wsfront",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": host["name"] if host else "",
        "SERVER_PORT": (host and host["port"]) or ("443" if client.tls else "80"),
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": target,
        "SCRIPT_NAME": script,
        "PATH_INFO": info,
        "QUERY_STRING": target.partition("?")[2],
        "REMOTE_ADDR": "" if client.address == "unix" else client.address,
        "UNIQUE_ID": name,
        **({"HTTPS": "on"} if client.tls else {}),
    }
