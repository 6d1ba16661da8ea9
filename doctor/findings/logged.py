"""The numbers of Apache's error log that tell of sockets, with their meaning.

Source: httpd 2.4, APLOGNO; each was seen in a log, or read where it is written.
"""

from dataclasses import dataclass

from .entry import Entry, Severity


@dataclass(frozen=True)
class Logged:
    """Describe a number of Apache's error log.

    Attributes:
        entry: its own place in the catalogue, for where nothing else explains it.
        causes: findings of which it is a symptom.
        is_clients: whether it tells of a client, as scanners are, and not of this server.
    """

    entry: Entry
    causes: tuple[str, ...] = ()
    is_clients: bool = False


def _logged(
    severity: Severity, title: str, cause: str, remedy: str, *causes: str, clients: bool = False
) -> Logged:
    return Logged(Entry(severity, title, cause, remedy), causes, clients)


_FULL = ("workers-exhausted", "workers-were-exhausted", "workers-few", "slots-exhausted")
_SLOTS = ("slots-exhausted", "slots-few", "slots-no-reserve")
_DOWN = (
    "selinux-denies",
    "backend-down",
    "backend-denied",
    "backend-no-route",
    "backend-name-unknown",
    "backend-first-address",
    "ports-few",
)
ASTRAY = ("proxypass-slash", "rewrite-client-picks-host", "rewrite-missing-percent")
"""What leads requests elsewhere than where a line says."""

_WRONG = (
    "backend-speaks-tls",
    "backend-speaks-plain",
    "backend-closes",
    "backend-not-websocket",
    "backend-silent",
)

LOGGED: dict[str, Logged] = {
    "AH00484": _logged(
        "warning",
        "MaxRequestWorkers reached",
        "All workers were in use: handshakes hung without any error.",
        "Raise MaxRequestWorkers and ServerLimit: `./wsfront plan --connections N`.",
        *_FULL,
        "mpm-workers-cut",
    ),
    "AH00161": _logged(
        "warning",
        "MaxRequestWorkers reached, on prefork",
        "All processes were in use, one for each socket: handshakes hung without any error.",
        "mpm_event, with PHP by php-fpm.",
        *_FULL,
        "mpm-prefork",
    ),
    "AH00286": _logged(
        "warning",
        "MaxRequestWorkers reached, on worker",
        "All workers were in use: handshakes hung without any error.",
        "Raise MaxRequestWorkers and ServerLimit: `./wsfront plan --connections N`.",
        *_FULL,
    ),
    "AH10159": _logged(
        "warning",
        "MaxRequestWorkers nearly reached",
        "Fewer workers than MinSpareThreads were free, and no child more could be started.",
        "Raise MaxRequestWorkers and ServerLimit: `./wsfront plan --connections N`.",
        *_FULL,
        "mpm-workers-cut",
    ),
    "AH03490": _logged(
        "error",
        "the scoreboard was full, short of MaxRequestWorkers",
        "Children of older generations held all slots: no child could be started, and handshakes hung.",
        "Raise ServerLimit by as many children for each reload that a socket may outlive.",
        *_SLOTS,
        "mpm-workers-cut",
    ),
    "AH00485": _logged(
        "warning",
        "the scoreboard was full",
        "Children of older generations held all slots that were left.",
        "Raise ServerLimit by as many children for each reload that a socket may outlive.",
        *_SLOTS,
        *_FULL,
    ),
    "AH00501": _logged(
        "warning",
        "a changed ServerLimit was not taken",
        "It is read at a start alone.",
        "`systemctl restart apache2`",
        "limits-need-restart",
    ),
    "AH00506": _logged(
        "warning",
        "a changed ThreadLimit was not taken",
        "It is read at a start alone.",
        "`systemctl restart apache2`",
        "limits-need-restart",
    ),
    "AH00513": _logged(
        "warning",
        "MaxRequestWorkers is no multiple of ThreadsPerChild",
        "It is cut to one.",
        "Write a multiple.",
        "mpm-workers-cut",
    ),
    "AH00515": _logged(
        "warning",
        "MaxRequestWorkers is more than the slots hold",
        "It is cut to ServerLimit times ThreadsPerChild.",
        "Raise ServerLimit, then restart.",
        "mpm-workers-cut",
    ),
    "AH00957": _logged(
        "error",
        "the backend could not be connected to",
        "Apache answered 503. The words behind it say why: refused, timed out, or not permitted.",
        "Start the backend; an older Apache waits a minute before it tries again, unless the line has `retry=0`.",
        *_DOWN,
        *ASTRAY,
    ),
    "AH01114": _logged(
        "error",
        "no connection to the backend",
        "Apache answered 503; the line before it says why.",
        "Start the backend; an older Apache waits a minute before it tries again, unless the line has `retry=0`.",
        *_DOWN,
        *ASTRAY,
    ),
    "AH02454": _logged(
        "error",
        "the backend's unix socket could not be connected to",
        "Apache answered 503. The words behind it say why: no such file, refused, or not permitted.",
        "Start the backend, and give Apache's group the socket.",
        *_DOWN,
    ),
    "AH00898": _logged(
        "error",
        "the backend's answer was not what Apache could pass on",
        "Apache answered 502: the words behind it say why. `Unexpected Upgrade` is an upgrade that the line does not allow, "
        "for want of `upgrade=websocket`.",
        "`upgrade=websocket` on the line where it is that; else look into the backend's own log at that time.",
        *("proxypass-upgrade-missing", "proxypass-order", "path-without-socket"),
        *_DOWN,
        *_WRONG,
        *ASTRAY,
    ),
    "AH01102": _logged(
        "error",
        "the backend ended in mid-handshake",
        "It closed the connection before its answer, or speaks TLS: Apache answered 502.",
        "`wss://` with `SSLProxyEngine on` where it speaks TLS; else look into its own log.",
        *_WRONG,
    ),
    "AH01084": _logged(
        "error",
        "the backend ended while a request was passed to it",
        "It closed the connection, or speaks no TLS where it should.",
        "Look into the backend's own log at that time.",
        *_WRONG,
    ),
    "AH01144": _logged(
        "error",
        "no module speaks to the target",
        "mod_proxy_http is not loaded: Apache answered 500.",
        "`a2enmod proxy_http`",
        "module-missing",
    ),
    "AH10160": _logged(
        "error",
        "a rule with [P] without mod_proxy",
        "Apache answered 403.",
        "`a2enmod proxy proxy_http`",
        "module-missing",
    ),
    "AH01961": _logged(
        "error",
        "TLS to the backend without SSLProxyEngine",
        "Apache answered 500.",
        "`SSLProxyEngine on` in the same vhost.",
        "proxy-tls-engine-missing",
    ),
    "AH00670": _logged(
        "error",
        "rewrite rules where links may not be followed",
        "Apache answers 403 to every request of the folder.",
        "`Options +SymLinksIfOwnerMatch` in the <Directory> of that folder.",
        "htaccess-no-links",
    ),
    "AH10085": _logged(
        "error",
        "mod_md has no certificate yet",
        "Apache serves one of its own making, which no browser takes.",
        "Port 80 reachable, MDCertificateAgreement accepted, the name leading here; then a reload.",
        "md-no-certificate",
    ),
    "AH00052": _logged(
        "error",
        "a child crashed",
        "All its sockets were cut (1006).",
        "Upgrade Apache; where it comes again, take modules of others out.",
        "apache-unsafe",
    ),
    "AH00046": _logged(
        "note",
        "children had to be killed at a stop",
        "Tunnels do not heed a stop, so it takes ten seconds.",
        "Have the backend close its sockets first.",
    ),
    "AH02218": _logged(
        "note",
        "stapling for a certificate that has no OCSP",
        "Most authorities ended OCSP.",
        "`SSLUseStapling off`",
    ),
    "AH10508": _logged(
        "note",
        "an encoded question mark refused",
        "A path with %3F is answered 403 by rewrite rules since 2.4.60.",
        "Ask without; UnsafeAllow3F would let it through, and more with it.",
        clients=True,
    ),
    "AH00026": _logged(
        "note",
        "an encoded slash refused",
        "A path with %2F is answered 404 (AllowEncodedSlashes Off).",
        "`AllowEncodedSlashes NoDecode` in the vhost, where the backend needs them.",
        clients=True,
    ),
    "AH01630": _logged(
        "note",
        "a client refused by a Require",
        "Apache answered 403: for sockets, a foreign Origin mostly.",
        "Nothing, where it was a foreign page; else the Origin that the page has belongs into the Require.",
        clients=True,
    ),
    "AH02032": _logged(
        "note",
        "a client that asked for another name than by TLS",
        "Apache answers 421 since 2.4.64 where SNI and Host differ, or SNI is missing.",
        "Where it is a load balancer of yours: have it send SNI.",
        clients=True,
    ),
}
"""AH number -> its meaning."""
