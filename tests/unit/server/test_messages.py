"""What is a message of the chat and what is not."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.messages import (
    LIMITS,
    Join,
    Ping,
    Refusal,
    UserMessage,
    checked_color,
    checked_name,
    checked_room,
    color_of,
    decode,
    encode,
)


def refusal(text: str) -> Refusal:
    """Return how a text is refused."""
    with pytest.raises(Refusal) as told:
        decode(text)
    return told.value


def test_reads() -> None:
    """A message reads in any order of its fields, unknown ones ignored."""
    assert decode('{"name":"Ada","x":[1],"type":"join"}') == Join("Ada")
    assert decode('{"type":"ping","ref":"7"}') == Ping("7")
    assert decode(
        '{"type":"usermsg","name":"a","message":"\\ud83d\\ude00","color":"#000000"}'
    ) == UserMessage("😀", "a", "#000000")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "[]",
        '"a"',
        "null",
        "{} {}",
        '{"type":"join","name":"\\ud800"}',
        '{"type":"join","name":"\\udc00x"}',
        '{"type":"ping","a":"\\ud800\\u0041"}',
        "[" * 60_000,
        '{"type":"ping","a":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"type":"zzz","a":' + "[" * 30_000 + "]" * 30_000 + "}",
    ],
    ids=lambda text: text[:30],
)
def test_bad_json(text: str) -> None:
    """What is no JSON object, half a surrogate pair or a bottomless nest is bad-json, never an exception."""
    assert refusal(text).code == "bad-json"


@pytest.mark.parametrize(
    "text", ["{}", '{"type":"shout"}', '{"type":1}', '{"type":null}', '{"type":["join"]}']
)
def test_unknown_type(text: str) -> None:
    """A type that the protocol does not have is unknown-type."""
    assert refusal(text).code == "unknown-type"


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "join"},
        {"type": "join", "name": 7},
        {"type": "usermsg", "name": "a"},
        {"type": "usermsg", "message": ["a"]},
        {"type": "ping", "ref": 7},
        {"type": "ping", "ref": "r" * 65},
        {"type": "leave", "ref": {}},
    ],
    ids=str,
)
def test_bad_field(fields: dict[str, Any]) -> None:
    """A field that is missing or of the wrong kind is bad-field."""
    assert refusal(json.dumps(fields)).code == "bad-field"


def test_refusal_carries_the_ref() -> None:
    """The client's ref comes back, where it is one."""
    assert refusal('{"type":"shout","ref":"r1"}').ref == "r1"
    assert refusal('{"type":"join","ref":"r1"}').ref == "r1"
    assert refusal('{"type":"join","ref":["r1"]}').ref is None
    assert refusal(json.dumps({"type": "join", "ref": "r" * 65})).ref is None


@given(st.text())
def test_any_text(text: str) -> None:
    """Whatever a frame says, it reads or is refused with a sentence that can be sent."""
    try:
        decode(text)
    except Refusal as fault:
        encode(str(fault))


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_any_field(value: Any) -> None:
    """Whatever stands in a field, the message reads or is refused."""
    for field in ("type", "name", "color", "room", "ref"):
        text = json.dumps({"type": "join", "name": "a", field: value})
        try:
            decode(text)
        except Refusal as fault:
            encode(str(fault))


@pytest.mark.parametrize("name", ["Ada", "  Ada ", "A" * 40, "Zoë", "李", "👩\u200d🚀", "a b", "مريم"])
def test_name(name: str) -> None:
    """A name is trimmed and otherwise kept."""
    assert checked_name(name) == name.strip()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "  ",
        "\u200b",
        "\u2060\u200d",
        "a\nb",
        "a\x00b",
        "a\x1b[2J",
        "a\u202eb",
        "a\u2066b",
        "a\u2028b",
        "\x85a\x9fb",
    ],
)
def test_bad_name(name: str) -> None:
    """A name that is invisible, has control characters or turns the text around it is bad-field."""
    with pytest.raises(Refusal) as told:
        checked_name(name, "r")
    assert (told.value.code, told.value.ref) == ("bad-field", "r")


def test_long_name() -> None:
    """A name beyond the limit is too-long, spaces around it not counted."""
    with pytest.raises(Refusal) as told:
        checked_name("a" * (LIMITS.name + 1))
    assert told.value.code == "too-long"


@pytest.mark.parametrize("color", ["#7c3aed", "#fff", "007AFF", "red"])
def test_color_as_simple_clients_write_it(color: str) -> None:
    """A hex number, with or without its sign, and a name are passed on as they are."""
    assert checked_color(color, "a") == color


@pytest.mark.parametrize("color", ["#7c3aed ", "url(x)", "#7c3aed;x", "rgb(0,0,0)", "a" * 33, "#", ""])
def test_bad_color(color: str) -> None:
    """A colour that is neither a hex number nor a name is bad-field."""
    with pytest.raises(Refusal) as told:
        checked_color(color, "a")
    assert told.value.code == "bad-field"


def test_color_of_a_name() -> None:
    """A missing colour is the name's own, the same every time."""
    assert checked_color(None, "Ada") == color_of("Ada") == color_of("Ada")
    assert len({color_of(str(number)) for number in range(100)}) > 6
    assert checked_color(color_of("Ada"), "x") == color_of("Ada")


@pytest.mark.parametrize("room", ["", "r" * 65, "a\nb", "a\u202eb"])
def test_bad_room(room: str) -> None:
    """A room without a name, or with too long or too strange a one, is bad-field."""
    with pytest.raises(Refusal) as told:
        checked_room(room)
    assert told.value.code == "bad-field"


def test_limits_are_those_of_the_protocol() -> None:
    """The limits in a welcome are those that PROTOCOL.md states."""
    assert msgspec.to_builtins(LIMITS) == {
        "message": 2000,
        "name": 40,
        "frame": 65536,
        "picture": 2097152,
        "alt": 500,
        "burst": 20,
        "per_second": 5,
    }
