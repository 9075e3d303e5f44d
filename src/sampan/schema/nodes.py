"""The published types, and the schemas of custom resources, as the nodes that patching asks."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any, Final

from sampan.machinery.schema_node import (
    ANY,
    ATOMIC,
    BOOLEAN,
    GRANULAR,
    KEYED,
    LIST,
    MAP,
    NUMBER,
    OBJECT,
    SET,
    STRING,
    UNKNOWN,
    SchemaNode,
)
from sampan.schema.compile import schema_type
from sampan.schema.definitions import NEWEST, Definitions, GroupVersionKind, Schema, load, ref_of

_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1."
_FREE_FORM: Final = frozenset({_META + "FieldsV1", "io.k8s.apimachinery.pkg.runtime.RawExtension"})
_SCALARS: Final = {"string": STRING, "integer": NUMBER, "number": NUMBER, "boolean": BOOLEAN}
# Defaults of list-map keys. The published definitions carry none; the API server fills these.
_KEY_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "io.k8s.api.core.v1.ContainerPort": {"protocol": "TCP"},
    "io.k8s.api.core.v1.ServicePort": {"protocol": "TCP"},
}
# Levels of lists and objects below one that is shallow: a probe's, down to its headers.
_SHALLOW: Final = 4
_PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"


class Node:
    """One schema, with what its reference adds. Children are made when asked for, once."""

    def __init__(self, schema: Schema, definitions: Definitions) -> None:
        self._definitions = definitions
        self._full = ref_of(schema)
        target = definitions.schemas[self._full] if self._full else {}
        self._schema: Schema = {**target, **schema}
        self._properties = self._schema.get("properties", ())
        self._children: dict[str, SchemaNode | None] = {}

    @cached_property
    def kind(self) -> str:
        if self._full in _FREE_FORM or "x-kubernetes-int-or-string" in self._schema:
            return ANY
        declared = schema_type(self._schema)
        if declared == "array":
            return LIST
        if "properties" in self._schema:
            return OBJECT
        if declared == "object":
            return self._kind_without_properties()
        return _SCALARS.get(declared or "", ANY)

    def _kind_without_properties(self) -> str:
        if isinstance(self._schema.get("additionalProperties"), dict):
            return MAP
        if self._schema.get("x-kubernetes-embedded-resource"):
            return OBJECT
        # A published struct without fields is closed; a custom schema that says nothing more prunes all.
        return ANY if self._schema.get(_PRESERVE) or self._schema.get("additionalProperties") else OBJECT

    @property
    def name(self) -> str:
        return self._full.rsplit(".", 1)[1] if self._full else self.kind

    def child(self, field: str) -> SchemaNode | None:
        known = self._children.get(field)
        if known is not None:
            return known
        if field not in self._children:
            known = self._make_child(field)
            if self.kind == OBJECT and known is not None and self.is_field(field):
                self._children[field] = known
        return known

    def _make_child(self, field: str) -> SchemaNode | None:
        if self.kind == MAP:
            return self._values
        properties = self._schema.get("properties", {})
        if field in properties:
            return Node(properties[field], self._definitions)
        if self._schema.get("x-kubernetes-embedded-resource"):
            return _object_field(field, self._definitions) or self._undeclared
        return self._undeclared

    @property
    def _undeclared(self) -> SchemaNode | None:
        return UNKNOWN if self.kind != OBJECT or self._schema.get(_PRESERVE) else None

    @cached_property
    def _values(self) -> SchemaNode:
        return Node(self._schema["additionalProperties"], self._definitions)

    @cached_property
    def _items(self) -> SchemaNode:
        items = self._schema.get("items")
        return Node(items, self._definitions) if isinstance(items, dict) and items else UNKNOWN

    def items(self) -> SchemaNode:
        return self._items

    def is_field(self, field: str) -> bool:
        return field in self._properties

    @cached_property
    def patch_strategies(self) -> tuple[str, ...]:
        return tuple(s for s in self._schema.get("x-kubernetes-patch-strategy", "").split(",") if s)

    @property
    def patch_merge_key(self) -> str:
        return str(self._schema.get("x-kubernetes-patch-merge-key", ""))

    @cached_property
    def list_type(self) -> str:
        declared = self._schema.get("x-kubernetes-list-type")
        if declared is not None:
            return str(declared)
        # Lists from before list types tell by their patch strategy.
        if "merge" in self.patch_strategies:
            return KEYED if self.patch_merge_key else SET
        return ATOMIC

    @cached_property
    def list_map_keys(self) -> tuple[str, ...]:
        keys = self._schema.get("x-kubernetes-list-map-keys")
        if keys:
            return tuple(keys)
        return (self.patch_merge_key,) if self.patch_merge_key else ()

    @cached_property
    def key_defaults(self) -> Mapping[str, Any]:
        items = self._items
        if not isinstance(items, Node):
            return {}
        properties = items._schema.get("properties", {})
        defaults = {
            k: properties[k]["default"] for k in self.list_map_keys if "default" in properties.get(k, ())
        }
        return {**_KEY_DEFAULTS.get(items._full or "", {}), **defaults}

    @cached_property
    def map_type(self) -> str:
        return ATOMIC if self._schema.get("x-kubernetes-map-type") == ATOMIC else GRANULAR

    @cached_property
    def is_shallow(self) -> bool:
        # Maps are walked as fast as they are written out.
        return self.kind in (OBJECT, LIST) and _is_shallow(self._schema, self._definitions, _SHALLOW)


class CustomRoot(Node):
    """The root of a custom resource: its schema, with the metadata every object has."""

    def child(self, field: str) -> SchemaNode | None:
        return _object_field(field, self._definitions) or super().child(field)

    def is_field(self, field: str) -> bool:
        return field in ("apiVersion", "kind", "metadata") or super().is_field(field)


@lru_cache(maxsize=4096)
def of(full: str, version: str = NEWEST) -> SchemaNode:
    """The node of a published definition. Raises KeyError where the version has none of this name."""
    return Node({"$ref": f"#/$defs/{full}"}, load(version))


def of_kind(gvk: GroupVersionKind, version: str = NEWEST) -> SchemaNode:
    """The node of a published kind. Raises KeyError where the version has none."""
    return of(load(version).by_gvk[gvk], version)


def of_custom(schema: Schema | None, version: str = NEWEST) -> SchemaNode:
    """The node of a custom resource with this openAPIV3Schema; None preserves everything."""
    if schema is None:
        schema = {"type": "object", "properties": {}, _PRESERVE: True}
    return CustomRoot({"properties": {}, **schema}, load(version))


def _object_field(field: str, definitions: Definitions) -> SchemaNode | None:
    if field == "metadata":
        return of(_META + "ObjectMeta", definitions.version)
    if field in ("apiVersion", "kind"):
        return _text(definitions.version)
    return None


def _is_shallow(schema: Schema, definitions: Definitions, levels: int) -> bool:
    """Whether all that is declared ends within so many levels."""
    full = ref_of(schema)
    if full is not None:
        schema = {**definitions.schemas[full], **schema}
    if full in _FREE_FORM or schema.get(_PRESERVE):
        return False
    below = [
        *(schema.get("properties") or {}).values(),
        schema.get("items"),
        schema.get("additionalProperties"),
    ]
    declared = [each for each in below if isinstance(each, dict)]
    if not declared:
        return True
    return levels > 0 and all(_is_shallow(each, definitions, levels - 1) for each in declared)


@lru_cache(maxsize=16)
def _text(version: str) -> SchemaNode:
    return Node({"type": "string"}, load(version))
