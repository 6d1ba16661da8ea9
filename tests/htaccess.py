"""Run a real Apache whose sites have rules in .htaccess files, under whatever their folders are granted.

The server's own configuration is written here, as somebody else's would be: nothing of it comes from our templates.
"""

import shutil
import socket
import ssl
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from apache import httpd
from apache.error_log import Line as LogLine
from apache.error_log import faults
from certs.store import Store
from tests.raw import Answer, Line
from tests.waiting import SECOND

NARROW = "AllowOverrideList RewriteEngine RewriteCond RewriteRule\nOptions SymLinksIfOwnerMatch"
"""What the README asks for, and no more; `AllowOverride None` stands before it everywhere."""

MODULES = (
    *("unixd", "log_config", "mime", "dir", "negotiation", "alias", "authn_core", "authz_core", "headers"),
    *("ssl", "socache_shmcb", "rewrite", "proxy", "proxy_http"),
)
_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # one for all: most of a handshake's time is its making
_CONTEXT.check_hostname = False
_CONTEXT.verify_mode = ssl.CERT_NONE


@dataclass(frozen=True)
class Vhost:
    """Describe one name.

    Attributes:
        files: path below its DocumentRoot -> content.
        grant: directives for that folder.
        own: directives for the vhost.
    """

    files: Mapping[str, bytes | str]
    grant: str = NARROW
    own: str = ""


@dataclass
class Front:
    """Hold an Apache while it runs, its ports, and how far its log was read."""

    httpd: httpd.Httpd
    http_port: int
    https_port: int
    _read: int = field(default=0)

    def port(self, scheme: str) -> int:
        """Return the port for `http` or `https`."""
        return self.https_port if scheme == "https" else self.http_port

    @contextmanager
    def line(self, name: str, scheme: str = "http", source: str = "127.0.0.1") -> Iterator[Line]:
        """Open a connection to a name, and close it."""
        port = self.port(scheme)
        with socket.create_connection(("127.0.0.1", port), 10 * SECOND, (source, 0)) as connection:
            if scheme == "http":
                yield Line(connection, f"{name}:{port}")
                return
            with _CONTEXT.wrap_socket(connection, server_hostname=name) as encrypted:
                yield Line(encrypted, f"{name}:{port}")

    def shake(self, name: str, path: str, *headers: str, scheme: str = "http", **options: str) -> Answer:
        """Send one handshake on a connection of its own; the options are those of `Line.shake`."""
        with self.line(name, scheme) as opened:
            return opened.shake(path, *headers, **options)

    def ask(self, name: str, path: str, *headers: str, scheme: str = "http", method: str = "GET") -> Answer:
        """Send one request on a connection of its own."""
        with self.line(name, scheme) as opened:
            return opened.ask(path, *headers, method=method)

    def complaints(self) -> list[LogLine]:
        """Return what Apache logged at warn or above since this was last asked."""
        lines = self.httpd.log_lines(self._read)
        self._read = len(self.httpd.log_text().encode())
        return faults(lines)

    def marks(self) -> set[str]:
        """Return those lines' AH numbers; the words of a line without one."""
        return {line.number or line.text for line in self.complaints()}


def echoes(line: Line) -> bool:
    """Tell whether a frame comes back on a connection that was upgraded (RFC 6455, 5.2)."""
    line.connection.sendall(b"\x81\x82\0\0\0\0hi")
    received = b""
    while len(received) < 4 and (chunk := line.connection.recv(4 - len(received))):
        received += chunk
    return received == b"\x81\x02hi"


@contextmanager
def held_ports(count: int) -> Iterator[list[int]]:
    """Yield ports that nobody listens at and nobody else is given: bound with SO_REUSEADDR, so that a server of ours may take them."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", 0))
        yield [each.getsockname()[1] for each in sockets]


@contextmanager
def front(vhosts: Mapping[str, Vhost], *, own: str = "", modules: Sequence[str] = MODULES) -> Iterator[Front]:
    """Run an Apache with these names, each for HTTP and HTTPS; stop it and remove its folder.

    Args:
        vhosts: name -> what is there; the first is the default one.
        own: directives for the whole server.
        modules: those loaded, beside an MPM.
    """
    folder = Path(tempfile.mkdtemp(prefix="wsfront-rules-"))
    folder.chmod(0o755)  # Apache's children are another user
    try:
        for name, vhost in vhosts.items():
            for path, content in vhost.files.items():
                file = folder / "sites" / name / path
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content.encode() if isinstance(content, str) else content)
        with held_ports(2) as (http_port, https_port):
            server = httpd.Httpd(folder)
            server.write(
                {"httpd.conf": _configuration(folder, vhosts, own, modules, (http_port, https_port))}
            )
            with server:
                yield Front(server, http_port, https_port)
    finally:
        shutil.rmtree(folder)


def _configuration(
    folder: Path,
    vhosts: Mapping[str, Vhost],
    own: str,
    modules: Sequence[str],
    ports: tuple[int, int],
) -> str:
    http_port, https_port = ports
    machine = httpd.probe("private")
    issued = Store(folder / "certs").ensure("localhost", ["localhost"])
    loaded = [name for name in (f"mpm_{machine.mpm}", *modules) if name not in machine.static_modules]
    lines = [
        *(f"LoadModule {name}_module {machine.modules_directory}/mod_{name}.so" for name in loaded),
        *([f"User {machine.user}", f"Group {machine.group}"] if machine.user else []),
        f"Listen 127.0.0.1:{http_port} http",
        f"Listen 127.0.0.1:{https_port} https",
        "DefaultRuntimeDir run",
        "PidFile run/httpd.pid",
        "ServerName localhost",
        "ErrorLog logs/error.log",
        "LogLevel warn",
        f'DocumentRoot "{folder}/empty"',
        "TypesConfig /dev/null",
        f"SSLSessionCache shmcb:{folder}/run/tls(65536)",
        "AddType text/html .html",
        "AddType text/plain .php .txt",  # a front controller that answers with its own text
        "DirectoryIndex index.php index.html",
        '<Directory "/">\nAllowOverride None\nRequire all denied\n</Directory>',
        own,
    ]
    tls = f'SSLEngine on\nSSLCertificateFile "{issued.certificate}"\nSSLCertificateKeyFile "{issued.key}"'
    for name, vhost in vhosts.items():
        root = f"{folder}/sites/{name}"
        lines.append(
            f'<Directory "{root}">\nRequire all granted\nAllowOverride None\n{vhost.grant}\n</Directory>'
        )
        for port, engine in ((http_port, ""), (https_port, tls)):
            lines += [
                f"<VirtualHost 127.0.0.1:{port}>",
                f'ServerName {name}\nDocumentRoot "{root}"',
                engine,
                vhost.own,
                "</VirtualHost>",
            ]
    return "\n".join(lines) + "\n"
