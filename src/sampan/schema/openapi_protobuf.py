"""The OpenAPI v2 document as protobuf: gnostic's message openapi.v2.Document.

kubectl asks for this form and reads nothing else. Only what the documents of openapi_v2 hold is written.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

_VARINT: Final = 0
_FIXED_64: Final = 1
_LENGTH: Final = 2


def encode(document: Mapping[str, Any]) -> bytes:
    """A document of openapi_v2 as protobuf."""
    return b"".join(
        (
            _text(1, document["swagger"]),
            _message(2, _text(1, document["info"]["title"]) + _text(2, document["info"]["version"])),
            _message(8, _named(2, document["paths"], _path_item)),
            _message(9, _named(1, document["definitions"], _schema)),
            _message(10, _named(1, document.get("parameters", {}), _described)),
            *(_message(12, _named(1, need, _texts_message)) for need in document["security"]),
            _message(13, _named(1, document["securityDefinitions"], _security)),
        )
    )


def _path_item(item: Mapping[str, Any]) -> bytes:
    parts = [_message(_METHODS[method], _operation(item[method])) for method in _METHODS if method in item]
    parts.extend(_message(9, _parameter(parameter)) for parameter in item.get("parameters", ()))
    return b"".join(parts)


_METHODS: Final = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}


def _operation(operation: Mapping[str, Any]) -> bytes:
    return b"".join(
        (
            _texts(1, operation["tags"]),
            _text(3, operation["description"]),
            _text(5, operation["operationId"]),
            _texts(6, operation["produces"]),
            _texts(7, operation.get("consumes", ())),
            *(_message(8, _parameter(parameter)) for parameter in operation.get("parameters", ())),
            _message(9, _named(1, operation["responses"], _response)),
            _texts(10, operation["schemes"]),
            _extensions(13, operation),
        )
    )


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """A ParametersItem: a reference to one of the document's own, or a Parameter."""
    if "$ref" in parameter:
        return _message(2, _text(1, parameter["$ref"]))
    return _message(1, _described(parameter))


def _described(parameter: Mapping[str, Any]) -> bytes:
    """A Parameter, which holds one of several shapes."""
    if parameter["in"] == "body":
        return _message(1, _body(parameter))
    in_path = parameter["in"] == "path"
    return _message(2, _message(4 if in_path else 3, _non_body(parameter, in_path=in_path)))


def _body(parameter: Mapping[str, Any]) -> bytes:
    return b"".join(
        (
            _text(2, parameter["name"]),
            _text(3, parameter["in"]),
            _flag(4, parameter.get("required")),
            _message(5, _schema(parameter["schema"])),
        )
    )


def _non_body(parameter: Mapping[str, Any], *, in_path: bool) -> bytes:
    # The query's message has allow_empty_value in fifth place, which moves what follows.
    shift = 0 if in_path else 1
    return b"".join(
        (
            _flag(1, parameter.get("required")),
            _text(2, parameter["in"]),
            _text(3, parameter["description"]),
            _text(4, parameter["name"]),
            _text(5 + shift, parameter["type"]),
            _flag(19 + shift, parameter.get("uniqueItems")),
        )
    )


def _response(response: Mapping[str, Any]) -> bytes:
    shown = _text(1, response["description"])
    if "schema" in response:
        shown += _message(2, _message(1, _schema(response["schema"])))
    return _message(1, shown)


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        _text(1, schema.get("$ref")),
        _text(2, schema.get("format")),
        _text(3, schema.get("title")),
        _text(4, schema.get("description")),
    ]
    if "default" in schema:
        parts.append(_message(5, _any(schema["default"])))
    for field, name in _BOUNDS.items():
        if name in schema:
            parts.append(_double(field, schema[name]))
    parts.extend(_flag(field, schema.get(name)) for field, name in _FLAGS.items())
    parts.append(_text(13, schema.get("pattern")))
    for field, name in _COUNTS.items():
        if name in schema:
            parts.append(_number(field, schema[name]))
    parts.append(_texts(19, schema.get("required", ())))
    parts.extend(_message(20, _any(value)) for value in schema.get("enum", ()))
    more = schema.get("additionalProperties")
    if isinstance(more, bool):
        parts.append(_message(21, _key(2, _VARINT) + bytes([more])))
    elif more is not None:
        parts.append(_message(21, _message(1, _schema(more))))
    if "type" in schema:
        parts.append(_message(22, _text(1, schema["type"])))
    if "items" in schema:
        parts.append(_message(23, _message(1, _schema(schema["items"]))))
    parts.extend(_message(24, _schema(part)) for part in schema.get("allOf", ()))
    if "properties" in schema:
        parts.append(_message(25, _named(1, schema["properties"], _schema)))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


_BOUNDS: Final = {6: "multipleOf", 7: "maximum", 9: "minimum"}
_FLAGS: Final = {8: "exclusiveMaximum", 10: "exclusiveMinimum", 16: "uniqueItems"}
_COUNTS: Final = {
    11: "maxLength",
    12: "minLength",
    14: "maxItems",
    15: "minItems",
    17: "maxProperties",
    18: "minProperties",
}


def _security(scheme: Mapping[str, Any]) -> bytes:
    key = b"".join(
        (
            _text(1, scheme["type"]),
            _text(2, scheme["name"]),
            _text(3, scheme["in"]),
            _text(4, scheme["description"]),
        )
    )
    return _message(2, key)


def _extensions(field: int, holder: Mapping[str, Any]) -> bytes:
    found = {name: value for name, value in holder.items() if name.startswith("x-")}
    return b"".join(_message(field, _pair(name, _any(value))) for name, value in found.items())


def _any(value: Any) -> bytes:
    # JSON is YAML, and the YAML text is what readers look at.
    return _text(2, msgspec.json.encode(value).decode() + "\n")


def _named(field: int, values: Mapping[str, Any], write: Callable[[Any], bytes]) -> bytes:
    return b"".join(_message(field, _pair(name, write(value))) for name, value in values.items())


def _pair(name: str, value: bytes) -> bytes:
    return _text(1, name) + _message(2, value)


def _texts_message(values: Iterable[str]) -> bytes:
    return _texts(1, values)


def _texts(field: int, values: Iterable[str]) -> bytes:
    return b"".join(_message(field, value.encode()) for value in values)


def _text(field: int, value: str | None) -> bytes:
    return _message(field, value.encode()) if value else b""


def _message(field: int, content: bytes) -> bytes:
    return _key(field, _LENGTH) + _varint(len(content)) + content


def _flag(field: int, value: bool | None) -> bytes:
    return _key(field, _VARINT) + b"\x01" if value else b""


def _number(field: int, value: int) -> bytes:
    return _key(field, _VARINT) + _varint(value)


def _double(field: int, value: float) -> bytes:
    return _key(field, _FIXED_64) + struct.pack("<d", value)


def _key(field: int, wire: int) -> bytes:
    return _varint(field << 3 | wire)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
