"""Text as an attacker, or an accident, would put it into a description."""

from hypothesis import strategies as st

PIECES = (
    "\n", "\r", "\r\n", "\t", "\v", "\f", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029",
    '"', "'", "`", "\\", "\\\\", "\\\n", '\\"', '"\n', '" ', "' '",
    "${HOME}", "${", "}", "%{HTTP_HOST}", "%{", "$1", "%1", "%41", "%0a", "$",
    "<", ">", "</VirtualHost>", "\nServerAlias evil.example\n", "#", " # ", "|", "&&", ";", "!", "?", "*", "[a-z]", "(", ")",
    " ", "  ", "-", "--", "@", ":", "://", "/", "//", "/../", ".", "..", "~", "+", "=", ",",
    "\uff0e", "\u3002", "\uff0f", "\uff05", "\u202e", "\u200f", "\u200d", "\ufeff", "\u00ad", "\ud800", "\U0001f600",
    "ß", "İ", "K", "xn--", "xn--a", "xn--fa-hia", "\u0661", "ⅷ", "e\u0301", "_", "a" * 64, "é", "中",
    "evil.example", "127.0.0.1:1", "unix:/run/x.sock", "/ws/", "https://a.example", "10.0.0.0/8", "::1", "0",
)  # fmt: skip


def text(*fitting: str) -> st.SearchStrategy[str]:
    """Return texts: nasty pieces and any characters, often around one that would fit."""
    nasty = st.lists(st.sampled_from(PIECES) | st.characters(), max_size=4).map("".join)
    return st.tuples(nasty, st.sampled_from(["", *fitting]), nasty, st.sampled_from(["", "", "/"])).map(
        "".join
    )
