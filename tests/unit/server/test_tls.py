"""TLS towards fronts on other machines, in one process; on loopback by leave of the test."""

import asyncio
import logging
import socket
import ssl
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from websockets.asyncio.client import connect

from server import tls
from server.app import Backend
from server.listen import bind
from server.settings import Address, Settings, SettingsError
from server.tls import Certificate
from tests.unit.certs.issuing import Pair, issue
from tests.unit.server.harness import ROOT, SECONDS


def write(folder: Path, pair: Pair, *, key: bytes | None = None) -> tuple[Path, Path]:
    """Put a certificate and its key, or another one, into a folder."""
    files = folder / "certificate.pem", folder / "key.pem"
    for file, content in zip(files, (pair.pem, key or pair.key_pem), strict=True):
        new = file.with_suffix(".new")
        new.write_bytes(content)
        new.replace(file)
    return files


def shown(port: int) -> str:
    """Return the certificate that a server shows."""
    return ssl.get_server_certificate(("127.0.0.1", port), timeout=SECONDS)


async def test_new_certificate_serves_who_comes_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate replaced is served to new connections, and an open socket stays open."""
    monkeypatch.setattr(tls, "is_meant_for", lambda _: True)
    monkeypatch.setattr(tls, "PERIOD", 0.01)
    first, second = issue("a.test"), issue("b.test")
    certificate = Certificate(*write(tmp_path, first))
    listening = bind(Address("127.0.0.1", 0))
    port = listening.getsockname()[1]
    backend = Backend(Settings(drain_seconds=1), {}, certificate)
    servers = await backend.start([listening])
    watching = asyncio.create_task(certificate.keep_fresh())
    anybody = ssl.create_default_context()
    anybody.check_hostname = False
    anybody.verify_mode = ssl.CERT_NONE
    try:
        async with connect(f"wss://127.0.0.1:{port}/ws/echo", ssl=anybody, proxy=None) as client:
            assert await asyncio.to_thread(shown, port) == first.pem.decode()
            write(tmp_path, second)
            async with asyncio.timeout(SECONDS):
                while await asyncio.to_thread(shown, port) != second.pem.decode():
                    pass
            await client.send("still")
            assert await client.recv() == "still"
    finally:
        watching.cancel()
        await backend.stop(servers, 1001, "test over")


def test_bad_files_later(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files that no longer belong together, or are gone, are told of once, and the certificate from before is kept."""
    certificate = Certificate(*write(tmp_path, issue("a.test")))
    with caplog.at_level(logging.INFO, "server"):
        certificate.refresh()
        assert not caplog.messages
        write(tmp_path, issue("b.test"), key=issue("c.test").key_pem)
        certificate.refresh()
        certificate.refresh()
        [told] = caplog.messages
        assert "from before is served on" in told
        caplog.clear()
        (tmp_path / "key.pem").unlink()
        certificate.refresh()
        assert "No such file" in caplog.messages[0]
        caplog.clear()
        write(tmp_path, issue("d.test"))
        certificate.refresh()
        assert "has changed" in caplog.messages[-1]


@pytest.mark.parametrize(
    ("certificate", "key", "words"),
    [
        (None, None, "No such file"),
        (b"no PEM", None, "is no PEM certificate"),
        (None, b"no PEM", "No such file"),
    ],
)
def test_bad_files_at_the_start(
    tmp_path: Path, certificate: bytes | None, key: bytes | None, words: str
) -> None:
    """Files that cannot be served are a fault of the settings, on one line."""
    files = tmp_path / "c", tmp_path / "k"
    for file, content in zip(files, (certificate, key), strict=True):
        if content is not None:
            file.write_bytes(content)
    if certificate and key is None:
        files[1].write_bytes(issue("a.test").key_pem)
    with pytest.raises(SettingsError, match=words) as caught:
        Certificate(*files)
    assert "\n" not in str(caught.value)


def test_encrypted_key_asks_nobody(tmp_path: Path) -> None:
    """A key with a password is a fault, and no question on the terminal."""
    pair = issue("a.test")
    files = write(tmp_path, pair, key=pair.encrypted_key_pem)
    with pytest.raises(SettingsError, match="unencrypted key"):
        Certificate(*files)


def test_process_says_what_is_wrong(tmp_path: Path) -> None:
    """A backend whose certificate is missing ends with status 2 and one line."""
    done = subprocess.run(
        [sys.executable, "-m", "server", "--listen", "127.0.0.1:0"],
        cwd=ROOT,
        env={
            "WSFRONT_TLS_CERTIFICATE": str(tmp_path / "none.pem"),
            "WSFRONT_TLS_KEY": str(tmp_path / "none.key"),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("server: WSFRONT_TLS_CERTIFICATE: ")


@pytest.mark.parametrize(
    ("family", "host", "meant"),
    [
        (socket.AF_INET, "127.0.0.1", False),
        (socket.AF_INET, "127.0.0.9", False),
        (socket.AF_INET, "0.0.0.0", True),  # noqa: S104 (bound, never listened on)
        (socket.AF_INET6, "::1", False),
        (socket.AF_INET6, "::", True),
        (socket.AF_INET6, "::ffff:127.0.0.1", False),
    ],
)
def test_who_is_meant(family: int, host: str, *, meant: bool) -> None:
    """What this machine alone can reach stays plain; all else takes TLS."""
    with closing(socket.socket(family)) as sock:
        sock.bind((host, 0))
        assert tls.is_meant_for(sock) == meant


def test_unix_sockets_stay_plain(short_path: Path) -> None:
    """A unix socket takes no TLS."""
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.bind(str(short_path / "x"))
        assert not tls.is_meant_for(sock)
