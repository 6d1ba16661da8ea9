"""Front and backend on two machines: nobody but the front reaches the backend, and nobody reads along."""

import json
import socket
from pathlib import Path

from tests.hosts.conftest import Boot
from tests.hosts.lab import Lab
from tests.hosts.plays import OURS
from tests.hosts.servers import NAME, describe
from tests.waiting import SECOND

BACK = "back.test"
INVENTORY = f"[front]\n{NAME}\n\n[backend]\n{BACK}\n"

# Runs on the front: shakes hands with the backend as Apache does, and says by which protocol.
ASK = """
import socket, ssl, sys
context = ssl.create_default_context(cafile="/etc/wsfront/certs/ca/ca.pem")
with socket.create_connection((sys.argv[1], 8888), 5) as line, context.wrap_socket(line, server_hostname=sys.argv[1]) as tls:
    print(tls.version())
"""


def description(back: str, *fronts: str, tls: bool = True) -> str:
    """Describe the name, with its backend elsewhere."""
    hop = json.dumps({"fronts": fronts, "tls": tls})
    return f"server_name: {NAME}\nhop: {hop}\nwebsockets: [{{path: /ws/, backend: '{back}:8888'}}]\npages: {{proxy: '{back}:8888'}}\n"


def is_closed(address: str) -> bool:
    """Tell whether a stranger finds the backend's port closed: this is the bridge, which is no front."""
    try:
        socket.create_connection((address, 8888), 2 * SECOND).close()
    except OSError:
        return True
    return False


async def test_front_and_backend_apart(lab: Lab, boot: Boot, tmp_path: Path) -> None:
    """One command sets up both; the hop is by TLS, over either family, and closed to others, after a reboot too."""
    front, back = boot("trixie", NAME), boot("bookworm", BACK)
    server = describe(lab, front, OURS, description(back.ipv4, front.ipv4))
    inventory = tmp_path / "hosts"
    inventory.write_text(INVENTORY)

    def play() -> list[str]:
        return server.play(also=[back], inventory=inventory).tasks_changed

    assert play() != []
    assert server.visitor.page()[0] == 200
    await server.visitor.chat("apart")
    assert front.run("python3", "-c", ASK, back.ipv4).startswith("TLSv1.3")
    assert is_closed(back.ipv4)
    assert "wsfront-backend" not in front.run("systemctl", "list-unit-files")
    assert "apache2" not in back.run("systemctl", "list-unit-files")
    assert play() == []

    back.reboot()
    assert is_closed(back.ipv4)
    await server.visitor.until_served()

    server.description.write_text(description(f"[{back.ipv6}]", front.ipv6))
    assert play() != []
    await server.visitor.chat("by-ipv6")
    assert front.run("python3", "-c", ASK, back.ipv6).startswith("TLSv1.3")
    assert is_closed(back.ipv6)
    assert is_closed(back.ipv4)

    server.description.write_text(description(back.ipv4, front.ipv4, tls=False))
    play()
    await server.visitor.chat("plain")
    assert is_closed(back.ipv4)
