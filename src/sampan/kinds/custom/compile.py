"""One version of a definition as the `Kind` that the generic verbs serve."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Final

import msgspec

from sampan.kinds.custom import columns, listtypes, pruning, rules, validation
from sampan.kinds.custom.defaulting import default, drop_nulls
from sampan.kinds.custom.definition import Definition, Version
from sampan.kinds.custom.scale import scale, scale_errors
from sampan.kinds.custom.structural import Node
from sampan.kinds.kind import ALL_VERBS, Kind, Scale, SubresourceUpdate
from sampan.machinery import field, names
from sampan.machinery.field import FieldError
from sampan.machinery.schema_node import SchemaNode
from sampan.schema.custom import CustomObject
from sampan.schema.definitions import GroupVersionKind
from sampan.schema.nodes import of_custom

_NO_CREATE: Final = tuple(verb for verb in ALL_VERBS if verb != "create")


class Shape:
    """What a version's schema makes of objects. Parsed when first needed."""

    def __init__(self, version: Version) -> None:
        self._version = version

    @cached_property
    def schema(self) -> dict[str, Any]:
        """openAPIV3Schema, without what the server says of every object itself."""
        parsed = self._version.parsed_schema()
        own = {k: v for k, v in parsed.get("properties", {}).items() if k not in _OWN}
        return {
            **parsed,
            "properties": own,
            "required": [k for k in parsed.get("required") or () if k not in _OWN],
        }

    @cached_property
    def node(self) -> Node:
        return Node(self.schema)

    @cached_property
    def merging(self) -> SchemaNode:
        """The schema as server-side apply asks it."""
        return of_custom(self._version.parsed_schema())

    def prune(self, obj: CustomObject) -> list[str]:
        """Remove what the schema does not specify; the paths of it."""
        return pruning.prune(obj.content, self.node)

    def complete(self, obj: CustomObject) -> None:
        """Fill defaults and drop nulls, in place."""
        default(obj.content, self.node)
        drop_nulls(obj.content, self.node)

    def errors(self, obj: CustomObject) -> list[FieldError]:
        """Everything wrong with a new object."""
        found = validation.errors(obj.content, self.schema)
        found += listtypes.embedded_errors(obj.content, self.node)
        found += listtypes.list_errors(obj.content, self.node)
        found += self._scale_errors(obj)
        return found + self._rule_errors(obj, None, found)

    def change_errors(self, new: CustomObject, old: CustomObject) -> list[FieldError]:
        """Everything that a change makes wrong: what was wrong before and did not change may stay."""
        found = validation.errors(new.content, self.schema, old.content)
        if not listtypes.embedded_errors(old.content, self.node):
            found += listtypes.embedded_errors(new.content, self.node)
        if not listtypes.list_errors(old.content, self.node):
            found += listtypes.list_errors(new.content, self.node)
        found += self._scale_errors(new)
        return found + self._rule_errors(new, old, found)

    def _rule_errors(
        self, obj: CustomObject, old: CustomObject | None, found: list[FieldError]
    ) -> list[FieldError]:
        """What rules say; where they might ask for what is missing, only that they were not asked."""
        if not self.node.rules_below:
            return []
        if any(error.type in rules.BLOCKING for error in found):
            return [FieldError(field.INVALID, "<nil>", None, rules.NOT_CHECKED)]
        before = None if old is None else (old.content, old.metadata)
        return rules.rule_errors(obj.content, obj.metadata, self.node, before)

    def _scale_errors(self, obj: CustomObject) -> list[FieldError]:
        at = self._version.subresources.scale
        return [] if at is None else scale_errors(obj, at)


_OWN: Final = frozenset({"apiVersion", "kind", "metadata"})


def outline(definition: Definition, version: Version) -> Kind:
    """The kind for discovery: without what needs the schema."""
    accepted = definition.names
    return Kind(
        api_version=f"{definition.spec.group}/{version.name}",
        kind=accepted.kind,
        plural=accepted.plural,
        singular=accepted.singular,
        short=accepted.shortNames,
        categories=accepted.categories,
        namespaced=definition.spec.scope == "Namespaced",
        verbs=_NO_CREATE if definition.terminating else ALL_VERBS,
        status=version.subresources.status is not None,
        scale=_scale(version),
        generation=True,
        stored_as=GroupVersionKind(definition.spec.group, definition.storage.name, accepted.kind),
        own_type=CustomObject,
    )


def kind_of(definition: Definition, version: Version, shape: Shape) -> Kind:
    """The whole kind."""
    with_status = version.subresources.status is not None

    def prepare_create(obj: CustomObject) -> None:
        if with_status:
            obj.status = None

    return msgspec.structs.replace(
        outline(definition, version),
        default=shape.complete,
        prune=shape.prune,
        merging=lambda: shape.merging,
        validate=shape.errors,
        validate_change=shape.change_errors,
        prepare_create=prepare_create,
        subresource_updates={"status": SubresourceUpdate(_keep_metadata)} if with_status else {},
        name_errors=names.dns1123_subdomain,
        field_selectors=columns.field_selectors(version),
        columns=columns.columns(version),
    )


def _scale(version: Version) -> Scale | None:
    at = version.subresources.scale
    return None if at is None else scale(at)


def _keep_metadata(new: CustomObject, old: CustomObject) -> None:
    """An update of the status changes no metadata, but who manages which field of it."""
    managed = new.metadata.managedFields
    new.metadata = msgspec.structs.replace(old.metadata, managedFields=managed)
