"""A real ACME authority in the machines' network: Debian's pebble, with a name server that says where names point.

Knows nothing of who asks for certificates.
"""

import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hosts.network import IPV4, Network
from tests.hosts.plays import ROOT
from tests.waiting import SECOND, until

HOST = "acme.test"
ADDRESS = str(IPV4 + 1)
DIRECTORY = f"https://{HOST}:14000/dir"
_PORTS = (14000, 15000, 8055)


@dataclass(frozen=True)
class Authority:
    """An ACME authority that runs.

    `ca` vouches for its directory, `root` for what it issues; both are in PEM.
    """

    ca: Path
    root: Path

    @staticmethod
    def point(address: str) -> None:
        """Have every name point to an IPv4 address, as the authority sees it."""
        line = http.client.HTTPConnection(ADDRESS, 8055)
        line.request("POST", "/set-default-ipv4", json.dumps({"ip": address}))
        assert line.getresponse().status == 200
        line.close()


@contextmanager
def authority(network: Network, folder: Path, *, points_to: str) -> Iterator[Authority]:
    """Run an authority.

    Args:
        network: where it runs; its address is that of the bridge.
        folder: for its files.
        points_to: the IPv4 address of every name, as the authority sees it.
    """
    folder.mkdir()
    issue = [sys.executable, "-m", "cli", "certs", "issue", "--json", "--dir", str(folder), HOST, ADDRESS]
    issued = json.loads(subprocess.run(issue, cwd=ROOT, check=True, capture_output=True).stdout)
    certificate, key, ca = (folder / name for name in ("directory.pem", "directory.key", "ca.pem"))
    for path, name in ((certificate, "certificate"), (key, "key"), (ca, "ca")):
        path.write_text(Path(issued[name]).read_text())
    settings = {
        "listenAddress": f"{ADDRESS}:14000",
        "managementListenAddress": f"{ADDRESS}:15000",
        "certificate": str(certificate),
        "privateKey": str(key),
        "httpPort": 80,
        "tlsPort": 443,
        "ocspResponderURL": "",
    }
    config = folder / "pebble.json"
    config.write_text(json.dumps({"pebble": settings}))
    names = [
        "pebble-challtestsrv",
        "-defaultIPv4",
        points_to,
        "-defaultIPv6",
        "",
        "-management",
        f"{ADDRESS}:8055",
    ]
    names += ["-dns01", f"{ADDRESS}:8053", "-http01", "", "-https01", "", "-tlsalpn01", ""]
    pebble = ["pebble", "-config", str(config), "-dnsserver", f"{ADDRESS}:8053"]
    with ExitStack() as ended, network.entered(), (folder / "log").open("w") as log:
        # Without the delays and the random refusals that are there to test clients.
        environment = os.environ | {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"}
        for command in (names, pebble):
            process = ended.enter_context(
                subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
            )
            ended.callback(process.kill)
        for port in _PORTS:
            until(lambda port=port: _listens(port), 10)  # type: ignore[misc] # bound now
        root = folder / "root.pem"
        context = ssl.create_default_context(cafile=ca)
        with urllib.request.urlopen(f"https://{ADDRESS}:15000/roots/0", context=context) as answer:
            root.write_bytes(answer.read())
        yield Authority(ca, root)


def _listens(port: int) -> bool:
    try:
        socket.create_connection((ADDRESS, port), SECOND).close()
    except OSError:
        return False
    return True
