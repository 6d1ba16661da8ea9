"""No text in a description changes the number of directives, or reaches a directive that it was not meant for."""

import copy
import functools
import ipaddress
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apache import httpd
from apache.description import parse
from apache.errors import DescriptionError
from apache.render import render
from apache.site import Site
from apache.target import Layout, Target
from apache.values import Address
from certs.store import Store
from tests.unit.apache import hostile, reading

Key = tuple[str | int, ...]

PLAIN: dict[str, Any] = {
    "server_name": "chat.example.org",
    "server_aliases": ["www.example.org"],
    "trusted_proxies": ["192.0.2.0/24"],
    "websockets": [
        {
            "path": "/ws/",
            "backend": ["127.0.0.1:8801", "127.0.0.1:8802"],
            "backend_path": "/",
            "origins": ["https://a.example"],
        }
    ],
    "pages": {"proxy": "127.0.0.1:8803"},
}
FILES = {
    **PLAIN,
    "tls": {"mode": "files", "files": {"certificate": "/etc/a.pem", "key": "/etc/a.key"}},
    "pages": {"root": "/var/www/a"},
}
ACME = {
    **PLAIN,
    "tls": {"mode": "acme", "acme": {"contact": "a@example.org", "ca_file": "/a.pem"}},
}
HOP = {
    **PLAIN,
    "hop": {"fronts": ["10.0.0.0/24"]},
    "websockets": [{"path": "/ws/", "backend": ["10.0.0.2:8801", "backend.example:8802"]}],
    "pages": {"proxy": "10.0.0.2:8803"},
}
SOCKET = ("websockets", 0)

# A description, one of its keys, and two plain values of one kind.
KEYS: tuple[tuple[dict[str, Any], Key, str, str], ...] = (
    (PLAIN, ("server_name",), "a.example", "b.example"),
    (PLAIN, ("server_aliases", 0), "a.example", "b.example"),
    (PLAIN, ("server_aliases", 0), "*.a.example", "*.b.example"),
    (PLAIN, ("trusted_proxies", 0), "1.1.1.1", "1.2.0.0/16"),
    (PLAIN, ("trusted_proxies", 0), "10.0.0.0/8", "fd00::/8"),
    (PLAIN, (*SOCKET, "path"), "/a/", "/b/"),
    (PLAIN, (*SOCKET, "backend", 0), "127.0.0.1:1", "localhost:2"),
    (PLAIN, (*SOCKET, "backend", 0), "unix:/run/a.sock", "unix:/run/b.sock"),
    (PLAIN, (*SOCKET, "backend"), "[::1]:1", "127.0.0.1:2"),
    (PLAIN, (*SOCKET, "backend"), "unix:/run/a.sock", "unix:/run/b.sock"),
    (PLAIN, (*SOCKET, "health_path"), "/a", "/b"),
    (PLAIN, (*SOCKET, "backend_path"), "/a/", "/b/"),
    (PLAIN, (*SOCKET, "origins", 0), "https://a.example", "http://b.example:81"),
    (PLAIN, ("pages", "proxy"), "127.0.0.1:1", "[::1]:2"),
    (PLAIN, ("pages", "proxy"), "unix:/run/a.sock", "unix:/run/b.sock"),
    (HOP, ("hop", "fronts", 0), "10.0.0.1", "fd00::/8"),
    (HOP, (*SOCKET, "backend", 0), "10.0.0.1:1", "b.example:2"),
    (HOP, (*SOCKET, "backend"), "[fd00::1]:1", "10.0.0.1:2"),
    (HOP, ("pages", "proxy"), "10.0.0.1:1", "[fd00::1]:2"),
    (FILES, ("pages", "root"), "/var/www/a", "/var/www/b"),
    (FILES, ("tls", "files", "certificate"), "/etc/a.pem", "/etc/b.pem"),
    (FILES, ("tls", "files", "key"), "/etc/a.key", "/etc/b.key"),
    (ACME, ("tls", "acme", "contact"), "a@example.org", "b@example.org"),
    (ACME, ("tls", "acme", "directory"), "letsencrypt", "https://b.example/dir"),
    (ACME, ("tls", "acme", "ca_file"), "/etc/a.pem", "/etc/b.pem"),
)

Configuration = list[list[list[str]]]  # files of directives of words


def site_with(number: int, text: str) -> Site:
    """Return the site of a row of KEYS with a text at its key."""
    base, key, _, _ = KEYS[number]
    description = copy.deepcopy(base)
    value: Any = description
    for part in key[:-1]:
        value = value[part]
    value[key[-1]] = text
    return parse(yaml.safe_dump(description, allow_unicode=False), "site.yaml")


def rendered(site: Site, layout: Layout) -> Configuration:
    """Return the directives of all of Apache's files that a site comes to."""
    files = render([site], Target(layout=layout))
    return [reading.directives(text) for name, text in files.items() if name.endswith(".conf")]


@functools.cache
def plain(number: int, layout: Layout) -> tuple[Configuration, set[tuple[int, int, int]]]:
    """Return the configuration of a row's plain value, and where another plain value changes it."""
    one, other = (rendered(site_with(number, text), layout) for text in KEYS[number][2:])
    return one, places(one, other)


def places(one: Configuration, other: Configuration) -> set[tuple[int, int, int]]:
    """Return where two configurations of the same directives differ: file, directive, argument."""
    return {
        (file, line, word)
        for file, lines in enumerate(zip(one, other, strict=True))
        for line, (left, right) in enumerate(zip(*lines, strict=True))
        for word in range(max(len(left), len(right)))
        if left[word : word + 1] != right[word : word + 1]
    }


def kind(site: Site) -> tuple[object, ...]:
    """Return what of a site chooses between directives, by design."""
    return (
        [str(address).startswith("unix:") for socket in site.websockets for address in socket.backends],
        [address.is_remote for socket in site.websockets for address in socket.backends],
        bool(site.pages and site.pages.proxy and Address.parse(site.pages.proxy).is_remote),
        [socket.path == "/" for socket in site.websockets],
        [socket.target_path == "/" for socket in site.websockets],  # then the backend's /healthz is below it
        [ipaddress.ip_network(network).is_private for network in site.trusted_proxies],
        {"localhost", "127.0.0.1"} & set(site.names),  # a private Apache answers to these anyhow
    )


@pytest.mark.parametrize(
    "number", range(len(KEYS)), ids=[f"{'.'.join(map(str, key))} {text}" for _, key, text, _ in KEYS]
)
@settings(max_examples=40)
@given(st.data())
def test_text_stays_where_it_is_meant(number: int, data: st.DataObject) -> None:
    """A text is refused, or changes arguments alone, and none that another plain value would not change."""
    layout: Layout = data.draw(st.sampled_from(["debian", "include", "private"]))
    text = data.draw(hostile.text(*KEYS[number][2:]))
    try:
        site = site_with(number, text)
    except DescriptionError:
        return
    if kind(site) != kind(site_with(number, KEYS[number][2])):
        return  # other rows have these
    expected, allowed = plain(number, layout)
    got = rendered(site, layout)
    assert [[line[0] for line in file] for file in got] == [[line[0] for line in file] for file in expected]
    assert places(got, expected) <= allowed


@pytest.mark.parametrize(
    "key", [("tls", "mode"), ("tls", "profile"), (*SOCKET, "tunnel"), (*SOCKET, "origins")]
)
@given(hostile.text("any", "ws", "modern"))
def test_words_of_ours_are_all_there_is(key: Key, text: str) -> None:
    """Where the description takes one of a few words, nothing else passes."""
    description: dict[str, Any] = {"tls": {}, "websockets": [{}]}
    value: Any = description
    for part in key[:-1]:
        value = value[part]
    value[key[-1]] = text
    try:
        parse(yaml.safe_dump(description), "site.yaml")
    except DescriptionError:
        return
    assert text in {"local-ca", "none", "intermediate", "modern", "upgrade", "ws", "same", "any"}


@given(hostile.text("server_name: a.example"))
@example("a: &a [*a]")
@example("? [a]\n: b")
@example("--- a\n--- b")
@example("[" * 500)
@example("server_name: " + "9" * 5000)
@example("connections: .inf")
def test_any_text_is_a_description_or_faults(text: str) -> None:
    """Whatever a file holds is a site or a list of printable faults, each naming the file."""
    faults: tuple[str, ...] = ("site.yaml: none",)
    try:
        parse(text, "site.yaml")
    except DescriptionError as error:
        faults = error.faults
    assert faults
    assert all(fault.isprintable() and fault.startswith("site.yaml: ") for fault in faults)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a certificate, its key and an empty directory, to be copied."""
    made = tmp_path_factory.mktemp("hostile")
    issued = Store(made / "store").ensure("localhost", ["localhost"])
    shutil.copy(issued.certificate, made / "certificate")
    shutil.copy(issued.key, made / "key")
    return made


@pytest.fixture(scope="module")
def server(folder: Path) -> tuple[httpd.Httpd, Target]:
    """Return an Apache to read files in the folder, and its facts."""
    return httpd.Httpd(folder), httpd.probe("private", directory=folder, https_port=1, http_port=2)


NAMES = (
    hostile.text("a")
    .map(lambda text: text.replace("/", "").replace("\0", ""))
    .filter(lambda text: len(text) < 50)
)


@pytest.mark.needs("apache")
@settings(max_examples=15)
@given(NAMES, NAMES, NAMES)
@example("a\\", 'b"', "c>")
@example("#a", " b", "'c'")
@example("-a", "|b", "c d")
@example("$1", "%1", "a\\\\")
def test_apache_finds_the_very_files(
    folder: Path, server: tuple[httpd.Httpd, Target], certificate: str, key: str, root: str
) -> None:
    """Files of any accepted name are the ones that a real Apache opens: it would miss any other."""
    apache, target = server
    files = [folder / f"{name}{suffix}" for name, suffix in ((certificate, "1"), (key, "2"), (root, ""))]
    description = {
        "tls": {"mode": "files", "files": {"certificate": str(files[0]), "key": str(files[1])}},
        "pages": {"root": f"{folder}/pages/{root}"},
    }
    try:
        site = parse(yaml.safe_dump(description), "site.yaml")
    except DescriptionError:
        return
    apache.write(render([site], target))
    shutil.copy(folder / "certificate", files[0])
    shutil.copy(folder / "key", files[1])
    Path(f"{folder}/pages/{root}").mkdir(parents=True, exist_ok=True)
    try:
        command = [*apache._command(), "-t"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    finally:
        files[0].unlink()
        files[1].unlink()
    assert done.stderr.strip() == "Syntax OK"
