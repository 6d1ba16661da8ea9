"""Ask each backend straight, without Apache, but as its user: is it there, may Apache connect, does it speak WebSocket."""

import json
import os
import pwd
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from .server_paths import Hop

_SECONDS = 4.0
_MOST = 16
_UNPRINTABLE = re.compile(r"[^!-~]")
_PROBE = Path(__file__).with_name("server_probe.py")


@dataclass(frozen=True)
class Reached:
    """Hold what a backend did.

    Attributes:
        hop: the way to it.
        addresses: each tried, and why it could not be connected to: refused, denied, missing, silent, or the system's own word;
            empty: it could.
        fault: what went wrong then: unknown (its name), closed, silent, garbage, tls (it speaks TLS and was not to), plain (the reverse),
            host (it takes the browser's own Host alone).
        status: of its answer; None where there was none.
        server: what it calls itself.
        accepted: whether Sec-WebSocket-Accept was right.
        is_old: whether it answered by HTTP/1.0, which knows no upgrade.
    """

    hop: Hop
    addresses: tuple[tuple[str, str], ...]
    fault: str
    status: int | None
    server: str
    accepted: bool
    is_old: bool = False


def reached(hops: Sequence[Hop], user: int | None) -> tuple[list[Reached], list[str]]:
    """Return what each backend did, and what could not be asked.

    Args:
        hops: the ways to them.
        user: the id of Apache's user; None where that is ours.
    """
    if not hops:
        return [], []
    unasked = []
    if len(hops) > _MOST:
        unasked.append(f"backends beyond the first {_MOST}")
    become = user if user is not None and os.geteuid() == 0 and user != 0 else None
    if user is not None and user != os.geteuid() and become is None:
        unasked.append(
            f"whether {_name(user)}, Apache's user, may connect to the backend: run it as root, by sudo"
        )
    done = _run([_target(hop) for hop in hops[:_MOST]], become)
    if done is None:
        return [], [*unasked, f"the backends: no answer within {_SECONDS:.0f} s"]
    found = [
        Reached(
            hop,
            tuple((str(where), str(why)) for where, why in each["addresses"]),
            str(each["fault"]),
            each["status"],
            str(each["server"]),
            bool(each["accepted"]),
            bool(each["old"]),
        )
        for hop, each in zip(hops, json.loads(done), strict=False)
    ]
    return found, unasked


def _target(hop: Hop) -> dict[str, object]:
    host = f"[{hop.host}]" if ":" in hop.host else hop.host or "localhost"
    own = host if hop.socket or hop.port in {80, 443} else f"{host}:{hop.port}"
    front = hop.front or own
    return {
        "host": hop.host,
        "port": hop.port,
        "socket": hop.socket,
        "tls": hop.is_tls,
        "path": _UNPRINTABLE.sub(lambda match: quote(match[0]), hop.target),
        "told_host": _UNPRINTABLE.sub("", front if hop.keeps_host else own),
        "front": "" if hop.keeps_host else _UNPRINTABLE.sub("", front),
        "origin": _UNPRINTABLE.sub("", f"{'https' if hop.is_encrypted else 'http'}://{front}"),
    }


def _run(targets: list[dict[str, object]], user: int | None) -> str | None:
    """Return what the probe prints; None where it does not run, or not in time."""
    asked: dict[str, object] = {"targets": targets, "user": user}
    try:
        if user is not None:
            entry = pwd.getpwuid(user)
            asked |= {"group": entry.pw_gid, "groups": os.getgrouplist(entry.pw_name, entry.pw_gid)}
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROBE.read_text(encoding="utf-8")],
            input=json.dumps(asked),
            capture_output=True,
            text=True,
            check=False,
            timeout=_SECONDS,
            cwd="/",
        )
    except (OSError, KeyError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return f"user {user}"
