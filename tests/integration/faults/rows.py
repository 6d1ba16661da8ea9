"""The fault matrix, as far as the fault stands in the files: each as somebody would write it.

The numbers are those of the problems that people have most; 0 is what lets somebody in without anybody's having a problem.
"""

import ssl
from dataclasses import replace

from tests.integration.faults.evidence import (
    announces_sockets_over_http2,
    answers,
    every_worker_taken,
    firefox_is_refused,
    foreign_page_opens,
    goes_idle,
    hangs,
    is_carried_past_the_rules,
    is_let_in_by,
    lets_through,
    logs,
    method_passes,
    negotiates,
    page_connects_to,
    refuses_to_start,
    strips_headers,
    upgrades_to,
)
from tests.integration.faults.places import CHECK, HEADERS, NARROW, PASSING, RULES, VHOST, Site
from tests.integration.faults.row import Fault, Mend, Row

LINKS = "Options SymLinksIfOwnerMatch"
IN_VHOST = HEADERS + CHECK
PREFIX = 'ProxyPass "/ws/" "http://127.0.0.1:8888/" upgrade=websocket'
"""How the healthy line begins."""

HEALTHY = Site()
BEHIND = r"(?=Listen 127)"
"""Where lines go that are to stand behind all LoadModule lines."""

COPIED = """\
RewriteEngine On
RewriteCond %{HTTP:Connection} Upgrade [NC]
RewriteCond %{HTTP:Upgrade} websocket [NC]
RewriteRule ^/?(.*) ws://127.0.0.1:8888/$1 [P,L,E=noconntimeout:1,E=noabort:1]
"""
OF_COPIED = Fault(
    strips_headers,
    lint="rewrite-connection-unanchored",
    remote="origin-unchecked",
    beside=(
        "origin-unchecked",
        "rewrite-upgrade-unanchored",
        "rewrite-method-unchecked",
        "rewrite-dead-variables",
    ),
)
"""What the copied rule is, wherever it stands."""

WITHOUT_HTTP = Fault(
    answers(500, marks="AH01144"),
    lint="module-missing",
    remote="apache-error",
    mend=Mend(instead_of=BEHIND),
)
"""No mod_proxy_http."""

ECHO = "RewriteRule ^ws/(.*)$ ws://127.0.0.1:8888/$1 [P]\n"
"""The healthy rule's last line."""

ws = VHOST.replace(PREFIX, 'ProxyPass "/ws/" "ws://127.0.0.1:8888/"')


def rules(text: str, grant: str = NARROW, vhost: str = IN_VHOST) -> Site:
    """Return a site whose socket is a matter of its .htaccess."""
    return Site(htaccess=text, grant=grant, vhost=vhost)


def passing(text: str) -> Site:
    """Return a site with another line, or more lines, in place of its ProxyPass."""
    return Site(vhost=HEADERS + CHECK + text)


FILE_ROWS = [
    # 1, 2: .htaccess files that are not read, or not as meant.
    Row(
        "htaccess not read",
        1,
        rules(RULES, grant=f"AllowOverride None\n{LINKS}"),
        (Fault(answers(404), lint="htaccess-ignored", remote="handshake-not-found"),),
    ),
    Row(
        "htaccess not read, as none on the whole disk is",
        1,
        rules(RULES, grant=""),
        (Fault(answers(404), lint="htaccess-ignored", remote="handshake-not-found"),),
    ),
    Row(
        "htaccess not read, and a file is there",
        1,
        replace(rules(RULES, grant=LINKS), files=(("ws/echo", b"a file"),)),
        (Fault(answers(200), lint="htaccess-ignored", remote="handshake-answered-page"),),
    ),
    Row(
        "htaccess granted too little",
        2,
        rules(RULES, grant=f"AllowOverride AuthConfig\n{LINKS}"),
        (
            Fault(
                answers(500, marks="RewriteEngine not allowed here"),
                lint="htaccess-ignored",
                remote="apache-error-everywhere",
            ),
        ),
    ),
    Row(
        "links not followed",
        2,
        rules(RULES, grant="AllowOverride FileInfo\nOptions None"),
        (Fault(answers(403, marks="AH00670"), lint="htaccess-no-links", remote="path-forbidden"),),
    ),
    # 3, 4: modules.
    Row(
        "no mod_proxy_http",
        3,
        Site(vhost=ws, without=("proxy_http",)),
        (WITHOUT_HTTP,),
    ),
    Row(
        "rules without mod_proxy_http",
        3,
        replace(rules(RULES), without=("proxy_http",)),
        (WITHOUT_HTTP,),
    ),
    Row(
        "rules without any proxy module",
        15,
        replace(rules(RULES, vhost=CHECK), without=("proxy", "proxy_http")),
        (
            Fault(
                answers(403, marks="AH10160"),
                lint="module-missing",
                remote="handshake-forbidden",
                mend=Mend(instead_of=BEHIND),
            ),
        ),
    ),
    Row(
        "wstunnel alone",
        4,
        Site(vhost=ws, without=("proxy_http",), beside=("proxy_wstunnel",), backend="refusing"),
        (
            Fault(
                is_carried_past_the_rules,
                lint="websocket-legacy",
                remote="handshake-forbidden",
                mend=Mend(instead_of=BEHIND),
            ),
        ),
        then="echo",
    ),
    Row(
        "wstunnel by choice",
        4,
        Site(
            vhost=ws,
            server="ProxyWebsocketFallbackToProxyHttp Off",
            beside=("proxy_wstunnel",),
            backend="refusing",
        ),
        (Fault(is_carried_past_the_rules, lint="websocket-legacy", remote="handshake-forbidden"),),
        then="echo",
    ),
    # 5, 6: lines of the proxy.
    Row(
        "a general ProxyPass first",
        5,
        passing('ProxyPass "/" "http://127.0.0.1:8888/"\n' + PASSING),
        (Fault(answers(404), lint="proxypass-order", remote="backend-not-found"),),
    ),
    Row(
        "a general ProxyPassMatch first",
        5,
        passing('ProxyPassMatch "^/(.*)$" "http://127.0.0.2:8888/$1"\n' + PASSING),
        (Fault(answers(404), lint="proxypass-order", remote="backend-not-found"),),
    ),
    Row(
        "no upgrade=, and the path says what it is for",
        5,
        Site(vhost=VHOST.replace("/ws/", "/websocket/").replace(" upgrade=websocket", "")),
        (Fault(answers(426), lint="proxypass-upgrade-missing", remote="upgrade-not-forwarded"),),
        path="/websocket/echo",
    ),
    Row(
        "rules behind a rule that takes all",
        5,
        Site(
            vhost=IN_VHOST
            + "RewriteEngine On\nRewriteRule ^/(.*)$ http://127.0.0.1:8888/$1 [P]\n"
            + RULES.partition("\n")[2].replace("^ws/", "^/ws/")
        ),
        (Fault(answers(404), lint="rewrite-swallowed", remote="backend-not-found"),),
    ),
    Row(
        "a slash too few",
        6,
        passing(
            'ProxyPass "/ws/" "http://127.0.0.1:8888" upgrade=websocket connectiontimeout=5 timeout=120\n'
        ),
        (Fault(answers(500, 502), lint="proxypass-slash", remote="backend-name-unknown"),),
    ),
    Row(
        "a slash too few behind a path",
        6,
        replace(
            passing('ProxyPass "/ws/" "http://127.0.0.1:8888/ws" upgrade=websocket timeout=120\n'),
            backend="echo below /ws/",
        ),
        (Fault(answers(404), lint="proxypass-slash", remote="backend-not-found"),),
    ),
    Row(
        "a variable without its %",
        6,
        replace(
            rules(RULES.replace(ECHO, "RewriteRule ^ws/ ws://127.0.0.1:8888{REQUEST_URI} [P]\n")),
            backend="echo below /ws/",
        ),
        (Fault(answers(500, 502), lint="rewrite-missing-percent", remote="backend-name-unknown"),),
    ),
    Row(
        "a rule without a slash before its path",
        6,
        rules(RULES.replace("8888/$1", "8888$1")),
        (
            Fault(
                page_connects_to("/ws/@127.0.0.1:8889/"),
                lint="rewrite-client-picks-host",
                remote="backend-name-unknown",
            ),
        ),
    ),
    Row(
        "a rule without [P]",
        6,
        rules(RULES.replace(" [P]", " [L]")),
        (Fault(answers(302), lint="rewrite-no-proxy-flag", remote="handshake-redirected"),),
    ),
    Row(
        "rules asleep",
        6,
        rules(RULES.partition("\n")[2]),
        (Fault(answers(404), lint="rewrite-engine-missing", remote="handshake-not-found"),),
    ),
    # 7 to 9: time and room.
    Row(
        "an idle socket cut within seconds",
        7,
        replace(passing(PASSING.replace("timeout=120", "timeout=1")), server="Timeout 1"),
        (Fault(goes_idle, lint="idle-timeout-short", remote="idle-cut", idle=3),),
    ),
    Row(
        "fewer workers than written",
        8,
        Site(mpm="ServerLimit 1\nStartServers 1\nThreadsPerChild 2\nMaxRequestWorkers 64"),
        (
            Fault(
                hangs,
                lint="mpm-workers-cut",
                remote="tls-silent",
                patience=0.3,
                server="workers-exhausted",
                beside=("mpm-workers-cut",),
                during=every_worker_taken,
            ),
        ),
    ),
    # 10, 11: the backend.
    Row(
        "a backend by TLS without SSLProxyEngine",
        11,
        replace(passing(PASSING.replace('"http://', '"https://')), backend="by TLS"),
        (Fault(answers(500, marks="AH01961"), lint="proxy-tls-engine-missing", remote="apache-error"),),
    ),
    # 12, 18: browsers.
    Row(
        "Firefox refused",
        12,
        rules(RULES.replace("^(?:keep-alive\\s*,\\s*)?upgrade$", "^Upgrade$"), vhost=HEADERS + CHECK),
        (Fault(firefox_is_refused, lint="rewrite-connection-exact", remote="handshake-firefox"),),
    ),
    Row(
        "sockets over HTTP/2",
        18,
        replace(
            HEALTHY,
            vhost="Protocols h2 http/1.1\nH2WebSockets on\n" + VHOST,
            beside=("http2",),
            backend="greeting",
        ),
        (Fault(announces_sockets_over_http2, lint="http2-websockets", beside=("http2-websockets",)),),
        then="echo",
    ),
    # 19, 20.
    Row(
        "LogLevel of a module that is not loaded",
        19,
        Site(server="LogLevel warn proxy_wstunnel:trace1"),
        (
            Fault(
                refuses_to_start,
                lint="loglevel-module-missing",
                remote="port-refused",
                server="server-refused",
            ),
        ),
    ),
    Row(
        "the client's address from a header of anybody's",
        20,
        Site(
            vhost='<Location "/inside/">\nRequire ip 203.0.113.5\n</Location>\nRemoteIPHeader X-Forwarded-For\n'
            + VHOST,
            beside=("remoteip",),
            files=(("index.html", b"page"), ("inside/index.html", b"inside")),
        ),
        (
            Fault(
                is_let_in_by("X-Forwarded-For: 203.0.113.5"),
                lint="remoteip-trusts-everybody",
                mend=Mend(
                    site=Site(
                        vhost='<Location "/inside/">\nRequire ip 203.0.113.5\n</Location>\nRemoteIPHeader X-Forwarded-For\n'
                        "RemoteIPInternalProxy 10.0.0.0/8\n" + VHOST,
                        beside=("remoteip",),
                    )
                ),
            ),
        ),
    ),
    Row(
        "access by X-Forwarded-For",
        20,
        Site(
            vhost="SetEnvIf X-Forwarded-For ^203\\. inside\n"
            '<Location "/inside/">\nRequire env inside\n</Location>\n' + VHOST,
            files=(("index.html", b"page"), ("inside/index.html", b"inside")),
        ),
        (
            Fault(
                is_let_in_by("X-Forwarded-For: 203.0.113.5"),
                lint="forwarded-for-trusted",
                mend=Mend(
                    site=Site(vhost='<Location "/inside/">\nRequire ip 10.0.0.0/8\n</Location>\n' + VHOST)
                ),
            ),
        ),
    ),
    # 0: what lets somebody in.
    Row(
        "any page may open sockets",
        0,
        Site(vhost=HEADERS + PASSING),
        (
            Fault(
                foreign_page_opens,
                lint="origin-unchecked",
                remote="origin-unchecked",
                mend=Mend(site=HEALTHY),
            ),
        ),
    ),
    Row(
        "the copied rule",
        0,
        rules(COPIED, vhost=""),
        (OF_COPIED,),
        path="/echo",
    ),
    Row(
        "a rule for every method",
        0,
        rules(
            RULES.replace("RewriteCond %{REQUEST_METHOD} =GET\n", ""),
            vhost=IN_VHOST.replace("            Require method GET\n", ""),
        ),
        (Fault(method_passes, lint="rewrite-method-unchecked"),),
    ),
    Row(
        "upgrades to anything",
        0,
        Site(vhost=HEADERS + CHECK + PASSING.replace("=websocket", "=ANY"), backend="switching"),
        (Fault(upgrades_to("h2c"), lint="upgrade-any"),),
        then="echo",
    ),
    Row(
        "an open proxy",
        0,
        Site(server="ProxyRequests On"),
        (Fault(page_connects_to("http://127.0.0.1:8889/"), lint="proxy-requests-on"),),
    ),
    Row(
        "Origin made another",
        15,
        replace(
            Site(vhost=VHOST.replace(CHECK, 'RequestHeader set Origin "https://localhost:8443"\n')),
            backend="own origin",
        ),
        (
            Fault(
                foreign_page_opens,
                lint="request-header-origin",
                remote="origin-unchecked",
                beside=("origin-unchecked",),
                mend=Mend(site=replace(HEALTHY, backend="own origin")),
            ),
        ),
    ),
    Row(
        "TLS 1.0",
        0,
        Site(
            vhost="SSLProtocol -all +TLSv1 +TLSv1.1 +TLSv1.2\nSSLCipherSuite ALL:!aNULL:!eNULL:@SECLEVEL=0\n"
            + VHOST
        ),
        (Fault(negotiates(ssl.TLSVersion.TLSv1), lint="tls-protocol-weak", remote="tls-protocol-weak"),),
    ),
    Row(
        "an encoded question mark let through",
        0,
        rules(RULES.replace(" [P]", " [P,UnsafeAllow3F]")),
        (Fault(lets_through("/ws/echo%3Fa"), lint="rewrite-unsafe-flag"),),
    ),
    Row(
        "a path encoded twice",
        0,
        rules(RULES.replace(" [P]", " [P,B]")),
        (Fault(answers(404), lint="rewrite-encoded-twice", remote="backend-not-found"),),
        path="/ws/a%20b",
    ),
    Row(
        "a process for each socket",
        8,
        Site(beside=("mpm_prefork",), mpm="StartServers 1\nMaxRequestWorkers 64"),
        (Fault(logs("mpm_prefork:notice"), lint="mpm-prefork", mend=Mend(site=HEALTHY)),),
    ),
    # Files that Apache does not read as they look.
    Row(
        "a byte order mark",
        0,
        rules("\ufeff" + RULES),
        (
            Fault(
                answers(500, marks="Invalid command"),
                lint="config-byte-order-mark",
                remote="apache-error-everywhere",
            ),
        ),
    ),
    Row(
        "a section left open",
        0,
        Site(vhost=VHOST.replace("</Location>\n", "")),
        (
            Fault(
                refuses_to_start,
                lint="config-section-crossed",
                remote="port-refused",
                server="server-refused",
                mend=Mend(site=HEALTHY),
            ),
        ),
    ),
]
