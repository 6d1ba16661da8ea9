"""What can be seen on the machine that Apache runs on."""

from apache.versions import FLOOR

from .entry import Entry
from .logged import LOGGED

ENTRIES: dict[str, Entry] = {
    # Apache itself.
    "server-refused": Entry(
        "error",
        "a configuration that Apache itself refuses",
        "Apache does not start with it, and a reload leaves the old configuration running, or none: the words are Apache's own.",
        "Mend the line that it names, then `apache2ctl -t` until it says `Syntax OK`.",
    ),
    "server-not-running": Entry(
        "error",
        "no Apache runs with this configuration",
        "Nobody listens, so every handshake is refused at once.",
        "`systemctl start apache2` (httpd on Fedora); what hinders it is in `journalctl -u apache2` and at the end of the error log.",
    ),
    "server-silent": Entry(
        "error",
        "Apache listens and does not answer this machine",
        "A request on loopback got no answer within two seconds, though workers seem to be free: it hangs in something else.",
        "Look at the end of the error log, and at what its processes wait for (`top -H`); `systemctl restart apache2` helps for now.",
    ),
    "apache-too-old": Entry(
        "error",
        "an Apache without end-to-end upgrades",
        f"Before {FLOOR} sockets go through the old tunnel alone: it copies bytes without looking at the backend's answer "
        "(CVE-2019-17567), and `upgrade=websocket` is not known.",
        "Upgrade the system's release; on Debian `apt-get install --only-upgrade apache2-bin` where it has a newer one.",
    ),
    "apache-unsafe": Entry(
        "warning",
        "an Apache with known holes in the modules that it has loaded",
        "Each is mended in a later release, by its number.",
        "`apt-get update && apt-get install --only-upgrade apache2-bin`, then a restart: a reload keeps the old program.",
    ),
    "apache-not-restarted": Entry(
        "warning",
        "an Apache that was replaced on the disk while it runs",
        "The old program goes on, its holes with it, and a reload may load modules of the new one into it.",
        "`systemctl restart apache2`: open sockets are closed by it.",
    ),
    "path-without-socket": Entry(
        "error",
        "a path that no directive passes sockets on for",
        "Neither a ProxyPass with an upgrade nor a rule to a ws:// URL answers for it: a handshake gets 200, 400, 404 or 426.",
        '`ProxyPass "/ws/" "http://127.0.0.1:8888/ws/" upgrade=websocket` before the general one, with your path and port.',
    ),
    # How much fits.
    "workers-exhausted": Entry(
        "error",
        "all workers are in use",
        "Each socket holds a worker for as long as it is open. With the last one gone, handshakes and pages hang without "
        "any error, until somebody leaves.",
        "Raise MaxRequestWorkers, and ServerLimit with it, then restart: `./wsfront plan --connections N` has the numbers.",
    ),
    "workers-were-exhausted": Entry(
        "warning",
        "all workers, or nearly all, have been in use since the last start",
        "Then handshakes and pages hang without any error; it comes again with as many visitors.",
        "Raise MaxRequestWorkers, and ServerLimit with it, then restart: `./wsfront plan --connections N` has the numbers.",
    ),
    "workers-few": Entry(
        "warning",
        "few workers are left",
        "Each socket holds a worker for as long as it is open; with the last one gone, handshakes and pages hang without any error.",
        "Raise MaxRequestWorkers, and ServerLimit with it, then restart: `./wsfront plan --connections N` has the numbers.",
    ),
    "slots-exhausted": Entry(
        "error",
        "children of older generations hold all slots",
        "After a reload, by logrotate for one, children with open sockets stay until the last is closed, each in a slot of "
        "ServerLimit. With none left Apache starts no child, and handshakes hang (AH03490).",
        "For now `systemctl restart apache2`, which closes all sockets. Then raise ServerLimit by as many children for each reload "
        "that a socket may outlive, or have the backend close its sockets after a reload.",
    ),
    "slots-few": Entry(
        "warning",
        "one more reload fills the slots",
        "Children of older generations stay until their last socket is closed, each in a slot of ServerLimit. With none left "
        "Apache starts no child, and handshakes hang (AH03490).",
        "Raise ServerLimit by as many children for each reload that a socket may outlive, or have the backend close its "
        "sockets after a reload.",
    ),
    "slots-no-reserve": Entry(
        "warning",
        "no slot is left over for a reload",
        "ServerLimit is no more than MaxRequestWorkers takes. After a reload, by logrotate for one, children with open sockets "
        "keep their slots, and the new generation finds few or none.",
        "Raise ServerLimit by as many children for each reload that a socket may outlive: `./wsfront plan --connections N`.",
    ),
    "limits-need-restart": Entry(
        "warning",
        "limits that were changed and not taken",
        "ServerLimit, ThreadLimit and ListenBacklog are read at a start alone (AH00501, AH00506).",
        "`systemctl restart apache2`.",
    ),
    "files-limit": Entry(
        "warning",
        "fewer open files than a full child takes",
        "Each socket takes three in its child. With none left Apache accepts nobody in that child, or cannot connect to the "
        "backend (`Too many open files`).",
        "On Debian `APACHE_ULIMIT_MAX_FILES='ulimit -n N'` in /etc/apache2/envvars, elsewhere LimitNOFILE in the unit; then a restart.",
    ),
    "tasks-limit": Entry(
        "warning",
        "fewer tasks than all children take",
        "The service's TasksMax is below what MaxRequestWorkers takes: children fail to start their threads "
        "(`Resource temporarily unavailable`).",
        "`systemctl edit apache2`: `[Service]` and `TasksMax=N`; then a restart.",
    ),
    "ports-few": Entry(
        "warning",
        "few local ports are left to the backend",
        "Each socket takes a port of this machine's to the backend's one address. With none left Apache answers 503 "
        "(`Cannot assign requested address`).",
        "A unix socket as the backend, a second address of it (127.0.0.2), or a wider net.ipv4.ip_local_port_range.",
    ),
    # What is behind it.
    "backend-down": Entry(
        "error",
        "nobody listens at the backend's address",
        "Apache answers 503 (AH00957, AH01114); a balancer then leaves the member alone for a minute, unless its line has `retry=0`.",
        "Start the backend, or write the address at which it listens: `ss -ltnp` shows them.",
    ),
    "backend-name-unknown": Entry(
        "error",
        "the backend's name has no address",
        "Apache answers 502 or 503 (AH00898, DNS lookup failure).",
        "Write the address itself, or put the name into /etc/hosts.",
    ),
    "backend-denied": Entry(
        "error",
        "Apache's user may not connect to the backend",
        "Apache answers 503 (AH02454, AH00957: Permission denied).",
        "Give Apache's group the unix socket, and all folders above it; where it is a port, look at the firewall's rules for users.",
    ),
    "backend-no-route": Entry(
        "error",
        "the backend cannot be reached",
        "The connection is not answered: a firewall, or another network. Apache holds a worker for each try, then answers 503.",
        "Open the port for this machine, and put `connectiontimeout=5` on the line.",
    ),
    "backend-first-address": Entry(
        "note",
        "localhost is asked for at an address where the backend does not listen",
        "`localhost` has two addresses; Apache tries the other one at each connection and logs AH00957 for it.",
        "Write 127.0.0.1, or [::1], where the backend listens.",
    ),
    "backend-speaks-tls": Entry(
        "error",
        "the backend speaks TLS, and Apache is told to speak without",
        "Apache answers 502 (AH01102) or 400, as the backend sees no TLS.",
        "`https://` (or `wss://`) in the target, and `SSLProxyEngine on` in the vhost.",
    ),
    "backend-speaks-plain": Entry(
        "error",
        "the backend speaks without TLS, and Apache is told to speak it",
        "Apache answers 500 or 502 (AH01084, `SSL Handshake failed`).",
        "`http://` (or `ws://`) in the target.",
    ),
    "backend-not-websocket": Entry(
        "error",
        "the backend does not speak WebSocket there",
        "It was sent a handshake straight, without Apache, and answered otherwise: `Unexpected response code` in the browser, "
        "whatever Apache does.",
        "Compare host, port and path with those that the backend prints at its start.",
    ),
    "backend-closes": Entry(
        "error",
        "the backend closes the connection in mid-handshake",
        "It was sent a handshake straight, without Apache, and hung up: Apache answers 502 (AH01102).",
        "Look into the backend's own log; it may be another service's port.",
    ),
    "backend-silent": Entry(
        "error",
        "the backend accepts and does not answer",
        "It was sent a handshake straight, without Apache. Apache waits for its `timeout`, holding a worker for each.",
        "Look into the backend's own log: it is stuck or full. `connectiontimeout=5` does not help here.",
    ),
    "host-not-preserved": Entry(
        "error",
        "the backend compares Origin with a Host that Apache has changed",
        "It was sent a handshake straight: with its own address as Host it answers 403, with the site's name it upgrades. Apache tells "
        "it the address unless told otherwise.",
        "`ProxyPreserveHost On` in the vhost; for rules of an .htaccess too.",
    ),
    "selinux-denies": Entry(
        "error",
        "SELinux does not let Apache connect",
        "httpd_can_network_connect is off: Apache answers 503, `(13)Permission denied` (AH00957), while all is well for everybody else.",
        "`setsebool -P httpd_can_network_connect 1`",
    ),
    # Certificates.
    "certificate-expired": Entry(
        "error",
        "a certificate that is not valid today",
        "No browser opens wss:// with it, nor asks the visitor: a socket fails with 1006.",
        "Renew it (`certbot renew`), then reload Apache.",
    ),
    "certificate-soon": Entry(
        "warning",
        "a certificate that is about to expire",
        "Its renewal should have happened by now.",
        "`certbot renew --dry-run` says what hinders it; where mod_md renews, the error log does.",
    ),
    "certificate-mismatch": Entry(
        "error",
        "a certificate and a key that do not belong together",
        "Apache does not start with them (AH02565).",
        "Name the key that the certificate was made for.",
    ),
    "certificate-unread": Entry(
        "error",
        "a certificate or key that cannot be read",
        "Apache does not start with it (AH02572, AH02577).",
        "PEM, the server's own certificate first; `openssl x509 -in FILE -noout -subject` reads it.",
    ),
    "md-no-certificate": Entry(
        "error",
        "mod_md has not got a certificate yet",
        "Apache serves one of its own making until then, which no browser takes (AH10085).",
        "Port 80 has to be reachable from the authority, MDCertificateAgreement accepted, and the name has to lead here; then a reload.",
    ),
}
"""Finding id -> what is known of it."""

ENTRIES.update({f"log-{number.lower()}": logged.entry for number, logged in LOGGED.items()})
