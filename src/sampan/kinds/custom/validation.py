"""Validation of values against a schema, in the paths and words of kube-openapi's validator.

On updates old values are carried along where they correspond to new ones; what did not change is not looked
at again, so that an object that was invalid before can still be worked on (ratcheting).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from sampan.kinds.custom import formats
from sampan.kinds.custom.structural import EMBEDDED, INT_OR_STRING, LIST_MAP_KEYS, LIST_TYPE, PRESERVE
from sampan.machinery import field
from sampan.machinery.field import FieldError

Schema = dict[str, Any]

NO_OLD: Final = object()
_JSON_TYPES: Final = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
# Errors beyond these are not looked for: nobody reads them.
MAX_ERRORS: Final = 100


class Finding(msgspec.Struct, frozen=True):
    """Something wrong with a value, before it is a FieldError."""

    error: FieldError


def errors(content: Any, schema: Schema, old: Any = NO_OLD) -> list[FieldError]:
    """Everything wrong with `content`; with `old`, only with what differs from it."""
    found: list[FieldError] = []
    for error in _value(content, schema, "", old):
        found.append(error)
        if len(found) >= MAX_ERRORS:
            break
    return found


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: True is not 1, but 1 is 1.0."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict):
        return (
            isinstance(right, dict)
            and left.keys() == right.keys()
            and all(same(item, right[name]) for name, item in left.items())
        )
    if isinstance(left, list):
        return isinstance(right, list) and len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


def _value(value: Any, schema: Schema, at: str, old: Any) -> Iterator[FieldError]:
    if old is not NO_OLD and same(value, old):
        return
    wrong = _type_error(value, schema, at)
    if wrong is not None:
        yield wrong
        return
    if value is None:
        return
    if isinstance(value, str):
        yield from _text(value, schema, at)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from _number(value, schema, at)
    elif isinstance(value, list):
        yield from _list(value, schema, at, old)
    elif isinstance(value, dict):
        yield from _object(value, schema, at, old)
    if schema.get("enum"):
        yield from _enum(value, schema, at)
    yield from _junctors(value, schema, at)


# -- types -------------------------------------------------------------------------------------------


def json_type(value: Any) -> str:
    """What errors call the type of a value."""
    if value is None:
        return "null"
    if isinstance(value, float):
        return "number"
    return _JSON_TYPES.get(type(value), "object")


def _type_error(value: Any, schema: Schema, at: str) -> FieldError | None:
    wanted = ("integer", "string") if schema.get(INT_OR_STRING) else _types(schema)
    if not wanted:
        return None
    if value is None:
        return None if schema.get("nullable") else _wrong_type(at, wanted, "null")
    kind = json_type(value)
    if kind in wanted or (kind == "integer" and "number" in wanted):
        return None
    if kind == "number" and "integer" in wanted and value.is_integer():
        return None
    return _wrong_type(at, wanted, kind)


def _types(schema: Schema) -> tuple[str, ...]:
    declared = schema.get("type")
    return (declared,) if isinstance(declared, str) and declared else ()


def _wrong_type(at: str, wanted: tuple[str, ...], found: str) -> FieldError:
    detail = f'{at} in body must be of type {",".join(wanted)}: "{found}"'
    return FieldError(field.TYPE_INVALID, at or "<nil>", found, detail)


# -- scalars -----------------------------------------------------------------------------------------


def _text(value: str, schema: Schema, at: str) -> Iterator[FieldError]:
    limit = schema.get("maxLength")
    if limit is not None and len(value) > limit:
        yield FieldError(field.TOO_LONG, at, value, f"may not be more than {limit} bytes")
    limit = schema.get("minLength")
    if limit is not None and len(value) < limit:
        yield _invalid(at, value, f"should be at least {limit} chars long")
    pattern = schema.get("pattern")
    if pattern and not formats.matches(pattern, value):
        yield _invalid(at, value, f"should match '{pattern}'")
    named = schema.get("format")
    if named and not formats.is_format(named, value):
        detail = f"{at} in body must be of type {named}: {field_text(value)}"
        yield FieldError(field.TYPE_INVALID, at, value, detail)


def field_text(value: str) -> str:
    """A text in Go's quotes."""
    return msgspec.json.encode(value).decode()


def _number(value: float, schema: Schema, at: str) -> Iterator[FieldError]:
    limit = schema.get("maximum")
    if limit is not None:
        if schema.get("exclusiveMaximum"):
            if value >= limit:
                yield _invalid(at, value, f"should be less than {formats.go_number(limit)}")
        elif value > limit:
            yield _invalid(at, value, f"should be less than or equal to {formats.go_number(limit)}")
    limit = schema.get("minimum")
    if limit is not None:
        if schema.get("exclusiveMinimum"):
            if value <= limit:
                yield _invalid(at, value, f"should be greater than {formats.go_number(limit)}")
        elif value < limit:
            yield _invalid(at, value, f"should be greater than or equal to {formats.go_number(limit)}")
    factor = schema.get("multipleOf")
    if factor and not formats.is_multiple(value, factor):
        yield _invalid(at, value, f"should be a multiple of {formats.go_number(factor)}")
    low_high = formats.INTEGERS.get(schema.get("format", ""))
    if low_high is not None and not low_high[0] <= value <= low_high[1]:
        detail = f"Checked value must be of type integer with format {schema['format']} in {at}"
        yield FieldError(field.INVALID, "<nil>", "", detail)


def _enum(value: Any, schema: Schema, at: str) -> Iterator[FieldError]:
    if not any(same(value, allowed) for allowed in schema["enum"]):
        # In the schema's own order, and quoted whatever they are.
        shown = (v if isinstance(v, str) else msgspec.json.encode(v).decode() for v in schema["enum"])
        detail = f"supported values: {', '.join(map(field_text, shown))}"
        yield FieldError(field.NOT_SUPPORTED, at, value, detail)


# -- lists and objects -------------------------------------------------------------------------------


def _list(value: list[Any], schema: Schema, at: str, old: Any) -> Iterator[FieldError]:
    items = schema.get("items")
    if isinstance(items, dict):
        before = _by_key(old, schema)
        for position, item in enumerate(value):
            was = before(item) if before is not None else NO_OLD
            yield from _value(item, items, f"{at}[{position}]", was)
    limit = schema.get("minItems")
    if limit is not None and len(value) < limit:
        yield _invalid(at, len(value), f"should have at least {limit} items")
    limit = schema.get("maxItems")
    if limit is not None and len(value) > limit:
        yield FieldError(field.TOO_MANY, at, len(value), f"must have at most {limit} items")
    if schema.get("uniqueItems") and not _is_unique(value):
        yield _invalid(at, "", "shouldn't contain duplicates")


def _by_key(old: Any, schema: Schema) -> Callable[[Any], Any] | None:
    """Finds the old item that a new one of a keyed list corresponds to; other lists have none."""
    if old is NO_OLD or not isinstance(old, list) or schema.get(LIST_TYPE) != "map":
        return None
    keys = schema.get(LIST_MAP_KEYS) or []
    known = {key_of(item, keys): item for item in old if isinstance(item, dict)}
    return lambda item: known.get(key_of(item, keys), NO_OLD) if isinstance(item, dict) else NO_OLD


def key_of(item: dict[str, Any], keys: list[str]) -> bytes:
    """What tells an item of a keyed list from others."""
    return msgspec.json.encode([item.get(key) for key in keys])


def _is_unique(value: list[Any]) -> bool:
    texts = [msgspec.json.encode(item, order="sorted") for item in value]
    return len(set(texts)) == len(texts)


def _object(value: dict[str, Any], schema: Schema, at: str, old: Any) -> Iterator[FieldError]:
    was = old if isinstance(old, dict) else {}
    limit = schema.get("minProperties")
    if limit is not None and len(value) < limit:
        yield _invalid(at, value, f"should have at least {limit} properties")
    limit = schema.get("maxProperties")
    if limit is not None and len(value) > limit:
        yield FieldError(field.TOO_MANY, at, len(value), f"must have at most {limit} items")
    for name in schema.get("required") or ():
        if name not in value:
            yield FieldError(field.REQUIRED, _joined(at, name), "", "")
    properties = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    for name, item in value.items():
        sub = properties.get(name)
        if sub is None and isinstance(extra, dict):
            sub = extra
        if sub is not None:
            yield from _value(item, sub, _joined(at, name), was.get(name, NO_OLD))
        elif extra is False and not schema.get(PRESERVE) and not schema.get(EMBEDDED):
            detail = f"{_joined(at, name)} in body is a forbidden property"
            yield FieldError(field.INVALID, _joined(at, name), "", detail)


# -- allOf and its like ------------------------------------------------------------------------------


def _junctors(value: Any, schema: Schema, at: str) -> Iterator[FieldError]:
    for part in schema.get("allOf") or ():
        yield from _value(value, part, at, NO_OLD)
    if schema.get("anyOf"):
        yield from _any_of(value, schema["anyOf"], at)
    if schema.get("oneOf"):
        yield from _one_of(value, schema["oneOf"], at)
    if isinstance(schema.get("not"), dict) and not _first(value, schema["not"], at):
        yield _whole(f'"{at}" must not validate the schema (not)')


def _any_of(value: Any, parts: list[Schema], at: str) -> Iterator[FieldError]:
    best: list[FieldError] | None = None
    for part in parts:
        found = list(_value(value, part, at, NO_OLD))
        if not found:
            return
        if best is None or len(found) < len(best):
            best = found
    yield _whole(f'"{at}" must validate at least one schema (anyOf)')
    yield from best or ()


def _one_of(value: Any, parts: list[Schema], at: str) -> Iterator[FieldError]:
    best: list[FieldError] | None = None
    valid = 0
    for part in parts:
        found = list(_value(value, part, at, NO_OLD))
        valid += not found
        if found and (best is None or len(found) < len(best)):
            best = found
    if valid == 1:
        return
    how_many = "Found none valid" if not valid else f"Found {valid} valid alternatives"
    yield _whole(f'"{at}" must validate one and only one schema (oneOf). {how_many}')
    if not valid:
        yield from best or ()


def _first(value: Any, schema: Schema, at: str) -> bool:
    return next(_value(value, schema, at, NO_OLD), None) is not None


def _whole(detail: str) -> FieldError:
    # The validator does not say where these belong, and Kubernetes prints the empty path.
    return FieldError(field.INVALID, "<nil>", "", detail)


def _invalid(at: str, value: Any, detail: str) -> FieldError:
    return FieldError(field.INVALID, at or "<nil>", value, f"{at} in body {detail}")


def _joined(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
