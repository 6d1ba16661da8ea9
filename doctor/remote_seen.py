"""What is known and what was seen of a living site, as plain data: nothing here asks or judges."""

from dataclasses import dataclass, field
from datetime import datetime

from .remote_http import UPGRADED, Answer, Failure
from .remote_http2 import Http2Seen
from .remote_socket import SocketSeen
from .remote_tls import TlsSeen
from .remote_url import Asked

CHROME, FIREFOX = "Upgrade", "keep-alive, Upgrade"
"""The Connection header as each sends it."""


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
    def is_ipv6(self) -> bool:
        """Tell of which family it is."""
        return ":" in self.address

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
        connection: the Connection header of all handshakes but those of Chrome and Firefox: one that works.
        shakes: handshakes, by name: chrome, firefox, foreign, none (without Origin), query, slash (%2F), question (%3F), sibling.
        sibling: the path with its last slash taken away, or put there.
        socket: what a socket did that was opened.
        idle: what one did that was left alone.
        http2: what HTTP/2 gave.
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
    connection: str = CHROME
    shakes: dict[str, Shake] = field(default_factory=dict)
    sibling: str = ""
    socket: SocketSeen | None = None
    idle: SocketSeen | None = None
    http2: Http2Seen | None = None
    is_cut: bool = False

    @property
    def echoes(self) -> bool:
        """Tell whether the path is taken to send messages back."""
        if self.wanted.echo is not None:
            return self.wanted.echo
        return "echo" in self.asked.path.rstrip("/").rpartition("/")[2].lower()
