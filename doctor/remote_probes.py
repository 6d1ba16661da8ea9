"""All questions to a living site, a few at a time, and what they gave.

Judges nothing: what it brings home is plain data.
"""

import asyncio
import base64
import re
import secrets
import socket
import ssl
from collections.abc import Sequence

from websockets.utils import accept_key

from . import remote_http2, remote_tls
from .remote_http import Asker, FailureError, Line, opened
from .remote_seen import CHROME, FIREFOX, Observations, Reach, Shake, Wanted
from .remote_socket import CLOSE_CODE, OFFER, SocketSeen, Talk, begun
from .remote_url import Asked, joined

FOREIGN = "https://wsfront-doctor.invalid"  # a name that nobody can have (RFC 2606, 2)
_ADDRESSES_MOST = 4
_SCRIPTS_MOST = 2
_OTHERS_SECONDS = 1.0
_HTTP2_TIMES = 3
_HTTPS, _HTTP = 443, 80


async def observe(asked: Asked, wanted: Wanted, trust: ssl.SSLContext | None, limit: float) -> Observations:
    """Ask everything that can be asked, within six limits and the idle time.

    Args:
        asked: the address of the socket.
        wanted: what is known of it.
        trust: judges chains of certificates; needed for TLS alone.
        limit: seconds for each question.
    """
    seen = Observations(asked, wanted, remote_tls.now())
    try:
        async with asyncio.timeout(6 * limit + wanted.idle):
            await _observe(seen, trust, limit)
    except TimeoutError:
        seen.is_cut = True
    return seen


async def _observe(seen: Observations, trust: ssl.SSLContext | None, limit: float) -> None:
    await _reach(seen, limit)
    address = next((each.address for each in seen.reaches if not each.failure), "")
    if not address:
        return
    asked = seen.asked
    asker = Asker(asked, address, limit)
    if asked.is_secure and trust:
        seen.tls = await remote_tls.look(asked, address, trust, limit)
        if seen.tls.failure:
            seen.plain = (await asker.ask(asked.target, is_secure=False))[0]
            return
    idle: asyncio.Task[None] | None = None
    async with asyncio.TaskGroup() as tasks:
        if seen.wanted.idle:
            idle = tasks.create_task(_idle(seen, asker))
        tasks.create_task(_page(seen, asker))
        tasks.create_task(_plain(seen, asker))
        if asked.is_secure:
            tasks.create_task(_old_tls(seen, asker))
        if seen.tls and seen.tls.alpn == "h2":
            tasks.create_task(_http2(seen, asker))
        if asked.is_secure and asked.port == _HTTPS:
            tasks.create_task(_port_80(seen, asker))
        await _handshakes(seen, asker)
        if idle and not any(each.is_open for each in seen.shakes.values()):
            idle.cancel()


async def _reach(seen: Observations, limit: float) -> None:
    loop = asyncio.get_running_loop()
    name, port = seen.wanted.address or seen.asked.host, seen.asked.port
    try:
        async with asyncio.timeout(limit):
            found = await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        is_slow = isinstance(error, TimeoutError)
        seen.no_name = "no name server answers" if is_slow else str(getattr(error, "strerror", "") or error)
        return
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    families = [[each for each in addresses if (":" in each) is is_ipv6] for is_ipv6 in (False, True)]
    some = [each for family in families for each in family[: _ADDRESSES_MOST // 2]]
    tasks = {each: asyncio.create_task(_connected(each, port, limit)) for each in some}
    waiting = set(tasks.values())
    while waiting and not any(task.done() and not task.result().failure for task in tasks.values()):
        _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    if waiting:
        # Once one has answered, nobody waits for the others as long as for the only one.
        _, waiting = await asyncio.wait(waiting, timeout=_OTHERS_SECONDS)
    for task in waiting:
        task.cancel()
    seen.reaches = [
        Reach(each, "silent") if task in waiting else task.result() for each, task in tasks.items()
    ]


async def _connected(address: str, port: int, limit: float) -> Reach:
    begin = asyncio.get_running_loop().time()
    try:
        line = await opened(address, port, None, "", limit)
    except FailureError as failure:
        return Reach(address, failure.answer.failure, failure.answer.detail)
    seconds = asyncio.get_running_loop().time() - begin
    await line.close()
    return Reach(address, seconds=seconds)


async def _old_tls(seen: Observations, asker: Asker) -> None:
    async with asker.gate:
        seen.old_tls = await remote_tls.takes_old(seen.asked, asker.address, asker.limit)


async def _http2(seen: Observations, asker: Asker) -> None:
    """Open a socket by HTTP/2; where that works, a few times: a first message that is held back is so only now and then."""
    for _ in range(_HTTP2_TIMES):
        async with asker.gate:
            seen.http2 = await remote_http2.look(seen.asked, asker.address, _own_origin(seen), asker.limit)
        if not seen.http2.socket or seen.http2.socket.is_first_held:
            break


async def _page(seen: Observations, asker: Asker) -> None:
    """Ask for the page on the same name, and for some of its scripts."""
    seen.page, _ = await asker.ask("/", ("Accept: text/html", "Connection: close"))
    base = f"{seen.asked.origin}/"
    sources = re.findall(rb"<script[^>]*\ssrc\s*=\s*[\"']?([^\"'>\s]+)", seen.page.body, re.IGNORECASE)
    addresses = dict.fromkeys(joined(base, each.decode("latin-1")) for each in sources)
    own = [each for each in addresses if f"{each.scheme}://{each.netloc}" == seen.asked.origin]
    for address in own[:_SCRIPTS_MOST]:
        target = f"{address.path}?{address.query}" if address.query else address.path
        answer, _ = await asker.ask(target, ("Connection: close",))
        seen.scripts.append(answer.body)


async def _plain(seen: Observations, asker: Asker) -> None:
    seen.plain, _ = await asker.ask(seen.asked.target, ("Connection: close",))


async def _port_80(seen: Observations, asker: Asker) -> None:
    seen.port_80, _ = await asker.ask("/", ("Connection: close",), port=_HTTP, is_secure=False)


async def _handshakes(seen: Observations, asker: Asker) -> None:
    """Shake hands as Chrome and Firefox do, without Origin, and see what the socket can do that opens."""
    line, _ = await asyncio.gather(
        _shake(seen, asker, "chrome", is_kept=True), _shake(seen, asker, "firefox", connection=FIREFOX)
    )
    chrome, firefox = seen.shakes["chrome"], seen.shakes["firefox"]
    if chrome.answer.failure == firefox.answer.failure == "silent":
        return
    if not line and firefox.is_open:
        seen.connection = FIREFOX
        line = await _shake(seen, asker, "again", is_kept=True)
    if chrome.is_open or firefox.is_open:
        await asyncio.gather(
            _talk(seen, asker, line, seen.shakes["chrome" if chrome.is_open else "again"]),
            _variants(seen, asker),
        )
    else:
        await asyncio.gather(_shake(seen, asker, "none", origin=""), _sibling(seen, asker))


async def _talk(seen: Observations, asker: Asker, line: Line | None, shake: Shake) -> None:
    talk = await begun(line, shake.answer, asker.limit) if line else None
    if isinstance(talk, SocketSeen):
        seen.socket = talk
    if not isinstance(talk, Talk):
        return
    seen.socket = talk.seen
    try:
        await talk.first()
        await talk.ping()
        if seen.echoes:
            await talk.echo()
    finally:
        await talk.close(CLOSE_CODE)


async def _idle(seen: Observations, asker: Asker) -> None:
    answer, line = await asker.ask(
        seen.asked.target, _headers(CHROME, _own_origin(seen), _key()), is_kept=True
    )
    talk = await begun(line, answer, asker.limit) if line else None
    if isinstance(talk, Talk):
        try:
            await talk.idle(seen.wanted.idle)
            seen.idle = talk.seen
        finally:
            await talk.close()


async def _variants(seen: Observations, asker: Asker) -> None:
    """Ask for what only says something beside a handshake that opens a socket."""
    asked = seen.asked
    path = asked.path if asked.path.endswith("/") else f"{asked.path}/"
    questions = [
        _shake(seen, asker, "none", origin=""),
        _shake(seen, asker, "foreign", origin=FOREIGN),
        _shake(seen, asker, "slash", target=f"{path}a%2Fb"),
        _shake(seen, asker, "question", target=f"{path}a%3Fb"),
    ]
    if not asked.query:
        questions.append(_shake(seen, asker, "query", target=f"{asked.path}?wsfront=doctor"))
    await asyncio.gather(*questions)


async def _sibling(seen: Observations, asker: Asker) -> None:
    """Ask for the path with its last slash taken away, or put there."""
    asked = seen.asked
    if asked.path != "/":
        path = asked.path.rstrip("/") if asked.path.endswith("/") else f"{asked.path}/"
        seen.sibling = f"{path}?{asked.query}" if asked.query else path
        await _shake(seen, asker, "sibling", target=seen.sibling)


async def _shake(
    seen: Observations,
    asker: Asker,
    name: str,
    *,
    target: str = "",
    connection: str = "",
    origin: str | None = None,
    is_kept: bool = False,
) -> Line | None:
    key = _key()
    headers = _headers(connection or seen.connection, _own_origin(seen) if origin is None else origin, key)
    answer, line = await asker.ask(target or seen.asked.target, headers, is_kept=is_kept)
    is_accepted = answer.header("sec-websocket-accept") == accept_key(key)
    shake = seen.shakes[name] = Shake(answer, is_accepted)
    if line and not shake.is_open:
        await line.close()
        return None
    return line


def _own_origin(seen: Observations) -> str:
    return seen.wanted.origin or seen.asked.origin


def _headers(connection: str, origin: str, key: str) -> Sequence[str]:
    return (
        f"Connection: {connection}",
        "Pragma: no-cache",
        "Cache-Control: no-cache",
        "Upgrade: websocket",
        *([f"Origin: {origin}"] if origin else []),
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        f"Sec-WebSocket-Extensions: {OFFER}",
    )


def _key() -> str:
    return base64.b64encode(secrets.token_bytes(16)).decode()
