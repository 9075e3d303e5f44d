"""Server-side apply of a Scale: who owns the replicas of an object, told in the Scale's own words and back.

To an apply of a Scale, whoever owns the replicas of the object owns the Scale's `spec.replicas`, as
k8s.io/apimachinery/pkg/util/managedfields has it. What the apply takes from others they lose in the object,
and who applied owns the replicas through the subresource `scale`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.machinery.patch.apply import engine, fieldset
from sampan.machinery.patch.apply.fieldset import FieldSet, PathElements
from sampan.machinery.patch.apply.managers import Managed, ManagedEntry
from sampan.machinery.patch.values import JsonObject
from sampan.machinery.schema_node import SchemaNode

API_VERSION: Final = "autoscaling/v1"
SUBRESOURCE: Final = "scale"
_REPLICAS: Final = fieldset.of(("f:spec", "f:replicas"))


def apply(
    scale: JsonObject,
    config: JsonObject,
    manager: str,
    *,
    schema: SchemaNode,
    managed: Managed,
    api_version: str,
    replicas: PathElements,
    now: Any,
    force: bool,
    empty: JsonObject,
) -> tuple[JsonObject, Managed]:
    """The Scale with `config` applied by `manager`, and who owns what of the object then.

    `managed` is of the object, in which the replicas are at `replicas`. Raises what `engine.apply` raises.
    """
    at = fieldset.of(replicas)
    applied = engine.apply(
        scale,
        config,
        manager,
        schema=schema,
        managed=tuple(_of_scale(entry) for entry in managed if entry.fields & at),
        now=now,
        force=force,
        subresource=SUBRESOURCE,
        empty=empty,
    )
    return applied.object, _of_object(managed, applied.managed, at, api_version)


def _of_scale(entry: ManagedEntry) -> ManagedEntry:
    return msgspec.structs.replace(entry, fields=_REPLICAS, api_version=API_VERSION)


def _of_object(managed: Managed, scaled: Managed, at: FieldSet, api_version: str) -> Managed:
    """The entries of the object, after those of its Scale have become `scaled`."""
    # Only what a Scale tells of the replicas is kept: the rest of it is not a field of the object.
    owning = {_of_scale(entry).key: entry for entry in scaled if entry.fields & _REPLICAS}
    made: list[ManagedEntry] = []
    for entry in managed:
        if not entry.fields & at:
            made.append(entry)
            continue
        still = owning.pop(_of_scale(entry).key, None)
        fields = entry.fields if still is not None else entry.fields - at
        time = still.time if still is not None and entry.fields == at else entry.time
        made.append(msgspec.structs.replace(entry, fields=fields, time=time))
    for entry in owning.values():
        made.append(msgspec.structs.replace(entry, fields=at, api_version=api_version))
    return tuple(entry for entry in made if entry.fields)


def wanted(scale: JsonObject) -> int:
    """How many replicas an applied Scale asks for; none where it does not say."""
    spec = scale.get("spec")
    replicas = spec.get("replicas") if isinstance(spec, dict) else None
    return replicas if isinstance(replicas, int) else 0
