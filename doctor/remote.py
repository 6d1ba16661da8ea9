"""Examine a WebSocket from anywhere, as a browser would meet it: nothing of the server is needed.

`remote_url` reads the address, `remote_probes` asks (by `remote_tls`, `remote_http` and `remote_socket`), `remote_verdicts`,
`remote_refusals` and `remote_socket_verdicts` judge what came back.
"""

from . import remote_tls
from .examination import Examination
from .remote_probes import observe
from .remote_seen import Wanted
from .remote_url import UrlError, parse
from .remote_verdicts import judge

__all__ = ["UrlError", "examine"]

LIMIT = 5.0
"""Seconds that an answer may take."""


async def examine(
    url: str,
    *,
    idle: float = 0,
    ca_file: str | None = None,
    address: str = "",
    origin: str = "",
    any_origin: bool = False,
    echo: bool | None = None,
    timeout: float = LIMIT,  # noqa: ASYNC109 (of each question, and of many at once)
) -> Examination:
    """Ask a WebSocket all that can be asked from outside, and judge it.

    At most four connections are open at once besides two sockets, and some twenty are made. Ends within seven times the
    limit and the idle time, whatever the server does.

    Args:
        url: wss:// or ws://; https:// and http:// mean the socket at the same address.
        idle: seconds to leave a socket in silence; 0: not asked.
        ca_file: authorities to trust beside the system's.
        address: where to connect, whatever the name says.
        origin: that of the page that opens the socket; empty: a page on the same name.
        any_origin: pages of everybody are meant to open it, so that a foreign Origin is no finding.
        echo: whether the path sends messages back; None: it does where the last part of the path says so.
        timeout: seconds that an answer may take.

    Raises:
        UrlError: the URL is none.
        OSError: the file of authorities cannot be read, or holds none.
    """
    asked = parse(url)
    wanted = Wanted(idle, address, origin, any_origin, echo)
    trust = remote_tls.trusting(ca_file) if asked.is_secure or ca_file else None
    return judge(await observe(asked, wanted, trust, timeout))
