"""Each kind of text has one normal form, or a sentence that says what would be right."""

import pytest

from apache.values import (
    Address,
    acme_directory,
    alias_name,
    email,
    file_path,
    health_path,
    host_name,
    network,
    origin,
    server_name,
    url_path,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Chat.Example.ORG", "chat.example.org"),
        ("chat.example.org.", "chat.example.org"),
        ("localhost", "localhost"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("faß.example", "xn--fa-hia.example"),
        ("\uff41\uff0eexample", "a.example"),
        ("a。example", "a.example"),
        ("r3---sn.example", "r3---sn.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
        ("x" * 63, "x" * 63),
    ],
)
def test_host_name(text: str, normal: str) -> None:
    """A host name comes out in lower case, in A-labels, without a final dot."""
    assert host_name(text) == normal
    assert host_name(normal) == normal


@pytest.mark.parametrize(
    "text",
    ["", ".", "a..b", "-a", "a-", "a_b", "a b", "a\n", "1.2.3", "256.1.1.1", "[::1]", "::1", "a:80", "a/b", "*.a", "x" * 64,
     ".".join(["x" * 63] * 4), "xn--\ud800", "a\u202eb", "a\u2028"],
    ids=ascii,
)  # fmt: skip
def test_host_name_refuses(text: str) -> None:
    """What no DNS name and no IPv4 address can be is refused, on one printable line."""
    with pytest.raises(ValueError, match=r"is no host name|neither a host name") as caught:
        host_name(text)
    assert str(caught.value).isprintable()


def test_server_name_names_files() -> None:
    """A name after which files are named is short enough for their names."""
    longest = ".".join(["x" * 63] * 3 + ["y" * 8])
    assert server_name(longest) == longest
    with pytest.raises(ValueError, match="longer than 200"):
        server_name(longest + "y")
    assert alias_name(longest + "y") == longest + "y"


@pytest.mark.parametrize(("text", "normal"), [("*.Example.org", "*.example.org"), ("a.example", "a.example")])
def test_alias_name(text: str, normal: str) -> None:
    """An alias may begin with a star for one label."""
    assert alias_name(text) == normal


@pytest.mark.parametrize("text", ["*", "*.", "a.*.example", "**.a", "\uff0a.example"])
def test_alias_name_refuses(text: str) -> None:
    """A star stands nowhere else."""
    with pytest.raises(ValueError, match="is no host name"):
        alias_name(text)


@pytest.mark.parametrize("text", ["/", "/ws", "/ws/", "/a/b.c/~d@e:f+g=h,i-j_k", "/" + "p" * 199])
def test_url_path(text: str) -> None:
    """A plain path is taken as it is."""
    assert url_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "ws", "//", "/a//b", "/a b", "/%61", "/a?b", "/a#b", "/*", "/a\\", '/"', "/$1", "/é", "/a\n",
     "/.", "/..", "/a/../b", "/" + "p" * 200],
    ids=ascii,
)  # fmt: skip
def test_url_path_refuses(text: str) -> None:
    """What some part on the way would read as more than a path is refused."""
    with pytest.raises(ValueError, match=r"no plain path|dot segment|longer than"):
        url_path(text)


def test_health_path_fits_apaches_table() -> None:
    """Apache keeps 63 characters of it."""
    assert health_path("/" + "h" * 62)
    with pytest.raises(ValueError, match="longer than 63"):
        health_path("/" + "h" * 63)


@pytest.mark.parametrize("text", ["/a", "/a b/c.pem", "/ä/ü", '/a"b', "/a'b", "/a\\", "/a#b", "/a$b", "/a>b"])
def test_file_path(text: str) -> None:
    """An absolute name of printable characters is taken as it is."""
    assert file_path(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "a", "~/a", "/a\nb", "/a\0", "/a\x85", "/a\u2028", "/a\u202e", "/\ud800",
     "/a*", "/a?", "/[a]", "/a|b", "/${A}", "/%{A}", "/a/../b", "/./a"],
    ids=ascii,
)  # fmt: skip
def test_file_path_refuses(text: str) -> None:
    """What is relative, does not print, or would be expanded is refused, on one printable line."""
    with pytest.raises(ValueError, match=r"not absolute|does not print|expand|dot segment") as caught:
        file_path(text)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("127.0.0.1:8888", "127.0.0.1:8888"),
        ("127.9.9.9:08888", "127.9.9.9:8888"),
        ("LOCALHOST:1", "localhost:1"),
        ("[0:0::1]:65535", "[::1]:65535"),
        ("unix:/run/a/b.sock", "unix:/run/a/b.sock"),
    ],
)
def test_address(text: str, normal: str) -> None:
    """An address comes out in its shortest form, and is read back from it."""
    assert str(Address.parse(text)) == normal
    assert Address.parse(normal) == Address.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8888", "no address"),
        ("127.0.0.1", "no address"),
        ("user@127.0.0.1:80", "no address"),
        ("127.0.0.1:80/ws", "no address"),
        ("http://127.0.0.1:80", "no address"),
        ("127.0.0.1:0", "not between"),
        ("127.0.0.1:65536", "not between"),
        ("[::x]:1", "no address"),
        ("[1::2::3]:1", "no IPv6 address"),
        ("0.0.0.0:80", "no address of one machine"),
        ("[::]:80", "no address of one machine"),
        ("[ff02::1]:80", "no address of one machine"),
        ("[fe80::1]:80", "no address of one machine"),
        ("[::ffff:127.0.0.1]:80", "no address of one machine"),
        ("a" * 60 + ".test:80", "longer than 64"),
        ("unix:run/a", "not absolute"),
        ("unix:/a b", "no plain path"),
        ("unix:/a|http://b", "expand"),
        ("unix:/" + "a" * 95, "longer than 95"),
    ],
)
def test_address_refuses(text: str, words: str) -> None:
    """An address is one machine's, or a plain socket."""
    with pytest.raises(ValueError, match=words):
        Address.parse(text)


@pytest.mark.parametrize(
    ("text", "remote"),
    [
        ("127.0.0.1:80", False),
        ("127.9.9.9:80", False),
        ("[::1]:80", False),
        ("localhost:80", False),
        ("unix:/run/a", False),
        ("10.0.0.1:80", True),
        ("[fd00::1]:80", True),
        ("example.org:80", True),
        ("localhost.example:80", True),
    ],
)
def test_address_of_another_machine(text: str, *, remote: bool) -> None:
    """What is neither loopback nor a unix socket may be another machine."""
    assert Address.parse(text).is_remote == remote


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://Example.ORG", "https://example.org"),
        ("HTTPS://example.org:443", "https://example.org"),
        ("http://example.org:80", "http://example.org"),
        ("http://example.org:443", "http://example.org:443"),
        ("https://bücher.example:8443", "https://xn--bcher-kva.example:8443"),
        ("https://[2001:DB8:0::1]:0443", "https://[2001:db8::1]"),
    ],
)
def test_origin(text: str, normal: str) -> None:
    """An origin comes out as browsers send it."""
    assert origin(text) == normal
    assert origin(normal) == normal


@pytest.mark.parametrize(
    "text",
    ["", "null", "*", "example.org", "ws://a.example", "https://", "https://a.example/", "https://u@a.example", "https://a.example:0",
     "https://a.example:99999", "https://*.a.example", "https://a'b", "https://[::g]", "https://a b", "https://a.example\n"],
    ids=ascii,
)  # fmt: skip
def test_origin_refuses(text: str) -> None:
    """Anything with more or less than scheme, host and port is refused."""
    with pytest.raises(ValueError, match=r"no origin|no host name|no IPv6|not between"):
        origin(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [("10.0.0.0/8", "10.0.0.0/8"), ("192.0.2.1", "192.0.2.1/32"), ("2001:DB8::/32", "2001:db8::/32")],
)
def test_network(text: str, normal: str) -> None:
    """A network, or one address, comes out in CIDR form."""
    assert network(text) == normal


@pytest.mark.parametrize(
    "text", ["", "10.0.0.1/8", "10.0.0.0/33", "cloudflare", "fe80::1%eth0", "10.0.0.0/8\n"]
)
def test_network_refuses(text: str) -> None:
    """Host bits, names and zones are refused."""
    with pytest.raises(ValueError, match="write a network such as"):
        network(text)


def test_email_and_directory() -> None:
    """Contacts and ACME directories are taken in their plain forms alone."""
    assert email("a.b+c@example.org") == "a.b+c@example.org"
    for text in (
        "nobody",
        "a@b",
        "a b@example.org",
        "a@example.org\n",
        "a@example.org,b@example.org",
        "é@example.org",
    ):
        with pytest.raises(ValueError, match="no plain e-mail"):
            email(text)
    assert acme_directory("letsencrypt") == "letsencrypt"
    assert acme_directory("https://127.0.0.1:14000/dir") == "https://127.0.0.1:14000/dir"
    for text in ("letsencrypt2", "http://a.example/dir", "https://a.example/d?x", "https://a.example/\n"):
        with pytest.raises(ValueError, match="neither one of"):
            acme_directory(text)
