"""What can be seen of a site from anywhere, by asking it."""

from .entry import Entry

ENTRIES: dict[str, Entry] = {
    # Before anything is said.
    "name-unknown": Entry(
        "error",
        "a name without an address",
        "No name server knows an address for it, so nobody gets as far as the server.",
        "Look at the spelling, and at the A and AAAA records of the domain: `dig +short NAME A`, `dig +short NAME AAAA`.",
    ),
    "address-dead": Entry(
        "warning",
        "an address of the name at which nobody answers",
        "Browsers try another address after a moment; many other clients take the first one and fail, or hang for minutes.",
        "Take the record out of DNS, or let the server listen there too: `Listen 443` without an address takes both families.",
    ),
    "port-refused": Entry(
        "error",
        "nobody listens at the port",
        "The machine is up and refuses: the server is not running, listens at another port, or a firewall rejects.",
        "On the machine: `systemctl status apache2`, `ss -ltnp`; then the firewall, and the port of the URL.",
    ),
    "port-silent": Entry(
        "error",
        "no answer to a TCP connection",
        "Packets are dropped without a word, mostly by a firewall, or the address is nobody's any more.",
        "Open the port in the firewall of the machine and of the provider; compare the address with the machine's own "
        "(`ip address`).",
    ),
    "host-unreachable": Entry(
        "error",
        "no way to the host",
        "The network says so itself; nothing was asked of the server.",
        "Look at the address, at the routes, and at this machine's own network.",
    ),
    # TLS.
    "tls-not-spoken": Entry(
        "error",
        "plain HTTP at a port for TLS",
        "The server answers in plain HTTP, so wss:// fails before the handshake: the vhost of the port has no `SSLEngine "
        "on`, or the port is the one for http://.",
        "`SSLEngine on` with certificate and key in the vhost of this port; or ask for ws://, or for the port of https://.",
    ),
    "tls-failed": Entry(
        "error",
        "TLS does not come about",
        "The server ends it: no version or cipher in common, no certificate for the name, a client certificate wanted, or "
        "no TLS at all.",
        "`openssl s_client -connect HOST:PORT -servername HOST` shows the whole of it; Apache's log has lines of ssl at "
        "`LogLevel ssl:info`.",
    ),
    "tls-silent": Entry(
        "error",
        "a connection on which TLS is never answered",
        "The kernel takes the connection, nobody reads it: all workers of Apache are taken, by sockets mostly (AH00484, "
        "AH10159, AH03490), or what listens there speaks no TLS.",
        "Compare the sockets open with MaxRequestWorkers; `./wsfront plan --connections N` sizes the server. A plain "
        "service: ask for ws://.",
    ),
    "certificate-not-yet": Entry(
        "error",
        "a certificate whose time has not begun",
        "Browsers refuse the connection. Mostly a clock is wrong, the server's when it was issued or this machine's now.",
        "`timedatectl` on both machines; then issue it again.",
    ),
    "certificate-other-name": Entry(
        "error",
        "a certificate for other names",
        "Browsers refuse it. Another vhost answers, mostly the first of the port: the name is in no ServerName or "
        "ServerAlias of one with TLS.",
        "`ServerName` or `ServerAlias` with this name in the vhost of the port, and a certificate that holds it: "
        "`apache2ctl -S` shows who answers.",
    ),
    "certificate-chain-incomplete": Entry(
        "error",
        "a certificate without the ones between it and the authority",
        "The server sends its own alone. Some browsers fetch or remember the rest, everybody else refuses: it works here "
        "and not there.",
        "Give SSLCertificateFile the whole chain (certbot's `fullchain.pem`, not `cert.pem`), and reload.",
    ),
    "certificate-unknown-authority": Entry(
        "error",
        "a certificate of an authority that is not known here",
        "Its chain leads to an authority that this machine does not trust, and no browser does unless it was told to.",
        "A certificate of a public authority; or trust the private one on every client, and name it here with `--ca FILE`.",
    ),
    "certificate-local-authority": Entry(
        "error",
        "a certificate of wsfront's own authority, which is not trusted here",
        "It was made for trying things on one's own machine. Browsers refuse sockets by it until they trust it.",
        "`./wsfront certs trust` says how; to look past it, `--ca` with the file that `./wsfront certs show` names. On a "
        "real server: mode `acme` or `files`.",
    ),
    "certificate-self-signed": Entry(
        "error",
        "a certificate that signed itself",
        "Browsers refuse it; a page may be clicked through, a socket never asks, and just fails.",
        "A certificate of a public authority, by mod_md or certbot; for one's own machine `./wsfront certs ca`.",
    ),
    # What comes instead of an upgrade.
    "server-hangs": Entry(
        "error",
        "connections that nobody answers, pages neither",
        "Apache takes a connection and has no worker for it: each socket holds one for its life, and after a reload old "
        "generations keep theirs (AH00484, AH10159, AH03490). It lasts until sockets close.",
        "Compare the sockets open with MaxRequestWorkers, and ServerLimit with generations; `./wsfront plan --connections "
        "N` gives the numbers.",
    ),
    "site-slow": Entry(
        "warning",
        "answers that take so long that not all could be asked",
        "Each came within its time, or not at all, and together they took more than six times that.",
        "Ask again with `--timeout` of more seconds; then see what keeps the server busy.",
    ),
    "handshake-hangs": Entry(
        "error",
        "a handshake without an answer, where pages come at once",
        "Apache waits for the backend, which took the connection and says nothing: it is stuck, full, or speaks another "
        "protocol there.",
        "Shake hands with the backend itself, past Apache, and see its log; `timeout=` at ProxyPass bounds the wait (then 504).",
    ),
    "not-http": Entry(
        "error",
        "an answer that is no HTTP",
        "Something else listens at this port, or a backend's bytes come through raw, or TLS is spoken where plain was asked.",
        "Look at what listens there: `ss -ltnp`; try wss:// where ws:// was asked.",
    ),
    "answer-endless": Entry(
        "error",
        "an answer with a head of more than 64 KiB",
        "Browsers give up on such headers, and so does Apache as a proxy (LimitRequestFieldSize, ResponseFieldSize).",
        "See which header grows: mostly cookies, or a debug header of the framework.",
    ),
    "connection-cut": Entry(
        "error",
        "a connection that ends before the answer",
        "It is closed in the middle of the handshake: a process that crashed (AH00051, AH00052), a balancer or firewall "
        "that dislikes upgrades.",
        "See Apache's log at that second, then what stands before Apache, with a handshake past it.",
    ),
    "plain-to-tls": Entry(
        "error",
        "plain HTTP to a port that speaks TLS",
        "ws:// was asked for at a port that wants wss://.",
        "Write wss:// in the client.",
    ),
    "handshake-redirected": Entry(
        "error",
        "a handshake that is redirected",
        "Browsers do not follow redirects in a handshake (WHATWG WebSockets, 5.1): the socket fails.",
        "Ask for the address of the redirect at once, or leave the path out of the redirecting rule: `RewriteCond "
        "%{HTTP:Upgrade} !^websocket$ [NC]` before it.",
    ),
    "handshake-redirected-tls": Entry(
        "error",
        "a handshake that is redirected to TLS",
        "The vhost for plain HTTP redirects everything (Redirect, MDRequireHttps); browsers do not follow in a handshake.",
        "Write wss:// in the client: `location.protocol === 'https:' ? 'wss:' : 'ws:'` follows the page.",
    ),
    "path-slash": Entry(
        "error",
        "the socket is at the same path with, or without, its last slash",
        "Paths of ProxyPass and of backends are compared to the letter: `/ws` and `/ws/` are two.",
        "Write the path in the client as it answers; or give ProxyPass and target the same ending, both with `/` or both "
        "without.",
    ),
    "upgrade-not-forwarded": Entry(
        "error",
        "the backend was asked for a page, not for an upgrade",
        "Upgrade and Connection are dropped on the way: a ProxyPass to http:// without `upgrade=websocket`, one that "
        "stands before the right one, or a proxy before Apache that does not pass them on.",
        "`upgrade=websocket` at the ProxyPass of this path (Apache 2.4.47 and newer), and longer paths first. In nginx: "
        "`proxy_http_version 1.1` with both headers set.",
    ),
    "handshake-answered-page": Entry(
        "error",
        "a page instead of an upgrade",
        "The handshake was taken for a plain request: no rule for sockets applies here (AllowOverride None lets an "
        ".htaccess sleep), a general ProxyPass or a front controller took it first, or the upgrade was dropped on the "
        "way.",
        'On the server `./wsfront lint` with the vhost\'s file and the .htaccess shows which; `ProxyPass "/ws/" '
        '"http://127.0.0.1:8888/ws/" upgrade=websocket` before the general one is what it takes.',
    ),
    "handshake-bad-request": Entry(
        "error",
        "400 to a handshake that is in order",
        "Whoever answers found something missing; mostly Upgrade and Connection were dropped on the way, and the backend "
        "says so in its log.",
        "Shake hands with the backend itself: 101 there means the proxy drops the upgrade (`upgrade=websocket`).",
    ),
    "handshake-needs-login": Entry(
        "error",
        "a password is asked for",
        "Basic and Digest authentication cannot be answered by a socket: browsers show no prompt for it.",
        'Leave the path out (`<Location "/ws/">` with `Require all granted`), and let a cookie or a token in the first '
        "message say who it is.",
    ),
    "handshake-forbidden": Entry(
        "error",
        "the handshake is forbidden, where a plain request is not",
        "A check of Origin or of the handshake ([F], Require expr), or a rule with [P] while mod_proxy is not loaded (AH10160).",
        "The AH number in Apache's log says which; without one it is the backend, and its log. A page on another name: "
        "ask again with `--origin`.",
    ),
    "path-forbidden": Entry(
        "error",
        "the path is forbidden, to plain requests too",
        "A Require, an .htaccess with rules in a folder without FollowSymLinks (AH00670: all that is in it is forbidden), "
        "a list of origins that takes requests without one for foreign, or the backend itself.",
        "The AH number in Apache's log says which (AH01630 Require, AH00670 `Options SymLinksIfOwnerMatch`); without one: "
        "the backend's log.",
    ),
    "origin-refused": Entry(
        "error",
        "pages of this very name may not open the socket",
        "The Origin of a page on the same name is refused, though without one it opens: a proxy before Apache does not "
        "pass Host on, a list of origins lacks it, or it is compared with a port or scheme that is another from outside.",
        "`ProxyPreserveHost On`, in nginx `proxy_set_header Host $http_host`; or add the origin, to the letter as the "
        "browser sends it, to the front's list and the backend's. A page elsewhere: `--origin`.",
    ),
    "handshake-not-found": Entry(
        "error",
        "Apache itself knows nothing at this path",
        "No ProxyPass and no rule took the handshake: the path is another, another vhost answers, or the .htaccess is "
        "asleep (AllowOverride None).",
        "`apache2ctl -S` shows which vhost answers; `./wsfront lint` with the vhost's file and the .htaccess shows why no "
        "rule applies.",
    ),
    "backend-not-found": Entry(
        "error",
        "404, and not from Apache",
        "The handshake gets through, but what answers has no socket at this path: the path is another, or was mapped "
        "wrongly (a slash too many or missing, a prefix doubled or lost).",
        "See in the backend's log which path it was asked for; ProxyPass and its target both end in `/`, or neither does.",
    ),
    "sni-mismatch": Entry(
        "error",
        "421: the name in TLS and in Host belong to different vhosts",
        "Since 2.4.64 Apache refuses it (AH02032): a proxy before it sends no SNI or another one, or TLS settings of the "
        "vhosts differ.",
        "Let the proxy before it send the name (nginx: `proxy_ssl_server_name on`), or see SSLVHostSNIPolicy.",
    ),
    "too-many-requests": Entry(
        "error",
        "too many requests",
        "Somebody counts, a rate limit of the front or of the backend, and refuses this address for now.",
        "Wait and ask again; clients that all come by one address need a limit of their own.",
    ),
    "apache-error": Entry(
        "error",
        "Apache itself answers 500 at this path",
        "It cannot carry the handshake further: no module speaks to the target (AH01144: neither proxy_http nor "
        "proxy_wstunnel is loaded), or the target is by TLS without SSLProxyEngine (AH01961).",
        "`a2enmod proxy proxy_http` and a restart, or `SSLProxyEngine on`: the line in Apache's log says which.",
    ),
    "apache-error-everywhere": Entry(
        "error",
        "Apache itself answers 500 to everything",
        "Mostly an .htaccess with what its folder does not allow (`RewriteEngine not allowed here`: AllowOverride without "
        "FileInfo), or with a line that Apache does not know.",
        "The line in Apache's log names file and line. `AllowOverrideList RewriteEngine RewriteCond RewriteRule` is the "
        "least that rules need.",
    ),
    "backend-tls-failed": Entry(
        "error",
        "Apache and the backend agree on no TLS",
        "The target says https:// or wss://, and the backend speaks plain, or its certificate is not taken (AH00961, AH02039).",
        "`http://` in the target where the backend speaks plain; else `SSLProxyCACertificateFile` with its authority.",
    ),
    "backend-error": Entry(
        "error",
        "the backend answers 5xx to a handshake",
        "The handshake gets through; the program behind fails at it.",
        "See the backend's own log at that second.",
    ),
    "backend-bad-answer": Entry(
        "error",
        "502: what the backend said is no answer to an upgrade",
        'It closed the connection, speaks TLS or no HTTP, or is no WebSocket server (AH01102, "Unexpected Upgrade"); or '
        "its name is unknown.",
        "Shake hands with the backend itself; a backend by TLS needs `wss://` or `https://` in the target and "
        "`SSLProxyEngine on`.",
    ),
    "proxy-bad-gateway": Entry(
        "error",
        "a proxy before Apache, or in its place, cannot reach what is behind it",
        "nginx, Caddy and HAProxy say so when nobody listens there, or when it closes the connection or speaks TLS where "
        "plain was meant. Apache's own 502 looks otherwise.",
        "Ask what is behind it itself, past the proxy: `--address`, or its own port; the proxy's log names the address "
        "that it tried.",
    ),
    "backend-unreachable": Entry(
        "error",
        "503: Apache cannot reach the backend",
        "It cannot connect (AH00957, AH01114): it is not running, at another address (localhost may be ::1), or SELinux "
        "forbids it.",
        "`systemctl status` of the backend, `ss -ltnp` for its port; on Red Hat `setsebool -P httpd_can_network_connect "
        "1`. An older Apache waits a minute before it tries again, unless ProxyPass has `retry=0`.",
    ),
    "backend-full": Entry(
        "error",
        "503, and not from Apache",
        "Whoever is behind Apache, or before it, says that it is full or being restarted.",
        "See its log and its limits; ask again in a moment.",
    ),
    "backend-timeout": Entry(
        "error",
        "504: the backend takes connections and does not answer",
        "Apache, or a proxy before it, waited in vain: it is stuck, or speaks another protocol at that port.",
        "Shake hands with the backend itself, and see its log.",
    ),
    "edge-error": Entry(
        "error",
        "the CDN cannot reach the server behind it",
        "Statuses from 520 to 530 are Cloudflare's own: 521 refused, 522 no answer, 525 and 526 TLS with the server.",
        "Ask the server itself: `--address` with its own address; the CDN's networks must be let through.",
    ),
    "encoded-slash": Entry(
        "error",
        "%2F in the path",
        "Apache answers 404 to it by itself (AH00026) unless AllowEncodedSlashes says otherwise.",
        "Send it in the query; or `AllowEncodedSlashes NoDecode` in the vhost, and `nocanon` on the ProxyPass line, without which "
        "the backend is asked for `%252F`.",
    ),
    "encoded-question": Entry(
        "error",
        "%3F in the path",
        "mod_rewrite refuses it with 403 (AH10508), for it would become the beginning of a query.",
        "Send it in the query; or let ProxyPass do what the rule does. Never UnsafeAllow3F.",
    ),
    "query-refused": Entry(
        "warning",
        "a query makes the socket fail",
        "Without one it opens. Many clients send one (tokens, `?EIO=4&transport=websocket`): a rule or the backend "
        "compares the path with it.",
        "Match `%{REQUEST_URI}`, which has no query; in the backend compare the path alone.",
    ),
    "handshake-refused": Entry(
        "error",
        "another answer than an upgrade",
        "Only 101 opens a socket; browsers say no more than that it failed.",
        "See the logs, of what stands before Apache, of Apache and of the backend, for this second.",
    ),
    "handshake-firefox": Entry(
        "error",
        "it works in Chrome and not in Firefox",
        "Firefox sends `Connection: keep-alive, Upgrade`, Chrome `Upgrade` alone: a rule compares it to the letter.",
        r"Write `RewriteCond %{HTTP:Connection} ^(?:keep-alive\s*,\s*)?upgrade$ [NC]`.",
    ),
    "handshake-chrome": Entry(
        "error",
        "it works in Firefox and not in Chrome",
        "Chrome sends `Connection: Upgrade`, Firefox `keep-alive, Upgrade`: a rule wants both words.",
        r"Write `RewriteCond %{HTTP:Connection} ^(?:keep-alive\s*,\s*)?upgrade$ [NC]`.",
    ),
    "accept-wrong": Entry(
        "error",
        "101 with a wrong Sec-WebSocket-Accept",
        "It must be made of this handshake's key (RFC 6455, 4.2.2): a cache repeats an old answer, or what is behind is "
        "no WebSocket server. Browsers refuse it.",
        "Let no cache answer at this path; make the backend one of a known library.",
    ),
    "upgrade-incomplete": Entry(
        "error",
        "101 without its headers",
        "`Upgrade: websocket` and `Connection: Upgrade` must come back with it (RFC 6455, 4.1); browsers refuse it otherwise.",
        "See what changes headers on the way: `Header unset`, a cache, a proxy before Apache.",
    ),
    # An open socket.
    "socket-cut": Entry(
        "error",
        "a socket that is cut at once",
        "The handshake succeeds and the connection ends without a close frame, which browsers show as 1006: the backend "
        "crashes at it, or something on the way does not carry frames.",
        "See the backend's log for this second; then a handshake past what stands before Apache.",
    ),
    "socket-failed": Entry(
        "error",
        "the backend gives a socket up",
        "It closes with 1011 or 1002 what nobody has used yet: an error of its own, which stands in its log.",
        "See the backend's log for this second.",
    ),
    "socket-deaf": Entry(
        "error",
        "a socket on which nothing comes back",
        "The handshake succeeds, and not a frame is answered: something on the way answers 101 and does not tunnel, or "
        "holds frames back, or the backend does not read.",
        "Shake hands with the backend itself; then see what stands before Apache: buffers, inspection, an old proxy.",
    ),
    "frames-broken": Entry(
        "error",
        "bytes that are no frames",
        "What comes on the open socket is not the protocol (RFC 6455, 5): an HTTP answer behind the 101, a proxy that "
        "changes the stream, extensions that nobody offered.",
        "Shake hands with the backend itself, and compare.",
    ),
    "pong-missing": Entry(
        "warning",
        "pings are not answered",
        "Each ping must be answered by a pong (RFC 6455, 5.5.2). Who watches connections by pings will cut this one.",
        "See whether the backend reads at all while it works; libraries answer by themselves.",
    ),
    "echo-broken": Entry(
        "error",
        "messages that do not come back as they were sent",
        "The path is said to echo. Small ones come and large or fragmented ones do not: a limit of size, or a proxy that "
        "does not carry all frames.",
        "Compare with the backend itself. If the path is not meant to echo: `--no-echo`.",
    ),
    "close-unanswered": Entry(
        "warning",
        "a close that is not answered",
        "The connection ends, or goes on, without a close frame in return (RFC 6455, 5.5.1): clients wait, then report 1006.",
        "Let the backend end a socket by its library's close; see whether it was killed.",
    ),
    "idle-cut": Entry(
        "error",
        "a socket that is cut when nothing is said",
        "Something on the way closes silent connections: Apache after its timeout (60 s; 300 s on Debian; `timeout=` at "
        "ProxyPass), balancers often after 60 s, Cloudflare after 100 s.",
        "Let the backend ping more often than that (every 25 s suits all); `timeout=` above it at ProxyPass.",
    ),
    # HTTP/2 and the page.
    "http2-alone": Entry(
        "error",
        "the server speaks HTTP/2 alone",
        "Browsers open sockets over HTTP/1.1 unless the server announces otherwise; without it no wss:// comes about.",
        "`Protocols h2 http/1.1`.",
    ),
    "http2-refused": Entry(
        "error",
        "HTTP/2 announced for sockets that do not work by it",
        "A browser with an HTTP/2 connection open uses it for sockets as soon as the server announces it (RFC 8441), and "
        "does not try HTTP/1.1 after a failure: it fails after the page was opened, and works in other clients.",
        "`H2WebSockets off`, the default; or, in a proxy before Apache, the same switch there.",
    ),
    "page-plain-socket": Entry(
        "warning",
        "a page by https:// that opens ws://",
        "Browsers block it as mixed content; by http:// the same page works.",
        "`(location.protocol === 'https:' ? 'wss://' : 'ws://') + location.host + '/ws/'`.",
    ),
    "page-policy": Entry(
        "error",
        "the page's Content-Security-Policy forbids the socket",
        "connect-src, or default-src in its place, has nothing that allows it; the browser refuses before asking.",
        "Add `'self'` to connect-src; for older Safari also the socket's own `wss://HOST`.",
    ),
}
"""Finding id -> what is known of it."""
