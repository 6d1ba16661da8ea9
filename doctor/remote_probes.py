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
from dataclasses import dataclass, field
from datetime import datetime
from urllib.parse import urljoin, urlsplit

from websockets.utils import accept_key

from . import remote_tls
from .remote_http import UPGRADED, Answer, Asker, Failure, FailureError, Line, opened
from .remote_socket import OFFER, SocketSeen, Talk, begun
from .remote_tls import TlsSeen
from .remote_url import Asked

FOREIGN = "https://wsfront-doctor.invalid"  # a name that nobody can have (RFC 2606, 2)
CHROME, FIREFOX = "Upgrade", "keep-alive, Upgrade"
"""The Connection header as each sends it."""

_ADDRESSES_MOST = 4
_SCRIPTS_MOST = 2
_HTTPS, _HTTP = 443, 80


@dataclass(frozen=True)
class Wanted:
    """Hold what the person who asks knows of the site.

    Attributes:
        idle: seconds to leave a socket in silence; 0: not asked.
        address: where to connect, whatever the name says.
        origin: that of the page that opens the socket; empty: a page on the same name.
        any_origin: pages of everybody are meant to open it.
        echo: whether the path sends messages back; None: it does where its last part says so.
    """

    idle: float = 0
    address: str = ""
    origin: str = ""
    any_origin: bool = False
    echo: bool | None = None


@dataclass(frozen=True)
class Reach:
    """Hold whether one address answers, and after how many seconds."""

    address: str
    failure: Failure = ""
    detail: str = ""
    seconds: float = 0.0

    @property
    def is_here(self) -> bool:
        """Tell whether it is this machine's own."""
        return self.address == "::1" or self.address.startswith("127.")


@dataclass(frozen=True)
class Shake:
    """Hold one handshake: its answer, and whether Sec-WebSocket-Accept fits the key that was sent (RFC 6455, 4.1)."""

    answer: Answer
    is_accepted: bool = False

    @property
    def is_open(self) -> bool:
        """Tell whether a browser would have a socket now."""
        answer = self.answer
        words = {word.strip().lower() for word in answer.header("connection").split(",")}
        is_upgraded = answer.header("upgrade").lower() == "websocket" and "upgrade" in words
        return answer.status == UPGRADED and is_upgraded and self.is_accepted


@dataclass
class Observations:
    """Hold all that was seen; None and empty: not asked.

    Attributes:
        asked: the address of the socket.
        wanted: what is known of it.
        now: when.
        reaches: its addresses; the first that answers is the one asked.
        no_name: why the name has no address.
        tls: TLS there.
        old_tls: the withdrawn version of TLS that it agrees to.
        page: the answer to `GET /`.
        scripts: of that page, from the same name.
        plain: the answer to a plain GET of the path.
        port_80: the answer to a plain GET of `http://`.
        shakes: handshakes, by name: chrome, firefox, foreign, none (without Origin), query, slash (%2F), question (%3F), sibling.
        sibling: the path with its last slash taken away, or put there.
        socket: what the socket did that Chrome's handshake opened.
        idle: what one did that was left alone.
        is_cut: the time for all was over before the end.
    """

    asked: Asked
    wanted: Wanted
    now: datetime
    reaches: list[Reach] = field(default_factory=list)
    no_name: str = ""
    tls: TlsSeen | None = None
    old_tls: str = ""
    page: Answer | None = None
    scripts: list[bytes] = field(default_factory=list)
    plain: Answer | None = None
    port_80: Answer | None = None
    shakes: dict[str, Shake] = field(default_factory=dict)
    sibling: str = ""
    socket: SocketSeen | None = None
    idle: SocketSeen | None = None
    is_cut: bool = False

    @property
    def echoes(self) -> bool:
        """Tell whether the path is taken to send messages back."""
        if self.wanted.echo is not None:
            return self.wanted.echo
        return "echo" in self.asked.path.rstrip("/").rpartition("/")[2].lower()


async def observe(asked: Asked, wanted: Wanted, trust: ssl.SSLContext, limit: float) -> Observations:
    """Ask everything that can be asked, within six limits and the idle time.

    Args:
        asked: the address of the socket.
        wanted: what is known of it.
        trust: judges chains of certificates.
        limit: seconds for each question.
    """
    seen = Observations(asked, wanted, remote_tls.now())
    try:
        async with asyncio.timeout(6 * limit + wanted.idle):
            await _observe(seen, trust, limit)
    except TimeoutError:
        seen.is_cut = True
    return seen


async def _observe(seen: Observations, trust: ssl.SSLContext, limit: float) -> None:
    await _reach(seen, limit)
    address = next((each.address for each in seen.reaches if not each.failure), "")
    if not address:
        return
    asked = seen.asked
    asker = Asker(asked, address, limit)
    if asked.is_secure:
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
        if asked.is_secure and asked.port == _HTTPS:
            tasks.create_task(_port_80(seen, asker))
        await asyncio.gather(_first(seen, asker), _shake(seen, asker, "firefox", connection=FIREFOX))
        await _variants(seen, asker)
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
    seen.reaches = list(await asyncio.gather(*(_connected(each, port, limit) for each in some)))


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


async def _page(seen: Observations, asker: Asker) -> None:
    """Ask for the page on the same name, and for some of its scripts."""
    seen.page, _ = await asker.ask("/", ("Accept: text/html", "Connection: close"))
    base = f"{seen.asked.origin}/"
    sources = re.findall(rb"<script[^>]*\ssrc\s*=\s*[\"']?([^\"'>\s]+)", seen.page.body, re.IGNORECASE)
    addresses = dict.fromkeys(urljoin(base, each.decode("latin-1")) for each in sources)
    own = [each for each in addresses if each.startswith(base)]
    for address in own[:_SCRIPTS_MOST]:
        parts = urlsplit(address)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        answer, _ = await asker.ask(target, ("Connection: close",))
        seen.scripts.append(answer.body)


async def _plain(seen: Observations, asker: Asker) -> None:
    seen.plain, _ = await asker.ask(seen.asked.target, ("Connection: close",))


async def _port_80(seen: Observations, asker: Asker) -> None:
    seen.port_80, _ = await asker.ask("/", ("Connection: close",), port=_HTTP, is_secure=False)


async def _first(seen: Observations, asker: Asker) -> None:
    """Shake hands as Chrome does, and see what the socket can do."""
    line = await _shake(seen, asker, "chrome", is_kept=True)
    if not line:
        return
    answer = seen.shakes["chrome"].answer
    talk = await begun(line, answer, asker.limit)
    if isinstance(talk, SocketSeen):
        seen.socket = talk
        return
    seen.socket = talk.seen
    try:
        await talk.first()
        await talk.ping()
        if seen.echoes:
            await talk.echo()
    finally:
        await talk.close()


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
    """Ask for what only says something beside the first handshakes."""
    asked, shakes = seen.asked, seen.shakes
    own = [shakes["chrome"], shakes["firefox"]]
    if all(each.answer.failure == "silent" for each in own):
        return
    questions = [_shake(seen, asker, "none", origin="")]
    if any(each.is_open for each in own):
        path = asked.path if asked.path.endswith("/") else f"{asked.path}/"
        questions.append(_shake(seen, asker, "foreign", origin=FOREIGN))
        if not asked.query:
            questions.append(_shake(seen, asker, "query", target=f"{asked.path}?wsfront=doctor"))
        questions.append(_shake(seen, asker, "slash", target=f"{path}a%2Fb"))
        questions.append(_shake(seen, asker, "question", target=f"{path}a%3Fb"))
    elif asked.path != "/":
        path = asked.path.rstrip("/") if asked.path.endswith("/") else f"{asked.path}/"
        seen.sibling = f"{path}?{asked.query}" if asked.query else path
        questions.append(_shake(seen, asker, "sibling", target=seen.sibling))
    await asyncio.gather(*questions)


async def _shake(
    seen: Observations,
    asker: Asker,
    name: str,
    *,
    target: str = "",
    connection: str = CHROME,
    origin: str | None = None,
    is_kept: bool = False,
) -> Line | None:
    key = _key()
    headers = _headers(connection, _own_origin(seen) if origin is None else origin, key)
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
