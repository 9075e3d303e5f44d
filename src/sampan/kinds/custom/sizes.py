"""How large the values of a schema can be, as Kubernetes reckons it for the costs of validation rules.

A request has at most 3 MiB. What has no maxItems, maxProperties or maxLength is as long as fits into that.
"""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.custom.rules import escaped

MAX_REQUEST_BYTES: Final = 3 * 1024 * 1024
UNBOUNDED: Final = 2**64 - 1
_TIMES: Final = {"date": 12, "date-time": 22, "duration": 34}
_BOOL_BYTES, _NUMBER_BYTES, _STRING_BYTES, _DURATION_BYTES = 4, 1, 2, 3
LIST, MAP, OBJECT, STRING, SCALAR, ANY = "list", "map", "object", "string", "scalar", "any"


class Shape:
    """What rules know of a value: its kind, how long it can be, and what is in it.

    `length` counts elements, entries or bytes; it is 0 for what has no length. `bytes_min` is the least that
    it takes in JSON.
    """

    __slots__ = ("bytes_min", "fields", "items", "kind", "length")

    def __init__(
        self,
        kind: str,
        length: int = 0,
        items: Shape | None = None,
        fields: dict[str, Shape] | None = None,
        bytes_min: int = 1,
    ) -> None:
        self.kind = kind
        self.length = length
        self.items = items
        self.fields = fields or {}
        self.bytes_min = bytes_min

    def field(self, name: str) -> Shape:
        """A member by the name that rules write; of a map, any value."""
        found = self.fields.get(name)
        if found is not None:
            return found
        return self.items if self.kind == MAP and self.items is not None else UNKNOWN


UNKNOWN: Final = Shape(ANY)
NUMBER: Final = Shape(SCALAR)


def shape_of(schema: Any) -> Shape:
    """The shape of a structural schema's values."""
    if not isinstance(schema, dict):
        return UNKNOWN
    kind = schema.get("type")
    if schema.get("x-kubernetes-int-or-string"):
        return Shape(ANY, bytes_min=_NUMBER_BYTES)
    if kind == "array":
        items = shape_of(schema.get("items"))
        length = _given(schema.get("maxItems"), (MAX_REQUEST_BYTES - 2) // (items.bytes_min + 1))
        return Shape(LIST, length, items, bytes_min=2)
    if kind == "object":
        return _object(schema)
    if kind == "string":
        return _string(schema)
    if kind == "boolean":
        return Shape(SCALAR, bytes_min=_BOOL_BYTES)
    return Shape(SCALAR if kind in ("integer", "number") else ANY, bytes_min=_NUMBER_BYTES)


def _object(schema: dict[str, Any]) -> Shape:
    values = schema.get("additionalProperties")
    if isinstance(values, dict) or values is True:
        items = shape_of(values)
        length = _given(schema.get("maxProperties"), (MAX_REQUEST_BYTES - 2) // (items.bytes_min + 6))
        return Shape(MAP, length, items, bytes_min=2)
    properties = schema.get("properties") or {}
    fields = {name: shape_of(inner) for name, inner in properties.items()}
    required = [name for name in schema.get("required") or () if name in fields]
    least = 2 + sum(
        len(name) + fields[name].bytes_min + 4 for name in required if "default" not in properties[name]
    )
    return Shape(OBJECT, 0, None, {escaped(name): shape for name, shape in fields.items()}, least)


def _string(schema: dict[str, Any]) -> Shape:
    style = schema.get("format")
    if style in _TIMES:
        least = _DURATION_BYTES if style == "duration" else _TIMES[style]
        return Shape(STRING, _TIMES[style], bytes_min=least)
    longest = schema.get("maxLength")
    if longest is not None:
        # Lengths are in code points, each of which may be four bytes.
        length = max(int(longest), 0) * (1 if style == "byte" else 4)
    elif schema.get("enum"):
        length = max(len(str(each).encode()) for each in schema["enum"])
    else:
        length = MAX_REQUEST_BYTES - 2
    return Shape(STRING, length, bytes_min=_STRING_BYTES)


def _given(limit: Any, otherwise: int) -> int:
    return otherwise if limit is None else max(int(limit), 0)


def most_of(shape: Shape) -> int:
    """How many such values fit into a request."""
    return MAX_REQUEST_BYTES // (shape.bytes_min + 1)
