#!/usr/bin/python
"""Open one WebSocket through the machine's own Apache, as a browser would, and close it.

Runs on the machine with Python's standard library alone. Does not judge the certificate: what issued it may not be trusted there.
"""

import base64
import hashlib
import os
import socket
import ssl
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: wsfront_handshake
short_description: Open one WebSocket through the machine's own Apache
description: Connects to loopback, asks for the name, and checks Sec-WebSocket-Accept (RFC 6455, 4.1).
options:
  name:
    description: Server name, for SNI and Host.
    type: str
    required: true
  port:
    description: Port of Apache.
    type: int
    required: true
  tls:
    description: Whether it speaks TLS.
    type: bool
    required: true
  path:
    description: Public path of the sockets.
    type: str
    required: true
  origin:
    description: Origin header to send.
    type: str
    required: true
  backend:
    description: Addresses behind it, for the message.
    type: list
    elements: str
    required: true
author: wsfront
"""

RETURN = """
status:
  description: The answer's status line.
  type: str
  returned: always
"""

EXAMPLES = """
- name: Shake hands
  wsfront_handshake:
    name: chat.example.org
    port: 443
    tls: true
    path: /ws/
    origin: https://chat.example.org
    backend: ["127.0.0.1:8888"]
"""

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
PATIENCE = 15  # seconds
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # a masked close frame, 1000
REMEDIES = {
    "403": "the origin is refused: see origins in the description, and own directives in /etc/wsfront/sites.d",
    "404": "another vhost or another rule answers for the path: see apache2ctl -S",
    "502": "the backend {} answers something else than a WebSocket: see its log",
    "503": "the backend {} cannot be reached, or is full: start it, or set the right address in the description",
    "504": "the backend {} is reached but does not answer: see its log",
}


def main() -> None:
    """Shake hands, or say what stands in the way."""
    module = AnsibleModule(
        argument_spec={
            "name": {"required": True},
            "port": {"type": "int", "required": True},
            "tls": {"type": "bool", "required": True},
            "path": {"required": True},
            "origin": {"required": True},
            "backend": {"type": "list", "elements": "str", "required": True},
        },
        supports_check_mode=True,
    )
    asked = module.params
    where = f"ws{'s' if asked['tls'] else ''}://{asked['name']}{asked['path']}"
    key = base64.b64encode(os.urandom(16)).decode()
    try:
        status, headers = shake(asked, key)
    except OSError as error:
        module.fail_json(
            msg=f"{where}: Apache does not answer on port {asked['port']}: {error}; see systemctl status apache2"
        )
    accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()  # noqa: S324 (RFC 6455, 4.2.2)
    code = [*status.split(), "", ""][1]
    if code != "101":
        remedy = REMEDIES.get(code, "see the error log of Apache").format(" or ".join(asked["backend"]))
        module.fail_json(
            msg=f"{where}: {status or 'an empty answer'}; {remedy}. Apache itself is up", status=status
        )
    if headers.get("sec-websocket-accept") != accept:
        module.fail_json(
            msg=f"{where}: the answer's Sec-WebSocket-Accept is wrong; is a WebSocket server behind it?",
            status=status,
        )
    module.exit_json(changed=False, status=status)


def shake(asked: dict[str, Any], key: str) -> tuple[str, dict[str, str]]:
    """Send the handshake; return the status line and the headers, names in lower case."""
    request = (
        f"GET {asked['path']} HTTP/1.1\r\nHost: {asked['name']}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Origin: {asked['origin']}\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("localhost", asked["port"]), timeout=PATIENCE) as plain:
        wire = context.wrap_socket(plain, server_hostname=asked["name"]) if asked["tls"] else plain
        with wire:
            wire.sendall(request.encode())
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = wire.recv(4096)
                if not part:
                    break
                answer += part
            wire.sendall(CLOSE)
    status, *lines = answer.partition(b"\r\n\r\n")[0].decode("latin-1").split("\r\n")
    return status, {
        name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


if __name__ == "__main__":
    main()
