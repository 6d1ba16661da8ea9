"""Read `wsfront.yaml` as data into a Site, and word every fault for the person who wrote it.

Knows nothing of Apache; the rules themselves are the models' (site.py, values.py).
"""

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .errors import DescriptionError
from .parts import Acme, Bus, Files, Hop, Model, Pages, Redis, Tls, WebSocket
from .site import Site

SIZE_LIMIT = 1 << 20  # bytes; a description is a page of text


class _Loader(yaml.SafeLoader):
    """Read plain data: no dates, no duplicate keys, no aliases (nested ones grow without bound)."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse an alias; leave the rest to PyYAML."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]  # so it is in the stubs
            raise yaml.composer.ComposerError(
                None, None, f"*{event.anchor} is an alias: write the value out", event.start_mark
            )
        return super().compose_node(parent, index)


# A name such as 2026-01-01 is text to us, not a date.
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    seen: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is not text", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        seen[key] = loader.construct_object(value_node, deep=True)
    return seen


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def read(path: Path, *, server_name: str | None = None) -> Site:
    """Read one description.

    Args:
        path: a YAML file.
        server_name: the name to take where the file has none.

    Raises:
        DescriptionError: with every fault found.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_LIMIT + 1)
    except OSError as error:
        raise DescriptionError([f"{where}: cannot be read: {error.strerror}"]) from None
    if len(content) > SIZE_LIMIT:
        raise DescriptionError([f"{where}: is larger than 1 MiB: a description is a page of text"])
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DescriptionError([f"{where}: is not UTF-8 (byte {error.start}): save it as UTF-8"]) from None
    return parse(text, where, server_name=server_name)


def parse(text: str, where: str, *, server_name: str | None = None) -> Site:
    """Read a description from text; `where` names it in faults.

    Raises:
        DescriptionError: with every fault found.
    """
    try:
        data = yaml.load(text, _Loader)  # noqa: S506 (a SafeLoader)
    except yaml.YAMLError as error:
        raise DescriptionError([f"{where}: {_yaml_fault(error)}"]) from None
    except (RecursionError, ValueError) as error:
        raise DescriptionError([f"{where}: is not plain data: {error}"]) from None
    if data is None:
        raise DescriptionError(
            [f"{where}: is empty: one line is enough, as in `server_name: chat.example.org`"]
        )
    if not isinstance(data, dict):
        raise DescriptionError(
            [
                f"{where}: is {_kind(data)}, not a mapping: write keys and values, as in `server_name: chat.example.org`"
            ]
        )
    if server_name is not None:
        data.setdefault("server_name", server_name)
    try:
        # Through JSON, since strict mode takes its arrays for tuples: https://docs.pydantic.dev/latest/concepts/strict_mode/
        return Site.model_validate_json(json.dumps(data, ensure_ascii=False).encode())
    except ValidationError as error:
        raise DescriptionError(_faults(error, where)) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise DescriptionError([f"{where}: is not plain data: {error}"]) from None


def schema() -> str:
    """Return the JSON Schema of a description, for editors."""
    document = Site.model_json_schema()
    document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    document["title"] = "wsfront.yaml"
    return json.dumps(document, indent=2) + "\n"


def _yaml_fault(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"line {mark.line + 1}, column {mark.column + 1}: {error.problem or 'is not YAML'}"
    return "is not YAML: " + " ".join(str(error).split())


def _kind(value: object) -> str:
    names = {
        list: "a list",
        tuple: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a number",
        dict: "a mapping",
        type(None): "nothing",
    }
    return names.get(type(value), "something else")


def _faults(error: ValidationError, where: str) -> list[str]:
    lines: list[str] = []
    for fault in error.errors(include_url=False):
        if _is_echo(fault):
            continue
        path, sentence = _word(fault)
        lines.append(f"{where}: {path}: {sentence}" if path else f"{where}: {sentence}")
    return lines


def _is_echo(fault: ErrorDetails) -> bool:
    """Tell what pydantic says a second time: entries with faults of their own as absent, and the arm of a union that was not meant."""
    kind, given, last = fault["type"], fault["input"], str(fault["loc"][-1] if fault["loc"] else "")
    if kind == "too_short":
        return bool(len(given) >= fault["ctx"]["min_length"])
    if kind == "default_factory_not_called":
        return True  # pages follow from websockets, whose own faults are listed
    if last.startswith("literal["):
        return isinstance(given, list)
    return kind == "tuple_type" and last.startswith("tuple[")


def _word(fault: ErrorDetails) -> tuple[str, str]:
    arm = [part for part in fault["loc"] if isinstance(part, str) and part.startswith(("literal[", "tuple["))]
    location = [part for part in fault["loc"] if part not in arm]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(
        "."
    )
    context, kind = fault.get("ctx", {}), fault["type"]
    given = _shown(fault["input"])
    if kind == "extra_forbidden":
        return path, _unknown_key(str(location[-1]), location[:-1])
    if kind == "literal_error":
        return path, f"is {given}; must be {context['expected']}{', or a list' if arm else ''}"
    if kind == "value_error":
        return path, str(context["error"])
    wanted = {
        "string_type": "text (put it in quotes)",
        "int_type": "a whole number",
        "bool_type": "true or false",
        "int_from_float": "a whole number",
        "tuple_type": "a list",
        "model_type": "a mapping of keys and values",
        "greater_than_equal": f"at least {context.get('ge')}",
        "less_than_equal": f"at most {context.get('le')}",
        "too_short": "one with at least one entry",
        "too_long": f"a list of at most {context.get('max_length')}",
    }.get(kind)
    return path, f"is {given}; must be {wanted}" if wanted else f"is {given}: {fault['msg']}"


def _shown(value: object) -> str:
    words = {"None": "null", "True": "true", "False": "false"}  # as YAML writes them
    text = _kind(value) if isinstance(value, (dict, list, tuple)) else words.get(repr(value), repr(value))
    return text if len(text) <= 80 else text[:77] + "…"  # noqa: PLR2004 (a line a person can read)


def _unknown_key(key: str, parents: Sequence[int | str]) -> str:
    known: list[str] = list(_keys_at(parents))
    close = difflib.get_close_matches(key, known, n=1)
    if close:
        return f"unknown key; did you mean {close[0]}?"
    return f"unknown key; the keys here are {', '.join(known)}"


def _keys_at(parents: Sequence[int | str]) -> Sequence[str]:
    models: dict[str, type[Model]] = {
        "tls": Tls,
        "files": Files,
        "acme": Acme,
        "hop": Hop,
        "bus": Bus,
        "redis": Redis,
        "websockets": WebSocket,
        "pages": Pages,
    }
    names = [part for part in parents if isinstance(part, str)]
    model = models.get(names[-1], Site) if names else Site
    return list(model.model_fields)
