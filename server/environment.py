"""Settings read from the backend's environment, or from a file in systemd's EnvironmentFile syntax.

All faults are told at once. Knows nothing of sockets: it neither binds nor resolves.
"""

import contextlib
import difflib
import ipaddress
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from .origins import Policy, parse_origin
from .settings import Address, Network, ProcessLimits, Settings, SettingsError, Socket, Workers

# https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#EnvironmentFile=
LINE = re.compile(
    r"""\s*(?:export\s+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)=(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>[^\s"'\\`$]*))\s*"""
)
ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%a-z]+)\]|(?P<host>[^\s:/\[\]]+)):(?P<port>[0-9]{1,5})")
PATH = re.compile(r"/[^\s?#\x00-\x1f\x7f]*")
HIGHEST_PORT = 65535
HANDLER = re.compile(r"[^\W\d][\w.]*:[^\W\d]\w*")
WORKERS_MOST = 64
Number = TypeVar("Number", int, float)


class _Entry(msgspec.Struct, forbid_unknown_fields=True):
    path: str
    public_path: str
    origins: Literal["same", "any"] | list[str] = "same"
    per_address: Annotated[int, msgspec.Meta(ge=0)] = 0


def load(
    environment: Mapping[str, str],
    *,
    listen: Sequence[str] = (),
    program: Sequence[str] = (),
    handler: str = "",
) -> Settings:
    """Make settings of WSFRONT_* variables; ``listen`` (--listen's values) wins over one.

    ``program`` and ``handler`` are --exec's and --handler's, and no variable's.

    Raises:
        SettingsError: with every fault found.
    """
    faults: list[str] = []
    values: dict[str, object] = {}

    def take(field: str, key: str, parse: Callable[[str], object]) -> None:
        if text := environment.get(key, "").strip():
            try:
                values[field] = parse(text)
            except ValueError as fault:
                faults.append(f"{key}: {fault}")

    if listen:
        try:
            values["listen"] = tuple(map(parse_address, listen))
        except ValueError as fault:
            faults.append(f"--listen: {fault}")
    else:
        take("listen", "WSFRONT_LISTEN", lambda text: tuple(map(parse_address, text.split())))
    take("sockets", "WSFRONT_SOCKETS", _sockets)
    take("ping_interval", "WSFRONT_PING_INTERVAL", lambda text: _number(text, float, 1, 3600))
    take("connections", "WSFRONT_CONNECTIONS", lambda text: _number(text, int, 1, 1_000_000))
    take("leave_seconds", "WSFRONT_LEAVE_SECONDS", lambda text: _number(text, float, 0, 3600))
    take("drain_seconds", "WSFRONT_DRAIN_SECONDS", lambda text: _number(text, float, 0, 3600))
    take("status", "WSFRONT_STATUS", _status)
    take("drain_window", "WSFRONT_DRAIN_WINDOW", lambda text: _number(text, float, 0, 3600))
    take("metrics", "WSFRONT_METRICS", _metrics)
    take("log", "WSFRONT_LOG", lambda text: _one_of(text, "text", "json"))
    take("reloads", "WSFRONT_RELOADS", lambda text: _number(text, int, 0, 50))
    take("fronts", "WSFRONT_FRONTS", lambda text: tuple(map(_network, text.split())))
    take("certificate", "WSFRONT_TLS_CERTIFICATE", Path)
    take("key", "WSFRONT_TLS_KEY", Path)
    take("process_limits", "WSFRONT_PROCESS_LIMITS", _process_limits)
    take("exit_when_idle", "WSFRONT_EXIT_WHEN_IDLE", lambda text: _number(text, float, 1, 86_400))
    take("workers", "WSFRONT_WORKERS", _workers)
    take("bus", "WSFRONT_BUS", lambda text: _one_of(text, "memory", "redis"))
    take("redis", "WSFRONT_REDIS", parse_address)
    take("redis_password", "WSFRONT_REDIS_PASSWORD_FILE", _secret)
    take("history_file", "WSFRONT_HISTORY_FILE", Path)
    faults += _serving(values, program, handler)
    faults += _metrics_ports(values)
    if ("certificate" in values) != ("key" in values):
        faults.append(
            "WSFRONT_TLS_CERTIFICATE and WSFRONT_TLS_KEY: only one of them is set; set both or none"
        )
    if faults:
        raise SettingsError(faults)
    return Settings(**values)  # type: ignore[arg-type]  # each value was made for its field, just above


def _serving(values: dict[str, object], program: Sequence[str], handler: str) -> list[str]:
    """Set what serves a connection; return what is wrong with it."""
    faults = []
    if handler:
        values |= {"handler": handler, "workers": values.get("workers", "forked")}
        if not HANDLER.fullmatch(handler):
            faults.append(f"--handler: {handler!r} is no handler; expected module:function")
        if values["workers"] != "forked":
            faults.append(
                "WSFRONT_WORKERS: a handler runs in a process for each connection; set it to forked"
            )
    if values.get("workers", 1) not in (1, "forked"):
        if values.get("exit_when_idle"):
            faults.append("WSFRONT_EXIT_WHEN_IDLE: it is for one process; set WSFRONT_WORKERS to 1 or forked")
        if not program and values.get("bus") != "redis":
            faults.append(
                "WSFRONT_WORKERS: rooms on the bus memory are one process's; set WSFRONT_BUS to redis, or this to 1 or forked"
            )
    if program:
        if values.get("workers") == "forked":
            faults.append(
                "--exec: it is a process for each connection already; leave out --handler and forked"
            )
        if found := shutil.which(program[0]):
            values["program"] = (str(Path(found).absolute()), *program[1:])
        else:
            faults.append(f"--exec: no program {program[0]!r}; name one that this user can run")
    return faults


def _metrics_ports(values: dict[str, object]) -> list[str]:
    """Return what is wrong with the ports of several workers' metrics."""
    watched, workers = values.get("metrics"), values.get("workers", 1)
    if (
        isinstance(watched, Address)
        and isinstance(workers, int)
        and watched.port + workers - 1 > HIGHEST_PORT
    ):
        return [
            f"WSFRONT_METRICS: {workers} workers count up from {watched.port}, beyond {HIGHEST_PORT}; choose a lower port"
        ]
    return []


KEYS = (
    "WSFRONT_LISTEN",
    "WSFRONT_SOCKETS",
    "WSFRONT_PING_INTERVAL",
    "WSFRONT_CONNECTIONS",
    "WSFRONT_LEAVE_SECONDS",
    "WSFRONT_DRAIN_SECONDS",
    "WSFRONT_STATUS",
    "WSFRONT_DRAIN_WINDOW",
    "WSFRONT_RELOADS",
    "WSFRONT_METRICS",
    "WSFRONT_LOG",
    "WSFRONT_FRONTS",
    "WSFRONT_TLS_CERTIFICATE",
    "WSFRONT_TLS_KEY",
    "WSFRONT_WORKERS",
    "WSFRONT_PROCESS_LIMITS",
    "WSFRONT_EXIT_WHEN_IDLE",
    "WSFRONT_BUS",
    "WSFRONT_REDIS",
    "WSFRONT_REDIS_PASSWORD_FILE",
    "WSFRONT_HISTORY_FILE",
)


def read_env_file(path: Path) -> dict[str, str]:
    """Read ``KEY="value"`` lines as systemd and sh both do.

    Raises:
        SettingsError: where the file cannot be read, a line has another form, or a key is unknown.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as fault:
        raise SettingsError([f"{path}: {fault.strerror}; name a file that this user can read"]) from None
    except UnicodeDecodeError:
        raise SettingsError([f"{path}: not UTF-8 text; is it the environment file?"]) from None
    found: dict[str, str] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip()[0] in "#;":
            continue
        match = LINE.fullmatch(line)
        if match is None:
            faults.append(f'{path}:{number}: expected KEY="value", quotes and $ inside it behind a backslash')
            continue
        key = match["key"]
        if key.startswith("WSFRONT_") and key not in KEYS:
            near = difflib.get_close_matches(key, KEYS, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(KEYS)}"
            faults.append(f"{path}:{number}: unknown setting {key}; {hint}")
        quoted = re.sub(r'\\(["\\`$])', r"\1", match["double"] or "")
        found[key] = quoted or match["single"] or match["bare"] or ""
    if faults:
        raise SettingsError(faults)
    return found


def parse_address(text: str) -> Address:
    """Read ``host:port``, ``[v6]:port`` or ``unix:/path``.

    Raises:
        ValueError: where it is none of these.
    """
    if text.startswith("unix:/"):
        return Address(path=text.removeprefix("unix:"))
    match = ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > HIGHEST_PORT:
        raise ValueError(f"{text!r} is no address; expected host:port, [v6]:port or unix:/path")
    return Address(match["v6"] or match["host"], int(match["port"]))


def _metrics(text: str) -> Address:
    address = parse_address(text)
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address.host).is_loopback:
            return address
    raise ValueError(
        f"{text!r} is no loopback address, and metrics are not for everybody; expected 127.0.0.1:port"
    )


def _status(text: str) -> Address:
    address = parse_address(text)
    if address.path:
        raise ValueError(f"{text!r} is no host:port, and Apache listens on nothing else")
    return address


def _one_of(text: str, *known: str) -> str:
    if text not in known:
        raise ValueError(f"{text!r} is not known; expected {' or '.join(known)}")
    return text


def _secret(text: str) -> str:
    """Read a password's file: only its path is in the environment, which others can see."""
    try:
        secret = Path(text).read_text(encoding="utf-8").strip()
    except OSError as fault:
        raise ValueError(f"{text}: {fault.strerror}; name a file that this user can read") from None
    except UnicodeDecodeError:
        secret = ""
    if not secret:
        raise ValueError(f"{text} holds no password; expected one line of text")
    return secret


def _number(text: str, kind: type[Number], least: Number, most: Number) -> Number:
    try:
        number = kind(text)
    except ValueError:
        number = kind(-1)
    if not least <= number <= most:
        raise ValueError(f"{text!r} is out of range; expected a number from {least} to {most}")
    return number


def _workers(text: str) -> Workers:
    if text == "forked":
        return "forked"
    try:
        return _number(text, int, 1, WORKERS_MOST)
    except ValueError:
        raise ValueError(f"{text!r} is neither forked nor a number from 1 to {WORKERS_MOST}") from None


def _process_limits(text: str) -> ProcessLimits:
    known = [field.name for field in fields(ProcessLimits)]
    found: dict[str, int] = {}
    for part in text.replace(",", " ").split():
        name, _, value = part.partition("=")
        if name not in known:
            raise ValueError(f"{part!r} is no limit; expected {'=… '.join(known)}=…")
        found[name] = _number(value, int, 0, 1 << 30)
    return ProcessLimits(**found)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is no network; expected addresses or networks such as 10.0.0.1 or 10.0.0.0/24"
        ) from None


def _sockets(text: str) -> tuple[Socket, ...]:
    try:
        entries = msgspec.json.decode(text, type=list[_Entry])
    except msgspec.DecodeError as fault:
        raise ValueError(f'{fault}; expected [{{"path":…,"public_path":…,"origins":…}}, …]') from None
    if not entries:
        raise ValueError("an empty list; expected at least one socket")
    for path in (path for entry in entries for path in (entry.path, entry.public_path)):
        if not PATH.fullmatch(path):
            raise ValueError(f"{path!r} is no path; expected /… without ?, # and spaces")
    return tuple(
        Socket(entry.path, entry.public_path, _policy(entry.origins), entry.per_address) for entry in entries
    )


def _policy(origins: Literal["same", "any"] | list[str]) -> Policy:
    if not isinstance(origins, list):
        return origins
    parsed = {text: parse_origin(text) for text in origins}
    if bad := [text for text, origin in parsed.items() if origin is None]:
        raise ValueError(f"{bad[0]!r} is no origin; expected https://host or https://host:port")
    return frozenset(filter(None, parsed.values()))
