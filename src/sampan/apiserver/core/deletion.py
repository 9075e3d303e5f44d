"""What a delete makes of an object, and when nothing holds it any more."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

import msgspec

from sampan.kinds.kind import Kind
from sampan.schema.custom import CustomObject

# Kinds whose dependents stay where a delete does not say otherwise, as in their first versions.
_ORPHANING: Final = frozenset({"replicationcontrollers", "jobs.batch"})
FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"


def is_finished(obj: Any) -> bool:
    """Whether nothing holds a deleted object any more."""
    metadata = obj.metadata
    if metadata.deletionTimestamp is None or metadata.finalizers or metadata.deletionGracePeriodSeconds:
        return False
    spec = getattr(obj, "spec", None)
    # Namespaces have finalizers of their own in the spec.
    return not (obj.kind == "Namespace" and spec is not None and spec.finalizers)


def mark_deleted(kind: Kind, old: Any, now: datetime, grace_s: int | None, propagation: str) -> Any:
    """The object as a delete leaves it: its deletion time, grace and propagation finalizers set.

    `old` stays as it is; the two share what does not change.
    """
    if isinstance(old, CustomObject):
        new: Any = old.shallow()
    else:
        new = msgspec.structs.replace(old, metadata=msgspec.structs.replace(old.metadata))
    metadata = new.metadata
    _set_propagation(metadata, propagation or _default_propagation(kind, metadata))
    wanted_s = kind.grace_period_s(old, grace_s) if kind.grace_period_s is not None else 0
    if metadata.deletionTimestamp is None:
        if kind.delete_finalizer and kind.delete_finalizer not in metadata.finalizers:
            metadata.finalizers = [*metadata.finalizers, kind.delete_finalizer]
        metadata.deletionTimestamp = now + timedelta(seconds=wanted_s)
        if kind.kind != "Namespace":
            metadata.deletionGracePeriodSeconds = wanted_s
        if kind.generation:
            metadata.generation = (metadata.generation or 0) + 1
    elif grace_s is not None and wanted_s < (metadata.deletionGracePeriodSeconds or 0):
        metadata.deletionTimestamp = now + timedelta(seconds=wanted_s)
        metadata.deletionGracePeriodSeconds = wanted_s
    if kind.kind == "Namespace":
        new.status = msgspec.structs.replace(new.status, phase="Terminating")
    return new


def _default_propagation(kind: Kind, metadata: Any) -> str:
    """What happens to dependents where nobody said: to those of a few old kinds, nothing."""
    if kind.resource in _ORPHANING and not {ORPHAN, FOREGROUND}.intersection(metadata.finalizers):
        return "Orphan"
    return ""


def _set_propagation(metadata: Any, propagation: str) -> None:
    if not propagation:
        return
    kept = [f for f in metadata.finalizers if f not in (ORPHAN, FOREGROUND)]
    wanted = {"Orphan": [ORPHAN], "Foreground": [FOREGROUND]}.get(propagation, [])
    metadata.finalizers = kept + wanted
