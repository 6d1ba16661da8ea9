"""The fault matrix, two faults at once: the one that explains the most is said first, the other beside it or once that is mended."""

import ssl
from dataclasses import replace

from tests.integration.faults.evidence import (
    answers,
    firefox_is_refused,
    foreign_page_opens,
    goes_idle,
    negotiates,
    refuses_to_start,
)
from tests.integration.faults.live_rows import LOGIN, LOGIN_MODULES, gone
from tests.integration.faults.places import CHECK, HEADERS, NARROW, PASSING, RULES, VHOST, Site
from tests.integration.faults.row import Fault, Row
from tests.integration.faults.rows import (
    COPIED,
    HEALTHY,
    LINKS,
    OF_COPIED,
    WITHOUT_HTTP,
    passing,
    rules,
)

WITHOUT_SLASH = PASSING.replace('8888/"', '8888"')
WEAK = "SSLProtocol -all +TLSv1 +TLSv1.1 +TLSv1.2\nSSLCipherSuite ALL:!aNULL:!eNULL:@SECLEVEL=0\n"

PAIRS = [
    Row(
        "an .htaccess that is not read, and the copied rule in it",
        1,
        rules(COPIED, vhost="", grant=f"AllowOverride None\n{LINKS}"),
        (
            Fault(answers(404), lint="htaccess-ignored", remote="handshake-not-found"),
            OF_COPIED,
        ),
        path="/echo",
    ),
    Row(
        "links not followed, and Firefox refused",
        2,
        rules(
            RULES.replace("^(?:keep-alive\\s*,\\s*)?upgrade$", "^Upgrade$"),
            grant="AllowOverride FileInfo\nOptions None",
        ),
        (
            Fault(answers(403, marks="AH00670"), lint="htaccess-no-links", remote="path-forbidden"),
            Fault(firefox_is_refused, lint="rewrite-connection-exact", remote="handshake-firefox"),
        ),
    ),
    Row(
        "no mod_proxy_http, and a slash too few",
        3,
        Site(vhost=HEADERS + CHECK + WITHOUT_SLASH.replace("http://", "ws://"), without=("proxy_http",)),
        (
            WITHOUT_HTTP,
            Fault(answers(500, 502), lint="proxypass-slash", remote="backend-name-unknown"),
        ),
    ),
    Row(
        "a LogLevel that Apache refuses, and sockets cut within seconds",
        19,
        replace(
            passing(PASSING.replace("timeout=120", "timeout=1")),
            server="Timeout 1\nLogLevel warn proxy_wstunnel:trace1",
        ),
        (
            Fault(
                refuses_to_start,
                lint="loglevel-module-missing",
                remote="port-refused",
                server="server-refused",
            ),
            Fault(goes_idle, lint="idle-timeout-short", remote="idle-cut", idle=3),
        ),
    ),
    Row(
        "a general ProxyPass first, and nobody behind",
        5,
        replace(passing('ProxyPass "/" "http://127.0.0.1:8888/"\n' + PASSING), backend="none"),
        (
            Fault(
                answers(503),
                lint="proxypass-order",
                remote="backend-unreachable",
                beside=("log-ah00957", "log-ah01114"),
            ),
            Fault(answers(503), remote="backend-unreachable", server="backend-down", mend=gone(HEALTHY)),
        ),
    ),
    Row(
        "a byte order mark, and a variable without its %",
        6,
        replace(
            rules("\ufeff" + RULES.replace("8888/$1", "8888{REQUEST_URI}")),
            backend="echo below /ws/",
        ),
        (
            Fault(answers(500), lint="config-byte-order-mark", remote="apache-error-everywhere"),
            Fault(answers(500, 502), lint="rewrite-missing-percent", remote="backend-name-unknown"),
        ),
    ),
    Row(
        "a wrong port, and weak TLS",
        10,
        Site(vhost=WEAK + HEADERS + CHECK + PASSING.replace(":8888", ":8889")),
        (
            Fault(
                answers(503),
                remote="backend-unreachable",
                server="backend-down",
                mend=gone(Site(vhost=WEAK + VHOST)),
            ),
            Fault(negotiates(ssl.TLSVersion.TLSv1), lint="tls-protocol-weak", remote="tls-protocol-weak"),
        ),
    ),
    Row(
        "a redirect of all, and no upgrade= behind it",
        14,
        Site(
            vhost="RewriteEngine On\nRewriteRule ^ https://www.example.org%{REQUEST_URI} [R=301,L]\n"
            + VHOST.replace(" upgrade=websocket", "")
        ),
        (
            Fault(
                answers(301),
                remote="handshake-redirected",
                server="",
                mend=gone(Site(vhost=VHOST.replace(" upgrade=websocket", ""))),
            ),
            Fault(
                answers(426),
                remote="upgrade-not-forwarded",
                server="path-without-socket",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "a login, and any page may open sockets",
        17,
        Site(vhost=HEADERS + PASSING + f'<Location "/ws/">\n{LOGIN}</Location>\n', beside=LOGIN_MODULES),
        (
            Fault(
                answers(401),
                remote="handshake-needs-login",
                server="",
                mend=gone(Site(vhost=HEADERS + PASSING)),
            ),
            Fault(
                foreign_page_opens,
                lint="origin-unchecked",
                remote="origin-unchecked",
                mend=gone(HEALTHY),
            ),
        ),
    ),
    Row(
        "rules asleep, and Firefox refused",
        12,
        rules(
            RULES.partition("\n")[2].replace("^(?:keep-alive\\s*,\\s*)?upgrade$", "^Upgrade$"),
            grant=NARROW,
        ),
        (
            Fault(
                answers(404),
                lint="rewrite-engine-missing",
                remote="handshake-not-found",
                beside=("rewrite-connection-exact",),
            ),
        ),
    ),
]
