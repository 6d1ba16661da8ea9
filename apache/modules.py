"""Which of Apache's modules a set of descriptions needs, by what they ask for.

Names are those of Debian's a2enmod: `proxy_http` for mod_proxy_http.so and proxy_http_module.
"""

from collections.abc import Sequence

from .hop import is_by_tls
from .site import Site
from .target import Target

_ALWAYS = (
    "authn_core",
    "authz_core",
    "alias",
    "headers",
    "proxy",
    "proxy_http",
    "proxy_wstunnel",
    "reqtimeout",
    "rewrite",
)
# mod_proxy_wstunnel never comes without mod_proxy_http: alone it tunnels blindly (CVE-2019-17567).


def needed(sites: Sequence[Site], target: Target) -> list[str]:
    """Return the modules' names in the order of loading."""
    names = list(_ALWAYS)
    modes = {site.tls.mode for site in sites}
    if modes - {"none"} or any(is_by_tls(site) for site in sites):
        names += ["ssl", "socache_shmcb"]
    if "acme" in modes and target.layout == "debian":
        names += ["md"]
    if any(site.trusted_proxies for site in sites):
        names += ["remoteip"]
    if any(len(socket.backends) > 1 for site in sites for socket in site.websockets):
        names += ["slotmem_shm", "proxy_balancer", "lbmethod_bybusyness", "watchdog", "proxy_hcheck"]
    if target.layout in {"debian", "private"} and has_status(target):
        names += ["status"]
    if target.layout == "private":
        names = [f"mpm_{target.mpm}", "unixd", "log_config", "mime", "dir", *names]
    elif any(site.pages and site.pages.root for site in sites):
        names += ["dir", "mime"]
    return names


def has_status(target: Target) -> bool:
    """Tell whether mod_status can be loaded, without which our backend does not see reloads; a target described without modules has all."""
    present = {*target.modules, *target.static_modules}
    return not present or "status" in present


def remedy(missing: Sequence[str]) -> str:
    """Return what to type to get modules that are not there."""
    return f"on Debian `apt-get install --reinstall apache2-bin`, then `a2enmod {' '.join(missing)}`; elsewhere load them in httpd.conf"
