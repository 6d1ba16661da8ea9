"""What a configuration file can have wrong in it, seen without running anything."""

from apache.versions import PATHS_ENCODED

from .entry import Entry

ENTRIES: dict[str, Entry] = {
    # What Apache itself would refuse, or read otherwise than it looks.
    "config-not-text": Entry(
        "error",
        "not a text that Apache reads",
        "It holds control characters or is UTF-16: Apache answers 500 for an .htaccess like this, and does not start with a "
        "configuration like this.",
        "Save it as UTF-8 without a byte order mark, or name the right file.",
    ),
    "config-byte-order-mark": Entry(
        "error",
        "a byte order mark before the first line",
        "Apache takes it for a part of the first directive's name: `Invalid command '\\xef\\xbb\\xbf…'`, and 500 for every page.",
        "Save the file as UTF-8 without a byte order mark.",
    ),
    "config-line-too-long": Entry(
        "error",
        "a line of more than 1 MiB",
        "Nobody writes such a line; it was not looked at.",
        "Look at what wrote it, or name the right file.",
    ),
    "config-section-unclosed": Entry(
        "error",
        "a section that nothing closes",
        "Apache refuses the file: `directive missing closing` or `Expected </…> before end of configuration`.",
        "Close it, in the file where it begins.",
    ),
    "config-section-crossed": Entry(
        "error",
        "a closing tag for what is not open",
        "Apache refuses the file: sections close in the reverse order of their opening, each in the file where it begins.",
        "Close the innermost section first, or take the line out.",
    ),
    "config-too-deep": Entry(
        "error",
        "more than 256 sections within one another",
        "No configuration is meant like this; what is within was read as if it stood in the 256th.",
        "Look at what wrote it.",
    ),
    "config-include-loop": Entry(
        "error",
        "a file that includes itself",
        "Apache refuses it: `Exceeded maximum include depth`.",
        "Take the line out.",
    ),
    # mod_rewrite, mostly in .htaccess files.
    "rewrite-client-picks-host": Entry(
        "error",
        "whoever asks picks the host that is connected to",
        "What the client sent stands where the host is, or directly behind the port without a slash between: a request for "
        "`/@10.0.0.1:6379/` makes Apache connect there (SSRF).",
        "Write host and port out, and a `/` of your own behind them: `ws://127.0.0.1:8888/$1`.",
    ),
    "rewrite-missing-percent": Entry(
        "error",
        "a variable without its %",
        "Apache takes `{REQUEST_URI}` for text; the backend is asked for that path and answers 404 or 400.",
        "Write `%{REQUEST_URI}`.",
    ),
    "rewrite-no-proxy-flag": Entry(
        "error",
        "a ws:// URL without the flag [P]",
        "Without [P] Apache answers with a redirect to that URL, which no browser follows in a handshake, and which tells "
        "everybody where the backend is.",
        "Write `[P]`.",
    ),
    "rewrite-engine-missing": Entry(
        "error",
        "rules without RewriteEngine On",
        "A vhost and an .htaccess each need the line of their own: without it their rules are asleep, and a handshake "
        "gets 404 or the page.",
        "Write `RewriteEngine On` before the first rule.",
    ),
    "rewrite-swallowed": Entry(
        "error",
        "a rule for sockets behind one that takes every request",
        "The earlier rule has no condition and matches all, so this one is never asked: a handshake is answered 200, "
        "400 or 426 as a plain request.",
        "Move the rule with its conditions before the general one.",
    ),
    "rewrite-connection-exact": Entry(
        "error",
        "a condition that Firefox does not pass",
        "Firefox sends `Connection: keep-alive, Upgrade`; Chrome sends `Upgrade` alone. It works in the one and not in the other.",
        r"Write `^(?:keep-alive\s*,\s*)?upgrade$ [NC]`.",
    ),
    "rewrite-connection-unanchored": Entry(
        "warning",
        "any Connection header that has Upgrade somewhere in it passes",
        "Headers named in Connection are dropped on the way to the backend, also those that this server sets itself: with "
        "`Connection: Upgrade, X-Auth-User` a client takes them away.",
        r"Bind the whole of it, refusing the rest: `^(?:keep-alive\s*,\s*)?upgrade$ [NC]`.",
    ),
    "rewrite-upgrade-unanchored": Entry(
        "note",
        "any Upgrade header that has websocket somewhere in it passes",
        "`websocketX` or `h2c, websocket` is no handshake; it reaches the backend as a plain request.",
        "Write `^websocket$ [NC]`.",
    ),
    "rewrite-upgrade-unchecked": Entry(
        "warning",
        "every request goes to the socket's backend, handshake or not",
        "No condition asks for `Upgrade: websocket`, so pages at these paths go there too, and come back as 426 or 400.",
        "Put `RewriteCond %{HTTP:Upgrade} ^websocket$ [NC]` before the rule.",
    ),
    "rewrite-method-unchecked": Entry(
        "note",
        "a handshake by any method passes",
        "A handshake is a GET (RFC 6455, 4.1); for a POST with a body Apache waits, holding a worker.",
        "Put `RewriteCond %{REQUEST_METHOD} =GET` before the rule.",
    ),
    "rewrite-dead-variables": Entry(
        "note",
        "variables that Apache has never read: noconntimeout, noabort",
        "They are LiteSpeed's. Here they set two variables that nobody looks at: an idle socket is cut after `Timeout` as before.",
        'Leave them out. What was wanted is `<Proxy "ws://127.0.0.1:8888">` with `ProxySet timeout=120` in the vhost.',
    ),
    "rewrite-encoded-twice": Entry(
        "warning",
        "the flag [B] on a proxied rule",
        f"Since Apache {PATHS_ENCODED} the path is encoded on its way out anyway: `/a%20b` reaches the backend as `/a+b` or `/a%2520b`.",
        f"Leave [B] out on {PATHS_ENCODED} and newer.",
    ),
    "rewrite-unsafe-flag": Entry(
        "warning",
        "a flag that switches a protection off",
        "UnsafeAllow3F and UnsafePrefixStat let an encoded question mark, or a path outside of the site, through to the target "
        "(CVE-2024-38474, CVE-2024-38475).",
        "Leave it out.",
    ),
    # Tunnels in either form.
    "origin-unchecked": Entry(
        "warning",
        "nothing here asks which page opens the socket",
        "Browsers send cookies with a handshake from any page, so a foreign page can open a socket in a visitor's name "
        "(cross-site WebSocket hijacking). Only a check of Origin in the backend helps then, if it has one.",
        "Refuse handshakes whose Origin is another than the Host, as the rules of `./wsfront htaccess` do.",
    ),
    "proxypass-order": Entry(
        "error",
        "a ProxyPass for sockets behind one that takes its path",
        "The first ProxyPass that matches wins, so this one is never asked: a handshake goes to the other as a plain request, "
        "and comes back as 200, 400 or 426.",
        "Put longer paths first.",
    ),
    "proxypass-slash": Entry(
        "error",
        "a path that ends in / and a target that does not",
        "What is behind the path is put directly behind the target: `/ws/echo` becomes `…:8888echo` or `…/wsecho`; and where "
        "the target ends in a port, `/ws/@10.0.0.1:6379/` makes Apache connect there (SSRF).",
        "End both in `/`, or neither.",
    ),
    "proxypass-upgrade-missing": Entry(
        "error",
        "a path for sockets, proxied as plain HTTP",
        "Without `upgrade=websocket` Apache drops the Upgrade header: `Unexpected response code: 400`, or `'upgrade' token not found`.",
        "Add `upgrade=websocket` to the line.",
    ),
    "upgrade-any": Entry(
        "warning",
        "upgrades to any protocol are tunnelled",
        "What goes through such a tunnel is seen by no rule and no log of this server; h2c, for one, carries requests past every check.",
        "Write `upgrade=websocket`.",
    ),
    "idle-timeout-short": Entry(
        "error",
        "an idle socket is cut within seconds",
        "The longer of Timeout and timeout= is the time after which a silent socket is closed, without a close frame "
        "(1006): here less than "
        "the 20 to 30 s at which servers and browsers ping.",
        "Give the worker `timeout=120`, or more than twice the ping interval of the backend.",
    ),
    "websocket-legacy": Entry(
        "error",
        "the old tunnel of mod_proxy_wstunnel",
        "It copies bytes without looking at the backend's answer, so requests can be smuggled past every check "
        "(CVE-2019-17567), and it never "
        "times out. It is used where mod_proxy_http is not loaded, or the fallback to it is off.",
        "Load mod_proxy_http beside it (`a2enmod proxy_http`), and leave ProxyWebsocketFallbackToProxyHttp on.",
    ),
    "module-missing": Entry(
        "error",
        "a tunnel without the modules for it",
        "Apache answers 500 (AH01144, no protocol handler) without mod_proxy_http, 403 or 404 (AH10160) without mod_proxy.",
        "`a2enmod proxy proxy_http`, or the LoadModule lines for both.",
    ),
    "loglevel-module-missing": Entry(
        "error",
        "a LogLevel for a module that is not loaded",
        "Apache refuses the configuration: `Cannot find module`.",
        "Take that word out of the line, or load the module.",
    ),
    "http2-websockets": Entry(
        "warning",
        "sockets over HTTP/2",
        "A first message of the server that comes with its answer is often held back until the client speaks; and "
        "each socket takes one of few "
        "threads that mod_status does not show.",
        "`H2WebSockets off`, the default: browsers then open HTTP/1.1 for it.",
    ),
    "htaccess-ignored": Entry(
        "error",
        "rules in an .htaccess that the server does not read",
        "AllowOverride does not admit rewrite rules for that folder: with None a handshake gets 404 or the page and the log is silent; "
        "otherwise every request gets 500, `RewriteEngine not allowed here`.",
        "`AllowOverrideList RewriteEngine RewriteCond RewriteRule` in the <Directory> of that folder.",
    ),
    "htaccess-no-links": Entry(
        "error",
        "rewrite rules where links may not be followed",
        "With neither FollowSymLinks nor SymLinksIfOwnerMatch Apache answers 403 to every request of the folder (AH00670).",
        "`Options +SymLinksIfOwnerMatch` in the <Directory> of that folder.",
    ),
    # What is the server's, and dangerous or too small beside sockets.
    "proxy-requests-on": Entry(
        "error",
        "an open proxy",
        "`ProxyRequests On` is for forward proxies: anybody may reach any host through this server. A reverse proxy needs nothing of it.",
        "`ProxyRequests Off`, the default.",
    ),
    "request-header-origin": Entry(
        "warning",
        "the Origin header is changed before the backend sees it",
        "The backend's own check of Origin then passes for every page, also a foreign one.",
        "Leave Origin as it came, and `ProxyPreserveHost On`, so that the backend can compare it with Host.",
    ),
    "proxy-tls-unverified": Entry(
        "warning",
        "TLS to a backend that could be anybody",
        "Whoever is between Apache and the backend can answer in its place: the certificate is not checked.",
        "`SSLProxyVerify require` with `SSLProxyCACertificateFile`, and names and expiry checked.",
    ),
    "proxy-tls-engine-missing": Entry(
        "error",
        "a target by TLS without SSLProxyEngine",
        "Apache answers 500 (AH01961): it speaks TLS to a backend only where `SSLProxyEngine on` stands.",
        "`SSLProxyEngine on` in the same vhost.",
    ),
    "tls-protocol-weak": Entry(
        "warning",
        "TLS versions that are broken or withdrawn",
        "SSLv3, TLS 1.0 and 1.1 are withdrawn (RFC 7568, RFC 8996); every browser speaks 1.2.",
        "`SSLProtocol -all +TLSv1.2 +TLSv1.3`.",
    ),
    "tls-cipher-weak": Entry(
        "warning",
        "ciphers that are broken",
        "RC4, 3DES, single DES and MD5 can be read or changed on the way.",
        "Mozilla's intermediate list, as `./wsfront render` writes it.",
    ),
    "remoteip-trusts-everybody": Entry(
        "error",
        "everybody may say who he is",
        "mod_remoteip takes the client's address from a header that anybody can send, so that every check and every "
        "log by address is worth nothing.",
        "Name the networks of the proxies in front: `RemoteIPInternalProxy 10.0.0.0/8`, or RemoteIPTrustedProxy.",
    ),
    "forwarded-for-trusted": Entry(
        "error",
        "access by a header that anybody can send",
        "X-Forwarded-For holds what the client wrote, with this server's word behind it: whoever sends the right address passes.",
        "mod_remoteip with the proxies named (RemoteIPInternalProxy), then `Require ip`.",
    ),
    "mpm-prefork": Entry(
        "warning",
        "sockets on prefork",
        "Each socket holds a whole process for as long as it is open, and there are 256 at most unless said "
        "otherwise; mod_php forces this.",
        "mpm_event, with PHP by php-fpm: `a2dismod php… mpm_prefork && a2enmod mpm_event proxy_fcgi`.",
    ),
    "mpm-workers-cut": Entry(
        "warning",
        "fewer workers than the configuration says",
        "MaxRequestWorkers is cut to ServerLimit times ThreadsPerChild at the start, with no more than a line in the "
        "log (AH00515, AH00513): "
        "each socket holds one, and handshakes hang when they are gone.",
        "Raise ServerLimit with it; a multiple of ThreadsPerChild, which ThreadLimit must allow. `./wsfront plan` has the numbers.",
    ),
}
"""Finding id -> what is known of it."""
