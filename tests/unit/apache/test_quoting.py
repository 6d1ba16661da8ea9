"""What comes through the one door can be read back as one argument, or is refused."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apache.quoting import Quoted, QuotingError, argument, comment, environment, join, literal, pattern
from apache.render import _environment
from server.environment import read_env_file
from tests.unit.apache import hostile, reading

TEXTS = hostile.text("/etc/ssl/a.pem", "a.example")


@given(TEXTS)
@example("\\")
@example('a\\"')
def test_argument_is_read_back(text: str) -> None:
    """Apache's parser gets from an argument exactly the text, and nothing of what stands beside it."""
    try:
        quoted = argument(text)
    except QuotingError:
        return
    assert reading.directives(f"A {quoted}\nB {quoted} {quoted}\n<C {quoted}>\n</C>\n") == [
        ["A", text],
        ["B", text, text],
        ["<C", text],
        ["</C>"],
    ]


@pytest.mark.parametrize("piece", ["\n", "\r", "\0", "\x7f", "\x85", "\u2028", "${", "%{", "\ud800"])
def test_argument_refuses(piece: str) -> None:
    """What ends a line or is expanded inside quotes is refused."""
    with pytest.raises(QuotingError):
        argument(f"a{piece}b")


@given(TEXTS)
def test_literal_is_one_word(text: str) -> None:
    """A literal is one word to Apache, and needs no quotes in an expression."""
    try:
        quoted = literal(text)
    except QuotingError:
        return
    assert reading.words(quoted) == ([text] if text else [])
    assert not set(text) & set("'\"\\ ${}%<>#")


@pytest.mark.parametrize("text", ["a b", "a'b", "a\n", "$", "é", "#", ""])
def test_literal_refuses(text: str) -> None:
    """A literal holds nothing that would need quotes; the empty one holds nothing at all."""
    if text:
        with pytest.raises(QuotingError):
            literal(text)
    else:
        assert literal(text) == ""


def test_pattern_matches_itself_alone() -> None:
    """A pattern's dots, brackets and stars mean themselves."""
    assert pattern("[::1].*a-b") == r"\[::1\]\.\*a-b"


@given(TEXTS)
def test_comment_stays_one_line(text: str) -> None:
    """Whatever a comment says, the line after it is a directive of its own."""
    assert reading.directives(f"# {comment(text)}\nA b\n") == [["A", "b"]]


@settings(max_examples=40)
@given(st.lists(hostile.text("http://a", "[{"), min_size=1, max_size=4))
@example(["", "a b", "$HOME `id` \\ \" '", "\\n"])
def test_environment_is_read_back(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    """A shell, systemd and our backend read the same values from an environment file."""
    wanted = {f"KEY_{number}": value for number, value in enumerate(values)}
    try:
        text = environment(wanted)
    except QuotingError:
        return
    path = tmp_path_factory.getbasetemp() / "backend.env"
    path.write_text(text, encoding="utf-8")
    names = " ".join(f'"${key}"' for key in wanted)
    shell = subprocess.run(
        ["sh", "-c", f". {path}; printf '%s\\0' {names}"], capture_output=True, check=True, text=True
    ).stdout
    assert shell.split("\0")[:-1] == values
    assert reading.environment(text) == wanted
    assert read_env_file(path) == wanted


@pytest.mark.parametrize("piece", ["\n", "\r", "\0", "\x85", "\ud800"])
def test_environment_refuses(piece: str) -> None:
    """What ends a line for any of the readers, or cannot be written, is refused."""
    with pytest.raises(QuotingError):
        environment({"KEY": f"a{piece}b"})


@pytest.mark.parametrize("value", ["text", Path("/a"), 1.5, True, None, ["a"]])
def test_template_prints_quoted_text_alone(value: object) -> None:
    """A template that prints anything but a whole number or quoted text is an error of ours, never output."""
    with pytest.raises(TypeError, match=r"quoting\.py"):
        _environment().from_string("{{ value }}").render(value=value)


def test_template_prints_quoted_text() -> None:
    """Quoted text and whole numbers are printed as they are."""
    made = _environment().from_string("{{ a }} {{ b }}").render(a=join(":", [Quoted("x"), literal("y")]), b=2)
    assert made == "x:y 2"
