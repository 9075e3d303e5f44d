"""Who controls what: controller references, adoption and release."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Generic, TypeVar

import msgspec

from sampan.client.cache import controller_of
from sampan.client.effects import Patch
from sampan.client.resources import ref_of
from sampan.machinery.selectors import Selector
from sampan.schema import api, codec

T = TypeVar("T")


FREE: Final = "free"


def free(obj: Any) -> Iterable[str]:
    """For the index `FREE`: the namespaces in which the object could be adopted."""
    return () if controller_of(obj) is not None else (obj.metadata.namespace or "",)


class Claimed(msgspec.Struct, Generic[T], frozen=True):
    """What an owner controls from now on, and the patches that make it so."""

    objects: tuple[T, ...]
    patches: tuple[Patch, ...]


def owner_reference(owner: Any) -> api.OwnerReference:
    """The reference that makes `owner` the controller of an object."""
    ref = ref_of(owner)
    return api.OwnerReference(
        apiVersion=ref.api_version,
        kind=ref.kind,
        name=ref.name,
        uid=ref.uid,
        controller=True,
        blockOwnerDeletion=True,
    )


def claim(owner: Any, selector: Selector, candidates: Iterable[T]) -> Claimed[T]:
    """Keep what `owner` controls and selects, release what it no longer selects, adopt what is free.

    An owner that is being deleted takes and releases nothing, and neither is touched what is being deleted
    itself: as ControllerRefManager does.
    """
    kept: list[T] = []
    patches: list[Patch] = []
    leaving = owner.metadata.deletionTimestamp is not None
    for candidate in candidates:
        obj: Any = candidate
        controller = controller_of(obj)
        selected = selector.matches(obj.metadata.labels)
        if controller is not None:
            if controller.uid != owner.metadata.uid:
                continue
            if selected:
                kept.append(candidate)
            elif not leaving:
                patches.append(_release(owner, obj))
        elif selected and not leaving and obj.metadata.deletionTimestamp is None:
            patches.append(_adopt(owner, obj))
            kept.append(candidate)
    return Claimed(tuple(kept), tuple(patches))


def _adopt(owner: Any, obj: Any) -> Patch:
    return _with_owners(obj, [*obj.metadata.ownerReferences, owner_reference(owner)])


def _release(owner: Any, obj: Any) -> Patch:
    others = [o for o in obj.metadata.ownerReferences if o.uid != owner.metadata.uid]
    return _with_owners(obj, others)


def _with_owners(obj: Any, owners: list[api.OwnerReference]) -> Patch:
    # The list is replaced as a whole, so the patch holds for the version only that it was read from.
    meta = {
        "uid": obj.metadata.uid,
        "resourceVersion": obj.metadata.resourceVersion,
        "ownerReferences": codec.to_builtins(owners) or None,
    }
    return Patch(ref_of(obj), {"metadata": meta})
