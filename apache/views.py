"""What the templates see of a site: every text quoted, every choice made.

Knows nothing of files or folders' layout beyond the few places that a vhost names.
"""

import ipaddress
import math
from collections.abc import Sequence
from types import SimpleNamespace

from . import origins, tls
from .capacity import Plan
from .hop import is_secured
from .parts import WebSocket
from .quoting import Quoted, argument, comment, join, literal, pattern
from .site import Site
from .target import Target
from .values import Address, port_suffix
from .versions import MD_CA_FILE_IN_DOMAIN, at_least

_CLIENT_TIMEOUT = 60  # seconds; httpd's own default for a slow client, where no socket asks for less
_CONNECT_TIMEOUT = 5  # seconds; a backend on this machine answers at once or not at all
_FULL_AFTER = 10  # ms that a handshake waits for a place in a full child: acquire=
_HEALTH_PATH = "/healthz"  # server/app.py
_HEALTH_INTERVAL = 2  # seconds between checks of a balanced backend
LEAVE_SECONDS = _HEALTH_INTERVAL + 1
"""How long our backend serves on once it is told to stop, where others can serve its clients: until the checks have found it ill."""

# Seconds that a member is left out once it has refused a connection. At 0 the second attempt of a handshake would go to the same one, which
# holds the fewest sockets: 503. A check that succeeds ends it (hc_check in mod_proxy_hcheck.c); a unix socket has none.
_LEFT_OUT, _LEFT_OUT_UNCHECKED = 60, 1


def site_view(site: Site, target: Target, plan: Plan, *, first: bool) -> SimpleNamespace:
    """Return one site as its templates see it; the first answers for localhost too when private."""
    private = target.layout == "private"
    aliases = list(site.server_aliases)
    if private and first:
        aliases += [name for name in ("localhost", "127.0.0.1", "[::1]") if name not in site.names]
    names = [literal(name) for name in (site.server_name, *aliases)]
    plain = site.tls.mode == "none"
    # In order of length, since the last <Location> that matches wins: https://httpd.apache.org/docs/2.4/sections.html#merging
    order = sorted(range(len(site.websockets)), key=lambda index: len(site.websockets[index].path))
    sockets = [_socket(site, index, plan) for index in order]
    pages = _pages(site)
    return SimpleNamespace(
        server_name=names[0],
        server_aliases=join(" ", names[1:]),
        names_pattern=join(
            "",
            [
                Quoted("^(?:"),
                join("|", [_name_pattern(name) for name in (site.server_name, *aliases)]),
                Quoted(")$"),
            ],
        ),
        acme=_acme(site, target),
        tls=None if plain else _tls(site, target),
        timeout=min(_CLIENT_TIMEOUT, *(socket.idle_timeout for socket in site.websockets)),
        https_addresses=_addresses(target, target.https_port),
        http_addresses=http_addresses(target),
        https_port_suffix=literal(port_suffix("https", target.public_https_port or target.https_port)),
        own_directives=argument(f"{target.directory}/sites.d/{site.server_name}/*.conf"),
        logs=_logs(site, target),
        block_only=target.layout == "include",
        trusted_proxies=[_trusted(network) for network in site.trusted_proxies],
        trusted_test=join(
            " || ",
            [
                Quoted(f"%{{CONN_REMOTE_ADDR}} -ipmatch '{literal(network)}'")
                for network in site.trusted_proxies
            ],
        ),
        pages=pages,
        sockets=sockets,
        peer=_peer(target, pages, sockets),
        health=join(", ", [Quoted(f"'{literal(path)}'") for path in _health_paths(site, target)]),
    )


def certificate_files(site: Site, target: Target) -> tuple[str, str]:
    """Return where a site's certificate and key lie: the user's own files, or the store below the target's directory."""
    if site.tls.files is not None:
        return site.tls.files.certificate, site.tls.files.key
    folder = f"{target.directory}/certs/sites/{site.server_name}"
    return f"{folder}/certificate.pem", f"{folder}/key.pem"


def http_addresses(target: Target) -> Quoted:
    """Return what a vhost for plain HTTP is for: `<VirtualHost …>`."""
    return _addresses(target, target.http_port)


def _name_pattern(name: str) -> Quoted:
    return Quoted("[^.]+" + pattern(name[1:])) if name.startswith("*") else pattern(name)


def _addresses(target: Target, port: int) -> Quoted:
    addresses = target.listen if target.layout == "private" else ("*",)
    return join(" ", [literal(f"{address}:{port}") for address in addresses])


def _logs(site: Site, target: Target) -> SimpleNamespace:
    if target.layout == "private":
        folder = f"{target.directory}/logs"
        return SimpleNamespace(error=argument(f"{folder}/error.log"), access=argument(f"{folder}/access.log"))
    # The variable is Debian's own, from /etc/apache2/envvars: a part of the template, not of the user's text.
    prefix = f"${{APACHE_LOG_DIR}}/wsfront-{literal(site.server_name)}"
    return SimpleNamespace(error=Quoted(f"{prefix}-error.log"), access=Quoted(f"{prefix}-access.log"))


def _acme(site: Site, target: Target) -> SimpleNamespace | None:
    if site.tls.acme is None or target.layout != "debian":
        return None
    return SimpleNamespace(
        names=join(" ", [literal(name) for name in site.names]),
        directory=argument(site.tls.acme.directory),
        contact=argument(site.tls.acme.contact),
        ca_file=argument(site.tls.acme.ca_file) if site.tls.acme.ca_file else None,
        ca_file_inside=at_least(target.apache, MD_CA_FILE_IN_DOMAIN),
    )


def _tls(site: Site, target: Target) -> SimpleNamespace:
    profile = tls.profile(site.tls.profile, apache=target.apache, openssl=target.openssl)
    certificate, key = certificate_files(site, target)
    by_module = _acme(site, target) is not None
    hsts = site.tls.hsts
    if hsts is None:
        hsts = tls.hsts_seconds() if site.tls.mode in {"files", "acme"} else 0
    return SimpleNamespace(
        certificate=None if by_module else argument(certificate),
        key=None if by_module else argument(key),
        protocols=_protocols(profile),
        ciphers=join(":", [literal(name) for name in profile.ciphers]),
        ciphersuites=join(":", [Quoted(name) for name in profile.ciphersuites]),
        hsts=hsts,
    )


def _peer(
    target: Target, pages: SimpleNamespace, sockets: Sequence[SimpleNamespace]
) -> SimpleNamespace | None:
    """Say how backends on other machines are known: by the local authority, whatever certificates the site itself has.

    A pattern, since the brackets of an IPv6 address are wildcards in <Proxy>.
    """
    secured = [socket for socket in sockets if socket.secured]
    places = [pages.secured] if pages.secured and target.layout != "include" else []
    places += [socket.secured for socket in secured]
    if not places:
        return None
    profile = tls.profile("intermediate", apache=target.apache, openssl=target.openssl)
    return SimpleNamespace(
        pattern=Quoted(f"^(?:{'|'.join(dict.fromkeys(places))})/"),
        protocols=_protocols(profile),
        authority=argument(f"{target.directory}/certs/ca/ca.pem"),
        is_checked=any(socket.members for socket in secured),
    )


def _protocols(profile: tls.Profile) -> Quoted:
    return join(" ", [Quoted("-all"), *(Quoted(f"+{literal(name)}") for name in profile.protocols)])


def _trusted(network: str) -> SimpleNamespace:
    # A private network's client may have a private address itself, which RemoteIPTrustedProxy would not believe:
    # https://httpd.apache.org/docs/2.4/mod/mod_remoteip.html#remoteipinternalproxy
    internal = ipaddress.ip_network(network).is_private
    return SimpleNamespace(
        directive=Quoted("RemoteIPInternalProxy" if internal else "RemoteIPTrustedProxy"),
        network=literal(network),
    )


def _pages(site: Site) -> SimpleNamespace:
    """Say what stands at /: a directory, a backend, the socket's own <Location>, or nothing."""
    root = next((socket for socket in site.websockets if socket.path == "/"), None)
    pages = site.pages
    proxy, secured = None, None
    if pages and pages.proxy and not (root and not _turns_off(site, root)):
        address = Address.parse(pages.proxy)
        by_tls = is_secured(site, address)
        url = worker_url("https" if by_tls else "http", address, "pages")
        proxy, secured = argument(url + "/"), pattern(url) if by_tls else None
    return SimpleNamespace(
        root=argument(pages.root) if pages and pages.root else None,
        proxy=proxy,
        secured=secured,
        none=pages is None and root is None,
    )


def _turns_off(site: Site, socket: WebSocket) -> bool:
    """Tell whether upgrades at / go elsewhere than the pages at /."""
    if socket.path != "/" or site.pages is None:
        return False
    return site.pages.proxy is None or socket.target_path != "/" or socket.backend != (site.pages.proxy,)


def worker_url(scheme: str, address: Address, name: str) -> str:
    """Return a worker's URL without its path; each unix socket has a host name of its own, since workers are told apart by it."""
    return f"unix:{address.socket}|{scheme}://{name}" if address.socket else f"{scheme}://{address.authority}"


def _socket(site: Site, index: int, plan: Plan) -> SimpleNamespace:
    socket = site.websockets[index]
    turns_off = _turns_off(site, socket)
    scheme = "ws" if turns_off or socket.tunnel == "ws" else "http"
    secured = [is_secured(site, address) for address in socket.backends]
    urls = [
        worker_url(scheme + "s" * by_tls, address, f"wsfront-{index}-{member}")
        for member, (address, by_tls) in enumerate(zip(socket.backends, secured, strict=True))
    ]
    # Names without the site's: each vhost has workers of its own, and Apache takes 64 bytes at most (PROXY_BALANCER_MAX_NAME_SIZE).
    balancer = f"balancer://wsfront-{index}" if len(urls) > 1 else None
    base = balancer or urls[0]
    upgrade = "" if scheme == "ws" else " upgrade=websocket"
    parameters = f"{upgrade} connectiontimeout={_CONNECT_TIMEOUT} timeout={socket.idle_timeout}"
    if socket.full == "apache":
        share = plan.seats * socket.connections / plan.counted / len(urls)
        parameters += f" max={max(1, math.floor(share))} acquire={_FULL_AFTER}"
    return SimpleNamespace(
        comment=comment(f"{socket.path} -> {' '.join(socket.backend)}{socket.target_path}"),
        path=argument(socket.path),
        url=argument(base + socket.target_path),
        worker=argument(base if balancer else base + ("/" if turns_off else socket.target_path)),
        rewrite=argument(base + socket.target_path + "$1") if turns_off else None,
        members=[
            join("", [argument(url), Quoted(parameters + _retry(address) + _health(socket, address))])
            for url, address in zip(urls, socket.backends, strict=True)
        ]
        if balancer
        else [],
        parameters=Quoted(" lbmethod=bybusyness" if balancer else f"{parameters} retry=0"),
        secured=pattern(base) if any(secured) else None,
        hides_host=any(secured) or bool(socket.path == "/" and _pages(site).secured),
        origins_test=origins.expression(socket.origins, tls=site.tls.mode != "none"),
        inner=_inner(site, socket),
    )


def _health_paths(site: Site, target: Target) -> list[str]:
    """Return the public paths at which our backend says how it is: counts that are nobody else's business."""
    ours = set(site.own_backend)
    paths = []
    if (
        site.pages
        and site.pages.proxy
        and Address.parse(site.pages.proxy) in ours
        and target.layout != "include"
    ):
        paths.append(_HEALTH_PATH)
    paths += [
        socket.path.rstrip("/") + _HEALTH_PATH
        for socket in site.websockets
        if ours & set(socket.backends) and socket.target_path == "/"
    ]
    return list(dict.fromkeys(paths))


def _inner(site: Site, socket: WebSocket) -> Quoted | None:
    """Return a pattern (PCRE) for the paths below a socket's that are sockets of their own, with rules of their own."""
    outer = socket.path.rstrip("/") + "/"
    paths = [other.path for other in site.websockets if other is not socket and other.path.startswith(outer)]
    forms = [pattern(path) if path.endswith("/") else Quoted(f"{pattern(path)}(?:/|$)") for path in paths]
    return Quoted(f"^(?:{'|'.join(forms)})") if forms else None


def _retry(address: Address) -> str:
    return f" retry={_LEFT_OUT_UNCHECKED if address.socket else _LEFT_OUT}"


def _health(socket: WebSocket, address: Address) -> str:
    if address.socket:
        return ""  # mod_proxy_hcheck takes every unix socket for dead
    if socket.health_path is None:
        return f" hcmethod=TCP hcinterval={_HEALTH_INTERVAL}"
    return f" hcmethod=GET11 {argument(f'hcuri={socket.health_path}')} hcinterval={_HEALTH_INTERVAL}"
