"""What makes a schema structural beyond its types: extensions that fit together, defaults that are valid, and
value validations (`allOf`, `anyOf`, `oneOf`, `not`) that add no structure of their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from typing import Any, Final

from sampan.kinds.custom import formats, pruning, validation
from sampan.kinds.custom.defaulting import default as fill
from sampan.kinds.custom.structural import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
    Node,
)
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

Schema = dict[str, Any]

_STRUCTURAL: Final = "must be empty to be structural"
_NOT_SUPPORTED: Final = (
    "definitions",
    "dependencies",
    "patternProperties",
)
# The same for those that are there although they are empty.
_NOT_EVEN_EMPTY: Final = ("$ref", "additionalItems")
_NOT_IN_VALIDATIONS: Final = (
    "additionalProperties",
    "default",
    "description",
    "nullable",
    "title",
    "type",
    EMBEDDED,
    INT_OR_STRING,
    LIST_MAP_KEYS,
    LIST_TYPE,
    MAP_TYPE,
    PRESERVE,
)
# What says something even where it is empty: numbers above all.
_SET_IF_PRESENT: Final = frozenset(
    {
        "maximum",
        "minimum",
        "maxItems",
        "minItems",
        "maxLength",
        "minLength",
        "maxProperties",
        "minProperties",
        "multipleOf",
        "not",
        "additionalProperties",
        "example",
        PRESERVE,
        LIST_TYPE,
        MAP_TYPE,
    }
)
# Parts of a schema that are values, not schemas.
_VALUES: Final = frozenset({"default", "enum", "example"})
_LIST_TYPES: Final = ("atomic", "set", "map")
_MAP_TYPES: Final = ("atomic", "granular")
_SCALARS: Final = ("boolean", "integer", "number", "string")
_JUNCTORS: Final = ("allOf", "anyOf", "oneOf")


def node_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    """What is wrong with one schema itself; those below it are the caller's."""
    for name in _NOT_EVEN_EMPTY:
        if name in schema:
            yield field.forbidden(path[name], f"{name} is not supported")
    for name in _NOT_SUPPORTED:
        if schema.get(name):
            yield field.forbidden(path[name], f"{name} is not supported")
    if schema.get("id"):
        yield field.forbidden(path["id"], "id is not supported")
    if schema.get(INT_OR_STRING) and schema.get(PRESERVE):
        yield field.invalid(path[PRESERVE], True, f"must be false if {INT_OR_STRING} is true")
    if schema.get("additionalProperties") is False:
        yield field.forbidden(path["additionalProperties"], "additionalProperties cannot be set to false")
    if schema.get(PRESERVE) is False:
        yield field.invalid(path[PRESERVE], False, "must be true or undefined")
    yield from _pattern_errors(schema, path)
    yield from _list_errors(schema, path)
    yield from _map_errors(schema, path)
    yield from _embedded_errors(schema, path)
    for part, at in _parts(schema, path):
        yield from _validation_errors(
            part, at, schema, path, in_int_or_string=bool(schema.get(INT_OR_STRING))
        )
    if "default" in schema:
        yield from _default_errors(schema, path["default"])


def _pattern_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    pattern = schema.get("pattern")
    if pattern and (problem := formats.pattern_error(pattern)):
        detail = f"must be a valid regular expression, but isn't: {problem}"
        yield field.invalid(path["pattern"], pattern, detail)


def _type_error(schema: Schema, path: Path, detail: str) -> FieldError:
    given = schema.get("type")
    return field.invalid(path["type"], given, detail) if given else field.required(path["type"], detail)


def _list_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    kind, keys = schema.get(LIST_TYPE), schema.get(LIST_MAP_KEYS) or []
    detail = f"must be map if {LIST_MAP_KEYS} is non-empty"
    if keys and kind is None:
        yield field.required(path[LIST_TYPE], detail)
    elif keys and kind != "map":
        yield field.invalid(path[LIST_TYPE], kind, detail)
    if kind is None:
        return
    if schema.get("type") != "array":
        yield _type_error(schema, path, f"must be array if {LIST_TYPE} is specified")
    if kind not in _LIST_TYPES:
        yield field.not_supported(path[LIST_TYPE], kind, _LIST_TYPES)
        return
    items = schema.get("items")
    if not isinstance(items, dict):
        return
    if kind == "set":
        yield from _set_items_errors(items, path["items"])
    elif kind == "map":
        yield from _keyed_items_errors(items, keys, path)


def _set_items_errors(items: Schema, path: Path) -> Iterator[FieldError]:
    detail = f"must be atomic as item of a list with {LIST_TYPE}=set"
    if items.get("nullable"):
        yield field.forbidden(path["nullable"], "cannot be nullable when x-kubernetes-list-type is set")
    if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
        yield field.invalid(path[MAP_TYPE], items.get(MAP_TYPE), detail)
    elif items.get("type") == "array" and items.get(LIST_TYPE, "atomic") != "atomic":
        yield field.invalid(path[LIST_TYPE], items.get(LIST_TYPE), detail)


def _keyed_items_errors(items: Schema, keys: list[str], path: Path) -> Iterator[FieldError]:
    if not keys:
        yield field.required(path[LIST_MAP_KEYS], f"must not be empty if {LIST_TYPE} is map")
    if items.get("type") != "object":
        detail = f"must be object if parent array's {LIST_TYPE} is map"
        yield field.invalid(path["items"]["type"], items.get("type"), detail)
    properties = items.get("properties") or {}
    for position, key in enumerate(keys):
        at = path[LIST_MAP_KEYS][position]
        if key in keys[:position]:
            yield field.duplicate(at, key)
        elif key not in properties:
            yield field.invalid(at, key, "entries must all be names of item properties")
        elif properties[key].get("type") not in _SCALARS:
            detail = "must only refer to scalar properties"
            yield field.invalid(
                path["items"]["properties"].key(key)["type"], properties[key].get("type"), detail
            )
        elif "default" not in properties[key] and key not in (items.get("required") or ()):
            detail = (
                f"this property is in {LIST_MAP_KEYS}, so it must have a default or be a required property"
            )
            yield field.required(path["items"]["properties"].key(key)["default"], detail)


def _map_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    kind = schema.get(MAP_TYPE)
    if kind is None:
        return
    if schema.get("type") != "object":
        yield _type_error(schema, path, f"must be object if {MAP_TYPE} is specified")
    if kind not in _MAP_TYPES:
        yield field.not_supported(path[MAP_TYPE], kind, _MAP_TYPES)


def _embedded_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    if not schema.get(EMBEDDED):
        return
    if schema.get("type") != "object":
        yield _type_error(schema, path, f"must be object if {EMBEDDED} is true")
    if not schema.get(PRESERVE) and not schema.get("properties"):
        detail = f"must not be empty if {EMBEDDED} is true without {PRESERVE}"
        yield field.required(path["properties"], detail)


def _parts(schema: Schema, path: Path) -> Iterator[tuple[Schema, Path]]:
    for name in _JUNCTORS:
        for position, part in enumerate(schema.get(name) or ()):
            yield part, path[name][position]
    if isinstance(schema.get("not"), dict):
        yield schema["not"], path["not"]


def _validation_errors(
    part: Schema, path: Path, outer: Schema, outer_path: Path, *, in_int_or_string: bool = False
) -> Iterator[FieldError]:
    """A value validation may narrow what its outer schema has, and nothing more."""
    for name in _NOT_IN_VALIDATIONS:
        if name == "type" and in_int_or_string and part.get(name) in ("integer", "string"):
            continue  # the one pattern that says both of its types
        if name in part and part[name] not in (None, "", [], {}):
            yield field.forbidden(path[name], _STRUCTURAL)
    yield from _pattern_errors(part, path)
    known = outer.get("properties") or {}
    for name, inner in (part.get("properties") or {}).items():
        at = path["properties"].key(name)
        if name in known:
            yield from _validation_errors(inner, at, known[name], outer_path["properties"].key(name))
        elif not _is_typed_elsewhere(outer):
            yield field.required(outer_path["properties"].key(name), f"because it is defined in {at}")
    items = part.get("items")
    if isinstance(items, dict):
        if isinstance(outer.get("items"), dict):
            yield from _validation_errors(items, path["items"], outer["items"], outer_path["items"])
        else:
            yield field.required(outer_path["items"], f"because it is defined in {path['items']}")
    for inner, at in _parts(part, path):
        yield from _validation_errors(inner, at, outer, outer_path, in_int_or_string=in_int_or_string)


def _is_typed_elsewhere(outer: Schema) -> bool:
    # The metadata of objects has its properties without saying so.
    return bool(outer.get(EMBEDDED))


def _default_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    """A default must be what the schema accepts, with nothing that would be pruned."""
    value = deepcopy(schema["default"])
    wrapped = Node({"type": "object", "properties": {"default": schema}})
    holder = {"default": value}
    gone = pruning.prune(holder, wrapped)
    if gone:
        yield field.invalid(path, schema["default"], f"must not have unknown fields: {', '.join(gone)}")
        return
    fill(holder, wrapped)
    plain = {key: item for key, item in schema.items() if key != "default"}
    for error in validation.errors(holder, {"type": "object", "properties": {"default": plain}}):
        where = error.field.removeprefix("default")
        at = str(path) if error.field == "<nil>" else f"{path}{where}"
        # What is wrong with the whole of it is told without its name.
        detail = error.detail
        if not where and detail.startswith("default in body"):
            detail = detail.removeprefix("default")
        yield FieldError(error.type, at, error.bad_value, detail)


def names_meta_schema(schema: Any) -> bool:
    """Whether anything in the schema says which dialect it is in: told once, as of the whole."""
    if isinstance(schema, list):
        return any(map(names_meta_schema, schema))
    if not isinstance(schema, dict):
        return False
    if schema.get("$schema") and isinstance(schema["$schema"], str):
        return True
    return any(names_meta_schema(value) for key, value in schema.items() if key not in _VALUES)


def meta_types_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    """What every object has is of the types it has there, where it is named at all."""
    properties = schema.get("properties") or {}
    for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
        own = properties.get(name)
        if isinstance(own, dict) and (given := own.get("type") or "") != wanted:
            at = path["properties"].key(name)["type"]
            yield field.invalid(at, given, f"must be {wanted}")


def metadata_errors(schema: Schema, path: Path) -> Iterator[FieldError]:
    """The root says nothing of metadata but what names may be."""
    properties = schema.get("properties") or {}
    own = properties.get("metadata")
    if not isinstance(own, dict):
        return
    at = path["properties"].key("metadata")
    detail = (
        "must not specify anything other than name and generateName, but metadata is implicitly specified"
    )
    if "default" in own:
        yield field.forbidden(at["default"], "must not be set in top-level metadata")
    # References and the like are refused as such.
    extra = {name for name, value in own.items() if value or name in _SET_IF_PRESENT} - {
        "$ref",
        "$schema",
        "id",
    }
    if extra - {"type", "properties", "default"} or set(own.get("properties") or ()) - {
        "name",
        "generateName",
    }:
        yield field.forbidden(at, detail)


def found_at(schema: Schema, steps: list[str]) -> Schema | None:
    """The schema that a simple path leads to; None where it leads nowhere."""
    inner: Any = schema
    for step in steps:
        if not isinstance(inner, dict):
            return None
        inner = (inner.get("properties") or {}).get(step) or inner.get("additionalProperties")
    return inner if isinstance(inner, dict) else None
