"""Configuration text as directives: lines, quotes and sections as Apache reads them, and any bytes at all."""

import random
from pathlib import Path

import pytest

from doctor.configuration import UnreadableError, read
from doctor.lint import lint, mended
from doctor.reading import Directive, Reader, word_spans
from tests.waiting import SECOND

ROOT = Path(__file__).parents[3]


def directives(text: bytes) -> list[Directive]:
    """Read a text in which nothing is wrong."""
    reader = Reader()
    found = list(reader.read(text, "a.conf"))
    assert reader.faults == []
    return found


WORDS = {
    b"Options None": ["None"],
    b"\tOptions\t None  All \r": ["None", "All"],
    b'RewriteRule "^a b$" \'c "d"\' [L]': ["^a b$", 'c "d"', "[L]"],
    b'Header set X "a \\" b"': ["set", "X", 'a " b'],
    b'Header set X "a \\. b"': ["set", "X", "a \\. b"],
    b'Header set X "left open': ["set", "X", "left open"],
    b"Options \\\n  None \\\r\n All": ["None", "All"],
    b"RewriteRule ^\\. a": ["^\\.", "a"],
    b"Options caf\xe9": ["caf\ufffd"],
    b"Options a#b": ["a#b"],
}


@pytest.mark.parametrize(("line", "words"), WORDS.items())
def test_words(line: bytes, words: list[str]) -> None:
    """Words are apart by blanks, in quotes of either kind, over lines that end in a backslash."""
    (directive,) = directives(line)
    assert list(directive.words) == words


def test_comments_and_blank_lines() -> None:
    """A comment goes on where its line ends in a backslash; line numbers count all lines."""
    found = directives(b"\n# a \\\nOptions None\n\nTimeout 5 \\\n\nUser x\n")
    assert [(each.name, each.line) for each in found] == [("timeout", 5), ("user", 7)]


def test_sections() -> None:
    """A directive knows the sections around it, whatever the case of their names."""
    found = directives(
        b'<VirtualHost *:80 [::]:80>\n<directory "/a b">\nOptions None\n</DIRECTORY >\n</VirtualHost>\nTimeout 5\n'
    )
    options = next(each for each in found if each.name == "options")
    assert [(section.name, section.words, section.line) for section in options.sections] == [
        ("virtualhost", ("*:80", "[::]:80"), 1),
        ("directory", ("/a b",), 2),
    ]
    assert found[-1].sections == ()


def test_spans_name_the_bytes() -> None:
    """Where a word stands is known to the byte, its quotes within, after a byte order mark too."""
    text = b'# x\n  ProxyPass "/ws/"   ws://b/\n'
    (directive,) = directives(text)
    assert [text[start:end] for start, end in word_spans(text, directive)] == [b'"/ws/"', b"ws://b/"]
    assert text[directive.start : directive.end] == b'  ProxyPass "/ws/"   ws://b/\n'


def test_dump_names_its_own_files() -> None:
    """What Apache dumps (-t -D DUMP_CONFIG) is placed where it says."""
    dump = b'# In file: /e/a.conf\n#   5:\nListen 80\n# In file: /e/b.conf\n<Directory "/tmp">\n  #   9:\n  Options None\n</Directory>\n'
    found = directives(dump)
    assert [(each.name, each.file, each.line) for each in found if each.name != "<directory"] == [
        ("listen", "/e/a.conf", 5),
        ("options", "/e/b.conf", 9),
    ]


def test_includes_are_followed(tmp_path: Path) -> None:
    """Files included are read where they stand, below ServerRoot, by pattern and by folder, with what was defined."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/1.conf").write_text("Timeout 1\n")
    (tmp_path / "conf.d/2.conf").write_text("Timeout 2\n")
    (tmp_path / "a.conf").write_text(
        f"ServerRoot {tmp_path}\nDefine where conf.d\n<VirtualHost *:80>\nInclude ${{where}}/*.conf\n</VirtualHost>\n"
        "Include conf.d\nIncludeOptional nowhere/*.conf\nInclude nowhere.conf\nInclude ${other}/x\n"
    )
    found = read(str(tmp_path / "a.conf"))
    assert [(each.word(0), len(each.sections)) for each in found.named("timeout")] == [
        ("1", 1),
        ("2", 1),
        ("1", 0),
        ("2", 0),
    ]
    assert len(found.unchecked) == 2


def test_relative_includes_without_server_root(tmp_path: Path) -> None:
    """Beside apache2.conf the folder is known; elsewhere it is said that it is not."""
    site = tmp_path / "sites-enabled/a.conf"
    site.parent.mkdir()
    site.write_text("Include b.conf\n")
    (tmp_path / "b.conf").write_text("Timeout 1\n")
    assert "not known here" in read(str(site)).unchecked[0]
    (tmp_path / "apache2.conf").write_text("")
    assert [each.name for each in read(str(site)).directives] == ["include", "timeout"]


def test_names_that_no_file_can_have(tmp_path: Path) -> None:
    """A name with a zero byte, behind what is looked at to tell text from other things, is no more than a name."""
    filler = b"# x\n" * 20_000
    (tmp_path / "a.conf").write_bytes(filler + b"Include a\0b\nServerRoot /a\0b\nInclude c\nInclude *\n")
    assert lint([str(tmp_path / "a.conf")]).findings == []
    (tmp_path / "dump").write_bytes(b"# In file: a\n" + filler + b"# In file: a\0b\nSSLProtocol TLSv1\n")
    (finding,) = lint([str(tmp_path / "dump")]).findings
    assert (finding.file, finding.edit) == ("a?b", None)


def test_loops_end(tmp_path: Path) -> None:
    """Files that include one another, by links too, are named once each."""
    (tmp_path / "a.conf").write_text(f"ServerRoot {tmp_path}\nInclude b.conf\n")
    (tmp_path / "b.conf").write_text("Include c.conf\nInclude *.conf\n")
    (tmp_path / "c.conf").symlink_to("a.conf")
    report = lint([str(tmp_path / "a.conf")])
    assert {finding.id for finding in report.findings} == {"config-include-loop"}


def test_includes_without_end(tmp_path: Path) -> None:
    """So many files that no server would read them are not read to the end, and this is said."""
    for number in range(60):
        (tmp_path / f"{number}.conf").write_text(f"Include {tmp_path}/{number + 1}.conf\n")
    assert "so much is included" in " ".join(lint([str(tmp_path / "0.conf")]).not_checked)


NO_FILES = {
    "nowhere": "no such file",
    ".": "is a folder",
    "large": "16 MiB",
    "a\0b": "no name",
    "x" * 300: "cannot be read",
}


def test_not_a_file(tmp_path: Path) -> None:
    """What cannot be read is refused with half a sentence."""
    (tmp_path / "large").touch()
    with (tmp_path / "large").open("rb+") as file:
        file.truncate(17 << 20)
    for name, words in NO_FILES.items():
        with pytest.raises(UnreadableError, match=words):
            read(f"{tmp_path}/{name}")


PIECES = [
    *(b"<VirtualHost *:80>\n", b"</VirtualHost>\n", b"<Location", b">", b"</If>\n", b"\n", b"\\\n", b"\r\n", b'"', b"'", b"\\", b" "),
    *(b"\xff", b"\xef\xbb\xbf", b"\0", b"$1", b"%{HTTP:Upgrade}", b"(", b")", b"[", b"]", b"[P,B,E=noabort:1]", b"{REQUEST_URI}"),
    *(b"RewriteEngine On\n", b"RewriteCond %{HTTP:Upgrade} websocket [NC]\n", b"RewriteRule ", b"^(.*)$ ", b"ws://127.0.0.1:8888"),
    *(b"ProxyPass ", b"/ws/ ", b"http://[::1]:1/ ", b"upgrade=any", b" timeout=1\n", b"Timeout 1\n", b"ProxySet ", b"Include /dev/zero\n"),
    *(b"SSLProtocol TLSv1\n", b"SSLCipherSuite RC4\n", b"RemoteIPHeader x\n", b"MaxRequestWorkers 999999999999\n", b"# In file: x\n"),
    *(b"Listen 1\n", b"LoadModule ", b"mpm_event_module x\n", b"Define a ${a}\n", b"Include ${a}\n", b"LogLevel proxy:x\n", b"unix:/x|"),
]  # fmt: skip


@pytest.mark.timeout(60 * SECOND)
@pytest.mark.parametrize("seed", range(300))
def test_any_bytes(tmp_path: Path, seed: int) -> None:
    """Whatever is in a file, it is read to its end, mended as far as it can be, and read again."""
    rnd = random.Random(seed)  # noqa: S311 (no secret)
    content = b"".join(rnd.choice(PIECES) for _ in range(rnd.randrange(1, 60)))
    path = tmp_path / rnd.choice([".htaccess", "a.conf"])
    path.write_bytes(content)
    lint([str(path)])
    changed = mended([str(path)])
    assert lint([str(path)], given=changed) is not None


LARGE = {
    "one word": b"Options " + b"x" * (10 << 20),
    "quotes": b'Options "' + b'\\"' * (5 << 20),
    "words": b"Options " + b"a " * (5 << 20),
    "backslashes": b"Options " + b"\\\n" * (5 << 20),
    "sections": b"<If x>\n" * 200_000,
    "closings": b"</If>\n" * 200_000,
    "lines": b"a\n" * 500_000,
    "conditions": b"RewriteCond %{HTTP:Upgrade} websocket\n" * 100_000
    + b"RewriteRule ^ ws://127.0.0.1:1/ [P]\n",
    "rules": b"RewriteRule ^ ws://127.0.0.1:1/ [P]\n" * 1000,
    "mappings": b"ProxyPass /ws ws://127.0.0.1:1/ws\n" * 1000,
    "group": b"RewriteRule " + b"(" * 500_000 + b" ws://a$1 [P]\n",
}


@pytest.mark.timeout(60 * SECOND)
@pytest.mark.parametrize("content", LARGE.values(), ids=LARGE)
def test_large_files(tmp_path: Path, content: bytes) -> None:
    """A file of 10 MB, whatever its shape, takes seconds."""
    (tmp_path / "a.conf").write_bytes(content)
    lint([str(tmp_path / "a.conf")])


OURS = [
    *sorted(ROOT.glob("tests/golden/*/files/**/apache2/**/*.conf")),
    *sorted(ROOT.glob("tests/golden/*/files/**/include/*.conf")),
    *sorted(ROOT.glob("tests/golden/*/files/httpd.conf")),
    *sorted(ROOT.glob("apache/htaccess/*/.htaccess")),
]


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(ROOT)))
def test_ours_are_clean(path: Path) -> None:
    """Nothing is found in what we render, in any layout."""
    report = lint([str(path)])
    assert [(finding.id, finding.line, finding.seen) for finding in report.findings] == []


def test_ours_are_many() -> None:
    """Every layout is among them."""
    assert len(OURS) > 100


CORPUS = sorted((ROOT / "tests/integration/htaccess").glob("*.htaccess"))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_what_people_have_is_clean(path: Path) -> None:
    """Files such as people have show nothing but what is wrong in them."""
    found = {finding.id for finding in lint([str(path)]).findings}
    if path.stem.startswith("bom"):
        assert found == {"config-byte-order-mark"}
    elif path.stem.startswith("copied"):
        assert "rewrite-dead-variables" in found
    else:
        assert found == set()
