"""What a playbook needs beside the files: names, certificates, sockets to try, the plan. Facts for others to move, not to derive.

Pure, like the renderer. Knows nothing of Ansible, nor of who reads it.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from . import modules
from .capacity import plan
from .hop import back_end, is_by_tls, listens, named
from .render import render
from .site import Site
from .target import Target
from .values import port_suffix
from .views import certificate_files


def deployment(sites: Sequence[Site], target: Target) -> dict[str, Any]:
    """Return all that `render --json` prints for a machine.

    Returns:
        files: path below the root of the file system -> text.
        modules: names for a2enmod.
        sites: for each name what it is called, where its certificate lies and how its sockets are tried.
        certificates: what the local authority issues: `site` names the store's folder.
        authority: whether the machine has to know the local authority, be it for backends alone.
        backend: where our backend listens on any machine (`named`) and on this one, and of a hop the networks that may connect
            and whether by TLS.
        plan: the numbers for the whole server.

    Raises:
        TargetError: the machine cannot do what the descriptions ask for.
        QuotingError: a text cannot be written into a directive safely.
    """
    hop = back_end(sites, target)
    return {
        "files": render(sites, target),
        "modules": modules.needed(sites, target),
        "sites": [_site(site, target) for site in sites],
        "certificates": certificates(sites, target),
        "authority": any(site.tls.mode == "local-ca" or is_by_tls(site) for site in sites),
        "backend": {
            "named": [str(address) for address in named(sites)],
            "listen": [str(address) for address in listens(sites, target)],
            "fronts": list(hop.fronts) if hop else [],
            "tls": bool(hop and hop.tls),
        },
        "plan": asdict(plan(sites, target)),
    }


def certificates(sites: Sequence[Site], target: Target) -> list[dict[str, Any]]:
    """Return what the local authority issues for these names: folder in the store, names, and who holds it.

    The backend reads its key itself, so its group may; Apache reads its own as root.
    """
    made = [
        {"site": site.server_name, "names": list(site.names), "for": "front", "group": "root", "mode": "0600"}
        for site in sites
        if site.tls.mode == "local-ca"
    ]
    hop = back_end(sites, target)
    if hop and hop.tls:
        made.append(
            {"site": hop.site, "names": list(hop.names), "for": "backend", "group": "wsfront", "mode": "0640"}
        )
    return made


def _site(site: Site, target: Target) -> dict[str, Any]:
    plain = site.tls.mode == "none"
    scheme = "http" if plain else "https"
    port = target.http_port if plain else target.https_port
    public = port_suffix(scheme, (target.public_http_port if plain else target.public_https_port) or port)
    certificate, key = (None, None) if site.tls.mode in {"acme", "none"} else certificate_files(site, target)
    return {
        "name": site.server_name,
        "names": list(site.names),
        "tls": site.tls.mode,
        "certificate": certificate,
        "key": key,
        "url": f"{scheme}://{site.server_name}{public}/",
        "port": port,
        "sockets": [
            {
                "path": socket.path,
                "url": f"ws{'' if plain else 's'}://{site.server_name}{public}{socket.path}",
                "origin": socket.origins[0]
                if isinstance(socket.origins, tuple)
                else f"{scheme}://{site.server_name}{port_suffix(scheme, port)}",
                "backend": list(socket.backend),
            }
            for socket in site.websockets
        ],
    }
