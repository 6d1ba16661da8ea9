"""The fault matrix, as far as the fault shows in a living server alone: its load, its backends, its answers.

What cannot be had here, SELinux and an Apache before 2.4.47, is fed to what judges it: tests/unit/doctor/test_server_verdicts.py.
"""

import functools
from dataclasses import replace

from tests.integration.faults.evidence import (
    answers,
    front_without_names,
    hangs,
    is_untrusted,
    name_is_missed,
    old_generations,
    page_says,
    tunnels,
)
from tests.integration.faults.places import CHECK, HEADERS, PASSING, RULES, VHOST, Site
from tests.integration.faults.row import Fault, Mend, Row
from tests.integration.faults.rows import HEALTHY, passing, rules

LOGIN = 'AuthType Basic\nAuthName "site"\nAuthBasicProvider file\nAuthUserFile "{root}/../users"\nRequire valid-user\n'
LOGIN_MODULES = ("auth_basic", "authn_file", "authz_user")
SMALL = "StartServers 1\nMinSpareThreads 1\nMaxSpareThreads 16\n"
SAME_LINE = Mend(instead_of=r'ProxyPass "/ws/".*\n')
"""Where a finding has the whole line anew."""

PAGES = 'ProxyPass "/" "http://127.0.0.1:8888/" connectiontimeout=5 timeout=120 retry=0\n'


def gone(site: Site) -> Mend:
    """Return the remedy of a fault whose words leave it to people: the site as it is right."""
    return Mend(site=site)


SHOP = (
    "</VirtualHost>\n<VirtualHost *:8443>\nServerName shop.test\nSSLEngine on\n"
    'SSLCertificateFile "{root}/../certs/sites/localhost/certificate.pem"\n'
    'SSLCertificateKeyFile "{root}/../certs/sites/localhost/key.pem"\n'
)
"""Begins another vhost behind the first one."""

TWO_NAMES = Site(vhost=VHOST + SHOP + VHOST, names=("localhost", "shop.test"))

LIVE_ROWS = [
    # 5, 6: lines that are right in themselves.
    Row(
        "no upgrade=",
        5,
        passing(PASSING.replace(" upgrade=websocket", "")),
        (
            Fault(
                answers(426), remote="upgrade-not-forwarded", server="path-without-socket", mend=gone(HEALTHY)
            ),
        ),
    ),
    Row(
        "a path lost on the way",
        6,
        replace(HEALTHY, backend="echo below /ws/"),
        (
            Fault(
                answers(404),
                remote="backend-not-found",
                server="backend-not-websocket",
                mend=gone(
                    replace(passing(PASSING.replace('8888/"', '8888/ws/"')), backend="echo below /ws/")
                ),
            ),
        ),
    ),
    # 8, 9: room.
    Row(
        "all workers taken",
        8,
        replace(HEALTHY, mpm=f"{SMALL}ThreadsPerChild 8\nServerLimit 3\nMaxRequestWorkers 8"),
        (
            Fault(
                hangs,
                remote="tls-silent",
                server="workers-exhausted",
                mend=Mend(instead_of=r"ServerLimit 3\nMaxRequestWorkers 8\n"),
                during=functools.partial(tunnels, count=8),
                patience=0.3,
            ),
        ),
    ),
    Row(
        "all slots held by older generations",
        9,
        replace(HEALTHY, mpm=f"{SMALL}ThreadsPerChild 16\nServerLimit 2\nMaxRequestWorkers 16"),
        (
            Fault(
                hangs,
                remote="tls-silent",
                server="slots-exhausted",
                mend=Mend(instead_of=r"ServerLimit 2\n"),
                during=old_generations,
                patience=0.3,
            ),
        ),
    ),
    # 10, 11: the backend.
    Row(
        "nobody behind",
        10,
        replace(HEALTHY, backend="none"),
        (
            Fault(
                answers(503, marks="AH01114"),
                remote="backend-unreachable",
                server="backend-down",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "the wrong port",
        10,
        passing(PASSING.replace(":8888", ":8889")),
        (
            Fault(
                answers(503, marks="AH00957"),
                remote="backend-unreachable",
                server="backend-down",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "a backend on IPv6 alone",
        10,
        replace(HEALTHY, backend="echo on IPv6"),
        (
            Fault(
                answers(503, marks="AH00957"),
                remote="backend-unreachable",
                server="backend-down",
                mend=gone(
                    replace(passing(PASSING.replace("127.0.0.1:8888", "[::1]:8888")), backend="echo on IPv6")
                ),
            ),
        ),
    ),
    Row(
        "a backend without WebSocket",
        11,
        replace(HEALTHY, backend="pages alone"),
        (
            Fault(
                answers(200),
                remote="handshake-answered-page",
                server="backend-not-websocket",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "a backend that speaks TLS",
        11,
        replace(HEALTHY, backend="by TLS"),
        (
            Fault(
                answers(400, 502, 500),
                remote="backend-bad-answer",
                server="backend-speaks-tls",
                mend=SAME_LINE,
            ),
        ),
    ),
    Row(
        "a backend that speaks no TLS",
        11,
        passing("SSLProxyEngine on\n" + PASSING.replace('"http://', '"https://')),
        (
            Fault(
                answers(500, 502),
                remote="backend-tls-failed",
                server="backend-speaks-plain",
                mend=SAME_LINE,
            ),
        ),
    ),
    Row(
        "a backend that dies in the handshake",
        11,
        replace(HEALTHY, backend="dying"),
        (
            Fault(
                answers(502),
                remote="backend-bad-answer",
                server="backend-closes",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "a backend that never answers",
        11,
        replace(HEALTHY, backend="deaf"),
        (Fault(hangs, remote="handshake-hangs", patience=1, server="backend-silent", mend=gone(HEALTHY)),),
    ),
    # 13, 14: pages and redirects.
    Row(
        "a page that builds ws:// addresses",
        13,
        Site(vhost="ProxyPreserveHost On\n" + CHECK + PASSING + PAGES),
        (
            Fault(
                page_says(b'"ws://', "/"),
                remote="page-plain-socket",
                server="",
                mend=gone(Site(vhost=VHOST + PAGES)),
            ),
        ),
    ),
    Row(
        "ws:// where all is redirected to https://",
        14,
        HEALTHY,
        (
            Fault(
                answers(301, scheme="http"),
                remote="handshake-redirected-tls",
                server="",
                mend=Mend(url="wss://localhost:8443/ws/echo"),
            ),
        ),
        url="ws://localhost:8080/ws/echo",
    ),
    Row(
        "a redirect of all to another name",
        14,
        Site(
            vhost="RewriteEngine On\nRewriteRule ^ https://www.example.org%{REQUEST_URI} [R=301,L]\n" + VHOST
        ),
        (Fault(answers(301), remote="handshake-redirected", server="", mend=gone(HEALTHY)),),
    ),
    # 15 to 17: refusals.
    Row(
        "the site's own page is not on the list",
        15,
        Site(vhost=VHOST.replace("https://%{HTTP_HOST}", "https://www.example.org")),
        (Fault(answers(403, marks="AH01630"), remote="origin-refused", server="", mend=gone(HEALTHY)),),
    ),
    Row(
        "a path that is closed",
        15,
        Site(vhost=HEADERS + '<Location "/ws/">\nRequire ip 192.0.2.1\n</Location>\n' + PASSING),
        (
            Fault(
                answers(403, marks="AH01630"),
                remote="path-forbidden",
                server="",
                beside=("origin-unchecked",),
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "a backend that compares Origin with the wrong Host",
        15,
        Site(vhost=VHOST.replace("ProxyPreserveHost On\n", ""), backend="comparing origins"),
        (
            Fault(
                answers(403),
                remote="origin-refused",
                server="host-not-preserved",
                mend=Mend(instead_of=r'(?=<Location "/ws/">)'),
            ),
        ),
    ),
    Row(
        "%3F in the path of a rule",
        15,
        rules(RULES),
        (
            Fault(
                answers(403, marks="AH10508"),
                remote="encoded-question",
                server="",
                mend=gone(Site(vhost=VHOST)),
            ),
        ),
        path="/ws/echo%3Fa",
    ),
    Row(
        "%2F in the path",
        15,
        HEALTHY,
        (
            Fault(
                answers(404),
                remote="encoded-slash",
                server="",
                mend=gone(
                    Site(
                        vhost="AllowEncodedSlashes NoDecode\n" + VHOST.replace(" retry=0", " retry=0 nocanon")
                    )
                ),
            ),
        ),
        path="/ws/echo%2Fa",
    ),
    Row(
        "a proxy before it that says no name in TLS, and vhosts that differ in it",
        16,
        replace(TWO_NAMES, vhost=VHOST + SHOP + "SSLProtocol -all +TLSv1.3\n" + VHOST),
        (Fault(name_is_missed, remote="sni-mismatch", server="", mend=gone(TWO_NAMES)),),
        url="wss://shop.test:8889/ws/echo",
        around=front_without_names,
    ),
    Row(
        "a login for pages, on the socket too",
        17,
        Site(vhost=VHOST + f'<Location "/ws/">\n{LOGIN}</Location>\n', beside=LOGIN_MODULES),
        (Fault(answers(401), remote="handshake-needs-login", server="", mend=gone(HEALTHY)),),
    ),
    Row(
        "a certificate for another name",
        0,
        HEALTHY,
        (
            Fault(
                is_untrusted("shop.test"),
                remote="certificate-other-name",
                server="",
                mend=gone(replace(HEALTHY, names=("shop.test",))),
            ),
        ),
        url="wss://shop.test:8443/ws/echo",
    ),
]
