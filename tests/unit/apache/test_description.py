"""Files become sites, or faults that name the file; what a site says of itself follows from its keys.

The wording of faults stands in tests/golden/refused.
"""

import json
from pathlib import Path

import pytest

from apache.description import SIZE_LIMIT, parse, read, schema
from apache.errors import DescriptionError
from apache.site import Site
from apache.target import Target
from apache.target import read as read_target

SCHEMA = Path(__file__).parents[3] / "apache" / "wsfront.schema.json"


def test_read(tmp_path: Path) -> None:
    """A file is read as UTF-8, a byte order mark or not."""
    path = tmp_path / "a.yaml"
    path.write_text("\ufeffserver_name: bücher.example\n", encoding="utf-8")
    assert read(path).server_name == "xn--bcher-kva.example"


def test_server_name_where_there_is_none(tmp_path: Path) -> None:
    """The caller's name is taken only where the file has none."""
    path = tmp_path / "a.yaml"
    path.write_text("tls: {mode: none}\n")
    assert read(path, server_name="a.example").server_name == "a.example"
    path.write_text("server_name: b.example\n")
    assert read(path, server_name="a.example").server_name == "b.example"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"server_name: \xff\n", "is not UTF-8 (byte 13): save it as UTF-8"),
        (b"#" * (SIZE_LIMIT + 1), "is larger than 1 MiB"),
        (b"\0", "is not YAML"),
    ],
    ids=["latin", "large", "zero"],
)
def test_read_refuses(tmp_path: Path, content: bytes, words: str) -> None:
    """A file that is no text of a page's length is named with its remedy."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(DescriptionError) as caught:
        read(path)
    (fault,) = caught.value.faults
    assert fault.startswith(f"{path}: {words}")


def test_read_refuses_what_is_no_file(tmp_path: Path) -> None:
    """A missing file and a folder are named."""
    for path, words in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DescriptionError, match=f"{path}: cannot be read: {words}"):
            read(path)


def test_schema_is_committed() -> None:
    """The schema in the repository is the one that the models come to: `./wsfront schema` writes it anew."""
    assert SCHEMA.read_text(encoding="utf-8") == schema()


def test_schema_says_what_each_key_is_for() -> None:
    """Every key of the schema has a description, for editors to show."""
    document = json.loads(schema())
    for model in (document, *document["$defs"].values()):
        assert model["additionalProperties"] is False
        assert [key for key, value in model["properties"].items() if not value.get("description")] == []


def test_one_line_is_enough() -> None:
    """The defaults are those of the plain case."""
    assert parse("server_name: localhost", "a.yaml") == Site()


def test_relocated() -> None:
    """Backends move, in sockets and pages alike; others stay, and so does the rest."""
    site = parse(
        "{websockets: [{backend: [127.0.0.1:1, 127.0.0.1:2], connections: 7}], pages: {proxy: 127.0.0.1:2}}",
        "a",
    )
    moved = site.relocated({"127.0.0.1:2": "127.0.0.1:9"})
    assert [str(address) for address in moved.own_backend] == ["127.0.0.1:1", "127.0.0.1:9"]
    assert moved.pages
    assert moved.pages.proxy == "127.0.0.1:9"
    assert moved.websockets[0].connections == 7
    assert site.relocated({}) == site


@pytest.mark.parametrize(("idle", "ping"), [(2, 1), (10, 5), (120, 25), (86400, 25)])
def test_ping_interval(idle: int, ping: int) -> None:
    """The backend pings well within the idle timeout, and within the minute of load balancers."""
    assert parse(f"websockets: [{{idle_timeout: {idle}}}]", "a").websockets[0].ping_interval == ping


def test_target_is_read(tmp_path: Path) -> None:
    """A target's facts come from JSON; what they do not say is the default."""
    path = tmp_path / "target.json"
    path.write_text('{"apache": "2.4.62", "modules": ["proxy"]}')
    assert read_target(path) == Target(apache="2.4.62", modules=("proxy",))


@pytest.mark.parametrize("text", ["", "[]", '{"apache": "2.4"}', '{"cores": "2"}', '{"a\\nb": 1}'])
def test_target_refuses(tmp_path: Path, text: str) -> None:
    """A target with faults is named, a printable line each."""
    path = tmp_path / "target.json"
    path.write_text(text)
    with pytest.raises(DescriptionError) as caught:
        read_target(path)
    assert all(fault.startswith(f"{path}: ") and fault.isprintable() for fault in caught.value.faults)
