"""From descriptions and a target to files: pure, the same for the command line, the playbook and the tests.

Everything a template prints is a number or came through quoting.py: the environment refuses the rest.
Knows nothing of running an Apache, and reads no file but its own templates.
"""

import functools
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import backend_units, firewall, limits, modules, tls
from .capacity import plan
from .errors import TargetError
from .hop import back_end, is_by_tls, listens, named
from .quoting import Quoted, argument, environment, literal
from .rules import rules_view
from .site import Site
from .status import status_address
from .target import Target
from .versions import require_floor
from .views import LEAVE_SECONDS, http_addresses, site_view

_HEADER = "# Made by wsfront from a description: do not edit, render again.\n"
# First in its folder, so that a name which somebody gave the server stays.
_UNNAMED = """\
# A vhost without a name, as Debian's own, takes the machine's, and would answer for a site that is called the same.
ServerName unnamed.invalid
"""
_TEMPLATES = Path(__file__).with_name("templates")


def render(sites: Sequence[Site], target: Target) -> dict[str, str]:
    """Return the files of a server: path below the layout's root -> text.

    The root is the file system's for debian and include, the target's directory for private.

    Args:
        sites: the descriptions, one for each name on the server, the default one first.
        target: the machine, and the layout wanted.

    Raises:
        TargetError: the machine cannot do what the descriptions ask for.
        QuotingError: a text cannot be written into a directive safely.
    """
    require_floor(target.apache)
    _require_distinct(sites)
    _require_modules(sites, target)
    if target.layout == "htaccess":
        return {
            f"{site.server_name}/.htaccess": _text("htaccess.conf.j2", {"site": rules_view(site)})
            for site in sites
        }
    context = _context(sites, target)
    backend = backend_environment(sites, target)
    if target.layout == "private":
        return {"httpd.conf": _text("private.conf.j2", context), "backend.env": backend}
    files = {
        "etc/wsfront/backend.env": backend,
        "etc/wsfront/modules": "".join(f"{name}\n" for name in modules.needed(sites, target)),
    }
    if target.layout == "include":
        files["etc/wsfront/include/server.conf"] = _text("server.conf.j2", context)
        for site, view in zip(sites, context["sites"], strict=True):
            files[f"etc/wsfront/include/{site.server_name}.conf"] = _text(
                "include.conf.j2", {**context, "site": view}
            )
        return files
    files["etc/apache2/conf-available/000-wsfront-name.conf"] = _HEADER + _UNNAMED
    files["etc/apache2/conf-available/wsfront.conf"] = _text("server.conf.j2", context)
    if context["status"]:
        files["etc/apache2/sites-available/wsfront-status.wsfront.invalid.conf"] = _text(
            "status.conf.j2", context
        )
    for site, view in zip(sites, context["sites"], strict=True):
        files[f"etc/apache2/sites-available/wsfront-{site.server_name}.conf"] = _text(
            "site.conf.j2", {**context, "site": view}
        )
    machine = {"limits": limits.view(context["plan"])}
    files[limits.DROP_IN] = _text("apache.service.j2", machine)
    files[limits.SYSCTLS] = _text("sysctl.conf.j2", machine)
    if units := backend_units.view(sites, target):
        for folder, name in backend_units.UNITS:
            files[f"{folder}/systemd/system/wsfront-{name}"] = _text(f"{name}.j2", {"backend": units})
    if hop := back_end(sites, target):
        rules = {"firewall": firewall.view(hop)}
        files |= {path: _text(template, rules) for path, template in firewall.FILES.items()}
    return files


def backend_environment(sites: Sequence[Site], target: Target) -> str:
    """Return backend.env: the only way by which a description reaches our backend.

    Of each site, the sockets that share the first one's backend are ours; others are somebody else's.

    Raises:
        TargetError: two sockets of ours reach the same path with different rules, or by different kinds of hop.
    """
    ours = [
        socket for site in sites for socket in site.websockets if set(socket.backends) & set(site.own_backend)
    ]
    sockets: dict[str, dict[str, object]] = {}
    for socket in ours:
        origins = socket.origins if isinstance(socket.origins, str) else list(socket.origins)
        entry: dict[str, object] = {
            "path": socket.target_path,
            "public_path": socket.path,
            "origins": origins,
        }
        if socket.connections_per_address:
            entry["per_address"] = socket.connections_per_address
        if sockets.setdefault(socket.target_path, entry) != entry:
            raise TargetError(
                f"two sockets reach the backend's {socket.target_path} by different paths, with different origins or limits: "
                "give one of them a backend_path of its own"
            )
    sized = plan(sites, target)
    values = {
        "WSFRONT_LISTEN": " ".join(
            # A machine that has none of them is left to fail where it listens, and to say so.
            str(address)
            for address in listens(sites, target) or named(sites)
        ),
        "WSFRONT_SOCKETS": json.dumps(list(sockets.values()), separators=(",", ":")),
        "WSFRONT_PING_INTERVAL": str(min(socket.ping_interval for socket in ours)),
        "WSFRONT_CONNECTIONS": str(sum(socket.connections for socket in ours)),
        "WSFRONT_DRAIN_SECONDS": str(backend_units.DRAIN_SECONDS),
    }
    here = set(listens(sites, target))
    # One process listens at all addresses of a machine; only another one can serve its clients meanwhile.
    if here and any(here & set(site.own_backend) and set(site.own_backend) - here for site in sites):
        values["WSFRONT_LEAVE_SECONDS"] = str(LEAVE_SECONDS)
    if status := status_address(sites, target):
        values["WSFRONT_STATUS"] = status
        values["WSFRONT_DRAIN_WINDOW"] = str(sized.drain_window)
        values["WSFRONT_RELOADS"] = str(sized.reloads)
    values |= _shared_settings(sites, target)
    if hop := back_end(sites, target):
        values["WSFRONT_FRONTS"] = " ".join(hop.fronts)
        if hop.tls:
            values["WSFRONT_TLS_CERTIFICATE"] = hop.certificate
            values["WSFRONT_TLS_KEY"] = hop.key
    return environment(values)


def _shared_settings(sites: Sequence[Site], target: Target) -> dict[str, str]:
    """Return what all sites on our backend have in common, where it is not the backend's own default."""
    values = {}
    if (workers := backend_units.shared_workers(sites)) != 1:
        values["WSFRONT_WORKERS"] = str(workers)
    if metrics := backend_units.shared_metrics(sites):
        values["WSFRONT_METRICS"] = metrics
    if (log := backend_units.shared_log(sites)) != "text":
        values["WSFRONT_LOG"] = log
    if redis := backend_units.shared_bus(sites).redis:
        values["WSFRONT_BUS"] = "redis"
        values["WSFRONT_REDIS"] = redis.address
        # Our service is given the password by systemd, so that its user need not read the file.
        if redis.password_file and not (target.layout == "debian" and backend_units.view(sites, target)):
            values["WSFRONT_REDIS_PASSWORD_FILE"] = redis.password_file
    return values


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        undefined=StrictUndefined,
        finalize=_only_quoted,
        autoescape=False,  # noqa: S701 (this is no HTML, and _only_quoted is stricter)
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _only_quoted(value: object) -> object:
    if isinstance(value, Quoted) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise TypeError(f"a template printed {value!r}, which did not come through quoting.py")


def _text(template: str, context: dict[str, Any]) -> str:
    return _HEADER + _environment().get_template(template).render(context)


def _require_distinct(sites: Sequence[Site]) -> None:
    if not sites:
        raise TargetError("there is no description to render")
    names = [name for site in sites for name in site.names]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise TargetError(f"{twice} is named by two descriptions: one server answers to a name once")


def _require_modules(sites: Sequence[Site], target: Target) -> None:
    present = {*target.modules, *target.static_modules}
    missing = [name for name in modules.needed(sites, target) if name not in present]
    if present and missing:  # a target described without its modules is left to Apache's own judgement
        raise TargetError(
            f"this Apache lacks {', '.join('mod_' + name for name in missing)}: {modules.remedy(missing)}"
        )


def _context(sites: Sequence[Site], target: Target) -> dict[str, Any]:
    any_tls = any(site.tls.mode != "none" for site in sites)
    sized = plan(sites, target)
    speaks_tls = any_tls or any(is_by_tls(site) for site in sites)
    run = f"{target.directory}/run" if target.layout == "private" else "/run/apache2"
    return {
        "target": SimpleNamespace(
            http_reserve=target.http_reserve,
            apache=literal(target.apache),
            openssl=literal(target.openssl),
            directory=argument(target.directory),
            run=argument(run),
            pid_file=argument(f"{run}/httpd.pid"),
            error_log=argument(f"{target.directory}/logs/error.log"),
            empty=argument(f"{target.directory}/empty"),
            session_cache=argument(f"shmcb:{run}/wsfront_ssl_cache(512000)"),
            user=argument(target.user) if target.user else None,
            group=argument(target.group),
            http_listen=[literal(f"{address}:{target.http_port}") for address in target.listen],
            https_listen=[literal(f"{address}:{target.https_port}") for address in target.listen if any_tls],
        ),
        "plan": sized,
        "tls": _server_tls(target) if speaks_tls else None,
        "md": target.layout == "debian" and any(site.tls.acme for site in sites),
        "status": SimpleNamespace(addresses=http_addresses(target))
        if status_address(sites, target)
        else None,
        "modules": [
            SimpleNamespace(
                symbol=literal(f"{name}_module"), file=argument(f"{target.modules_directory}/mod_{name}.so")
            )
            for name in modules.needed(sites, target)
            if name not in target.static_modules
        ],
        "sites": [site_view(site, target, sized, first=index == 0) for index, site in enumerate(sites)],
    }


def _server_tls(target: Target) -> SimpleNamespace:
    profile = tls.profile("intermediate", apache=target.apache, openssl=target.openssl)
    return SimpleNamespace(version=literal(tls.guideline_version()), groups=literal(":".join(profile.groups)))
