"""From what sockets did to checks and findings.

Pure: nothing is asked here.
"""

from .remote_book import Book, milliseconds
from .remote_http import Answer
from .remote_http2 import Http2Seen
from .remote_refusals import words_of
from .remote_seen import Observations
from .remote_socket import CLOSE_CODE, SocketSeen

_FAILED = {1002, 1011}  # RFC 6455, 7.4.1


def sockets(seen: Observations, book: Book) -> None:
    """Judge the sockets that were opened, and what was asked beside them."""
    if not any(seen.shakes[name].is_open for name in ("chrome", "firefox")):
        book.unchecked("the socket itself, Origin, queries and encoded paths: no handshake succeeds")
    else:
        _origin(seen, book)
        _targets(seen, book)
        if seen.socket:
            _socket(seen.socket, book, is_echo=seen.echoes)
    if seen.http2:
        _http2(seen, seen.http2, book)
    if seen.idle:
        _idle(seen, seen.idle, book)


def _origin(seen: Observations, book: Book) -> None:
    own = seen.shakes["chrome" if seen.shakes["chrome"].is_open else "firefox"]
    foreign, none = seen.shakes.get("foreign"), seen.shakes.get("none")
    if not foreign or not none:
        return
    words = f"own {_short(own.answer)}, foreign {_short(foreign.answer)}, none {_short(none.answer)}"
    fault = None
    if foreign.is_open and not seen.wanted.any_origin:
        fault = book.finding("origin-unchecked", "101 to a page of another site")
    book.check("Origin", words, fault)


def _targets(seen: Observations, book: Book) -> None:
    names = {"query": "?query", "slash": "%2F", "question": "%3F"}
    parts = [
        f"{label} {_short(seen.shakes[name].answer)}" for name, label in names.items() if name in seen.shakes
    ]
    query = seen.shakes.get("query")
    is_refused = query and not query.is_open and not query.answer.failure
    fault = book.finding("query-refused", words_of(query.answer)) if query and is_refused else None
    if parts:
        book.check("targets", ", ".join(parts), fault)


def _socket(socket: SocketSeen, book: Book, *, is_echo: bool) -> None:
    first = "it waits for the client" if socket.first is None else f"it speaks first, {socket.first:,} bytes"
    if socket.fault:
        book.check("socket", socket.fault, book.finding("frames-broken", socket.fault))
        return
    if socket.is_cut and not socket.is_left:
        book.check("socket", "cut without a close frame", book.finding("socket-cut", "1006 at once"))
        return
    if socket.close_code is not None and not socket.is_left:
        words = f"closed by the server: {socket.close_code} {socket.close_reason}".rstrip()
        fault = book.finding("socket-failed", words) if socket.close_code in _FAILED else None
        book.check("socket", words, fault)
        book.unchecked("pings and messages: the server closed the socket before")
        return
    if socket.is_loud:
        book.check("socket", "it speaks without a pause")
        book.unchecked("pings and messages: the server says more than 4 MiB unasked")
        return
    if _is_deaf(socket):
        words = (
            "no pong, no message, no answer to a close" if socket.echoes else "no pong, no answer to a close"
        )
        book.check("socket", words, book.finding("socket-deaf", words))
        return
    if socket.pong_seconds is None:
        book.check("ping", "no pong", book.finding("pong-missing", "no pong within the time"))
    else:
        book.check("ping", f"pong in {milliseconds(socket.pong_seconds)}; {first}")
    if is_echo:
        lost = [kind for kind, is_good in socket.echoes.items() if not is_good]
        words = ", ".join(socket.echoes)
        fault = book.finding("echo-broken", f"did not come back: {', '.join(lost)}") if lost else None
        book.check("messages", f"{words}: " + ("not all echoed" if lost else "echoed"), fault)
    else:
        book.unchecked("messages: only a path that echoes is sent any (--echo)")
    _close(socket, book)


def _is_deaf(socket: SocketSeen) -> bool:
    """Tell whether nothing at all came back on it."""
    is_silent = socket.first is None and socket.pong_seconds is None and not any(socket.echoes.values())
    return is_silent and socket.is_left and not socket.is_answered


def _close(socket: SocketSeen, book: Book) -> None:
    if not socket.is_left:
        return
    if socket.is_answered:
        same = "comes back" if socket.close_code == CLOSE_CODE else f"is answered with {socket.close_code}"
        book.check("close", f"{CLOSE_CODE} {same}")
    else:
        words = "the connection ends without a close frame" if socket.is_cut else "no answer to a close"
        book.check("close", words, book.finding("close-unanswered", words))


def _http2(seen: Observations, http2: Http2Seen, book: Book) -> None:
    if not http2.is_announced:
        book.check("HTTP/2", "for pages; sockets by HTTP/1.1")
        return
    over, by_http1 = http2.socket, seen.socket
    fault = None
    if not over:
        words = f"announced for sockets, and refused: {http2.status or http2.detail}"
        # What refuses every handshake is told once.
        is_other = any(seen.shakes[name].is_open for name in ("chrome", "firefox"))
        fault = book.finding("http2-refused", words) if is_other else None
    elif by_http1 and by_http1.first is not None and over.is_first_held:
        words = "the server's first message is held back until the client speaks; not so by HTTP/1.1"
        fault = book.finding("http2-websockets", words)
    elif over.pong_seconds is None:
        words = "a socket opens, and does not answer a ping"
        fault = book.finding("http2-refused", words)
    else:
        words = f"for sockets too: pong in {milliseconds(over.pong_seconds)}"
    book.check("HTTP/2", words, fault)


def _idle(seen: Observations, idle: SocketSeen, book: Book) -> None:
    seconds = f"{idle.idle_seconds:.0f} s"
    if idle.close_code is not None and not idle.is_left:
        book.check("idle", f"closed by the server with {idle.close_code} after {seconds}")
    elif (idle.is_cut and not idle.is_left) or idle.pong_seconds is None:
        words = (
            f"cut after {seconds} without a byte"
            if idle.idle_seconds < seen.wanted.idle
            else f"dead after {seconds}"
        )
        book.check("idle", words, book.finding("idle-cut", words))
    else:
        book.check("idle", f"alive after {seconds} in which the client said nothing")


def _short(answer: Answer) -> str:
    return str(answer.status or answer.failure)
