"""The verb `check`: try descriptions on a real Apache, on free ports of its own, and leave nothing behind."""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from apache.errors import ApacheError
from apache.hop import is_secured
from apache.httpd import free_ports
from apache.site import Site
from certs.errors import CertsFault

from .descriptions import add_site_option, read_sites
from .errors import RunFault
from .stack import Stack, accepts, handshake

SUMMARY = "try the descriptions on a real Apache: its own judgement, then a real handshake"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    add_site_option(parser)


def run(args: argparse.Namespace) -> int:
    """Check and say what was seen; return 1 when something did not work."""
    # As Ctrl-C: what has been started is stopped.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    sites = read_sites(args.site)
    say = sys.stdout.write
    for site in sites:
        connections = sum(websocket.connections for websocket in site.websockets)
        say(
            f"description  {site.server_name}: {len(site.websockets)} path(s), {connections} connections, TLS {site.tls.mode}\n"
        )
    try:
        with tempfile.TemporaryDirectory(prefix="wsfront-check-") as folder:
            # Apache's children are another user: they pass through here.
            Path(folder).chmod(0o755)
            return _try(sites, Path(folder))
    except (ApacheError, CertsFault) as error:
        raise RunFault(str(error)) from None
    except OSError as error:
        raise RunFault(
            f"{error.filename or tempfile.gettempdir()}: {error.strerror}: make room there, or set TMPDIR"
        ) from None


def _try(sites: list[Site], folder: Path) -> int:
    say = sys.stdout.write
    ours = list(dict.fromkeys(str(address) for site in sites for address in site.own_backend))
    https_port, http_port, *backend_ports = free_ports(2 + len(ours))
    stand_in = {old: f"127.0.0.1:{port}" for old, port in zip(ours, backend_ports, strict=True)}
    stack = Stack(
        [site.relocated(stand_in) for site in sites], folder, https_port=https_port, http_port=http_port
    )
    bad = 0
    with stack:
        say(
            f"apache -t    Apache {stack.target.apache} with OpenSSL {stack.target.openssl} accepts the files\n"
        )
        for site in stack.sites:
            for websocket in site.websockets:
                mine = set(websocket.backends) & set(site.own_backend)
                if not mine and any(is_secured(site, address) for address in websocket.backends):
                    say(
                        f"handshake    {site.server_name}{websocket.path}: not tried: the authority that the backend "
                        "is certified by is the real front's\n"
                    )
                    continue
                absent = (
                    [] if mine else [str(address) for address in websocket.backends if not accepts(address)]
                )
                words = (
                    f"nobody listens at {', '.join(absent)}" if absent else handshake(stack, site, websocket)
                )
                bad += bool(words)
                say(
                    f"handshake    {site.server_name}{websocket.path}: {words or '101 Switching Protocols'}\n"
                )
    say("good\n" if not bad else f"{bad} of the handshakes failed\n")
    return 1 if bad else 0
