"""Connect to backends and send each a handshake: a program of its own, so that it may become Apache's user.

Takes targets, and the user to become, as JSON on standard input; gives what was seen of each on standard output. Needs Python alone.
Source: RFC 6455, 4.
"""

import base64
import contextlib
import encodings.idna  # noqa: F401 (found while it may still be read: whom we become may not)
import hashlib
import json
import os
import re
import socket
import ssl
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

SECONDS = 1.2
MOST = 1 << 16
BAD_REQUEST, FORBIDDEN = 400, 403
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE = b"\x88\x82\0\0\0\0\x03\xe8"  # 1000, masked by zeros: the target is a server of this machine's, no proxy is between


def seen(target: dict[str, Any]) -> dict[str, Any]:
    """Return what a target does: the addresses tried, and what came of a handshake with the first that was open."""
    found: dict[str, Any] = {
        "addresses": [],
        "fault": "",
        "status": None,
        "server": "",
        "accepted": False,
        "old": False,
    }
    places = addresses(target, found)
    with ThreadPoolExecutor(max(1, len(places))) as pool:
        faults = list(pool.map(lambda place: unreached(place[0], place[1]), places))
    found["addresses"] = [[text, fault] for (_, _, text), fault in zip(places, faults, strict=True)]
    where = next((place[:2] for place, fault in zip(places, faults, strict=True) if not fault), None)
    if where:
        found.update(shaken(*where, target))
    return found


def addresses(target: dict[str, Any], found: dict[str, Any]) -> list[tuple[int, Any, str]]:
    """Return where a target is: family, address, and how it is written."""
    if target["socket"]:
        return [(socket.AF_UNIX, target["socket"], f"unix:{target['socket']}")]
    try:
        got = socket.getaddrinfo(target["host"], target["port"], type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found["fault"] = "unknown"
        return []
    each: dict[str, tuple[int, Any]] = {str(info[4][0]): (int(info[0]), info[4]) for info in got[:4]}
    return [
        (family, address, f"[{host}]:{address[1]}" if ":" in host else f"{host}:{address[1]}")
        for host, (family, address) in each.items()
    ]


def unreached(family: int, address: Any) -> str:
    """Return why a place cannot be connected to; nothing where it can."""
    try:
        connect(family, address).close()
    except OSError as error:
        return reason(error)
    return ""


def shaken(family: int, address: Any, target: dict[str, Any]) -> dict[str, Any]:
    """Return what came of a handshake; where TLS is the question, of the other way too."""
    answer = handshake(family, address, target, by_tls=target["tls"])
    if target["tls"] and answer["fault"] == "no-tls":
        other = handshake(family, address, target, by_tls=False)
        return {**answer, "fault": "plain" if other["status"] else "closed"}
    if target["tls"]:
        return answer
    doubtful = answer["fault"] in {"closed", "garbage", "silent"} or answer["status"] == BAD_REQUEST
    if (
        not target["tls"]
        and doubtful
        and handshake(family, address, target, by_tls=True)["fault"] not in {"no-tls", "silent"}
    ):
        return {**answer, "fault": "tls"}
    if answer["status"] == FORBIDDEN and target["front"]:
        asked = {**target, "told_host": target["front"]}
        if handshake(family, address, asked, by_tls=False)["accepted"]:
            return {**answer, "fault": "host"}
    return answer


def handshake(family: int, address: Any, target: dict[str, Any], *, by_tls: bool) -> dict[str, Any]:
    """Send a handshake and return what came back: fault, status, server, accepted, old."""
    found: dict[str, Any] = {"fault": "", "status": None, "server": "", "accepted": False, "old": False}
    key = base64.b64encode(os.urandom(16))
    try:
        with contextlib.closing(connect(family, address)) as line:
            if by_tls:
                with contextlib.closing(secured(line, target["host"])) as over:
                    head = exchanged(over, target, key.decode())
            else:
                head = exchanged(line, target, key.decode())
    except TimeoutError:
        return {**found, "fault": "silent"}
    except ssl.SSLError as error:
        # A server that asks for a certificate of ours does speak TLS.
        return {**found, "fault": "closed" if "ALERT" in str(error.reason).upper() else "no-tls"}
    except OSError:
        return {**found, "fault": "no-tls" if by_tls else "closed"}
    status = re.match(rb"HTTP/1\.[01] (\d{3})\b", head)
    if not status:
        return {**found, "fault": "garbage" if head else "closed"}
    server = re.search(rb"^server:[ \t]*([^\r\n]{0,60})", head, re.IGNORECASE | re.MULTILINE)
    accept = re.search(rb"^sec-websocket-accept:[ \t]*(\S+)", head, re.IGNORECASE | re.MULTILINE)
    right = base64.b64encode(hashlib.sha1(key + MAGIC).digest())  # noqa: S324 (RFC 6455, 1.3)
    return {
        "fault": "",
        "status": int(status[1]),
        "server": server[1].decode("latin-1") if server else "",
        "accepted": bool(accept and accept[1] == right),
        "old": head.startswith(b"HTTP/1.0"),
    }


def secured(line: socket.socket, host: str) -> ssl.SSLSocket:
    """Return a connection by TLS to whoever it is; raise OSError, ssl.SSLError among them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    is_name = re.fullmatch(r"[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*", host)
    return context.wrap_socket(line, server_hostname=host if is_name else None)


def exchanged(line: socket.socket, target: dict[str, Any], key: str) -> bytes:
    """Send a handshake, return the head of its answer, and close where it was taken; raise OSError."""
    origin = f"Origin: {target['origin']}\r\n" if target["origin"] else ""
    request = (
        f"GET {target['path']} HTTP/1.1\r\nHost: {target['told_host']}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n{origin}\r\n"
    )
    line.sendall(request.encode("latin-1", "replace"))
    head = read_head(line)
    if head.startswith(b"HTTP/1.1 101"):
        with contextlib.suppress(OSError):
            line.sendall(CLOSE)
    return head


def read_head(line: socket.socket) -> bytes:
    """Return what came until an answer's head ended, the other side closed, or it grew too long."""
    head = b""
    deadline = time.monotonic() + SECONDS
    while b"\r\n\r\n" not in head and len(head) < MOST:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        line.settimeout(left)
        part = line.recv(MOST)
        if not part:
            break
        head += part
        if not b"HTTP/1.".startswith(head[:7]):
            break
    return head


def connect(family: int, address: Any) -> socket.socket:
    """Return an open connection; raise OSError."""
    line = socket.socket(family)
    line.settimeout(SECONDS)
    try:
        line.connect(address)
    except BaseException:
        line.close()
        raise
    return line


def reason(error: OSError) -> str:
    """Return why a connection did not come about, in a word."""
    if isinstance(error, TimeoutError):
        return "silent"
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, PermissionError):
        return "denied"
    if isinstance(error, FileNotFoundError):
        return "missing"
    return error.strerror or str(error)


def main() -> None:
    """Become the user, and look at all targets at once."""
    asked = json.load(sys.stdin)
    if asked["user"] is not None:
        os.setgroups(asked["groups"])
        os.setgid(asked["group"])
        os.setuid(asked["user"])
    targets = asked["targets"]
    with ThreadPoolExecutor(max(1, len(targets))) as pool:
        json.dump(list(pool.map(seen, targets)), sys.stdout)


if __name__ == "__main__":
    main()
