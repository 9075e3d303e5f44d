"""A structural schema, compiled: what a field is, apart from what values it may have.

Pruning, defaulting and list checks walk these nodes.
"""

from __future__ import annotations

from typing import Any, Final

PRESERVE: Final = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING: Final = "x-kubernetes-int-or-string"
EMBEDDED: Final = "x-kubernetes-embedded-resource"
LIST_TYPE: Final = "x-kubernetes-list-type"
LIST_MAP_KEYS: Final = "x-kubernetes-list-map-keys"
MAP_TYPE: Final = "x-kubernetes-map-type"
VALIDATIONS: Final = "x-kubernetes-validations"
_ABSENT: Final = object()


class Node:
    """One schema. `additional` is the schema of values beside `properties`; None where they are pruned."""

    __slots__ = (
        "additional",
        "default",
        "defaults_below",
        "embedded",
        "items",
        "list_keys",
        "list_type",
        "nullable",
        "preserve",
        "properties",
        "rules_below",
        "schema",
        "shapes_below",
    )

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema
        self.nullable = bool(schema.get("nullable"))
        self.preserve = bool(schema.get(PRESERVE))
        self.embedded = bool(schema.get(EMBEDDED))
        self.default: Any = schema.get("default", _ABSENT)
        properties = schema.get("properties")
        self.properties: dict[str, Node] = (
            {name: Node(sub) for name, sub in properties.items() if isinstance(sub, dict)}
            if isinstance(properties, dict)
            else {}
        )
        items = schema.get("items")
        self.items: Node | None = Node(items) if isinstance(items, dict) else None
        extra = schema.get("additionalProperties")
        self.additional: Node | None = None
        if isinstance(extra, dict):
            self.additional = Node(extra)
        elif extra is True:
            self.additional = Node({PRESERVE: True})
        self.list_type = schema.get(LIST_TYPE, "atomic")
        self.list_keys: tuple[str, ...] = tuple(schema.get(LIST_MAP_KEYS) or ())
        below = [*self.properties.values(), *(n for n in (self.items, self.additional) if n is not None)]
        # Whether anything in or below a value of this node has a default, or lists with a shape to check.
        self.defaults_below: bool = any(n.has_default or n.defaults_below for n in below)
        self.shapes_below: bool = (
            self.embedded or self.list_type in ("set", "map") or any(n.shapes_below for n in below)
        )

        self.rules_below: bool = bool(schema.get(VALIDATIONS)) or any(n.rules_below for n in below)

    @property
    def has_default(self) -> bool:
        return self.default is not _ABSENT

    def child(self, name: str) -> Node | None:
        """The schema of a field or of a map's value."""
        return self.properties.get(name) or self.additional
