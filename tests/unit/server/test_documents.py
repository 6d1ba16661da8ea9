"""What the documents of the backend say is so."""

import inspect
import json
import re

import pytest

from server import chat, environment, messages, session, uploads
from server.messages import decode
from tests.unit.server.harness import ROOT

PROTOCOL = (ROOT / "server" / "PROTOCOL.md").read_text(encoding="utf-8")
README = (ROOT / "server" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^([→←]) (\{.*?\})\n(?=[→←`])", PROTOCOL, re.MULTILINE | re.DOTALL)

SENT = ("picture", "ready", "welcome", "usermsg", "presence", "pong", "error", "ack", "resumed", "gap")


@pytest.mark.parametrize(("side", "text"), EXAMPLES, ids=str)
def test_example(side: str, text: str) -> None:
    """Every example is a message: what a client sends reads, what the server sends is of a known type."""
    if side == "→":
        decode(text)
    else:
        assert json.loads(text)["type"] in SENT


def test_codes() -> None:
    """The codes listed are those that the code refuses with."""
    source = "".join(map(inspect.getsource, (messages, session, chat, uploads)))
    used = set(re.findall(r'Refusal\(\s*"([a-z-]+)"', source))
    table = PROTOCOL.split("| code | when |")[1].split("\n\n")[0]
    assert set(re.findall(r"^\| `([a-z-]+)` \|", table, re.MULTILINE)) == used


def test_settings() -> None:
    """The settings listed are those that are read."""
    assert tuple(re.findall(r"^\| `(WSFRONT_\w+)`", README, re.MULTILINE)) == environment.KEYS


def test_modules() -> None:
    """The map names every module and no other."""
    modules = {path.name for path in (ROOT / "server").glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"`(\w+\.py)`", README.split("| module |")[1].split("## Why")[0])) == modules
