"""Walks parsed JSON with a published definition: drops nulls, collects unknown fields, finds wrong types."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sampan.machinery.quantity import quantity
from sampan.schema.compile import schema_type
from sampan.schema.definitions import Definitions, Schema, ref_of

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_TIMES: Final = frozenset({_META + "Time", _META + "MicroTime"})
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_INT_OR_STRING: Final = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_FREE_FORM: Final = frozenset({_META + "FieldsV1", "io.k8s.apimachinery.pkg.runtime.RawExtension"})
_GO_TYPES: Final[Mapping[str, str]] = {"string": "string", "boolean": "bool", "number": "float64"}
_ZERO: Final[Mapping[str, Any]] = {"string": "", "boolean": False, "integer": 0, "number": 0, "array": []}
_LIMITS: Final[Mapping[str, int]] = {"int32": 2**31, "int64": 2**63}


class WrongType(ValueError):
    """A value of another type than its field has, in the words of Go's encoding/json."""

    def __init__(self, message: str, value: Any = None, wanted: str = "") -> None:
        super().__init__(message)
        self.value = value
        # The Go type of the field; "" where the value is of the type, but not one of its values.
        self.wanted = wanted


class _Place:
    """Where the walk stands, twice: as strict errors name it (`a[0].b`) and as Go's errors do (`a.b`)."""

    __slots__ = ("fields", "struct", "text")

    def __init__(self, text: str = "", fields: str = "", struct: str = "") -> None:
        self.text, self.fields, self.struct = text, fields, struct

    def field(self, name: str, struct: str) -> _Place:
        return _Place(_joined(self.text, name), _joined(self.fields, name), struct)

    def key(self, name: str) -> _Place:
        return _Place(_joined(self.text, name), self.fields, self.struct)

    def index(self, position: int) -> _Place:
        return _Place(f"{self.text}[{position}]", self.fields, self.struct)


class Walk:
    """One walk. `unknown` holds the paths of unknown fields afterwards."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        self.unknown: list[str] = []

    def prune(self, value: Any, full: str) -> Any:
        """`value` without nulls and unknown fields, as the definition `full` takes it. Raises WrongType."""
        return self._definition(value, full, _Place())

    def _definition(self, value: Any, full: str, at: _Place) -> Any:
        if full in _FREE_FORM:
            return value
        if full in _TIMES:
            return _checked_time(value, at)
        if full == _QUANTITY:
            return _checked_quantity(value, at)
        if full == _INT_OR_STRING:
            return _checked_int_or_string(value, at)
        schema = self._definitions.schemas[full]
        if "properties" not in schema and schema_type(schema) != "object":
            return value
        if not isinstance(value, dict):
            raise _wrong(value, at, _go_name(full))
        return self._struct(value, full, schema, at)

    def _struct(self, value: dict[str, Any], full: str, schema: Schema, at: _Place) -> dict[str, Any]:
        properties = schema.get("properties", {})
        name = full.rsplit(".", 1)[1]
        pruned: dict[str, Any] = {}
        for field, item in value.items():
            here = at.field(field, name)
            if field not in properties:
                self.unknown.append(here.text)
            elif item is not None:
                pruned[field] = self._value(item, properties[field], here)
        return pruned

    def _value(self, value: Any, schema: Schema, at: _Place) -> Any:
        ref = ref_of(schema)
        if ref is not None:
            return self._definition(value, ref, at)
        kind = schema_type(schema)
        if kind == "array":
            return self._list(value, schema, at)
        if kind == "object":
            return self._map(value, schema, at)
        return value if kind is None else _checked_scalar(value, kind, schema, at)

    def _list(self, value: Any, schema: Schema, at: _Place) -> list[Any]:
        items = schema.get("items", {})
        if not isinstance(value, list):
            raise _wrong(value, at, f"[]{self._go_type(items)}")
        return [self._item(item, items, at.index(position)) for position, item in enumerate(value)]

    def _map(self, value: Any, schema: Schema, at: _Place) -> dict[str, Any]:
        values = schema.get("additionalProperties", {})
        if not isinstance(value, dict):
            raise _wrong(value, at, f"map[string]{self._go_type(values)}")
        return {key: self._item(item, values, at.key(key)) for key, item in value.items()}

    def _item(self, value: Any, schema: Schema, at: _Place) -> Any:
        # In lists and maps a null keeps its place as the zero value of the type.
        return self._zero(schema) if value is None else self._value(value, schema, at)

    def _zero(self, schema: Schema) -> Any:
        ref = ref_of(schema)
        if ref is None:
            kind = schema_type(schema)
            return {} if kind == "object" else _ZERO.get(kind or "")
        if ref == _QUANTITY:
            return "0"
        if ref == _INT_OR_STRING:
            return 0
        if ref in _TIMES or ref in _FREE_FORM:
            return None
        return {} if "properties" in self._definitions.schemas[ref] else None

    def _go_type(self, schema: Schema) -> str:
        ref = ref_of(schema)
        if ref is not None:
            return _go_name(ref)
        kind = schema_type(schema)
        if kind == "array":
            return f"[]{self._go_type(schema.get('items', {}))}"
        if kind == "object":
            return f"map[string]{self._go_type(schema.get('additionalProperties', {}))}"
        return _go_scalar(kind or "", schema)


def _go_scalar(kind: str, schema: Schema) -> str:
    if schema.get("format") == "byte":
        return "[]uint8"
    return str(schema.get("format", "int")) if kind == "integer" else _GO_TYPES.get(kind, "interface {}")


def _go_name(full: str) -> str:
    package, name = full.split(".")[-2:]
    return f"{package}.{name}"


def _checked_scalar(value: Any, kind: str, schema: Schema, at: _Place) -> Any:
    if kind == "string" and isinstance(value, str):
        return _checked_bytes(value) if schema.get("format") == "byte" else value
    if kind == "boolean" and isinstance(value, bool):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if kind == "number":
            return value
        limit = _LIMITS.get(schema.get("format", "int64"), 2**63)
        if kind == "integer" and isinstance(value, int) and -limit <= value < limit:
            return value
    raise _wrong(value, at, _go_scalar(kind, schema))


def _checked_bytes(value: str) -> str:
    try:
        # Go's decoder skips line ends.
        return base64.b64encode(base64.b64decode("".join(value.split()), validate=True)).decode()
    except (binascii.Error, ValueError):
        raise WrongType(f"illegal base64 data at input byte {_first_wrong(value)}") from None


def _first_wrong(value: str) -> int:
    allowed = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n"
    wrong = next((i for i, char in enumerate(value) if char not in allowed), None)
    return len(value) - len(value) % 4 if wrong is None else wrong


def _checked_time(value: Any, at: _Place) -> Any:
    if not isinstance(value, str):
        raise _wrong(value, at, "string")
    try:
        known = datetime.fromisoformat(value)
    except ValueError:
        known = None
    if known is None or known.tzinfo is None or "T" not in value:
        form = "2006-01-02T15:04:05Z07:00"
        raise WrongType(f'parsing time "{value}" as "{form}": cannot parse "{value}" as "2006"')
    return value


def _checked_quantity(value: Any, at: _Place) -> Any:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise _wrong(value, at, "string")
    try:
        return quantity(value).text
    except ValueError as error:
        raise WrongType(str(error)) from None


def _checked_int_or_string(value: Any, at: _Place) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise _wrong(value, at, "int32")


def _wrong(value: Any, at: _Place, wanted: str) -> WrongType:
    found = _json_type(value)
    if not at.fields:
        return WrongType(f"json: cannot unmarshal {found} into Go value of type {wanted}", value, wanted)
    where = f"{at.struct}.{at.fields}"
    message = f"json: cannot unmarshal {found} into Go struct field {where} of type {wanted}"
    return WrongType(message, value, wanted)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "array"
    if isinstance(value, str):
        return "string"
    # Go names the number where it is one that does not fit.
    return f"number {value}" if isinstance(value, float) or abs(value) >= 2**31 else "number"


def _joined(at: str, key: str) -> str:
    return f"{at}.{key}" if at else key
