"""What the root of a schema may say where the status is a subresource, and how messages show a schema."""

from __future__ import annotations

from typing import Any, Final

from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

_EXTENSION: Final = "x-kubernetes-"
# In the order in which messages show them: the JSON name, and what is shown where it is not set. What is null
# there may also be set to zero.
_FIELDS: Final[tuple[tuple[str, Any], ...]] = (
    ("id", ""),
    ("$schema", ""),
    ("$ref", None),
    ("description", ""),
    ("type", ""),
    ("nullable", False),
    ("format", ""),
    ("title", ""),
    ("default", None),
    ("maximum", None),
    ("exclusiveMaximum", False),
    ("minimum", None),
    ("exclusiveMinimum", False),
    ("maxLength", None),
    ("minLength", None),
    ("pattern", ""),
    ("maxItems", None),
    ("minItems", None),
    ("uniqueItems", False),
    ("multipleOf", None),
    ("enum", None),
    ("maxProperties", None),
    ("minProperties", None),
    ("required", None),
    ("items", None),
    ("allOf", None),
    ("oneOf", None),
    ("anyOf", None),
    ("not", None),
    ("properties", None),
    ("additionalProperties", None),
    ("patternProperties", None),
    ("dependencies", None),
    ("additionalItems", None),
    ("definitions", None),
    ("externalDocs", None),
    ("example", None),
    ("x-kubernetes-preserve-unknown-fields", None),
    ("x-kubernetes-embedded-resource", False),
    ("x-kubernetes-int-or-string", False),
    ("x-kubernetes-list-map-keys", None),
    ("x-kubernetes-list-type", None),
    ("x-kubernetes-map-type", None),
    ("x-kubernetes-validations", None),
)
_ALLOWED: Final = (
    "Description Type Format Title Maximum ExclusiveMaximum Minimum ExclusiveMinimum MaxLength MinLength "
    "Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties ExternalDocs Example "
    "XPreserveUnknownFields XValidations"
)
_ONLY: Final = "are allowed at the root of the schema if the status subresource is enabled"
_TYPE: Final = (
    'only "object" is allowed as the type at the root of the schema if the status subresource is enabled'
)


def root_errors(schema: dict[str, Any], path: Path) -> list[FieldError]:
    """The first thing that the schema of an object with a status of its own may not say at its root."""
    allowed = _ALLOWED.split()
    for name, zero in _FIELDS:
        value = schema.get(name, zero)
        if value == zero and (value is None) == (zero is None):
            continue
        if name == "type" and value != "object":
            return [field.invalid(path["type"], value, _TYPE)]
        if _go_name(name) not in allowed:
            return [field.invalid(path, shown(schema), f"only [{_ALLOWED}] fields {_ONLY}")]
    return []


def shown(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as messages show it: all fields, by the original's own names for them."""
    return {_go_name(name): _shown(name, schema.get(name, zero)) for name, zero in _FIELDS}


def rule_shown(entry: dict[str, Any]) -> dict[str, Any]:
    """A rule in the same way."""
    names = ("rule", "message", "messageExpression", "reason", "fieldPath", "optionalOldSelf")
    empty = {"reason": None, "optionalOldSelf": None}
    return {_go_name(name): entry.get(name, empty.get(name, "")) for name in names}


def _go_name(name: str) -> str:
    if name == "id":
        return "ID"
    if name.startswith(_EXTENSION):
        return "X" + "".join(map(str.capitalize, name.removeprefix(_EXTENSION).split("-")))
    plain = name.removeprefix("$")
    return plain[0].upper() + plain[1:]


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in ("allOf", "oneOf", "anyOf"):
        return [shown(part) for part in value] or None
    if name in ("properties", "patternProperties", "definitions"):
        return {key: shown(value[key]) for key in sorted(value)} or None
    if name == "not":
        return shown(value)
    if name == "items":
        if isinstance(value, list):
            return {"Schema": None, "JSONSchemas": [shown(part) for part in value]}
        return {"Schema": shown(value), "JSONSchemas": None}
    if name in ("additionalProperties", "additionalItems"):
        if isinstance(value, bool):
            return {"Allows": value, "Schema": None}
        return {"Allows": True, "Schema": shown(value)}
    if name == "x-kubernetes-validations":
        return [rule_shown(entry) for entry in value] or None
    return value
