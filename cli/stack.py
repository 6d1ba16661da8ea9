"""A private Apache with our backend behind it: what `up` keeps running, `check` tries, and the tests talk to.

Knows how the three halves meet: certificates from certs, files and Apache from apache, the backend as a process of its own.
"""

import asyncio
import http.client
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from apache import httpd
from apache.hop import back_end, is_by_tls, listens
from apache.parts import WebSocket
from apache.render import render
from apache.site import Site
from apache.target import Target
from apache.values import Address
from certs.check import faults
from certs.store import Store
from server.environment import parse_address
from server.listen import release

from .descriptions import ROOT
from .errors import RunFault, UsageFault

_READY_SECONDS = 20.0
_STOP_SECONDS = 10.0
_HANDSHAKE_SECONDS = 5.0


class Backend:
    """Run our backend as a process, with the environment file that the renderer made."""

    def __init__(self, environment: Path, addresses: Sequence[Address], user: str) -> None:
        self.environment = environment
        self.addresses = addresses
        self.user = user
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and return once it listens.

        Raises:
            RunFault: it ends instead; what it said is on standard error.
        """
        command = [
            sys.executable,
            "-m",
            "server",
            "--env-file",
            str(self.environment),
            "--log-level",
            "warning",
            "--exit-with-parent",
        ]
        if self.user:
            command += ["--user", self.user]
        with httpd.stop_signals_held():
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
                preexec_fn=httpd.die_with_parent,  # noqa: PLW1509 (a prctl before exec; no other thread holds a lock we need)
            )
        deadline = time.monotonic() + _READY_SECONDS
        while not accepts(self.addresses[0]):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RunFault(f"the backend did not start on {self.addresses[0]}: see its own line above")
            time.sleep(0.01)

    @property
    def runs(self) -> bool:
        """Tell whether it is up."""
        return self.process is not None and self.process.poll() is None

    def stop(self) -> None:
        """Let it drain its sockets and end, within a bounded time."""
        process, self.process = self.process, None
        if process is not None:
            httpd.end(process, _STOP_SECONDS)
            # Bound as root, the file of a unix socket is not for the backend's own user to remove.
            for address in self.addresses:
                release(parse_address(str(address)))


class Stack:
    """Put a private Apache, and our backend unless told otherwise, in a folder of its own.

    Args:
        sites: the descriptions; where the first one's backend is, ours listens.
        directory: everything that is written goes here.
        https_port: port for TLS on loopback.
        http_port: port for plain HTTP on loopback.
        backend: start ours; else somebody else's is expected there.
    """

    def __init__(
        self, sites: Sequence[Site], directory: Path, *, https_port: int, http_port: int, backend: bool = True
    ) -> None:
        self.sites = sites
        self.directory = directory
        self.target: Target = httpd.probe(
            "private", directory=directory, https_port=https_port, http_port=http_port
        )
        self.httpd = httpd.Httpd(directory)
        self.store = Store(directory / "certs")
        self.new_ca = False
        self.backend = (
            Backend(directory / "backend.env", listens(sites, self.target), self.target.user)
            if backend
            else None
        )

    @property
    def url(self) -> str:
        """Return the address of the first site's page, by the name localhost."""
        return address_of(self.sites[0], self.target, "localhost")

    def prepare(self) -> None:
        """Issue certificates, write the files and let Apache read them.

        Raises:
            UsageFault: a certificate given is not fit for its names.
            ApacheError: the descriptions do not fit the machine, or Apache refuses the files.
            StoreFault: the store of certificates is broken or cannot be written.
        """
        _require_good_files(self.sites)
        ours = {site.server_name: site.names for site in self.sites if site.tls.mode in {"local-ca", "acme"}}
        hop = back_end(self.sites, self.target)
        if hop and hop.tls:
            ours[hop.site] = hop.names
        if any(is_by_tls(site) for site in self.sites):
            self.store.ensure_authority()
        if ours:
            self.new_ca = any(issued.new_ca for issued in self.store.ensure_all(ours).values())
        self.httpd.write(render(self.sites, self.target))
        for site in self.sites:
            (self.directory / "sites.d" / site.server_name).mkdir(parents=True, exist_ok=True)
        self.httpd.test()

    def start(self) -> None:
        """Start the backend, then Apache.

        Raises:
            RunFault: the backend ends at its start.
            HttpdError: Apache does.
        """
        if self.backend:
            self.backend.start()
        self.httpd.start()

    def stop(self) -> None:
        """Stop the backend first, so that its sockets are closed with a reason, then Apache."""
        if self.backend:
            self.backend.stop()
        self.httpd.stop()

    def __enter__(self) -> Self:
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def client_context(self, site: Site) -> ssl.SSLContext | None:
        """Return what a client trusts: the local authority; any certificate where the user brought one, for it was judged before."""
        if site.tls.mode == "none":
            return None
        if site.tls.mode == "files":
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            return context
        return ssl.create_default_context(cafile=str(self.store.ca))


def address_of(site: Site, target: Target, name: str) -> str:
    """Return the address of a site's page under one of its names."""
    scheme, port, default = (
        ("http", target.http_port, 80) if site.tls.mode == "none" else ("https", target.https_port, 443)
    )
    return f"{scheme}://{name}{'' if port == default else f':{port}'}/"


def accepts(address: Address) -> bool:
    """Tell whether somebody accepts connections at an address."""
    with socket.socket(
        socket.AF_UNIX if address.socket else socket.AF_INET6 if ":" in address.host else socket.AF_INET
    ) as probe:
        probe.settimeout(1)
        try:
            probe.connect(address.socket or (address.host, address.port))
        except OSError:
            return False
    return True


def handshake(stack: Stack, site: Site, websocket: WebSocket) -> str | None:
    """Open a WebSocket through Apache as a browser would, and close it again.

    Returns:
        None once a real upgrade went through; else a few words on what came instead.
    """
    page = address_of(site, stack.target, site.server_name).rstrip("/")
    origin = (
        {"same": page, "any": None}[websocket.origins]
        if isinstance(websocket.origins, str)
        else websocket.origins[0]
    )
    port = stack.target.http_port if site.tls.mode == "none" else stack.target.https_port
    url = page.replace("http", "ws", 1) + websocket.path
    return asyncio.run(_handshake(url, port, origin, stack.client_context(site)))


async def _handshake(url: str, port: int, origin: str | None, context: ssl.SSLContext | None) -> str | None:
    # Not websockets.sync: its two threads would share one TLS connection, which OpenSSL is not made for: one handshake in a
    # hundred hung on a busy machine (https://github.com/python/cpython/issues/151508).
    from websockets.asyncio.client import connect  # noqa: PLC0415 (not every verb shakes hands)
    from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415
    from websockets.typing import Origin  # noqa: PLC0415

    try:
        async with connect(
            url,
            host="127.0.0.1",
            port=port,
            ssl=context,
            origin=Origin(origin) if origin else None,
            proxy=None,
            open_timeout=_HANDSHAKE_SECONDS,
            close_timeout=_HANDSHAKE_SECONDS,
        ):
            return None
    except InvalidStatus as error:
        status = error.response.status_code
        return f"Apache answered {status} {http.client.responses.get(status, '')}".rstrip()
    except (OSError, WebSocketException) as error:
        return f"{error or type(error).__name__}"


def _require_good_files(sites: Sequence[Site]) -> None:
    found = [
        fault
        for site in sites
        if site.tls.files
        for fault in faults(Path(site.tls.files.certificate), Path(site.tls.files.key), site.names)
    ]
    if found:
        raise UsageFault("\n".join(found))
