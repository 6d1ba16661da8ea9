"""What the backend says of itself, on standard error: lines for people, or a JSON object a line for programs.

What is about one connection carries its id; Apache's access log has the id of the request (X-Request-Id), which stands beside it.
"""

import datetime as dt
import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Literal

import msgspec

if TYPE_CHECKING:
    from .wire import Wire

Form = Literal["text", "json"]

_TEXT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def set_up(level: str, form: Form) -> None:
    """Send all lines from a level on to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Json() if form == "json" else logging.Formatter(_TEXT))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    # What the library tells at INFO, our own lines tell better; at DEBUG it tells what people write.
    logging.getLogger("server.websockets").setLevel(logging.WARNING)


def about(wire: "Wire", **fields: object) -> dict[str, Any]:
    """Return what a line about a connection says to programs, as logging's ``extra``."""
    known: dict[str, object] = {"connection": wire.name, "client": wire.client.address}
    if wire.client.request:
        known["request"] = wire.client.request
    return {"fields": known | fields}


class Json(logging.Formatter):
    """Make of a record one JSON object: ``time`` (UTC), ``level``, ``logger``, ``message``, ``trace`` of an exception, and its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = dt.datetime.fromtimestamp(record.created, dt.UTC)
        line: dict[str, object] = {
            "time": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["trace"] = "".join(traceback.format_exception(*record.exc_info))
        try:
            return msgspec.json.encode(line).decode()
        except UnicodeEncodeError:  # the name of a file that is not UTF-8
            return json.dumps(line)
