"""Our block in a vhost that somebody else wrote, and somebody's directives in a vhost of ours: what they close stays closed."""

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from apache import httpd, modules
from apache.description import parse
from apache.error_log import faults
from apache.errors import HttpdError
from apache.render import render
from apache.site import Site
from certs.store import Store
from tests.raw import ask, shake
from tests.scripted import answering, scripted
from tests.stacks import DEFAULT_BACKEND, TRIES, held, running

pytestmark = pytest.mark.needs("apache")

CREDENTIALS = "Authorization: Basic " + base64.b64encode(b"ada:secret").decode()
WRONG = "Authorization: Basic " + base64.b64encode(b"ada:guess").decode()
FOREIGN = "Origin: https://evil.example"
DENIED = "AH01630"  # client denied by server configuration
MISMATCH = "AH01617"  # password mismatch
EXTRA_MODULES = ("auth_basic", "authn_file", "authz_host", "authz_user")
TUNNELS = ["upgrade", "ws"]
PLACES = ["first", "last"]

CONFIG = """
{load}
ServerRoot "{folder}"
DefaultRuntimeDir "{folder}/run"
PidFile "{folder}/run/httpd.pid"
ErrorLog "{folder}/logs/error.log"
LogLevel warn
TypesConfig "/dev/null"
SSLSessionCache "shmcb:{folder}/run/cache(64000)"
ServerName localhost
{user}
Listen 127.0.0.1:{port} https
<VirtualHost 127.0.0.1:{port}>
    SSLEngine on
    SSLCertificateFile "{certificate}"
    SSLCertificateKeyFile "{key}"
    {vhost}
</VirtualHost>
"""


@dataclass
class Foreign:
    """Say where somebody else's Apache is, and the backends that it knows."""

    https_port: int
    http_port: int
    backend_port: int
    other_port: int
    site: Site


@contextmanager
def somebody_elses(
    folder: Path, place: str, directives: str, *, tunnel: str = "upgrade", allow: tuple[str, ...] = ()
) -> Iterator[Foreign]:
    """Run an Apache whose vhost somebody wrote, our block included before or after what stands there.

    Args:
        folder: for its files.
        place: of our block: `first` or `last`.
        directives: theirs; {other} is the port of their server, {ours} of our backend, {users} a file with Ada's password.
        tunnel: the form.
        allow: the AH numbers that the test provokes.
    """
    server = httpd.Httpd(folder)
    site = parse(f"websockets: [{{tunnel: {tunnel}}}]\n", "test.yaml")
    for attempt in range(TRIES):
        https_port, ours, other = httpd.free_ports(3)
        front = Foreign(https_port, 0, ours, other, site)
        server.write(files(folder, front, place, directives))
        server.test()
        try:
            server.start()
            break
        except HttpdError as error:
            if "in use" not in str(error) or attempt + 1 == TRIES:
                raise
    try:
        with held(ours, other):
            yield front
        assert [line.text for line in faults(server.log_lines(), allow)] == []
    finally:
        server.stop()


def files(folder: Path, front: Foreign, place: str, directives: str) -> dict[str, str]:
    """Return the configuration, our block and a file of passwords."""
    site = front.site.relocated({DEFAULT_BACKEND: f"127.0.0.1:{front.backend_port}"})
    target = httpd.probe("private", directory=folder)
    names = [*modules.needed([site], target), *EXTRA_MODULES]
    block = render([site], target.model_copy(update={"layout": "include"}))
    digest = hashlib.sha1(b"secret", usedforsecurity=False).digest()
    issued = Store(folder / "certs").ensure("localhost", ["localhost"])
    theirs = directives.format(other=front.other_port, ours=front.backend_port, users=folder / "users")
    include = f'Include "{folder}/block.conf"\n'
    config = CONFIG.format(
        load="\n".join(
            f"LoadModule {name}_module {target.modules_directory}/mod_{name}.so"
            for name in names
            if name not in target.static_modules
        ),
        user=f"User {target.user}\nGroup {target.group}" if target.user else "",
        folder=folder,
        port=front.https_port,
        certificate=issued.certificate,
        key=issued.key,
        vhost=include + theirs if place == "first" else theirs + include,
    )
    return {
        "httpd.conf": config,
        "block.conf": block["etc/wsfront/include/localhost.conf"],
        "users": "ada:{SHA}" + base64.b64encode(digest).decode() + "\n",
    }


AUTH = """
    <Location "/">
        AuthType Basic
        AuthName theirs
        AuthUserFile "{users}"
        Require valid-user
    </Location>
"""
PAGES = """
    ProxyPass "/" "http://127.0.0.1:{other}/"
    ProxyPassReverse "/" "http://127.0.0.1:{other}/"
"""


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.parametrize("place", PLACES)
def test_sockets_beside_their_pages(folder: Path, place: str, tunnel: str) -> None:
    """Sockets go to our backend, everything else where it went before, wherever the block stands."""
    with (
        somebody_elses(folder, place, PAGES, tunnel=tunnel, allow=(DENIED,)) as front,
        scripted(front.backend_port) as ours,
        scripted(front.other_port, answering("200 OK", body=b"theirs")),
    ):
        assert ask(front, "/page").body == b"theirs"
        assert (
            shake(front, "/ws/chat", "X-Forwarded-For: 203.0.113.9", "X-Real-IP: 203.0.113.9").status == 101
        )
        assert shake(front, "/ws/chat", FOREIGN).status == 403
        assert ask(front, "/ws/chat", FOREIGN).body == b"page"
    assert [request.path for request in ours] == ["/ws/chat", "/ws/chat"]
    assert ours[0].headers.get_all("X-Forwarded-For") == ["127.0.0.1"]
    assert "X-Real-IP" not in ours[0].headers


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_their_pages_from_our_backend(folder: Path, tunnel: str) -> None:
    """A ProxyPass of theirs to the same backend, after our block, takes nothing from the sockets."""
    theirs = 'ProxyPass "/" "http://127.0.0.1:{ours}/"\n'
    with somebody_elses(folder, "first", theirs, tunnel=tunnel) as front, scripted(front.backend_port):
        assert ask(front, "/page").body == b"page"
        assert shake(front, "/ws/chat").status == 101


@pytest.mark.parametrize("tunnel", TUNNELS)
@pytest.mark.parametrize("place", PLACES)
def test_their_password_guards_our_sockets(folder: Path, place: str, tunnel: str) -> None:
    """Basic auth of theirs holds for sockets too, and our test of origins beside it."""
    with (
        somebody_elses(folder, place, AUTH + PAGES, tunnel=tunnel, allow=(DENIED, MISMATCH)) as front,
        scripted(front.backend_port) as ours,
        scripted(front.other_port),
    ):
        for path in ("/", "/ws/chat"):
            assert ask(front, path).status == 401
            assert ask(front, path, CREDENTIALS).status == 200
        assert shake(front, "/ws/chat").status == 401
        assert shake(front, "/ws/chat", WRONG).status == 401
        ours.clear()
        assert shake(front, "/ws/chat", CREDENTIALS, FOREIGN).status in {401, 403}
        assert shake(front, "/ws/chat", CREDENTIALS, method="POST").status in {401, 403}
        assert ours == []
        assert shake(front, "/ws/chat", CREDENTIALS).status == 101


@pytest.mark.parametrize("place", PLACES)
def test_what_they_deny_is_denied(folder: Path, place: str) -> None:
    """Where they let nobody in, or some addresses alone, no socket is opened for others."""
    theirs = '<Location "/">\nRequire ip 127.0.0.5\n</Location>\n<Location "/ws/secret">\nRequire all denied\n</Location>\n'
    with (
        somebody_elses(folder, place, theirs, allow=(DENIED,)) as front,
        scripted(front.backend_port) as ours,
    ):
        assert shake(front, "/ws/chat").status == 403
        assert shake(front, "/ws/secret", source="127.0.0.5").status == 403
        assert ours == []
        assert shake(front, "/ws/chat", source="127.0.0.5").status == 101


OWN = """
<Location "/ws/">
    Require expr "%{HTTP:X-Key} == 'secret'"
</Location>
"""


@pytest.mark.parametrize("tunnel", TUNNELS)
def test_own_directives_add_to_ours(tunnel: str) -> None:
    """What a user requires in the folder of own directives holds for sockets, and takes no test of ours away."""
    description = f"websockets: [{{tunnel: {tunnel}}}]\n"
    with (
        running(description, backend=False, own_directives=OWN) as stack,
        scripted(stack.backend_port) as seen,
    ):
        stack.allow(DENIED)
        assert shake(stack, "/ws/chat").status == 403
        assert ask(stack, "/ws/chat").status == 403
        assert shake(stack, "/ws/chat", "X-Key: secret", FOREIGN).status == 403
        assert shake(stack, "/ws/chat", "X-Key: secret", method="POST").status == 403
        assert seen == []
        assert shake(stack, "/ws/chat", "X-Key: secret").status == 101
        assert ask(stack, "/ws/chat", "X-Key: secret", FOREIGN).status == 200
