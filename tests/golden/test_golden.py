"""Every case, a folder each: descriptions and a target, with the files they come to, or below refused/ the faults.

A case is named after the one feature it shows. `pytest tests/golden --update-golden` writes the expectations anew: read the difference.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from apache import httpd
from apache.description import parse
from apache.error_log import faults
from apache.error_log import parse as parse_log
from apache.errors import ApacheError, DescriptionError
from apache.render import render
from apache.site import Site
from apache.target import Target, read
from apache.versions import X25519MLKEM768, at_least
from certs.store import Store

HERE = Path(__file__).parent
CASES = sorted(path.parent for path in HERE.glob("*/target.json"))
REFUSED = sorted(path for path in (HERE / "refused").iterdir() if path.is_dir())
BASE = ("mpm_event", "unixd", "log_config")  # what Debian has enabled before we add ours
HARMLESS = ("AH00112",)  # the directory of pages is the user's own, and not here


def sites_of(case: Path) -> list[Site]:
    """Read the descriptions of a case, with the faults of all of them."""
    sites: list[Site] = []
    found: list[str] = []
    for path in sorted(case.glob("site*.yaml")):
        try:
            sites.append(parse(path.read_text(encoding="utf-8"), path.name))
        except DescriptionError as error:
            found += error.faults
    if found:
        raise DescriptionError(found)
    return sites


def target_of(case: Path) -> Target:
    """Read the target of a case; the default one where it has none."""
    path = case / "target.json"
    return read(path) if path.exists() else Target()


def stored(case: Path) -> dict[str, str]:
    """Return the files that a case expects: path -> text."""
    root = case / "files"
    return {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_renders(case: Path, request: pytest.FixtureRequest) -> None:
    """A description and a target come to exactly these files."""
    files = render(sites_of(case), target_of(case))
    if request.config.getoption("--update-golden"):
        shutil.rmtree(case / "files", ignore_errors=True)
        for name, text in files.items():
            path = case / "files" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    assert files == stored(case)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_refuses(case: Path, request: pytest.FixtureRequest) -> None:
    """A description with faults gets exactly these lines: all faults at once, a printable line each."""
    with pytest.raises(ApacheError) as caught:
        render(sites_of(case), target_of(case))
    text = f"{caught.value}\n"
    if request.config.getoption("--update-golden"):
        (case / "error.txt").write_text(text, encoding="utf-8")
    assert text == (case / "error.txt").read_text(encoding="utf-8")
    assert all(line.isprintable() and line for line in text.splitlines())


@pytest.fixture(scope="module")
def machine() -> Target:
    """Return the facts of the Apache that reads the cases."""
    return httpd.probe("private")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return a certificate and its key: to Apache's parser one is as good as another."""
    issued = Store(tmp_path_factory.mktemp("certs")).ensure("localhost", ["localhost"])
    return issued.certificate, issued.key


@pytest.mark.needs("apache")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_apache_reads(case: Path, machine: Target, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    """A real Apache reads the files of a case without a word."""
    files = stored(case)
    private = "httpd.conf" in files
    if "MDCACertificateFile" in "".join(files.values()) and not at_least(
        machine.apache, target_of(case).apache
    ):
        pytest.skip(f"Apache {target_of(case).apache} is missing; this machine has {machine.apache}")
    main = files["httpd.conf"] if private else wrapped(case, files, machine)
    for name in ("logs", "run", "empty", "md", "certs/ca"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(certificate[0], tmp_path / "certs/ca/ca.pem")
    for name, text in {**files, "httpd.conf": main}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(here(text, case, machine, certificate, tmp_path), encoding="utf-8")
    command: list[str | Path] = [httpd.find(), "-t", "-d", tmp_path, "-f", tmp_path / "httpd.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = [line for line in parse_log(done.stderr) if line.text != "Syntax OK"]
    assert (done.returncode, [line.text for line in faults(said, HARMLESS)]) == (0, [])


def here(text: str, case: Path, machine: Target, certificate: tuple[Path, Path], folder: Path) -> str:
    """Return a file of a case with its places replaced by those that this machine has."""
    for site in sites_of(case):
        own = f"/etc/wsfront/certs/sites/{site.server_name}"
        files = site.tls.files
        names = (files.certificate, files.key) if files else (f"{own}/certificate.pem", f"{own}/key.pem")
        for name, real in zip(names, certificate, strict=True):
            text = text.replace(name.replace("/etc/wsfront", target_of(case).directory), str(real))
        if site.tls.acme and site.tls.acme.ca_file:
            text = text.replace(site.tls.acme.ca_file, str(certificate[0]))
    if not at_least(machine.openssl, X25519MLKEM768):
        text = text.replace("X25519MLKEM768:", "")
    text = text.replace(Target().modules_directory, machine.modules_directory)
    for place in (target_of(case).directory, "/run/apache2"):
        text = text.replace(f'"{place}', f'"{folder}').replace(f"shmcb:{place}", f"shmcb:{folder}")
    return text


def wrapped(case: Path, files: dict[str, str], machine: Target) -> str:
    """Return the least configuration of a server that has the files of a case: Debian's, or one with a vhost of its own."""
    modules = [*BASE, *files["etc/wsfront/modules"].split()]
    lines = [
        *(
            f"LoadModule {name}_module {machine.modules_directory}/mod_{name}.so"
            for name in modules
            if name not in machine.static_modules
        ),
        *("Define APACHE_LOG_DIR logs", "ServerName localhost", "Listen 443", "Listen 80"),
        *(['MDStoreDir "md"'] if "md" in modules else []),
        *(["TypesConfig /dev/null"] if "mime" in modules else []),
        *(
            f'Include "{name}"'
            for name in files
            if name.startswith("etc/apache2") or name.endswith("server.conf")
        ),
    ]
    for site in sites_of(case) if "etc/wsfront/include/server.conf" in files else []:
        body = f'Include "etc/wsfront/include/{site.server_name}.conf"'
        lines += ["<VirtualHost *:443>", f"ServerName {site.server_name}", body, "</VirtualHost>"]
    return "\n".join(lines) + "\n"
