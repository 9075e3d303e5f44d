"""One update of an object: from what the client wants to what may be stored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from sampan.apiserver.core import ownership, status
from sampan.apiserver.core.admission.chain import Chain
from sampan.apiserver.core.context import Attributes, Context
from sampan.kinds.kind import Kind
from sampan.machinery import field, meta
from sampan.schema import semantic
from sampan.schema.custom import CustomObject

Change = Callable[[Any], Any]
_UID: Final = field.Path("metadata.uid")
_NO_INTENT: Final = frozenset({"metadata", "status", "kind", "apiVersion"})
# What an update of the status leaves of metadata as it was, with kinds that say so.
_KEPT_METADATA: Final = (
    "annotations",
    "deletionTimestamp",
    "finalizers",
    "labels",
    "ownerReferences",
    "selfLink",
)


class Edit(msgspec.Struct, kw_only=True, eq=False):
    """An update that waits for its turn.

    `change` makes the new object from the old one, which it leaves as it is; where a race was lost it is
    called again. What it returns carries a resourceVersion where the client insists on one.
    """

    context: Context
    change: Change
    subresource: str = ""
    uid: str = ""


async def edited(edit: Edit, old: Any, admission: Chain) -> Any:
    """What the edit makes of `old`, complete and valid. Raises StatusError."""
    context, kind = edit.context, edit.context.resource.kind
    context.guards.clear()
    context.ops.clear()
    check_uid(kind, old, edit.uid)
    new = edit.change(old)
    if context.target.verb == "patch" and new.metadata.uid and new.metadata.uid != old.metadata.uid:
        error = field.invalid(_UID, new.metadata.uid, "field is immutable")
        raise status.invalid(kind, old.metadata.name, [error])
    check_uid(kind, old, new.metadata.uid or "")
    if (new.metadata.resourceVersion or "") not in ("", "0", old.metadata.resourceVersion):
        raise status.modified(kind, old.metadata.name)
    carry_metadata(new, old)
    await _prepare(context, new, old, edit.subresource, admission)
    return new


async def _prepare(context: Context, new: Any, old: Any, subresource: str, admission: Chain) -> None:
    kind = context.resource.kind
    own = kind.subresource_updates.get(subresource)
    if subresource == "status":
        keep_all_but_status(new, old)
        if kind.status_keeps_metadata:
            for name in _KEPT_METADATA:
                setattr(new.metadata, name, getattr(old.metadata, name))
    elif not subresource:
        if kind.status:
            new.status = old.status
        kind.prepare_update(new, old)
        if kind.stamp_update is not None:
            kind.stamp_update(new, old, context.now)
    if own is not None:
        own.prepare(new, old)
    kind.default(new)
    attributes = Attributes("update", subresource, new.metadata.namespace or "", context, new, old)
    if await admission.mutate(attributes):
        kind.default(new)
    if kind.generation and subresource not in ("status", "binding") and not same_intent(new, old, kind):
        new.metadata.generation = (old.metadata.generation or 0) + 1
    ownership.track(new, old, context, subresource or context.target.subresource, context.now)
    rules = context.served.kind.rules or kind
    prefixed = new.metadata.generateName != old.metadata.generateName
    errors = meta.validate_object_meta_update(
        new.metadata,
        old.metadata,
        qualified_finalizers=kind.qualified_finalizers,
        prefix_errors=rules.name_errors if prefixed and kind.keeps_prefixes else None,
    )
    if kind.validate_change is not None:
        errors += kind.validate_change(new, old)
    elif subresource == "status":
        errors += kind.validate_status_update(new, old)
    else:
        whole: list[field.FieldError] = []
        changed = rules.validate_update(new, old) if not subresource else []
        if subresource != "binding" and not (changed and kind.told_alone == "change"):
            whole = rules.validate(new)  # a binding sets the node of a pod that was valid, and nothing else
        if whole and kind.told_alone == "whole":
            changed = []
        errors += [*changed, *whole] if kind.change_first else [*whole, *changed]
    if own is not None and own.validate is not None:
        errors += own.validate(new, old)
    if errors:
        raise status.invalid(kind, new.metadata.name, errors)
    if kind.warnings is not None and not subresource:
        for text in kind.warnings(new, old):
            context.warn(text)
    await admission.validate(attributes)


def check_uid(kind: Kind, old: Any, uid: str) -> None:
    """Refuse to change an object that is not the one that was meant. Raises 409."""
    if uid and uid != old.metadata.uid:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old.metadata.uid}"
        raise status.conflict(kind, old.metadata.name, why)


def check_meant(kind: Kind, old: Any, uid: str, revision: str) -> None:
    """Refuse to delete an object that is not the one that was meant. Raises 409."""
    metadata = old.metadata
    if uid and uid != metadata.uid:
        why = (
            f"the UID in the precondition ({uid}) does not match the UID in record ({metadata.uid}). "
            "The object might have been deleted and then recreated"
        )
        raise status.other(kind, metadata.name, why)
    if revision and revision != metadata.resourceVersion:
        why = (
            f"the ResourceVersion in the precondition ({revision}) does not match "
            f"the ResourceVersion in record ({metadata.resourceVersion}). The object might have been modified"
        )
        raise status.other(kind, metadata.name, why)


def carry_metadata(new: Any, old: Any) -> None:
    """What the system set stays, whatever the client sent."""
    fresh, kept = new.metadata, old.metadata
    fresh.namespace = (fresh.namespace or kept.namespace) if kept.namespace else kept.namespace
    fresh.name = fresh.name or kept.name
    fresh.uid = kept.uid
    fresh.resourceVersion = kept.resourceVersion
    fresh.creationTimestamp = kept.creationTimestamp
    fresh.deletionTimestamp = kept.deletionTimestamp or fresh.deletionTimestamp
    if fresh.deletionGracePeriodSeconds is None or kept.deletionGracePeriodSeconds is not None:
        fresh.deletionGracePeriodSeconds = kept.deletionGracePeriodSeconds
    fresh.generation = kept.generation


def same_intent(new: Any, old: Any, kind: Kind) -> bool:
    """Whether two objects differ in nothing but metadata and status."""
    if isinstance(new, CustomObject):
        return bool(new.intent(status=kind.status) == old.intent(status=kind.status))
    return next(semantic.changes(old, new, but=_NO_INTENT), None) is None


def keep_all_but_status(new: Any, old: Any) -> None:
    """Put back what an update of the status does not change."""
    if isinstance(new, CustomObject):
        status = new.status
        new.content = dict(old.content)
        new.status = status
        return
    for name in new.__struct_fields__:
        if name not in ("status", "metadata"):
            setattr(new, name, getattr(old, name))
