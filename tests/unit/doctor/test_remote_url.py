"""What people type as the address of a socket."""

import pytest

from doctor.remote_url import Asked, UrlError, parse

SECURE, PLAIN = True, False


@pytest.mark.parametrize(
    ("text", "asked", "written"),
    [
        ("wss://example.org/ws/", Asked(SECURE, "example.org", 443, "/ws/"), "wss://example.org/ws/"),
        ("ws://example.org", Asked(PLAIN, "example.org", 80), "ws://example.org/"),
        ("https://localhost:8443/", Asked(SECURE, "localhost", 8443), "wss://localhost:8443/"),
        (
            "WSS://Example.ORG:443/a?b=c",
            Asked(SECURE, "example.org", 443, "/a", "b=c"),
            "wss://example.org/a?b=c",
        ),
        ("wss://[::1]:9/", Asked(SECURE, "::1", 9), "wss://[::1]:9/"),
        (
            "wss://bücher.example/ä",
            Asked(SECURE, "xn--bcher-kva.example", 443, "/%C3%A4"),
            "wss://xn--bcher-kva.example/%C3%A4",
        ),
        (
            "wss://example.org/a%2Fb%3Fc",
            Asked(SECURE, "example.org", 443, "/a%2Fb%3Fc"),
            "wss://example.org/a%2Fb%3Fc",
        ),
        ("wss://example.org/a#here", Asked(SECURE, "example.org", 443, "/a"), "wss://example.org/a"),
    ],
)
def test_address(text: str, asked: Asked, written: str) -> None:
    """Each is read as a browser reads it, and written back in one form."""
    assert parse(text) == asked
    assert str(parse(text)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.org/ws",
        "localhost:8443",
        "ftp://example.org/",
        "wss://",
        "wss:///ws",
        "wss://exa mple.org/",
        "wss://example.org/\r\nHost: x",
        "wss://example.org:0/",
        "wss://example.org:99999/",
        "wss://example.org:port/",
        "wss://name:secret@example.org/",
        "wss://[::1/",
        "wss://a..b/",
        "wss://-a-/",
        "wss://" + "x" * 5000,
    ],
)
def test_no_address(text: str) -> None:
    """What is none is said to be none, in one line that says what would be right."""
    with pytest.raises(UrlError) as caught:
        parse(text)
    told = str(caught.value)
    assert "\n" not in told
    assert len(told) < 300
