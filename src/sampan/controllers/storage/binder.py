"""Binds claims and volumes to each other, and says what becomes of volumes whose claim is gone.

One worker plans claims and volumes in turn, each after it has seen what the last one wrote, so that no volume
is ever given away twice. Follows kube-controller-manager's persistentvolume-binder-controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec

from sampan.client.effects import Plan
from sampan.controllers.runtime.controller import Caches, Controller, cached, mapped
from sampan.controllers.storage import claims, volumes
from sampan.controllers.storage.claims import ClaimView
from sampan.controllers.storage.names import (
    BIND_COMPLETED,
    SELECTED_NODE,
    USES,
    class_of,
    used_claims,
    where,
)
from sampan.controllers.storage.volumes import VolumeView
from sampan.kinds.groups.storage.classes import default_class, is_default
from sampan.schema import api

# Indexes. Of volumes: the class of those without a claim, and the claim of the others. Of claims: the class
# of those that are not bound yet, "" for none.
FREE: Final = "free"
CLAIMED: Final = "claimed"
PENDING: Final = "pending"


class ClaimKey(NamedTuple):
    """A claim to be planned for."""

    namespace: str
    name: str


class VolumeKey(NamedTuple):
    """A volume to be planned for."""

    name: str


def gather(caches: Caches, key: ClaimKey | VolumeKey) -> ClaimView | VolumeView | None:
    return _gather_claim(caches, key) if isinstance(key, ClaimKey) else _gather_volume(caches, key)


def plan(view: ClaimView | VolumeView, now: datetime) -> Plan:
    """Bind, wait, provision, release: whatever is next."""
    if isinstance(view, ClaimView):
        return claims.plan(view, now)
    return volumes.plan(view, now)


def _gather_claim(caches: Caches, key: ClaimKey) -> ClaimView | None:
    claim = caches.of(api.PersistentVolumeClaim).get(*key)
    if claim is None:
        return None
    known = caches.of(api.PersistentVolume)
    named = known.get("", claim.spec.volumeName) if claim.spec.volumeName else None
    view = ClaimView(claim, volume=named)
    if _is_settled(claim) or claim.spec.volumeName:
        return view
    wanted = class_of(claim)
    classes = caches.of(api.StorageClass)
    consumers = caches.of(api.Pod).by_index(USES, where(*key))
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    return msgspec.structs.replace(
        view,
        candidates=(*known.by_index(CLAIMED, where(*key)), *known.by_index(FREE, wanted or "")),
        storage_class=classes.get("", wanted) if wanted else None,
        default=default_class(classes.items()) if wanted is None else None,
        node=caches.of(api.Node).get("", selected) if selected else None,
        consumers=tuple(sorted(consumers, key=lambda pod: pod.metadata.name or "")),
        nodes=frozenset(
            pod.spec.nodeName
            for pod in consumers
            if pod.spec.nodeName and caches.of(api.Node).get("", pod.spec.nodeName) is not None
        ),
    )


def _gather_volume(caches: Caches, key: VolumeKey) -> VolumeView | None:
    volume = caches.of(api.PersistentVolume).get("", key.name)
    if volume is None:
        return None
    ref = volume.spec.claimRef
    if ref is None:
        return VolumeView(volume)
    return VolumeView(volume, caches.of(api.PersistentVolumeClaim).get(ref.namespace or "", ref.name or ""))


async def survey(client: Any, view: ClaimView | VolumeView) -> ClaimView | VolumeView:
    """A volume may be released only when its claim is certainly gone: ask the server itself."""
    if isinstance(view, VolumeView) and view.may_be_released:
        return await volumes.look_again(client, view)
    return view


def _is_settled(claim: api.PersistentVolumeClaim) -> bool:
    return BIND_COMPLETED in claim.metadata.annotations


def _free_class(volume: api.PersistentVolume) -> Iterable[str]:
    return (class_of(volume) or "",) if volume.spec.claimRef is None else ()


def _claimed_by(volume: api.PersistentVolume) -> Iterable[str]:
    ref = volume.spec.claimRef
    return (where(ref.namespace or "", ref.name or ""),) if ref is not None else ()


def _pending_class(claim: api.PersistentVolumeClaim) -> Iterable[str]:
    return () if _is_settled(claim) else (class_of(claim) or "",)


def _of_claim(caches: Caches, claim: api.PersistentVolumeClaim) -> Iterable[Any]:
    namespace, name = claim.metadata.namespace or "", claim.metadata.name or ""
    yield ClaimKey(namespace, name)
    if claim.spec.volumeName:
        yield VolumeKey(claim.spec.volumeName)
    for volume in caches.of(api.PersistentVolume).by_index(CLAIMED, where(namespace, name)):
        yield VolumeKey(volume.metadata.name or "")


def _of_volume(caches: Caches, volume: api.PersistentVolume) -> Iterable[Any]:
    yield VolumeKey(volume.metadata.name or "")
    ref = volume.spec.claimRef
    if ref is not None:
        yield ClaimKey(ref.namespace or "", ref.name or "")
        return
    yield from _waiting(caches, class_of(volume) or "")


def _of_class(caches: Caches, storage_class: api.StorageClass) -> Iterable[Any]:
    yield from _waiting(caches, storage_class.metadata.name or "")
    if is_default(storage_class):
        yield from _waiting(caches, "")


def _waiting(caches: Caches, name: str) -> Iterable[ClaimKey]:
    for claim in caches.of(api.PersistentVolumeClaim).by_index(PENDING, name):
        yield ClaimKey(claim.metadata.namespace or "", claim.metadata.name or "")


def _of_pod(caches: Caches, pod: api.Pod) -> Iterable[Any]:
    for each in used_claims(pod):
        key = ClaimKey(*each.split("/", 1))
        claim = caches.of(api.PersistentVolumeClaim).get(*key)
        if claim is not None and not _is_settled(claim):
            yield key


CONTROLLER: Final = Controller(
    name="persistentvolume",
    watches=(
        mapped(api.PersistentVolumeClaim, _of_claim),
        mapped(api.PersistentVolume, _of_volume),
        mapped(api.StorageClass, _of_class),
        mapped(api.Pod, _of_pod, lambda old, new: old.spec.nodeName != new.spec.nodeName),
        cached(api.Node),
    ),
    indexes={
        api.PersistentVolume: {FREE: _free_class, CLAIMED: _claimed_by},
        api.PersistentVolumeClaim: {PENDING: _pending_class},
        api.Pod: {USES: used_claims},
    },
    gather=gather,
    survey=survey,
    plan=plan,
    workers=1,
)
