"""What the backend's log says to programs."""

import json
import logging
import re
import socket
import sys
from typing import Any

import pytest

from server.environment import load
from server.logs import Json
from server.settings import SettingsError
from tests.unit.server.harness import Launch, handshake, open_socket
from tests.waiting import until


def objects(lines: list[str]) -> list[dict[str, Any]]:
    """Read a log of JSON."""
    return [json.loads(line) for line in lines]


def test_every_line_is_an_object(launch: Launch) -> None:
    """Each line says when, how grave, and what; what is about a socket names it, its client and its request."""
    backend = launch(WSFRONT_LOG="json")
    port = backend.ports[0]
    with open_socket(port, "/ws/chat", "X-Request-Id: AbC-1", "X-Forwarded-For: 203.0.113.9"):
        until(lambda: any('"open"' in line for line in backend.lines))
    with socket.create_connection(("127.0.0.1", port)) as stranger:
        stranger.sendall(handshake("/nowhere"))
        until(lambda: any('"refused"' in line for line in backend.lines))
    until(lambda: any('"closed"' in line for line in backend.lines))
    assert backend.end() == 0
    lines = objects(backend.lines)
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"]) for line in lines)
    assert {line["level"] for line in lines} == {"info"}
    of = {line["event"]: line for line in lines if "event" in line}
    opened, closed, refused = of["open"], of["closed"], of["refused"]
    assert (opened["client"], opened["request"]) == ("203.0.113.9", "AbC-1")
    assert closed["connection"] == opened["connection"]
    assert (closed["code"], closed["seconds"] >= 0) == (1006, True)
    assert refused["status"] == 404
    assert refused["connection"] != opened["connection"]
    assert "request" not in refused


def test_an_exception_is_one_line() -> None:
    """A traceback stands within the object, and what breaks lines is escaped."""
    try:
        int("first\nsecond")
    except ValueError:
        record = logging.LogRecord("server", logging.ERROR, "", 0, "lost %s", ("a\nb",), sys.exc_info())
    line = Json().format(record)
    assert "\n" not in line
    told = json.loads(line)
    assert (told["level"], told["message"]) == ("error", "lost a\nb")
    assert "ValueError: invalid literal" in told["trace"]


def test_a_name_that_is_no_text() -> None:
    """What cannot be written in UTF-8, as a file's name may be, is escaped, and the line told."""
    record = logging.LogRecord("server", logging.ERROR, "", 0, "%s did not start", ("/bin/\udcff",), None)
    line = Json().format(record)
    assert json.loads(line.encode())["message"] == "/bin/\udcff did not start"


def test_another_form_is_refused() -> None:
    """A form that is none is told with those that are."""
    with pytest.raises(SettingsError, match="WSFRONT_LOG: 'xml' is not known; expected text or json"):
        load({"WSFRONT_LOG": "xml"})
