"""Moving from client-side to server-side apply: kubectl's last-applied annotation.

Who applied with kubectl before need not force: what still is as it was last applied was kubectl's own.
Follows k8s.io/apimachinery/pkg/util/managedfields/internal/lastappliedmanager.go and lastappliedupdater.go.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from sampan.machinery.patch.apply import fieldset, typed
from sampan.machinery.patch.apply.fieldset import EMPTY, FieldSet
from sampan.machinery.patch.values import JsonObject
from sampan.machinery.schema_node import SchemaNode

ANNOTATION: Final = "kubectl.kubernetes.io/last-applied-configuration"
KUBECTL: Final = "kubectl"
# The manager that kubectl is while it applies on its own side.
CLIENT_SIDE: Final = "kubectl-client-side-apply"
_NOTE: Final = fieldset.of(
    ("f:metadata", "f:annotations"), ("f:metadata", "f:annotations", fieldset.field(ANNOTATION))
)


def untouched(live: JsonObject, manager: str, schema: SchemaNode) -> FieldSet:
    """The fields that are in `live` as kubectl last applied them, which kubectl may take without force."""
    applied = _applied(live) if manager == KUBECTL else None
    if applied is None:
        return EMPTY
    difference = typed.compare(applied, live, schema)
    return typed.to_field_set(applied, schema) - (difference.modified | difference.added | difference.removed)


def fields(live: JsonObject, schema: SchemaNode) -> FieldSet:
    """The fields that kubectl last applied on its own side, and the annotation that says so."""
    applied = _applied(live)
    return _NOTE | typed.to_field_set(applied, schema) if applied is not None else EMPTY


def _applied(live: JsonObject) -> JsonObject | None:
    """What the annotation holds; None where there is none, or it is of another version."""
    text = _annotations(live).get(ANNOTATION)
    if not isinstance(text, str):
        return None
    try:
        applied = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(applied, dict) or applied.get("apiVersion") != live.get("apiVersion"):
        return None
    return applied


def renewed(merged: JsonObject, config: JsonObject, manager: str) -> JsonObject:
    """`merged` with the annotation, where it has one, telling what kubectl applied just now."""
    annotations = _annotations(merged)
    if manager != KUBECTL or ANNOTATION not in annotations:
        return merged
    bare = _with_annotations(config, {k: v for k, v in _annotations(config).items() if k != ANNOTATION})
    text = msgspec.json.encode(bare, order="sorted").decode() + "\n"  # as kubectl writes it
    return _with_annotations(merged, {**annotations, ANNOTATION: text})


def _annotations(obj: JsonObject) -> dict[str, Any]:
    metadata = obj.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    return annotations if isinstance(annotations, dict) else {}


def _with_annotations(obj: JsonObject, annotations: dict[str, Any]) -> JsonObject:
    metadata = {k: v for k, v in obj.get("metadata", {}).items() if k != "annotations"}
    if annotations:
        metadata["annotations"] = annotations
    return {**obj, "metadata": metadata}
