"""The kinds of text a description may hold: host names, URL paths, addresses, origins, file names.

Each function takes what a user wrote, gives back its one normal form, or raises ValueError with a sentence that says what would be right.
Knows nothing of models, nor of how a value is written into a configuration (quoting.py does that).
"""

import contextlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Annotated

import idna
from pydantic import AfterValidator, Field

_URL_PATH = re.compile(r"/(?:[A-Za-z0-9._~@:+=,-]+/)*[A-Za-z0-9._~@:+=,-]*")
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST_NAME = re.compile(
    rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*", re.ASCII
)  # RFC 1123, 2.1; RFC 1035, 2.3.4
_UNIX_PATH = re.compile(r"/[A-Za-z0-9._~@:+=,/-]+")
_UNIX_PATH_BYTES = 95  # uds_path[96], modules/proxy/mod_proxy.h; sun_path would take 107
_PORT_MAX = 65535


def host_name(text: str) -> str:
    """Return a host name in lower case without a final dot, Unicode labels as A-labels (RFC 5890), or an IPv4 address as it is."""
    try:
        name = idna.encode(text, uts46=True, std3_rules=True).decode("ascii").lower()
    except idna.IDNAError:
        # A label that IDNA 2008 refuses may still be a plain host name: r3---sn.example, for one.
        name = text.lower()
    name = name.removesuffix(".")
    if not _HOST_NAME.fullmatch(name):
        raise ValueError(
            f"{text!r} is no host name: letters, digits, hyphens and dots, as in chat.example.org"
        )
    if re.fullmatch(r"[0-9.]+", name):
        try:
            ipaddress.IPv4Address(name)
        except ValueError:
            raise ValueError(f"{text!r} is neither a host name nor an IPv4 address") from None
    return name


def server_name(text: str) -> str:
    """Return a host name after which files can be named (NAME_MAX is 255, and theirs have a prefix and a suffix)."""
    name = host_name(text)
    if len(name) > 200:  # noqa: PLR2004 (so)
        raise ValueError(
            "is longer than 200 characters, and files are named after it: take it for an alias of a shorter name"
        )
    return name


def alias_name(text: str) -> str:
    """Return a host name in its normal form; `*.` before it stands for any one label."""
    if text.startswith("*."):
        return "*." + host_name(text[2:])
    return host_name(text)


def url_path(text: str) -> str:
    """Return a URL path of unreserved characters (RFC 3986, 2.3) without dot segments."""
    if not _URL_PATH.fullmatch(text):
        raise ValueError(
            f"{text!r} is no plain path: start with / and use letters, digits and ._~@:+=,- between single slashes, as in /ws/"
        )
    if any(segment in {".", ".."} for segment in text.split("/")):
        raise ValueError(f"{text!r} has a dot segment: name the path itself, as in /ws/")
    if len(text) > 200:  # noqa: PLR2004 (Apache's workers have names of 255 bytes at most, PROXY_WORKER_MAX_NAME_SIZE)
        raise ValueError("is longer than 200 characters")
    return text


def health_path(text: str) -> str:
    """Return a URL path that fits Apache's health checks (hcuri[64], modules/proxy/mod_proxy.h)."""
    if len(text) >= 64:  # noqa: PLR2004 (the array's size)
        raise ValueError("is longer than 63 characters, all that Apache's health checks can hold")
    return url_path(text)


def file_path(text: str) -> str:
    """Return an absolute file name that means itself in every Apache directive.

    Apache expands `${…}` in any line and wildcards in <Directory>, so neither can stand in a name.
    """
    if not text.startswith("/"):
        raise ValueError(f"{text!r} is not absolute: write the whole path, starting with /")
    if not text.isprintable() or "�" in text:
        raise ValueError(f"{text!r} has a character that does not print: use a plain file name")
    if "${" in text or "%{" in text or re.search(r"[*?\[\]|]", text):
        raise ValueError(
            f"{text!r} has ${{, %{{ or one of * ? [ ] |, which Apache would expand: use a plain file name"
        )
    if any(segment in {".", ".."} for segment in text.split("/")):
        raise ValueError(f"{text!r} has a dot segment: write the path without it")
    return text


@dataclass(frozen=True)
class Address:
    """Where a backend listens: a TCP host and port, or a unix socket.

    Attributes:
        host: a host name or address without brackets; empty for a unix socket.
        port: 1 to 65535; 0 for a unix socket.
        socket: the absolute path of a unix socket; empty for TCP.
    """

    host: str = ""
    port: int = 0
    socket: str = ""

    @property
    def authority(self) -> str:
        """Return `host:port`, IPv6 addresses in brackets (RFC 3986, 3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_remote(self) -> bool:
        """Tell whether others than this machine may be there: neither a loopback address nor a unix socket."""
        return bool(self.host) and self.host != "localhost" and not _is_loopback(self.host)

    @property
    def is_number(self) -> bool:
        """Tell whether the host is an address and no name."""
        try:
            ipaddress.ip_address(self.host)
        except ValueError:
            return False
        return True

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.authority

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `host:port`, `[v6]:port` or `unix:/path`.

        Raises:
            ValueError: it is none of these, or no one machine's.
        """
        return _address(text)


def _address(text: str) -> Address:
    if text.startswith("unix:"):
        path = file_path(text.removeprefix("unix:"))
        # Apache reads it as a URL and, in a RewriteRule, expands $ and %; blanks part the addresses in backend.env.
        if not _UNIX_PATH.fullmatch(path):
            raise ValueError(
                f"{path!r} is no plain path for a socket: use letters, digits and ._~@:+=,- as in unix:/run/wsfront/ws.sock"
            )
        if len(path) > _UNIX_PATH_BYTES:
            raise ValueError(
                f"the socket's path is longer than {_UNIX_PATH_BYTES} bytes: use a short one, as in unix:/run/wsfront/ws.sock"
            )
        return Address(socket=path)
    match = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s@]+)):([0-9]{1,5})", text)
    if not match:
        raise ValueError(
            f"{text!r} is no address: write host:port, as in 127.0.0.1:8888, or unix:/run/x.sock"
        )
    six, name, digits = match.groups()
    port = int(digits)
    if not 1 <= port <= _PORT_MAX:
        raise ValueError(f"port {digits} is not between 1 and {_PORT_MAX}")
    if six:
        try:
            host = str(ipaddress.IPv6Address(six))
        except ValueError:
            raise ValueError(f"[{six}] is no IPv6 address") from None
    else:
        host = host_name(name)
    _require_one_machine(text, host)
    return Address(host=host, port=port)


def _require_one_machine(text: str, host: str) -> None:
    if len(host) > 64:  # noqa: PLR2004 (a common name's upper bound, X.520; Apache's workers take little more)
        raise ValueError(f"the host in {text!r} is longer than 64 characters: name its address instead")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    mapped = getattr(address, "ipv4_mapped", None)
    if address.is_unspecified or address.is_multicast or address.is_link_local or mapped:
        raise ValueError(
            f"{text!r} is no address of one machine: name the one that the backend is reached at, as in 10.0.0.2:8888"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin(text: str) -> str:
    """Return an origin (RFC 6454, 6.2) in lower case, its default port left out."""
    match = re.fullmatch(
        r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^:/?#@\s\[\]]+)(?::([0-9]{1,5}))?", text, re.IGNORECASE
    )
    if not match:
        raise ValueError(
            f"{text!r} is no origin: write scheme://host or scheme://host:port, without a path, as in https://example.org"
        )
    scheme, host, port = match[1].lower(), match[2], match[3]
    if host.startswith("["):
        try:
            host = f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address") from None
    else:
        host = host_name(host)
    if port is not None and not 1 <= int(port) <= _PORT_MAX:
        raise ValueError(f"port {port} is not between 1 and {_PORT_MAX}")
    if port is None or int(port) == DEFAULT_PORTS[scheme]:
        return f"{scheme}://{host}"
    return f"{scheme}://{host}:{int(port)}"


DEFAULT_PORTS = {"http": 80, "https": 443}


def port_suffix(scheme: str, port: int) -> str:
    """Return what an address with this port has after the host."""
    return "" if port == DEFAULT_PORTS[scheme] else f":{port}"


def network(text: str) -> str:
    """Return an IPv4 or IPv6 network (or single address) in CIDR form."""
    try:
        if "%" in text:
            raise ValueError(f"{text!r} has a zone, which means something on one machine alone")  # noqa: TRY301 (worded below)
        found = ipaddress.ip_network(text, strict=True)
        if not found.prefixlen:
            raise ValueError(f"{text!r} is everybody")  # noqa: TRY301 (worded below)
        return str(found)
    except ValueError as error:
        raise ValueError(
            f"{error}: write a network such as 192.0.2.0/24 or 2001:db8::/32, or one address"
        ) from None


def email(text: str) -> str:
    """Return an e-mail address in the plain form that certificate authorities take."""
    if len(text) > 254 or not re.fullmatch(r"[A-Za-z0-9._+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+", text):  # noqa: PLR2004 (RFC 5321, 4.5.3)
        raise ValueError(f"{text!r} is no plain e-mail address, as in admin@example.org")
    return text


_ACME_NAMES = ("letsencrypt", "letsencrypt-test", "buypass", "buypass-test")


def acme_directory(text: str) -> str:
    """Return the name of an ACME authority that mod_md knows, or an https directory URL (RFC 8555, 7.1.1)."""
    if text in _ACME_NAMES or re.fullmatch(
        r"https://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?", text
    ):
        return text
    raise ValueError(
        f"{text!r} is neither one of {', '.join(_ACME_NAMES)} nor an https URL of an ACME directory"
    )


def _backend(text: str) -> str:
    return str(Address.parse(text))


def _loopback(text: str) -> str:
    with contextlib.suppress(ValueError):
        address = Address.parse(text)
        if address.is_number and not address.is_remote:
            return str(address)
    raise ValueError(
        f"{text!r} is no loopback address and port, and this is not for everybody: write it as in 127.0.0.1:9888"
    )


ServerName = Annotated[str, AfterValidator(server_name)]
AliasName = Annotated[str, AfterValidator(alias_name)]
UrlPath = Annotated[str, AfterValidator(url_path)]
HealthPath = Annotated[str, AfterValidator(health_path)]
FilePath = Annotated[str, AfterValidator(file_path)]
BackendAddress = Annotated[str, AfterValidator(_backend)]
LoopbackAddress = Annotated[str, AfterValidator(_loopback)]
Origin = Annotated[str, AfterValidator(origin)]
Network = Annotated[str, AfterValidator(network)]
Email = Annotated[str, AfterValidator(email)]
AcmeDirectory = Annotated[str, AfterValidator(acme_directory)]
Seconds = Annotated[int, Field(ge=2, le=86400)]
