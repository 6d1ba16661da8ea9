"""The configuration that Debian's package apache2 brings (2.4.71-1~deb12u1, Apache License 2.0): nothing is found in it."""

import shutil
from pathlib import Path

import pytest

from doctor.lint import lint

STOCK = Path(__file__).with_name("debian")
FILES = sorted(STOCK.rglob("*.conf"))
MODULES = (
    "alias",
    "authz_core",
    "headers",
    "http2",
    "proxy",
    "proxy_http",
    "proxy_wstunnel",
    "rewrite",
    "ssl",
    "status",
)
MPMS = ("event", "worker", "prefork")
SOCKETS = "<VirtualHost *:80>\nRequire expr \"%{HTTP:Origin} == ''\"\nProxyPass /ws/ ws://127.0.0.1:8888/\n</VirtualHost>\n"


def installed(folder: Path, mpm: str, modules: tuple[str, ...] = MODULES) -> Path:
    """Lay a server out as Debian does, all that can be enabled being so, with one MPM; return its main file."""
    root = folder / "apache2"
    shutil.copytree(STOCK, root)
    for kind in ("mods", "conf", "sites"):
        (root / f"{kind}-enabled").mkdir()
        for file in (root / f"{kind}-available").glob("*.conf"):
            if not file.stem.startswith("mpm_") or file.stem == f"mpm_{mpm}":
                (root / f"{kind}-enabled" / file.name).symlink_to(f"../{kind}-available/{file.name}")
    for name in (f"mpm_{mpm}", *modules):
        (root / f"mods-enabled/{name}.load").write_text(
            f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"
        )
    return root / "apache2.conf"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_file(path: Path) -> None:
    """Each file alone has no finding."""
    assert lint([str(path)]).findings == []


@pytest.mark.parametrize("mpm", MPMS)
def test_whole_server(tmp_path: Path, mpm: str) -> None:
    """The whole server, all of it enabled, has no finding, and nothing of it is left unread."""
    report = lint([str(installed(tmp_path, mpm))])
    assert (report.findings, report.not_checked) == ([], [])
    assert len(report.contents) > len(MODULES) + 10


def test_faults_in_a_whole_server(tmp_path: Path) -> None:
    """What only the whole shows is found in it: prefork with sockets, the old tunnel without mod_proxy_http."""
    modules = tuple(name for name in MODULES if name != "proxy_http")
    main = installed(tmp_path, "prefork", modules)
    assert {finding.id for finding in lint([str(main)]).findings} == {"websocket-legacy"}
    (main.parent / "sites-enabled/sockets.conf").write_text(SOCKETS)
    assert {finding.id for finding in lint([str(main)]).findings} == {"mpm-prefork", "websocket-legacy"}
