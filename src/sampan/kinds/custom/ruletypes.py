"""The types that rules of a custom resource see: its schema, with fields by their escaped names."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.custom import structural
from sampan.kinds.custom.rules import escaped
from sampan.machinery import schema_node
from sampan.machinery.schema_node import UNKNOWN, Plain, SchemaNode

# Text with one of these formats is a time, a duration or bytes to rules.
_OTHER_TYPES: Final = frozenset({"byte", "date", "date-time", "duration"})
# A `number` is a double, which goes together with integers in most operators: nothing is said of it.
_SCALARS: Final = {
    "boolean": schema_node.BOOLEAN,
    "integer": schema_node.NUMBER,
    "string": schema_node.STRING,
}
_TEXT: Final = {"type": "string"}
# What every object has, and all of its metadata that rules may read.
_OBJECT: Final = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}


class RuleType(Plain):
    """One schema. `root`: that of a whole object, which has a kind and metadata beside its own fields."""

    def __init__(self, schema: dict[str, Any], *, root: bool = False) -> None:
        kind = _kind(schema)
        super().__init__(kind, kind)
        self._schema = schema
        fields = schema.get("properties") or {}
        if root or schema.get(structural.EMBEDDED):
            fields = {**fields, **_OBJECT}
        self._fields = {escaped(name): member for name, member in fields.items()}

    def child(self, field: str) -> SchemaNode | None:
        """The type of a field by its escaped name, or of a map's values; None where there is none."""
        if self.kind == schema_node.MAP:
            return _member(self._schema["additionalProperties"])
        if self.kind != schema_node.OBJECT:
            return super().child(field)
        found = self._fields.get(field)
        return None if found is None else _member(found)

    def items(self) -> SchemaNode:
        """The type of a list's items."""
        return _member(self._schema.get("items"))

    def is_field(self, field: str) -> bool:
        """Whether it is a declared field."""
        return field in self._fields


def _member(schema: Any) -> SchemaNode:
    return RuleType(schema) if isinstance(schema, dict) else UNKNOWN


def _kind(schema: dict[str, Any]) -> str:
    if schema.get(structural.INT_OR_STRING):
        return schema_node.ANY
    match schema.get("type"):
        case "object":
            return schema_node.MAP if schema.get("additionalProperties") else schema_node.OBJECT
        case "array":
            return schema_node.LIST
        case "string" if schema.get("format") in _OTHER_TYPES:
            return schema_node.ANY
        case str(name):
            return _SCALARS.get(name, schema_node.ANY)
    return schema_node.ANY
