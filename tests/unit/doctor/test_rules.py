"""Each entry of the catalogue: what it is found in, what it is not found in, and what is mended."""

from pathlib import Path

import pytest

from apache import block
from doctor.findings import files
from doctor.lint import lint, mended

MODULES = "Listen 80\nLoadModule mpm_event_module x\nLoadModule proxy_module x\nLoadModule rewrite_module x\n"
WHOLE = f"{MODULES}LoadModule proxy_http_module x\n"
CHECKED = "Require expr \"%{HTTP:Origin} == ''\"\n"
"""Stands for a check of Origin, wherever one is not what a case is about."""

BOUND = (
    "RewriteEngine On\n"
    "RewriteCond %{HTTP:Upgrade} websocket [NC]\n"
    'RewriteCond "%{REQUEST_METHOD} %{HTTP:Connection}" "!^GET upgrade$" [NC]\n'
    "RewriteRule ^ - [F]\n"
    "RewriteCond %{HTTP:Upgrade} ^websocket$ [NC]\n"
)
"""Begins rules that refuse what is no handshake, so that one more rule is all that a case is about."""

GET = f"{CHECKED}RewriteEngine On\nRewriteCond %{{REQUEST_METHOD}} =GET\n"
TUNNEL = "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n"


def vhost(text: str) -> str:
    """Return directives inside a vhost."""
    return f"<VirtualHost *:80>\n{text}\n</VirtualHost>\n"


# The id -> the name of a file, and a text in which nothing but that is found.
FOUND: dict[str, list[tuple[str, str]]] = {
    "config-not-text": [(".htaccess", "Options\0None\n"), ("a.conf", "\x01\x02\x03")],
    "config-byte-order-mark": [(".htaccess", "\ufeffOptions None\n")],
    "config-line-too-long": [("a.conf", "Define x " + "y" * (1 << 20))],
    "config-section-unclosed": [("a.conf", "<Directory />\nOptions None\n"), ("a.conf", "<IfModule x>\n<If y>\n</If>\n")],
    "config-section-crossed": [("a.conf", "</Directory>\n"), ("a.conf", "<Directory />\n</Location>\n</Directory>\n")],
    "config-too-deep": [("a.conf", "<If x>\n" * 300 + "</If>\n" * 256)],
    "config-include-loop": [("a.conf", "Include a.conf\nServerRoot {folder}\nInclude a.conf\n")],
    "rewrite-client-picks-host": [
        (".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888$1 [P]\n"),
        (".htaccess", "RewriteEngine On\nRewriteRule ^(.*)$ http://127.0.0.1:3000$1 [P]\n"),
        (".htaccess", "RewriteEngine On\nRewriteRule ^([^/]+)/(.*)$ http://$1/$2 [P]\n"),
        (".htaccess", "RewriteEngine On\nRewriteRule ^(.*)$ http://%{HTTP_HOST}:3000/$1 [P]\n"),
        ("a.conf", vhost("RewriteEngine On\nRewriteRule ^/?(.*)$ http://127.0.0.1:3000$1 [P]")),
        ("a.conf", vhost("RewriteEngine On\nRewriteRule ^/(.*)$ http://127.0.0.1:3000$1 [P]")),
        ("a.conf", vhost("RewriteEngine On\nRewriteCond %{REQUEST_URI} ^/(.*)\nRewriteRule ^ http://127.0.0.1:3000%1 [P]")),
    ],
    "rewrite-missing-percent": [
        (".htaccess", BOUND + "RewriteRule ^ ws://127.0.0.1:8888{REQUEST_URI} [P]\n"),
        ("a.conf", vhost("RewriteEngine On\nRewriteRule ^ http://127.0.0.1:3000{REQUEST_URI} [P]")),
    ],
    "rewrite-no-proxy-flag": [(".htaccess", BOUND + "RewriteRule ^ws/(.*)$ ws://127.0.0.1:8888/$1 [L]\n")],
    "rewrite-engine-missing": [
        (".htaccess", BOUND.partition("\n")[2] + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n"),
        ("a.conf", vhost(BOUND.partition("\n")[2] + "RewriteRule ^/(.*)$ ws://127.0.0.1:8888/$1 [P]\n")),
    ],
    "rewrite-swallowed": [
        (
            "a.conf",
            vhost(
                "RewriteEngine On\nRewriteRule ^/(.*)$ http://127.0.0.1:3000/$1 [P,L]\n"
                + BOUND
                + "RewriteRule ^/(.*)$ ws://127.0.0.1:8888/$1 [P]"
            ),
        )
    ],
    "rewrite-connection-exact": [
        (
            ".htaccess",
            GET + "RewriteCond %{HTTP:Connection} ^Upgrade$ [NC]\n" + TUNNEL,
        )
    ],
    "rewrite-connection-unanchored": [
        (
            ".htaccess",
            GET + "RewriteCond %{HTTP:Connection} .*upgrade.* [NC]\n" + TUNNEL,
        )
    ],
    "rewrite-upgrade-unanchored": [
        (
            ".htaccess",
            GET + "RewriteCond %{HTTP:Upgrade} websocket [NC]\n" + TUNNEL,
        )
    ],
    "rewrite-upgrade-unchecked": [
        (
            ".htaccess",
            f"{CHECKED}<LimitExcept GET>\nRequire all denied\n</LimitExcept>\nRewriteEngine On\n{TUNNEL}",
        )
    ],
    "rewrite-method-unchecked": [
        (
            ".htaccess",
            f"{CHECKED}RewriteEngine On\nRewriteCond %{{HTTP:Upgrade}} =websocket [NC]\nRewriteRule ^ws/(.*)$ ws://127.0.0.1:8888/$1 [P]\n",
        )
    ],
    "rewrite-dead-variables": [
        (".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P,L,E=noconntimeout:1,E=noabort:1]\n"),
        (".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [proxy,last,env=noabort:1]\n"),
    ],
    "rewrite-encoded-twice": [(".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P,B]\n")],
    "rewrite-unsafe-flag": [(".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P,UnsafeAllow3F]\n")],
    "origin-unchecked": [
        ("a.conf", vhost("ProxyPass /ws/ http://127.0.0.1:8888/ upgrade=websocket")),
        (
            ".htaccess",
            GET.removeprefix(CHECKED) + "RewriteCond %{HTTP:Upgrade} ^websocket$ [NC]\n" + TUNNEL,
        ),
    ],
    "proxypass-order": [
        ("a.conf", vhost(CHECKED + "ProxyPass / http://127.0.0.1:3000/\nProxyPass /ws/ ws://127.0.0.1:8888/")),
        ("a.conf", vhost(CHECKED + "ProxyPass /a http://127.0.0.1:3000\nProxyPass /a/ws ws://127.0.0.1:8888/ws")),
        (
            "a.conf",
            vhost(
                CHECKED
                + "ProxyPassMatch ^/(.*)$ http://127.0.0.1:3000/$1\nProxyPass /ws http://127.0.0.1:8888/ws upgrade=websocket"
            ),
        ),
    ],
    "proxypass-slash": [
        ("a.conf", vhost("ProxyPass / http://127.0.0.1:3000")),
        ("a.conf", vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888")),
        ("a.conf", vhost(CHECKED + "<Location /ws/>\nProxyPass http://127.0.0.1:8888/ws upgrade=websocket\n</Location>")),
    ],
    "proxypass-upgrade-missing": [
        ("a.conf", vhost(CHECKED + "ProxyPass /websocket http://127.0.0.1:8888/websocket")),
        ("a.conf", vhost(CHECKED + 'ProxyPass "/app/socket.io/" "http://127.0.0.1:8888/socket.io/" retry=0')),
    ],
    "upgrade-any": [("a.conf", vhost(CHECKED + "ProxyPass /ws/ http://127.0.0.1:8888/ upgrade=ANY"))],
    "idle-timeout-short": [
        ("a.conf", vhost(CHECKED + "Timeout 5\nProxyPass /ws/ ws://127.0.0.1:8888/ timeout=5")),
        ("a.conf", "Timeout 5\nProxyTimeout 3\n" + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/")),
        (
            "a.conf",
            "Timeout 5\n"
            + vhost(
                BOUND
                + "RewriteRule ^/(.*)$ ws://127.0.0.1:8888/$1 [P]\n<Proxy ws://127.0.0.1:8888>\nProxySet timeout=4\n</Proxy>"
            ),
        ),
    ],
    "websocket-legacy": [
        ("a.conf", "ProxyWebsocketFallbackToProxyHttp Off\n"),
        ("a.conf", MODULES + "LoadModule proxy_wstunnel_module x\n" + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/")),
    ],
    "module-missing": [("a.conf", MODULES + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/"))],
    "loglevel-module-missing": [("a.conf", WHOLE + "LogLevel warn proxy_wstunnel:trace1\n")],
    "http2-websockets": [("a.conf", "H2WebSockets on\n")],
    "proxy-requests-on": [
        ("a.conf", "ProxyRequests On\n"),
        ("a.conf", vhost("ProxyRequests On\nProxyPass / http://127.0.0.1:3000/")),
    ],
    "request-header-origin": [
        ("a.conf", 'RequestHeader set Origin "http://localhost"\n'),
        ("a.conf", "RequestHeader unset origin\n"),
    ],
    "proxy-tls-unverified": [
        ("a.conf", "SSLProxyEngine on\nSSLProxyVerify none\n"),
        ("a.conf", "SSLProxyEngine on\nSSLProxyCheckPeerName off\nProxyPass / https://10.0.0.2/\n"),
    ],
    "proxy-tls-engine-missing": [("a.conf", vhost("ProxyPass / https://127.0.0.1:3000/"))],
    "tls-protocol-weak": [
        ("a.conf", "SSLProtocol TLSv1.2 TLSv1.1\n"),
        ("a.conf", "SSLProtocol -all +TLSv1.1 +TLSv1.2\n"),
        ("a.conf", "SSLProtocol all -SSLv3 +TLSv1\n"),
    ],
    "tls-cipher-weak": [
        ("a.conf", "SSLCipherSuite HIGH:RC4-SHA:!aNULL\n"),
        ("a.conf", "SSLCipherSuite ECDHE-RSA-DES-CBC3-SHA\n"),
    ],
    "remoteip-trusts-everybody": [
        ("a.conf", "RemoteIPHeader X-Forwarded-For\n"),
        ("a.conf", "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 0.0.0.0/0\n"),
    ],
    "forwarded-for-trusted": [
        ("a.conf", "SetEnvIf X-Forwarded-For ^10\\. inside\n<Location />\nRequire env inside\n</Location>\n"),
    ],
    "mpm-prefork": [
        (
            "a.conf",
            WHOLE.replace("mpm_event", "mpm_prefork") + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/"),
        )
    ],
    "mpm-workers-cut": [
        ("a.conf", "<IfModule mpm_event_module>\nMaxRequestWorkers 4000\n</IfModule>\n"),
        ("a.conf", WHOLE + "ServerLimit 2\nThreadsPerChild 50\nMaxRequestWorkers 150\n"),
        ("a.conf", "<IfModule mpm_prefork_module>\nMaxClients 1000\n</IfModule>\n"),
        ("a.conf", "<IfModule mpm_worker_module>\nThreadsPerChild 100\n</IfModule>\n"),
    ],
}  # fmt: skip
ACROSS_FILES = {"htaccess-ignored", "htaccess-no-links"}

# As documentation of programs has it.
IDIOMS = """\
RewriteEngine on
RewriteCond %{HTTP:Upgrade} ^WebSocket$ [NC,OR]
RewriteCond %{HTTP:Connection} ^Upgrade$ [NC]
RewriteRule .* ws://127.0.0.1:8080%{REQUEST_URI} [P,QSA,L]
RewriteCond %{REQUEST_URI} ^/socket.io [NC]
RewriteCond %{QUERY_STRING} transport=websocket [NC]
RewriteRule /(.*) ws://127.0.0.1:3000/$1 [P,L]
ProxyPass / http://127.0.0.1:3000/
"""

# What is right, and looks like what is not.
CLEAN: list[tuple[str, str]] = [
    (".htaccess", ""),
    (".htaccess", BOUND + 'RewriteRule ^ "ws://127.0.0.1:8888%{REQUEST_URI}" [P]\n'),
    (".htaccess", BOUND + "RewriteRule ^/?(.*) ws://127.0.0.1:8888/$1 [P]\n"),
    (".htaccess", "<IfModule Litespeed>\nRewriteEngine On\nRewriteRule .* - [E=noabort:1, E=noconntimeout:1]\n</IfModule>\n"),
    (".htaccess", "RewriteEngine On\nRewriteRule .* - [E=noabort:1]\n"),
    (".htaccess", "RewriteEngine On\nRewriteRule ^go/(.*)$ http://%{HTTP_HOST}/$1 [R=301]\n"),
    (".htaccess", "RewriteEngine On\nRewriteCond %{HTTP_HOST} ^a\\.example$\nRewriteRule ^ http://%{HTTP_HOST}:81/ [P]\n"),
    (".htaccess", "RewriteEngine On\nRewriteRule ^(de|en)/ http://$1.example/ [P]\n"),
    (".htaccess", "RewriteEngine On\nRewriteRule ^a(/.*)$ http://127.0.0.1:3000$1 [P]\n"),
    (".htaccess", "# RewriteRule ^(.*) ws://127.0.0.1:8888$1 [P] \\\nRewriteRule ^(.*) ws://127.0.0.1:8888$1 [P]\n"),
    ("a.conf", vhost("RewriteEngine On\nRewriteRule ^(.*)$ http://127.0.0.1:3000$1 [P]")),
    ("a.conf", vhost("RewriteEngine On\nRewriteRule ^(/api/.*) http://127.0.0.1:3000$1 [P]")),
    ("a.conf", vhost("RewriteEngine On\nRewriteRule ^/([a-z]+)/ http://${backends:$1}/ [P]")),
    ("a.conf", vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/\nProxyPass / http://127.0.0.1:3000/")),
    ("a.conf", vhost(CHECKED + "ProxyPass /ws ws://127.0.0.1:8888/\nProxyPass / http://127.0.0.1:3000/")),
    ("a.conf", vhost(CHECKED + "ProxyPass /ws/a !\nProxyPass /ws/ ws://127.0.0.1:8888/")),
    ("a.conf", vhost(CHECKED + "ProxyPass /w http://127.0.0.1:3000\nProxyPass /ws ws://127.0.0.1:8888")),
    (
        "a.conf",
        vhost(
            CHECKED + "ProxyPass / http://127.0.0.1:3000/\n<Location /ws/>\nProxyPass ws://127.0.0.1:8888/\n</Location>"
        ),
    ),
    ("a.conf", vhost("ProxyPass / http://127.0.0.1:3000/") + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/")),
    ("a.conf", vhost("ProxyPass /ws http://127.0.0.1:3000/ws")),
    ("a.conf", vhost(CHECKED + "ProxyPass /ws !\nProxyPass /ws/ ws://127.0.0.1:8888/")),
    ("a.conf", vhost(CHECKED + "<Location /ws>\nProxyPass http://127.0.0.1:3000/\nProxyPass ws://127.0.0.1:8888/\n</Location>")),
    ("a.conf", "SSLCipherSuite HIGH:MEDIUM:RC4:!aNULL:!RC4\n"),
    (".htaccess", "<IfModule LiteSpeed>\nRewriteEngine On\nRewriteRule ^(.*)$ http://127.0.0.1:3000$1 [P]\n</IfModule>\n"),
    (
        "a.conf",
        vhost(
            "RewriteEngine On\nRewriteCond %{HTTP:Upgrade} websocket [NC]\nRewriteRule ^ - [S=1]\n"
            "RewriteRule ^/(.*)$ http://127.0.0.1:3000/$1 [P]\n" + BOUND + "RewriteRule ^/(.*)$ ws://127.0.0.1:8888/$1 [P]"
        ),
    ),
    ("a.conf", vhost("ProxyPass /a/ http://127.0.0.1:3000/b\nProxyPass / balancer://b\nProxyPass /c http://127.0.0.1:3000")),
    ("a.conf", vhost(BOUND + "RewriteRule ^/socket.io/(.*) ws://127.0.0.1:8/socket.io/$1 [P]\nProxyPass /socket.io/ http://127.0.0.1:8/socket.io/")),
    ("a.conf", "Timeout 5\n" + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/ timeout=120")),
    ("a.conf", vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/ timeout=5")),
    ("a.conf", "Timeout 5\n" + vhost("ProxyPass / http://127.0.0.1:3000/ timeout=5")),
    ("a.conf", WHOLE + "LoadModule proxy_wstunnel_module x\n" + vhost(CHECKED + "ProxyPass /ws/ ws://127.0.0.1:8888/")),
    ("a.conf", "LoadModule proxy_module x\nLoadModule proxy_wstunnel_module x\n"),
    ("a.conf", WHOLE + "<IfModule mod_proxy_wstunnel.c>\nH2WebSockets on\n</IfModule>\n"),
    ("a.conf", "ProxyRequests On\n<Proxy *>\nRequire ip 10.0.0.0/8\n</Proxy>\n"),
    ("a.conf", "ProxyRequests Off\nSSLProtocol -all +TLSv1.2 +TLSv1.3\nSSLCipherSuite HIGH:!aNULL:!RC4:!3DES\n"),
    ("a.conf", "SSLProtocol all -SSLv3 -TLSv1 -TLSv1.1\nSSLCipherSuite TLSv1.3 TLS_AES_128_GCM_SHA256\n"),
    ("a.conf", "SSLProtocol +TLSv1 -TLSv1 +TLSv1.2\n"),
    ("a.conf", "SSLProtocol TLSv1 TLSv1.1 TLSv1.2\n"),
    ("a.conf", vhost("SSLProxyEngine on\nSSLProxyVerify none\nProxyPass / https://127.0.0.1:3000/")),
    ("a.conf", "RemoteIPHeader X-Forwarded-For\nRemoteIPInternalProxy 10.0.0.0/8\n"),
    ("a.conf", "SetEnvIf X-Forwarded-For . forwarded\nCustomLog x y env=forwarded\n"),
    ("a.conf", "<IfModule mpm_event_module>\nServerLimit 200\nMaxRequestWorkers 4000\n</IfModule>\n"),
    ("a.conf", "MaxRequestWorkers 4000\n"),
    ("a.conf", "<IfModule !mpm_event_module>\nMaxRequestWorkers 4000\n</IfModule>\n"),
    ("a.conf", vhost(CHECKED + "Protocols h2\nProxyPass /ws/ ws://127.0.0.1:8888/")),
    ("a.conf", vhost(CHECKED + "Protocols h2 http/1.1\nProxyPass /ws/ ws://127.0.0.1:8888/")),
]  # fmt: skip


def written(folder: Path, name: str, text: str) -> str:
    """Write a file, and return its name."""
    path = folder / name
    path.write_text(text.replace("{folder}", str(folder)), encoding="utf-8")
    return str(path)


def test_every_entry_has_a_case() -> None:
    """Nothing is in the catalogue that no test has seen, but for what several files together show."""
    assert set(FOUND) | ACROSS_FILES == set(files.ENTRIES)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [pytest.param(name, *case, id=f"{name}-{number}") for name, cases in FOUND.items() for number, case in enumerate(cases)],
)  # fmt: skip
def test_is_found_alone(tmp_path: Path, name: str, file: str, text: str) -> None:
    """A fault is found, and nothing else beside it."""
    report = lint([written(tmp_path, file, text)])
    assert {finding.id for finding in report.findings} == {name}


@pytest.mark.parametrize(("file", "text"), CLEAN, ids=range(len(CLEAN)))
def test_nothing_is_found(tmp_path: Path, file: str, text: str) -> None:
    """What is right has no finding."""
    report = lint([written(tmp_path, file, text)])
    assert [(finding.id, finding.line) for finding in report.findings] == []
    assert report.not_checked == []


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [pytest.param(name, *case, id=f"{name}-{number}") for name, cases in FOUND.items() for number, case in enumerate(cases)],
)  # fmt: skip
def test_safe_changes_end(tmp_path: Path, name: str, file: str, text: str) -> None:
    """What safe changes make of a file has none left, and no finding that was not there before."""
    path = written(tmp_path, file, text)
    before = lint([path]).findings
    changed = mended([path])
    assert bool(changed) == any(finding.edit and finding.edit.is_safe for finding in before)
    after = lint([path], given=changed).findings
    assert not [finding for finding in after if finding.edit and finding.edit.is_safe]
    assert {finding.id for finding in after} <= {name}


# What --fix makes of a line, where it is that line alone.
MENDED = [
    ("ProxyPass / http://a/\nProxyPass /ws/ ws://b/", "ProxyPass /ws/ ws://b/\nProxyPass / http://a/"),
    ("  ProxyPass /ws/ ws://127.0.0.1:8888", '  ProxyPass /ws/ "ws://127.0.0.1:8888/"'),
    ("ProxyPass /websocket http://a/b", "ProxyPass /websocket http://a/b upgrade=websocket"),
    ("ProxyRequests On\nProxyPass / http://a/", "ProxyRequests Off\nProxyPass / http://a/"),
    ("RewriteEngine On\nRewriteRule ^/(.*) http://a:81$1 [P]", "RewriteEngine On\nRewriteRule ^/(.*) http://a:81/$1 [P]"),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after"), MENDED)
def test_mended_text(tmp_path: Path, before: str, after: str) -> None:
    """A safe change alters what is wrong, and no other byte."""
    path = written(tmp_path, "a.conf", vhost(CHECKED + before))
    assert mended([path]) == {path: vhost(CHECKED + after).encode()}


LEVELS = {
    "LogLevel warn proxy_wstunnel:trace1": "LogLevel warn",
    "  LogLevel proxy_wstunnel:trace1 warn": "  LogLevel warn",
    "LogLevel warn proxy_wstunnel:trace1 rewrite:trace2 http2:info": "LogLevel warn rewrite:trace2",
}


@pytest.mark.parametrize(("before", "after"), LEVELS.items())
def test_level_of_what_is_not_loaded(tmp_path: Path, before: str, after: str) -> None:
    """Only the words for modules that are not loaded are taken out of a LogLevel."""
    path = written(tmp_path, "a.conf", f"{WHOLE}{before}\n")
    assert mended([path]) == {path: f"{WHOLE}{after}\n".encode()}


def test_level_of_nothing_else(tmp_path: Path) -> None:
    """A LogLevel that has no other word goes as a whole."""
    path = written(tmp_path, "a.conf", f"{WHOLE}LogLevel proxy_wstunnel:trace1\n")
    assert mended([path]) == {path: WHOLE.encode()}


ROOM = {
    "MaxRequestWorkers 100\nServerLimit 2\nThreadsPerChild 25": "MaxRequestWorkers 100\nServerLimit 8\nThreadsPerChild 25",
    "ThreadsPerChild 25\nMaxRequestWorkers 500": "ServerLimit 40\nThreadsPerChild 25\nMaxRequestWorkers 500",
    "MaxRequestWorkers 90": "MaxRequestWorkers 100",
    "ThreadsPerChild 100": "ThreadLimit 100\nThreadsPerChild 100",
}


@pytest.mark.parametrize(("before", "after"), ROOM.items())
def test_room_for_all_workers(tmp_path: Path, before: str, after: str) -> None:
    """What would be cut gets its limits, with slots left over for a reload; more memory is nothing to take unasked."""
    path = written(tmp_path, "a.conf", f"{WHOLE}{before}\n")
    (found,) = lint([path]).findings
    assert found.edit is not None
    assert found.edit.applied(f"{WHOLE}{before}\n".encode()) == f"{WHOLE}{after}\n".encode()
    assert not found.edit.is_safe


SERVER = WHOLE + "<Directory {folder}>\n{grant}\n</Directory>\n"
GRANTS = {
    "AllowOverride None": ["htaccess-ignored"],
    "AllowOverride AuthConfig": ["htaccess-ignored"],
    "AllowOverride None\nAllowOverrideList RewriteEngine RewriteCond RewriteRule\nOptions SymLinksIfOwnerMatch": [],
    "AllowOverride FileInfo\nOptions None": ["htaccess-no-links"],
    "AllowOverride FileInfo\nOptions FollowSymLinks": [],
    "AllowOverride All": [],
}


@pytest.mark.parametrize(("grant", "expected"), GRANTS.items())
def test_what_a_folder_is_granted(tmp_path: Path, grant: str, expected: list[str]) -> None:
    """A server read beside an .htaccess with rules for sockets tells whether they are read at all."""
    rules = written(tmp_path, ".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n")
    server = written(tmp_path, "a.conf", SERVER.replace("{grant}", grant))
    assert [finding.id for finding in lint([rules, server]).findings] == expected


INSIDE = "<Directory {folder}>\n  AllowOverride None\n  AllowOverrideList RewriteEngine RewriteCond RewriteRule{more}\n</Directory>\n"
ABOVE = "<Directory />\n  AllowOverride None\n</Directory>\n"
WRITTEN = {
    "its own section": (INSIDE.partition("  AllowOverrideList")[0] + "</Directory>\n", "", INSIDE),
    "that of the whole disk": (
        ABOVE,
        "",
        INSIDE.replace("  AllowOverride", "    AllowOverride").replace("{folder}", '"{folder}"') + ABOVE,
    ),
    "one more directive": (
        INSIDE.partition("  AllowOverrideList")[0] + "</Directory>\n",
        "RewriteBase /\n",
        INSIDE,
    ),
}


@pytest.mark.parametrize(("before", "rule", "after"), WRITTEN.values(), ids=WRITTEN)
def test_grant_that_is_written(tmp_path: Path, before: str, rule: str, after: str) -> None:
    """What a folder is not granted is written out, as narrow as its file needs it, and nothing for all folders."""
    rules = written(tmp_path, ".htaccess", BOUND + rule + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n")
    server = written(tmp_path, "a.conf", WHOLE + before)
    (found,) = lint([rules, server]).findings
    assert found.edit is not None
    more = " RewriteBase" if rule else ""
    expected = (WHOLE + after).replace("{folder}", str(tmp_path)).replace("{more}", more)
    assert found.edit.applied(Path(server).read_bytes()).decode() == expected
    assert not found.edit.is_safe


def test_grant_that_is_left(tmp_path: Path) -> None:
    """Where the file has more in it than rules, what else to grant is left to people."""
    text = "<IfModule x>\n</IfModule>\n" + BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n"
    rules = written(tmp_path, ".htaccess", text)
    server = written(tmp_path, "a.conf", SERVER.replace("{grant}", "AllowOverride None"))
    (found,) = lint([rules, server]).findings
    assert (found.edit, "more in it" in found.left) == (None, True)


def test_server_that_checks_for_its_folders(tmp_path: Path) -> None:
    """What is missing in an .htaccess and stands in the server read beside it is not said to be missing."""
    rules = written(
        tmp_path,
        ".htaccess",
        GET.removeprefix(CHECKED).replace("RewriteCond", "#") + BOUND.partition("[F]\n")[2] + TUNNEL,
    )
    alone = {finding.id for finding in lint([rules]).findings}
    server = written(
        tmp_path, "a.conf", WHOLE + f"<Location /ws>\n{CHECKED}Require method GET\n</Location>\n"
    )
    both = {finding.id for finding in lint([rules, server]).findings}
    assert alone - both == {"origin-unchecked", "rewrite-method-unchecked"}
    assert both <= alone


@pytest.mark.parametrize("section", ["<Directory {folder}*>", "<DirectoryMatch .>", '<Directory ~ ".">'])
def test_folders_by_pattern(tmp_path: Path, section: str) -> None:
    """Where a pattern may grant it, nothing is said to be missing."""
    rules = written(tmp_path, ".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n")
    closing = f"</{section[1:].split(maxsplit=1)[0]}>"
    text = f"<Directory />\nAllowOverride None\n</Directory>\n{section}\nAllowOverride All\n{closing}\n"
    assert lint([rules, written(tmp_path, "a.conf", WHOLE + text)]).findings == []


def test_one_cause_is_told_once(tmp_path: Path) -> None:
    """Of several tunnels in a vhost the first one tells what none of them has; their conditions are no faults."""
    found = lint([written(tmp_path, "a.conf", vhost(f"{IDIOMS}ProxyPass /ws/ ws://127.0.0.1:1/"))]).findings
    assert [(finding.id, finding.line) for finding in found if finding.entry.severity != "note"] == [
        ("proxypass-order", 10),
        ("origin-unchecked", 5),
    ]


def test_part_of_a_server_tells_of_no_folder(tmp_path: Path) -> None:
    """What a file grants that is no whole server may be granted otherwise elsewhere."""
    rules = written(tmp_path, ".htaccess", BOUND + "RewriteRule ^(.*)$ ws://127.0.0.1:8888/$1 [P]\n")
    part = written(tmp_path, "a.conf", "<Directory {folder}>\nAllowOverride None\n</Directory>\n")
    assert lint([rules, part]).findings == []


def test_what_is_absent_may_be_in_a_file_not_read(tmp_path: Path) -> None:
    """With an include that cannot be followed, nothing is said to be missing."""
    text = "Include {folder}/nowhere.conf\n" + vhost("ProxyPass /ws/ ws://127.0.0.1:8888/")
    report = lint([written(tmp_path, "a.conf", text)])
    assert (report.findings, len(report.not_checked)) == ([], 1)


COPIED = (
    "RewriteCond %{HTTP:Connection} Upgrade [NC]\n"
    "RewriteCond %{HTTP:Upgrade} websocket [NC]\n"
    "RewriteRule ^/?(.*) ws://127.0.0.1:8888/$1 [P,L]\n"
)
ON = "RewriteEngine On\n"

# What a copied rule is not made safe in, and why.
LEFT = [
    (".htaccess", ON + COPIED.replace("Rule ^/?(.*)", "Rule ^(ws|chat)/(.*)"), "more than a path"),
    (".htaccess", ON + COPIED.replace("[P,L]", "[P,CO=a:b:c]"), "flags that mean more"),
    (".htaccess", ON + COPIED.replace("Upgrade [NC]", "Upgrade [NC,OR]", 1), "alternatives"),
    (".htaccess", ON + COPIED.replace("ws://127.0.0.1:8888", "wss://127.0.0.1:8888"), "not a ws:// URL"),
    (".htaccess", ON + COPIED.replace("127.0.0.1:8888", "10.0.0.2:8888"), ""),
    (".htaccess", ON + "RewriteCond %{HTTP:Origin} evil\nRewriteRule ^ - [F]\n" + COPIED, "checks of Origin of its own"),
    (".htaccess", ON + COPIED + "<If \"%{HTTP:Upgrade} == 'websocket'\">\nRewriteRule ^ http://127.0.0.1:1/ [P]\n</If>\n", "not alone"),
    (".htaccess", ON + COPIED + "RewriteRule ^a - [S=1]\nRewriteRule ^b - [L]\n", "skip or chain"),
    (".htaccess", COPIED + "RewriteRule ^a$ /b [L]\n", "no `RewriteEngine On`"),
    (".htaccess", block.insert(b"", ON).decode() + COPIED, "has a block of wsfront already"),
    ("a.conf", vhost(ON + COPIED.replace("RewriteRule", "Options None\nRewriteRule")), "other lines stand between"),
    ("a.conf", vhost(f"<Location /a>\n{ON}{COPIED}</Location>"), "not supported"),
    ("a.conf", f"<Macro x>\n{ON}{COPIED}</Macro>\n", "<Macro>"),
    ("a.conf", vhost(COPIED.replace("127.0.0.1", "10.0.0.2") + "RewriteRule ^/a$ /b [L]\n"), "other rules sleep there"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "text", "words"), LEFT, ids=range(len(LEFT)))
def test_what_is_left(tmp_path: Path, file: str, text: str, words: str) -> None:
    """A rule that says more than a tunnel is left as it stands, with the reason."""
    path = written(tmp_path, file, text)
    assert words in " ".join(finding.left for finding in lint([path]).findings)
    assert mended([path]) == {}


def test_several_rules_become_one_block(tmp_path: Path) -> None:
    """Copied rules for several paths and backends become one block, the longest path first."""
    other = COPIED.replace("^/?(.*)", "^chat/(.*)$").replace("8888/$1", "8889/talk/$1")
    path = written(
        tmp_path,
        ".htaccess",
        ON + other + COPIED.replace("127.0.0.1:8888", "unix:/run/a.sock|ws://a").replace("ws://unix", "unix"),
    )
    text = mended([path])[path].decode()
    assert text.count("\nRewriteRule ") == 6
    assert '"ws://127.0.0.1:8889/talk/%1" [P]' in text
    assert '"unix:/run/a.sock|ws://wsfront-1.localhost/%1" [P]' in text
    assert text.index("^/chat/(.*)$") < text.index("unix:/run")
