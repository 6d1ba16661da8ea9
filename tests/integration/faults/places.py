"""A server of somebody's with one site, its fault written into it: a real Apache by TLS, and a backend of any kind.

Nothing of its configuration comes from our templates. `127.0.0.1:8888` in it stands for the backend's port, `8889` for a port where
nobody is, `localhost:8443` and `localhost:8080` for the ports of the site.
"""

import contextlib
import functools
import os
import shutil
import signal
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from apache import httpd
from apache.errors import HttpdError
from apache.target import Target
from certs.store import Store
from tests.htaccess import Front, held_ports
from tests.integration.faults.backends import PAGE, backend
from tests.raw import Answer
from tests.waiting import until

NAME = "localhost"
MODULES = (
    *(
        "mpm_event",
        "unixd",
        "log_config",
        "mime",
        "dir",
        "alias",
        "authn_core",
        "authz_core",
        "authz_host",
        "headers",
    ),
    *("setenvif", "ssl", "socache_shmcb", "rewrite", "proxy", "proxy_http"),
)
REDIRECT = "Redirect permanent / https://localhost:8443/"
CHECK = """\
<Location "/ws/">
    <RequireAny>
        Require expr "%{HTTP:Upgrade} == ''"
        <RequireAll>
            Require method GET
            Require expr "%{HTTP:Origin} in { '', 'https://%{HTTP_HOST}' }"
            Require expr "%{HTTP:Connection} =~ m#^(keep-alive\\s*,\\s*)?upgrade$#i"
        </RequireAll>
    </RequireAny>
</Location>
"""
PASSING = (
    'ProxyPass "/ws/" "http://127.0.0.1:8888/" upgrade=websocket connectiontimeout=5 timeout=120 retry=0\n'
)
HEADERS = """\
ProxyPreserveHost On
RequestHeader set X-Forwarded-Proto "expr=%{REQUEST_SCHEME}"
"""
VHOST = HEADERS + CHECK + PASSING
RULES = """\
RewriteEngine On
RewriteCond %{REQUEST_METHOD} =GET
RewriteCond %{HTTP:Upgrade} ^websocket$ [NC]
RewriteCond %{HTTP:Connection} ^(?:keep-alive\\s*,\\s*)?upgrade$ [NC]
RewriteRule ^ws/(.*)$ ws://127.0.0.1:8888/$1 [P]
"""
NARROW = "AllowOverride None\nAllowOverrideList RewriteEngine RewriteCond RewriteRule\nOptions SymLinksIfOwnerMatch"


@dataclass(frozen=True)
class Site:
    """Describe a server with one site; as it is, nothing is wrong with it.

    Attributes:
        vhost: directives of its vhost by TLS.
        server: directives for the whole server.
        htaccess: the .htaccess in its root folder; none where empty.
        grant: directives for that folder.
        root: directives for the folder `/`.
        plain: directives of its vhost without TLS.
        without: modules left out.
        beside: modules more.
        files: path below its root folder -> content.
        backend: the kind of backend at `127.0.0.1:8888`.
        mpm: directives for its workers.
        names: those in its certificate.
    """

    vhost: str = VHOST
    server: str = ""
    htaccess: str = ""
    grant: str = "AllowOverride None"
    root: str = "AllowOverride None\nRequire all denied"
    plain: str = REDIRECT
    without: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = (("index.html", PAGE),)
    backend: str = "echo"
    mpm: str = (
        "StartServers 1\nMinSpareThreads 25\nMaxSpareThreads 75\nThreadsPerChild 25\nMaxRequestWorkers 150"
    )
    names: tuple[str, ...] = ("localhost", "127.0.0.1")


@functools.cache
def _machine() -> Target:
    return httpd.probe("private")


class Place:
    """Hold a site's files, its ports, and its Apache while it runs.

    Attributes:
        httpd: its Apache.
        root: its folder of pages.
        config: its configuration, all of it in one file.
        htaccess: the .htaccess, there or not.
        front: asks it by hand.
        backend_port: where its backend is, if at all.
        store: its certificates.
        issued: the one that it shows.
        ca: what clients trust.
        path: where its socket is.
        refused: what Apache said instead of starting, the last time it was to start.
        started: how long its log was then, in bytes.
    """

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.httpd = httpd.Httpd(folder)
        self.root = folder / "html"
        self.config = self.httpd.config
        self.htaccess = self.root / ".htaccess"
        self.https_port, self.http_port, self.backend_port, self.nobody = ports
        self.front = Front(self.httpd, self.http_port, self.https_port)
        self.store = Store(folder / "certs")
        self.issued = self.store.ensure(NAME, [NAME])
        self.ca = str(self.store.ca)
        self.path = "/ws/echo"
        self.refused = ""
        self.started = 0

    @property
    def origin(self) -> str:
        """Return the site's own origin."""
        return f"https://{NAME}:{self.https_port}"

    @property
    def url(self) -> str:
        """Return where its socket is."""
        return f"wss://{NAME}:{self.https_port}{self.path}"

    def shake(
        self, *headers: str, path: str = "", origin: str = "", scheme: str = "https", **options: str
    ) -> Answer:
        """Send a handshake; as the site's own page does, unless said otherwise."""
        own = f"Origin: {origin or self.origin}"
        return self.front.shake(NAME, path or self.path, own, *headers, scheme=scheme, **options)

    def ask(self, path: str, *headers: str, scheme: str = "https", method: str = "GET") -> Answer:
        """Send a request."""
        return self.front.ask(NAME, path, *headers, scheme=scheme, method=method)

    def filled(self, text: str) -> str:
        """Return a text with the ports in it that there are."""
        ports = {
            "8888": self.backend_port,
            "8889": self.nobody,
            "8443": self.https_port,
            "8080": self.http_port,
        }
        for said, port in ports.items():
            text = text.replace(f":{said}", f":{port}")
        return text.replace("{root}", str(self.root))

    def server_context(self) -> ssl.SSLContext:
        """Return what a backend by TLS has."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.issued.certificate, self.issued.key)
        return context

    def write(self, site: Site) -> None:
        """Write the files of a site, in place of those that are there."""
        self.root.mkdir(exist_ok=True)
        self.issued = self.store.ensure(site.names[0], site.names)
        for name, content in site.files:
            file = self.root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        self.htaccess.unlink(missing_ok=True)
        if site.htaccess:
            self.htaccess.write_text(self.filled(site.htaccess), encoding="utf-8")
        self.httpd.write({"httpd.conf": self.filled(self._configuration(site))})

    def _configuration(self, site: Site) -> str:
        machine = _machine()
        mpm = [name for name in site.beside if name.startswith("mpm_")]
        names = [each for each in (*MODULES, *site.beside) if not each.startswith("mpm_")]
        loaded = [
            each
            for each in [*(mpm or ["mpm_event"]), *names]
            if each not in site.without and each not in machine.static_modules
        ]
        lines = [
            *(f"LoadModule {name}_module {machine.modules_directory}/mod_{name}.so" for name in loaded),
            *([f"User {machine.user}", f"Group {machine.group}"] if machine.user else []),
            *(f"Listen {address}:{self.http_port} http" for address in httpd.loopback_addresses()),
            *(f"Listen {address}:{self.https_port} https" for address in httpd.loopback_addresses()),
            "DefaultRuntimeDir run\nPidFile run/httpd.pid",
            f"ServerName {NAME}",
            "ErrorLog logs/error.log\nLogLevel warn",
            f'DocumentRoot "{self.httpd.directory}/empty"',
            "TypesConfig /dev/null\nAddType text/html .html\nDirectoryIndex index.html",
            f"SSLSessionCache shmcb:{self.httpd.directory}/run/tls(65536)",
            "SSLProtocol -all +TLSv1.2 +TLSv1.3",
            site.mpm,
            site.server.rstrip("\n"),
            f'<Directory "/">\n{site.root}\n</Directory>',
            f'<Directory "{self.root}">\nRequire all granted\n{site.grant}\n</Directory>',
            f'<VirtualHost *:{self.http_port}>\nServerName {NAME}\nDocumentRoot "{self.root}"\n{site.plain}\n</VirtualHost>',
            f'<VirtualHost *:{self.https_port}>\nServerName {NAME}\nDocumentRoot "{self.root}"\nSSLEngine on',
            f'SSLCertificateFile "{self.issued.certificate}"\nSSLCertificateKeyFile "{self.issued.key}"',
            f"{site.vhost}</VirtualHost>",
        ]
        return "\n".join(line for line in lines if line) + "\n"

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run its Apache as its files are now; where it does not start with them, `refused` has its words."""
        self.refused = ""
        self.started = len(self.httpd.log_text().encode())
        try:
            self.httpd.start()
        except HttpdError as error:
            self.refused = str(error)
        try:
            yield
        finally:
            self._stop()

    def _stop(self) -> None:
        """Stop it; a child that holds sockets takes its time, of which there is nothing to be learnt here."""
        if pid := self.httpd.pid:
            os.kill(pid, signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                until(lambda: self.httpd.pid is None, 0.5)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        self.httpd.stop()

    @contextmanager
    def behind(self, kind: str) -> Iterator[None]:
        """Run its backend."""
        own = kind.replace("own origin", f"origin {self.origin}")
        with backend(own, self.backend_port, self.server_context):
            yield


@contextmanager
def place(site: Site) -> Iterator[Place]:
    """Lay a site out in a folder of its own, on ports that nobody else is given; remove it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="wsfront-fault-"))
    folder.chmod(0o755)  # Apache's children are another user
    try:
        with _ports(4) as ports:
            found = Place(folder, ports)
            found.write(site)
            yield found
    finally:
        shutil.rmtree(folder)


@contextmanager
def _ports(count: int) -> Iterator[list[int]]:
    """Yield ports held on 127.0.0.1; on ::1 as well they are hardly ever taken, and Apache says so where one is."""
    with held_ports(count) as ports:
        yield ports
