"""The verb `up`: a private Apache and the backend behind it, in the foreground, until Ctrl-C.

Standard output gets one line, `ready URL`, once a real handshake went through; everything else goes to standard error.
"""

import argparse
import fcntl
import os
import select
import shlex
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from apache.errors import ApacheError
from apache.site import Site
from certs.errors import CertsFault

from .checkup import check_up
from .descriptions import add_site_option, read_sites
from .errors import RunFault, UsageFault
from .paths import plain_directory, state_directory
from .ports import require_free
from .stack import Stack, address_of, handshake

SUMMARY = "run Apache and the backend here, until Ctrl-C"
_RETRY_SECONDS = 0.5
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class _Stopped(KeyboardInterrupt):
    """Somebody asked us to stop; of a kind that passes through an event loop."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `up`."""
    add_site_option(parser)
    parser.add_argument(
        "--dir", type=Path, default=state_directory(), help="where all files go (default: %(default)s)"
    )
    parser.add_argument("--https-port", type=_port, default=8443, metavar="PORT", help="default: %(default)s")
    parser.add_argument("--http-port", type=_port, default=8080, metavar="PORT", help="default: %(default)s")
    parser.add_argument("--backend-port", type=_port, metavar="PORT", help="default: the description's, 8888")
    parser.add_argument(
        "--no-backend", action="store_true", help="expect somebody else's backend there, in any language"
    )


def run(args: argparse.Namespace) -> int:
    """Start everything, say `ready`, and wait until told to stop."""
    sites = read_sites(args.site)
    if args.backend_port:
        sites = _with_backend_port(sites, args.backend_port)
    if not args.no_backend:
        sites = [_at_home(site) for site in sites]
    for number in _STOP_SIGNALS:
        signal.signal(number, _stop)
    try:
        with _own_directory(args.dir) as directory:
            _require_free_ports(args, sites)
            stack = Stack(
                sites,
                directory,
                https_port=args.https_port,
                http_port=args.http_port,
                backend=not args.no_backend,
            )
            try:
                stack.prepare()
                stack.start()
                _tell(stack)
                _shake_hands(stack, wait=args.no_backend)
                sys.stdout.write(f"ready {stack.url}\n")
                sys.stdout.flush()
                check_up(stack)
                _watch(stack)
            finally:
                for number in _STOP_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
                stack.stop()
    except _Stopped:
        return 0
    except (ApacheError, CertsFault) as error:
        raise RunFault(str(error)) from None
    except BrokenPipeError:
        raise  # nobody reads our output any more: the front door knows what that means
    except OSError as error:
        raise RunFault(
            f"{error.filename or args.dir}: {error.strerror}: make room, or choose another folder with --dir"
        ) from None
    return 0


def _port(text: str) -> int:
    port = int(text) if text.isascii() and text.isdecimal() else 0
    if not 1 <= port <= 65535:  # noqa: PLR2004 (RFC 9293, 3.1)
        raise argparse.ArgumentTypeError(f"{text!r} is no port: a number from 1 to 65535")
    return port


def _stop(_number: int, _frame: FrameType | None) -> None:
    # Once is enough: a second one must not interrupt the stopping.
    for number in _STOP_SIGNALS:
        signal.signal(number, lambda *_: None)
    raise _Stopped


def _with_backend_port(sites: list[Site], port: int) -> list[Site]:
    ours = {str(address) for site in sites for address in site.own_backend}
    if len(ours) > 1:
        raise UsageFault(
            f"--backend-port: the descriptions name {len(ours)} backends ({', '.join(sorted(ours))}): change their ports there"
        )
    return [site.relocated(dict.fromkeys(ours, f"127.0.0.1:{port}")) for site in sites]


def _at_home(site: Site) -> Site:
    """Return the site with our backend on this machine, where `up` runs it, wherever it is on a real server."""
    return site.relocated(
        {str(address): f"127.0.0.1:{address.port}" for address in site.own_backend if address.is_remote}
    )


@contextmanager
def _own_directory(directory: Path) -> Iterator[Path]:
    """Hold a folder for this process alone; its path must be one that Apache takes as it is."""
    resolved = plain_directory(directory, "--dir")
    resolved.mkdir(parents=True, exist_ok=True)
    with (resolved / "lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunFault(
                f"{directory} is in use by another `wsfront up`, process {file.read().strip()}: stop that, or choose another --dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield resolved


def _require_free_ports(args: argparse.Namespace, sites: list[Site]) -> None:
    wanted = [("--http-port", args.http_port)]
    if any(site.tls.mode != "none" for site in sites):
        wanted.insert(0, ("--https-port", args.https_port))
    backends = {address.port for site in sites for address in site.own_backend if address.port}
    wanted += [("--backend-port", port) for port in sorted(backends)]
    seen: dict[int, str] = {}
    for option, port in wanted:
        if port in seen:
            raise UsageFault(f"{seen[port]} and {option} are both {port}: each needs a port of its own")
        seen[port] = option
    for option, port in wanted:
        if option != "--backend-port" or not args.no_backend:
            require_free(port, option)


def _tell(stack: Stack) -> None:
    err = sys.stderr
    for site in stack.sites:
        for websocket in site.websockets:
            page = address_of(site, stack.target, site.server_name)
            err.write(
                f"{page.replace('http', 'ws', 1).rstrip('/')}{websocket.path} -> {', '.join(websocket.backend)}\n"
            )
        if site.tls.mode == "acme":
            err.write(
                f"{site.server_name}: certificates come by ACME on a real server; here the local authority stands in\n"
            )
    if any(site.tls.mode in {"local-ca", "acme"} for site in stack.sites):
        new = "is new: trust it" if stack.new_ca else "must be trusted"
        store = stack.store.directory
        where = "" if store == state_directory() / "certs" else f" --dir {shlex.quote(str(store))}"
        err.write(f"the local authority {new} once, or the browser warns: ./wsfront certs trust{where}\n")
        if stack.new_ca and stack.store.former():
            err.write(f"the authority before it can be forgotten: ./wsfront certs untrust{where}\n")
    err.write(f"Apache's log: {stack.httpd.log}\n")


def _shake_hands(stack: Stack, *, wait: bool) -> None:
    """Open a real WebSocket on each path of ours; with somebody else's backend, wait until it answers."""
    for site in stack.sites:
        for websocket in site.websockets:
            if not set(websocket.backends) & set(site.own_backend):
                continue
            told = False
            while words := handshake(stack, site, websocket):
                if not wait:
                    raise RunFault(
                        f"no WebSocket at {websocket.path}: {words}; Apache's log says why: {stack.httpd.log}"
                    )
                if not told:
                    sys.stderr.write(
                        f"waiting for a WebSocket server at {', '.join(websocket.backend)}: {words}\n"
                    )
                    told = True
                time.sleep(_RETRY_SECONDS)


def _watch(stack: Stack) -> None:
    """Wait until told to stop; raise when something of ours ends by itself."""
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)  # noqa: FBT003 (socket's own signature)
        signal.set_wakeup_fd(writer.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            while True:
                if stack.httpd.pid is None:
                    raise RunFault(f"Apache ended by itself: see {stack.httpd.log}")
                if stack.backend and not stack.backend.runs:
                    raise RunFault("the backend ended by itself: see its own lines above")
                select.select([reader], [], [])
                reader.recv(4096)
        finally:
            signal.set_wakeup_fd(-1)
