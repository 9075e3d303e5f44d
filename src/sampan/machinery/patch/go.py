"""Values as Go's fmt and encoding/json tell of them, for messages that quote them."""

from __future__ import annotations

from typing import Any


def shown(value: Any) -> str:
    """A decoded JSON value as Go prints it with %v: `map[name:x ports:[80]]`."""
    if isinstance(value, dict):
        return "map[" + " ".join(f"{key}:{shown(value[key])}" for key in sorted(value)) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(shown, value)) + "]"
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def json_kind(value: Any) -> str:
    """The kind of a JSON value, as encoding/json names what it cannot unmarshal."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    for kind, name in ((str, "string"), (dict, "object"), (list, "array")):
        if isinstance(value, kind):
            return name
    return "number"


def reflect_kind(value: Any) -> str:
    """The kind of Go value that a JSON value becomes where its type is not known."""
    if isinstance(value, bool):
        return "bool"
    kinds = ((str, "string"), (dict, "map"), (list, "slice"), (float, "float64"))
    return next((name for kind, name in kinds if isinstance(value, kind)), "int64")
