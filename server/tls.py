"""TLS towards fronts on other machines: one certificate, taken anew when its files change.

Knows nothing of how the certificate is issued, nor of what is served.
"""

import asyncio
import ipaddress
import logging
import socket
import ssl
from pathlib import Path
from typing import Any

from .settings import SettingsError

log = logging.getLogger("server")

PERIOD = 5.0
PATIENCE = 5.0


class Certificate:
    """A certificate and its key in files, and the context that serves them.

    Raises:
        SettingsError: where they cannot be served.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self.files = (certificate, key)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            self._seen = self._look()
            self._load(self.context)
        except OSError as fault:
            raise SettingsError([self._words(fault)]) from None

    async def keep_fresh(self) -> None:
        """Look for changed files from now on; open connections stay as they are."""
        while True:
            await asyncio.sleep(PERIOD)
            self.refresh()

    def refresh(self) -> None:
        """Serve what is in the files now to whoever connects next; keep what there was where that cannot be served."""
        try:
            found = self._look()
            if found == self._seen:
                return
            self._seen = found
            # A pair that does not match would spoil the context in use.
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
            self._load(self.context)
        except OSError as fault:
            log.warning("%s; the certificate from before is served on", self._words(fault))
        else:
            log.info("%s has changed and is served from now on", self.files[0])

    def _look(self) -> list[tuple[int, int]]:
        return [(found.st_mtime_ns, found.st_ino) for found in (path.stat() for path in self.files)]

    def _load(self, context: ssl.SSLContext) -> None:
        # With a password at hand OpenSSL asks for none on the terminal.
        context.load_cert_chain(*self.files, password="")

    def _words(self, fault: OSError) -> str:
        if isinstance(fault, ssl.SSLError):
            why = "is no PEM certificate with its own unencrypted key"
            return f"WSFRONT_TLS_CERTIFICATE: {self.files[0]}: {why} in {self.files[1]}; name two files that belong together"
        where = fault.filename or " or ".join(map(str, self.files))
        return f"WSFRONT_TLS_CERTIFICATE: {where}: {fault.strerror}; name PEM files that this user can read"


def options(certificate: Certificate) -> dict[str, Any]:
    """Return what the event loop is told of TLS: a front that says nothing is let go soon."""
    return {
        "ssl": certificate.context,
        "ssl_handshake_timeout": PATIENCE,
        "ssl_shutdown_timeout": PATIENCE,
    }


def is_meant_for(sock: socket.socket) -> bool:
    """Tell whether a listening socket takes TLS: on this machine alone nobody listens in."""
    if sock.family == socket.AF_UNIX:
        return False
    address = ipaddress.ip_address(sock.getsockname()[0].partition("%")[0])
    return not (getattr(address, "ipv4_mapped", None) or address).is_loopback
