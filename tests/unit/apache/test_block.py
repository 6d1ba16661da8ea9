"""A block inside somebody else's file: in and out again, every other byte kept, and only copied rules replaced."""

import re
from functools import partial

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apache.block import BEGIN, END, BlockError, insert, remove, without_copied

RULES = "# tunnel\nRewriteEngine On\nRewriteRule ^ ws://127.0.0.1:8888/ [P]\n"
CHANGED = RULES.replace("8888", "9999")

PIECES = (
    *(b"\n", b"\r\n", b"\r", b"\\\n", b"\xef\xbb\xbf", b"\xe9t\xe9", b"# comment", b" ", b"\t", b'"', b"\\"),
    *(
        b"RewriteEngine On",
        b"RewriteRule . /index.php [L]",
        b"RewriteCond %{HTTPS} off",
        b"ErrorDocument 404 /x",
    ),
    *(b"<IfModule mod_rewrite.c>", b"</IfModule>", b"</If>", b"# BEGIN WordPress", b"# END WordPress"),
)
CONTENTS = st.one_of(st.binary(max_size=200), st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join))

SEED = (
    b"RewriteCond %{HTTP:Connection} Upgrade [NC]\n"
    b"RewriteCond %{HTTP:Upgrade} websocket [NC]\n"
    b"RewriteRule ^/?(.*) ws://127.0.0.1:8888/$1 [P,L,E=noconntimeout:1,E=noabort:1]\n"
)


def inserted(content: bytes, rules: str = RULES) -> bytes:
    """Insert, where the content can take a block at all."""
    assume(b"\0" not in content and BEGIN not in content and END not in content)
    try:
        return insert(content, rules)
    except BlockError:
        assume(False)  # noqa: FBT003 (hypothesis' own signature)
        raise


@given(CONTENTS)
def test_what_was_put_in_comes_out_again(content: bytes) -> None:
    """Whatever the file held, taking the block out gives back the same bytes."""
    assert remove(inserted(content)) == content


@given(CONTENTS)
def test_putting_in_twice_is_putting_in_once(content: bytes) -> None:
    """The same rules change nothing in a file that has them."""
    once = inserted(content)
    assert insert(once, RULES) == once


@given(CONTENTS, st.booleans())
def test_changed_rules_take_the_place_of_the_old(content: bytes, moved: bool) -> None:  # noqa: FBT001 (drawn)
    """A block is replaced where it stands, even if the user moved it, and all around it stays."""
    before = inserted(content)
    if moved:
        assume(not content.endswith(b"\\"))
        block = before[before.index(BEGIN) : len(before) - len(content.removeprefix(b"\xef\xbb\xbf"))]
        before = content + (b"" if content.endswith(b"\n") else b"\n") + block
    after = insert(before, CHANGED)
    assert after != before
    assert insert(after, RULES) == before
    assert remove(after) == remove(before)


@given(CONTENTS)
def test_block_stands_before_every_rule(content: bytes) -> None:
    """Nothing but a byte order mark stands before the block, so no rule swallows an upgrade first."""
    after = inserted(content)
    assert after.removeprefix(b"\xef\xbb\xbf").startswith(BEGIN)


@pytest.mark.parametrize(("content", "newline"), [(b"", b"\n"), (b"a\nb\r\n", b"\n"), (b"a\r\nb\n", b"\r\n")])
def test_lines_end_as_the_first_one_does(content: bytes, newline: bytes) -> None:
    """The block's lines end as the file's first line does."""
    after = insert(content, RULES)
    block = after[: len(after) - len(content)]
    assert set(re.findall(rb"\r?\n", block)) == {newline}


def test_another_kind_of_line_ends_is_no_edit() -> None:
    """A file whose line ends were converted, as FTP in text mode does, still gives up its block."""
    after = insert(b"ErrorDocument 404 /x\n", RULES).replace(b"\n", b"\r\n")
    assert remove(after) == b"ErrorDocument 404 /x\r\n"


WHOLE = insert(b"", RULES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (BEGIN + b"\nRewriteEngine On\n", "half a block"),
        (END + b"\n", "half a block"),
        (END + b"\n" + BEGIN + b"\n", "half a block"),
        (WHOLE + WHOLE, "2 blocks"),
        (WHOLE + BEGIN + b"\n", "2 blocks"),
        (WHOLE.replace(b"8888", b"9999"), "edited between the markers"),
        (WHOLE.replace(END, b"RewriteRule x y\n" + END), "edited between the markers"),
        (BEGIN + b"\n" + END + b"\n", "edited between the markers"),
        ("RewriteEngine On\n".encode("utf-16"), "not text"),
        ("RewriteEngine On\n".encode("utf-16-le"), "not text"),
        (b"\x7fELF\0\0", "not text"),
    ],
)
def test_content_that_is_left_alone(content: bytes, words: str) -> None:
    """Half a block, two of them, an edited one and what is no text are refused by both verbs, in one line."""
    for change in (partial(insert, content, RULES), partial(remove, content)):
        with pytest.raises(BlockError) as caught:
            change()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_nothing_to_take_out() -> None:
    """A file without a block has nothing to take out."""
    with pytest.raises(BlockError, match="no block"):
        remove(b"RewriteEngine On\n")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"RewriteEngine Off\n", 1),
        (b"RewriteEngine On\n\n\trewriteengine\t off \r\n", 3),
        (b'RewriteEngine \\\n "Off"\n', 1),
        (b"<IfModule mod_rewrite.c>\n  RewriteEngine off\n</IfModule>\n", 2),
    ],
)
def test_engine_that_is_switched_off_later(content: bytes, line: int) -> None:
    """A file that ends with the engine off would switch our rules off too: its line is named."""
    with pytest.raises(BlockError, match=f"in line {line},"):
        insert(content, RULES)


@pytest.mark.parametrize(
    "content",
    [b"# RewriteEngine Off\n", b"RewriteEngine Off\nRewriteEngine On\n", b"# \\\nRewriteEngine Off\n"],
)
def test_engine_that_is_on_in_the_end(content: bytes) -> None:
    """Only the last word on the engine counts, and comments, with the lines they go on in, say nothing."""
    assert remove(insert(content, RULES)) == content


def test_sleeping_rules_are_not_woken() -> None:
    """Rules without `RewriteEngine On` do nothing; ours would switch it on for them as well, so they are refused."""
    with pytest.raises(BlockError, match="asleep"):
        insert(b"RewriteRule ^old$ /new [R]\n", RULES)


REST = b"# mine\nRewriteEngine On\nErrorDocument 404 /x\n"
COPIES = {
    "seed": SEED,
    "P and L": SEED.replace(b",E=noconntimeout:1,E=noabort:1", b""),
    "P alone": SEED.replace(b",L,E=noconntimeout:1,E=noabort:1", b""),
    "spelled out": SEED.replace(b"[P,L,", b"[proxy,last,"),
    "lower case": SEED.lower().replace(b"%{http:", b"%{HTTP:"),
    "tabs": SEED.replace(b" ", b"\t"),
    "indented": b"  " + SEED.replace(b"\n", b"\n  ", 2),
    "CRLF": SEED.replace(b"\n", b"\r\n"),
    "no condition": SEED.splitlines(keepends=True)[2],
    "TLS behind": SEED.replace(b"ws://", b"wss://"),
    "http scheme": SEED.replace(b"ws://", b"http://"),
    "unix ws": SEED.replace(b"ws://127.0.0.1:8888", b"unix:/run/x.sock|ws://localhost"),
    "unix http": SEED.replace(b"ws://127.0.0.1:8888", b"unix:/run/x.sock|http://localhost"),
    "balancer": SEED.replace(b"ws://127.0.0.1:8888", b"balancer://sockets"),
    "double quotes": b'RewriteCond "%{HTTP:Upgrade}" "websocket" [NC]\nRewriteRule "/(.*)" "ws://127.0.0.1:8888/$1" "[P,L]"\n',
    "single quotes": b"RewriteCond '%{HTTP:Upgrade}' 'web socket|websocket'\nRewriteRule '.*' 'http://127.0.0.1:8888/' [P]\n",
    "equal sign": b"RewriteCond %{HTTP:Upgrade} =websocket [NC]\nRewriteRule .* http://127.0.0.1:8888/ [P]\n",
    "any upgrade": b"RewriteCond %{HTTP:Upgrade} !^$\nRewriteRule .* http://127.0.0.1:8888/ [P]\n",
    "expression": b'RewriteCond expr "%{HTTP:Upgrade} =~ /websocket/i"\nRewriteRule .* http://127.0.0.1:8888/ [P]\n',
    "either header": SEED.replace(b"Upgrade [NC]", b"Upgrade [NC,OR]").replace(b"ws://", b"http://"),
    "two": SEED + SEED.replace(b"8888", b"9999"),
    "continued": SEED.replace(b" ws://", b" \\\n    ws://").replace(b"} websocket", b"} \\\n websocket"),
    "continued CRLF": SEED.replace(b" ws://", b" \\\n    ws://").replace(b"\n", b"\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_copied_rule_goes_with_its_conditions(copy: bytes) -> None:
    """However it was written, a copied rule and the conditions before it go, and everything around stays."""
    assert without_copied(REST + copy + REST) == REST + REST


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"<IfModule mod_rewrite.c>\n" + SEED + b"</IfModule>\n", b"<IfModule mod_rewrite.c>\n</IfModule>\n"),
        (
            b"<If \"%{HTTP:Upgrade} == 'websocket'\">\nRewriteRule .* http://127.0.0.1:8888/ [P]\n</If>\n",
            b"<If \"%{HTTP:Upgrade} == 'websocket'\">\n</If>\n",
        ),
        (SEED.replace(b"\nRewriteRule", b"\n# the tunnel\n\nRewriteRule"), b"# the tunnel\n\n"),
        (SEED.rstrip(b"\n"), b""),
        (b"\xef\xbb\xbf" + SEED, b"\xef\xbb\xbf"),
        (b"# caf\xe9\n" + SEED + b"\xe9", b"# caf\xe9\n\xe9"),
    ],
    ids=["IfModule", "If", "comment and blank line", "no final newline", "BOM", "Latin-1"],
)
def test_what_stands_around_a_copied_rule_stays(content: bytes, kept: bytes) -> None:
    """Sections, comments and blank lines around and within a copied rule are somebody's and stay."""
    assert without_copied(content) == kept


FOREIGN = {
    "pages": b"RewriteRule ^(.*)$ http://127.0.0.1:3000/$1 [P,L]\n",
    "pages with a condition": b"RewriteCond %{REQUEST_FILENAME} !-f\nRewriteRule ^(.*)$ http://127.0.0.1:8888/$1 [P]\n",
    "what is no upgrade": SEED.replace(b"} websocket", b"} !websocket").replace(b"} Upgrade", b"} !Upgrade").replace(b"ws://", b"http://"),
    "what is not equal": b"RewriteCond %{HTTP:Upgrade} !=websocket [NC]\nRewriteRule /(.*) http://127.0.0.1:8888/$1 [P]\n",
    "an empty upgrade": b"RewriteCond %{HTTP:Upgrade} ^$\nRewriteRule /(.*) http://127.0.0.1:8888/$1 [P]\n",
    "or something else": b"RewriteCond %{REQUEST_URI} ^/api [OR]\n"
    b"RewriteCond %{HTTP:Upgrade} websocket\nRewriteRule . http://127.0.0.1:8888/ [P]\n",
    "expression of none": b"RewriteCond expr \"%{HTTP:Upgrade} == ''\"\nRewriteRule . http://127.0.0.1:8888/ [P]\n",
    "section of none": b"<If \"%{HTTP:Upgrade} != 'websocket'\">\nRewriteRule . http://127.0.0.1:8888/ [P]\n</If>\n",
    "after the section": b"<If \"%{HTTP:Upgrade} == 'websocket'\">\nHeader set X y\n</If>\nRewriteRule . http://127.0.0.1:8888/ [P]\n",
    "upgrade without proxy": b"RewriteCond %{HTTP:Upgrade} websocket [NC]\nRewriteRule . - [F]\n",
    "kept out of the pages": b"RewriteCond %{HTTP:Upgrade} websocket [NC]\nRewriteRule . - [L]\nRewriteRule . http://127.0.0.1:3000/ [P]\n",
    "commented out": b"#" + SEED.replace(b"\n", b"\n#", 2),
    "continued comment": b"# an old one: \\\n" + SEED.splitlines(keepends=True)[2],
    "redirect to secure sockets' page": b"RewriteRule ^ws$ /why?scheme=ws:// [R]\n",
    "forced https": b"RewriteCond %{HTTPS} off\nRewriteRule ^ https://%{HTTP_HOST}%{REQUEST_URI} [R=301,L]\n",
    "header on upgrade-insecure": b"RewriteCond %{HTTP:Upgrade-Insecure-Requests} 1\nRewriteRule . http://127.0.0.1:8888/ [P]\n",
}  # fmt: skip


@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN)
def test_rule_that_is_not_about_sockets_stays(content: bytes) -> None:
    """A proxy rule for pages, whatever its conditions say of upgrades that it is not for, is not touched."""
    assert without_copied(REST + content + REST) == REST + content + REST


def test_pages_beside_a_copied_rule_stay() -> None:
    """Of the customary pair, sockets by ws:// and pages by http://, only the first goes."""
    pages = FOREIGN["what is not equal"]
    assert without_copied(SEED + pages) == pages


def test_own_block_is_no_copy() -> None:
    """The block itself, which tunnels too, is never taken for a copied rule."""
    content = insert(REST, RULES)
    assert without_copied(content) == content
    assert without_copied(content + SEED) == content


@pytest.mark.parametrize("flag", [b"S=1", b"skip=2", b"C", b"chain"])
def test_copied_rule_among_counted_ones(flag: bytes) -> None:
    """Where rules skip or chain others, none is taken out: that would change what the rest means."""
    with pytest.raises(BlockError, match="by hand"):
        without_copied(b"RewriteRule ^a - [" + flag + b"]\n" + SEED)


@given(CONTENTS)
def test_nothing_is_taken_out_where_nothing_was_copied(content: bytes) -> None:
    """A file without a tunnel's rule comes back as it is."""
    assume(b"ws" not in content and BEGIN not in content and END not in content)
    assert without_copied(content) == content
