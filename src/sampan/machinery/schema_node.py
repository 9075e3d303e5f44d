"""What patching needs to know of a type: which lists merge by which keys, and what is one whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

# Kinds of nodes.
OBJECT: Final = "object"  # a struct with known fields
MAP: Final = "map"  # keys are data
LIST: Final = "list"
STRING: Final = "string"
NUMBER: Final = "number"
BOOLEAN: Final = "boolean"
ANY: Final = "any"  # free-form: nothing is known

# How the elements of a list or map relate.
ATOMIC: Final = "atomic"
GRANULAR: Final = "granular"
SET: Final = "set"
KEYED: Final = "map"


class SchemaNode(Protocol):
    """One type, or one field with its markers (x-kubernetes-list-type and so on)."""

    @property
    def kind(self) -> str:
        """OBJECT, MAP, LIST, STRING, NUMBER, BOOLEAN or ANY."""

    @property
    def name(self) -> str:
        """What errors call the type: `PodSpec`, `string`."""

    def child(self, field: str) -> SchemaNode | None:
        """The node of a field or of a map's values; None where the object has no such field."""

    def items(self) -> SchemaNode:
        """The node of a list's items."""

    def is_field(self, field: str) -> bool:
        """Whether `field` is a declared field, not a key of a map."""

    @property
    def patch_strategies(self) -> tuple[str, ...]:
        """Of strategic merge patch: `merge`, `replace`, `retainKeys`."""

    @property
    def patch_merge_key(self) -> str:
        """The field by which strategic merge patch tells a list's items apart; empty for none."""

    @property
    def list_type(self) -> str:
        """ATOMIC, SET or KEYED."""

    @property
    def list_map_keys(self) -> tuple[str, ...]:
        """The fields that name an item of a KEYED list."""

    @property
    def key_defaults(self) -> Mapping[str, Any]:
        """Values of list_map_keys that an item may leave out."""

    @property
    def map_type(self) -> str:
        """GRANULAR, or ATOMIC where an object is replaced as a whole."""

    @property
    def is_shallow(self) -> bool:
        """Whether values hold so little that many are alike: worth to look at once, and to remember."""

    def __hash__(self) -> int:
        """By identity: what is remembered of values is remembered by their node."""


class Plain:
    """A value of which no more than its kind is known, and no fields.

    Without a schema at all maps are granular, lists atomic, as structured-merge-diff deduces.
    """

    patch_strategies: tuple[str, ...] = ()
    patch_merge_key = ""
    list_type = ATOMIC
    list_map_keys: tuple[str, ...] = ()
    key_defaults: Mapping[str, Any] = {}
    map_type = GRANULAR
    is_shallow = False

    def __init__(self, kind: str, name: str) -> None:
        self.kind = kind
        self.name = name

    def child(self, field: str) -> SchemaNode | None:
        return UNKNOWN if self.kind == ANY else None

    def items(self) -> SchemaNode:
        return UNKNOWN

    def is_field(self, field: str) -> bool:
        return False


UNKNOWN: Final[SchemaNode] = Plain(ANY, "value")
