"""Protobuf bodies of built-in kinds, read into the JSON they stand for.

Typed Go clients (kubectl's `create` subcommands among them) send protobuf and accept JSON back. The wire
says only numbers; the names behind them come from protobuf_numbers.txt and the types from the published
definitions. Nothing is ever written in protobuf.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

import msgspec

from sampan.schema.compile import container_of, schema_type
from sampan.schema.definitions import Definitions, GroupVersionKind, Schema, load, ref_of

MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"
_MAGIC: Final = b"k8s\x00"
_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_EXTENSIONS: Final = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1."
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_QUANTITY: Final = "io.k8s.apimachinery.pkg.api.resource.Quantity"
_MAX_DEPTH: Final = 64
_SIGN_BIT: Final = 1 << 63


class ProtobufError(ValueError):
    """The body is not what its media type says."""


class _Field(msgspec.Struct, frozen=True):
    name: str
    schema: Schema
    # The zero value is kept: the field is a pointer in Go.
    optional: bool = False
    # The message's fields stand beside the others in JSON.
    inline: bool = False


def to_json(data: bytes, gvk: GroupVersionKind | None = None) -> bytes:
    """The JSON form of a protobuf body. Raises ProtobufError.

    `gvk` is the type to expect where the envelope names none.
    """
    if not data.startswith(_MAGIC):
        raise ProtobufError("the body does not begin with the bytes of a Kubernetes protobuf object")
    api_version, kind, raw = _envelope(data[len(_MAGIC) :])
    group, _, version = api_version.rpartition("/")
    named = GroupVersionKind(group, version, kind) if kind else gvk
    full = load().by_gvk.get(named) if named is not None else None
    full = full or _shared(kind)
    if full is None:
        raise ProtobufError(
            f"no protobuf form of {kind or 'the object'} in {api_version} is known; send JSON"
        )
    document = _Reader(load()).message(full, raw, 0)
    return msgspec.json.encode({"kind": kind, "apiVersion": api_version, **document})


def _shared(kind: str) -> str | None:
    """Types that belong to every group."""
    full = _META + kind
    return full if full in load().schemas else None


def _envelope(data: bytes) -> tuple[str, str, bytes]:
    api_version = kind = ""
    raw = b""
    for number, _, value in _fields(data):
        if number == 1 and isinstance(value, bytes):
            for inner, _, text in _fields(value):
                if inner == 1:
                    api_version = _text(text)
                elif inner == 2:
                    kind = _text(text)
        elif number == 2 and isinstance(value, bytes):
            raw = value
    return api_version, kind, raw


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """(number, wire type, value) of each field. Raises ProtobufError for bytes that are no message."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        wire = tag & 7
        value: int | bytes
        if wire == _VARINT:
            value, at = _varint(data, at)
        elif wire == _BYTES:
            size, at = _varint(data, at)
            value, at = data[at : at + size], at + size
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
            value, at = data[at : at + size], at + size
        else:
            raise ProtobufError(f"wire type {wire} does not occur in Kubernetes objects")
        if at > end:
            raise ProtobufError("the body ends in the middle of a field")
        yield tag >> 3, wire, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ProtobufError("the body ends in the middle of a number")
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7


class _Reader:
    """Reads messages by the definitions of one version."""

    def __init__(self, definitions: Definitions) -> None:
        self._definitions = definitions
        # How the types that are not plain messages are written.
        self._special: dict[str, Callable[[bytes, int], Any]] = {
            _META + "Time": lambda data, _: _time(data, micro=False),
            _META + "MicroTime": lambda data, _: _time(data, micro=True),
            _META + "FieldsV1": lambda data, _: _json(data),
            "io.k8s.apimachinery.pkg.runtime.RawExtension": lambda data, _: _json(data),
            _QUANTITY: lambda data, _: _text(_first(data, 1)),
            "io.k8s.apimachinery.pkg.util.intstr.IntOrString": lambda data, _: _int_or_string(data),
            _EXTENSIONS + "JSON": lambda data, _: _json(data),
            _EXTENSIONS + "JSONSchemaPropsOrBool": self._schema_or_bool,
            _EXTENSIONS + "JSONSchemaPropsOrArray": self._schema_or_array,
            _EXTENSIONS + "JSONSchemaPropsOrStringArray": self._schema_or_strings,
        }

    def message(self, full: str, data: bytes, depth: int) -> dict[str, Any]:
        if depth > _MAX_DEPTH:
            raise ProtobufError(f"the object is nested more than {_MAX_DEPTH} levels deep")
        known = _table().get(full)
        if known is None:
            raise ProtobufError(f"no protobuf form of {full} is known; send JSON")
        document: dict[str, Any] = {}
        for number, wire, value in _fields(data):
            field = known.get(number)
            if field is not None:
                self._put(document, field, wire, value, depth)
        return document

    def _put(
        self, document: dict[str, Any], field: _Field, wire: int, value: int | bytes, depth: int
    ) -> None:
        schema = field.schema
        if field.inline:
            document.update(self.message(field.name, _message(value), depth + 1))
            return
        kind = container_of(schema) if ref_of(schema) is None else None
        if kind is list:
            items = document.setdefault(field.name, [])
            for one in _unpacked(schema.get("items", {}), wire, value):
                items.append(self._value(schema.get("items", {}), one, depth))
        elif kind is dict:
            pair = _message(value)
            key, item = _first(pair, 1), _first(pair, 2)
            made = self._map_value(schema.get("additionalProperties", {}), item, depth)
            document.setdefault(field.name, {})[_text(key)] = made
        else:
            made = self._value(schema, value, depth)
            if made or field.optional or self._is_told(schema, made):
                document[field.name] = made

    def _is_told(self, schema: Schema, made: Any) -> bool:
        """Whether an empty value counts: a message is sent where there is one, even if it is 0 or false."""
        full = ref_of(schema)
        return isinstance(made, dict) or (full in self._special and full != _QUANTITY and made is not None)

    def _map_value(self, schema: Schema, value: int | bytes | None, depth: int) -> Any:
        if container_of(schema) is list and ref_of(schema) is None:  # ExtraValue and its like: items = 1
            return [_text(item) for number, _, item in _fields(_message(value)) if number == 1]
        return self._value(schema, b"" if value is None else value, depth)

    def _value(self, schema: Schema, value: int | bytes, depth: int) -> Any:
        full = ref_of(schema)
        if full is not None:
            data = _message(value)
            special = self._special.get(full)
            if special is not None:
                return special(data, depth)
            if "properties" in self._definitions.schemas[full]:
                return self.message(full, data, depth + 1)
            return {}
        kind = schema_type(schema)
        if kind == "string":
            data = _message(value)
            return base64.b64encode(data).decode() if schema.get("format") == "byte" else _text(data)
        if kind == "integer":
            return _signed(value)
        if kind == "boolean":
            return bool(value)
        if kind == "number" and isinstance(value, bytes) and len(value) == 8:
            return struct.unpack("<d", value)[0]
        raise ProtobufError(f"a value of type {kind} has no protobuf form")

    def _schema_or_bool(self, data: bytes, depth: int) -> Any:
        schema = _first(data, 2)
        return self._json_schema(schema, depth) if schema is not None else bool(_first(data, 1))

    def _schema_or_array(self, data: bytes, depth: int) -> Any:
        schema = _first(data, 1)
        if schema is not None:
            return self._json_schema(schema, depth)
        return [self._json_schema(item, depth) for number, _, item in _fields(data) if number == 2]

    def _schema_or_strings(self, data: bytes, depth: int) -> Any:
        schema = _first(data, 1)
        if schema is not None:
            return self._json_schema(schema, depth)
        return [_text(item) for number, _, item in _fields(data) if number == 2]

    def _json_schema(self, data: int | bytes | None, depth: int) -> dict[str, Any]:
        return self.message(_EXTENSIONS + "JSONSchemaProps", _message(data), depth + 1)


def _unpacked(schema: Schema, wire: int, value: int | bytes) -> Iterator[int | bytes]:
    """The elements of one occurrence of a repeated field: numbers may come packed."""
    if wire == _BYTES and schema_type(schema) in ("integer", "boolean") and isinstance(value, bytes):
        at = 0
        while at < len(value):
            number, at = _varint(value, at)
            yield number
    else:
        yield value


def _first(data: bytes, wanted: int) -> int | bytes | None:
    return next((value for number, _, value in _fields(data) if number == wanted), None)


def _message(value: int | bytes | None) -> bytes:
    """The bytes of a field that must have some; an absent one has none."""
    if isinstance(value, int):
        raise ProtobufError("a field has another wire type than its message says")
    return value or b""


def _signed(value: int | bytes | None) -> int:
    if isinstance(value, bytes):
        raise ProtobufError("a field has another wire type than its message says")
    number = value or 0
    return number - (1 << 64) if number & _SIGN_BIT else number


def _text(value: int | bytes | None) -> str:
    try:
        return _message(value).decode()
    except UnicodeDecodeError:
        raise ProtobufError("a text field is not UTF-8") from None


def _json(data: bytes) -> Any:
    raw = _first(data, 1)
    if not isinstance(raw, bytes) or not raw:
        return None
    try:
        return msgspec.json.decode(raw)
    except ValueError as problem:  # DecodeError and UnicodeDecodeError are ValueErrors
        raise ProtobufError(f"an embedded object is not JSON: {problem}") from None


def _time(data: bytes, *, micro: bool) -> str | None:
    seconds, nanos = _first(data, 1), _first(data, 2)
    if seconds is None:
        return None
    try:
        moment = datetime.fromtimestamp(_signed(seconds), UTC)
    except (OverflowError, ValueError, OSError):
        raise ProtobufError("a time is out of range") from None
    # Not strftime, which writes the year 1 of Go's zero time as "1".
    moment = moment.replace(tzinfo=None)
    if not micro:
        return moment.isoformat(timespec="seconds") + "Z"
    moment = moment.replace(microsecond=_signed(nanos) // 1000 % 1_000_000)
    return moment.isoformat(timespec="microseconds") + "Z"


def _int_or_string(data: bytes) -> int | str:
    if _signed(_first(data, 1)) == 1:
        return _text(_first(data, 3))
    return _signed(_first(data, 2))


@lru_cache(maxsize=1)
def _table() -> dict[str, dict[int, _Field]]:
    """Field number to field, for each message by its full name."""
    text = (files("sampan.schema") / "protobuf_numbers.txt").read_text()
    rows = dict(line.split(" ", 1) for line in text.splitlines() if " " in line and not line.startswith("#"))
    schemas = load().schemas
    names = {_full(short): fields for short, fields in rows.items()}
    # Messages that JSON knows only through the types they are part of.
    outer: dict[str, Schema] = {}
    for full, fields in names.items():
        for word in fields.split():
            if word.startswith("+"):
                inner = f"{full.rpartition('.')[0]}.{word[1:].partition('=')[0]}"
                known = outer.get(full) or schemas.get(full, {})
                outer.setdefault(inner, known)
    table = {}
    for full, fields in names.items():
        merged = [known.get(full, {}).get("properties", {}) for known in (outer, schemas)]
        table[full] = dict(_parsed(full, fields, merged[0] | merged[1]))
    return table


def _parsed(full: str, fields: str, properties: dict[str, Schema]) -> Iterator[tuple[int, _Field]]:
    for word in fields.split():
        name, _, number = word.rpartition("=")
        if name.startswith("+"):
            yield int(number), _Field(f"{full.rpartition('.')[0]}.{name[1:]}", {}, inline=True)
            continue
        schema = properties.get(name.rstrip("*"))
        if schema is not None:
            yield int(number), _Field(name.rstrip("*"), schema, optional=name.endswith("*"))


def _full(short: str) -> str:
    return f"io.k8s.{short}" if ".pkg." in short else f"io.k8s.api.{short}"
