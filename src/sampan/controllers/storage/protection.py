"""Claims that pods use, bound volumes, and classes that either name stay as long: three finalizers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.client import Client
from sampan.client.effects import Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, Watch, mapped
from sampan.controllers.storage.names import USES, claims_of, used_claims, where
from sampan.kinds.core.persistentvolumeclaim import attributes_classes
from sampan.kinds.groups.storage.protection import (
    ATTRIBUTES_PROTECTION,
    CLAIM_PROTECTION,
    VOLUME_PROTECTION,
)
from sampan.schema import api

# The index of claims and of volumes by the VolumeAttributesClasses that they name.
_OF_CLASS: Final = "attributes class"


class View(msgspec.Struct, frozen=True):
    """What is protected, the finalizer that does so, and who uses it ("" for nobody)."""

    obj: Any
    finalizer: str
    user: str = ""


def gather_claim(caches: Caches, key: Key) -> View | None:
    claim = caches.of(api.PersistentVolumeClaim).get(*key)
    if claim is None:
        return None
    pods = caches.of(api.Pod).by_index(USES, where(*key))
    return View(claim, CLAIM_PROTECTION, _user(pods, claim))


def _user(pods: Iterable[api.Pod], claim: api.PersistentVolumeClaim) -> str:
    """A pod that has a node and names the claim; also one that has ended, as long as it is there.

    A pod without a node will not get to mount a claim that is being deleted.
    """
    name = claim.metadata.name or ""
    for pod in pods:
        if pod.spec.nodeName and name in claims_of(pod):
            return pod.metadata.name or ""
    return ""


async def survey_claim(client: Client, view: View) -> View:
    """Before the finalizer goes, ask the server: the cache may not know yet of a pod that has a node."""
    if not _may_go(view):
        return view
    pods = await client.list(api.Pod, view.obj.metadata.namespace or "")
    return msgspec.structs.replace(view, user=_user(pods.items, view.obj))


def gather_volume(caches: Caches, key: Key) -> View | None:
    volume = caches.of(api.PersistentVolume).get(*key)
    if volume is None:
        return None
    ref = volume.spec.claimRef
    bound = volume.status.phase == "Bound"
    return View(volume, VOLUME_PROTECTION, f"{ref.namespace}/{ref.name}" if bound and ref is not None else "")


def gather_class(caches: Caches, key: Key) -> View | None:
    one = caches.of(api.VolumeAttributesClass).get(*key)
    if one is None:
        return None
    return View(one, ATTRIBUTES_PROTECTION, _user_of_class(caches, key.name))


def _user_of_class(caches: Caches, name: str) -> str:
    """A volume or claim that names the class: as it is, as it is wanted, or as it is on the way to be."""
    for volume in caches.of(api.PersistentVolume).by_index(_OF_CLASS, name):
        return f"the volume {volume.metadata.name}"
    for claim in caches.of(api.PersistentVolumeClaim).by_index(_OF_CLASS, name):
        return f"the claim {claim.metadata.namespace}/{claim.metadata.name}"
    return ""


def _may_go(view: View) -> bool:
    meta = view.obj.metadata
    return meta.deletionTimestamp is not None and view.finalizer in meta.finalizers and not view.user


def plan(view: View, now: datetime) -> Plan:
    """Put the finalizer on; take it off once the object is to be deleted and nobody uses it."""
    meta = view.obj.metadata
    has = view.finalizer in meta.finalizers
    if meta.deletionTimestamp is None:
        return Plan() if has else _finalizers(view, [*meta.finalizers, view.finalizer])
    if not has:
        return Plan()
    if view.user:
        return Plan(waiting_for=f"{view.user} to use it no longer")
    return _finalizers(view, [name for name in meta.finalizers if name != view.finalizer])


def _finalizers(view: View, wanted: list[str]) -> Plan:
    meta = view.obj.metadata
    patch = {"uid": meta.uid, "resourceVersion": meta.resourceVersion, "finalizers": wanted or None}
    return Plan((Patch(ref_of(view.obj), {"metadata": patch}),))


def _claims(caches: Caches, pod: api.Pod) -> Iterable[Key]:
    for each in used_claims(pod):
        key = Key(*each.split("/", 1))
        claim = caches.of(api.PersistentVolumeClaim).get(*key)
        if claim is not None and claim.metadata.deletionTimestamp is not None:
            yield key


CLAIMS: Final = Controller(
    name="pvc-protection",
    kind=api.PersistentVolumeClaim,
    watches=(mapped(api.Pod, _claims, lambda old, new: old.spec.nodeName != new.spec.nodeName),),
    indexes={api.Pod: {USES: used_claims}},
    gather=gather_claim,
    survey=survey_claim,
    plan=plan,
)
VOLUMES: Final = Controller(
    name="pv-protection", kind=api.PersistentVolume, gather=gather_volume, plan=plan, workers=1
)


def _class_of_volume(volume: api.PersistentVolume) -> tuple[str, ...]:
    name = volume.spec.volumeAttributesClassName
    return (name,) if name else ()


def _left(of: Callable[[Any], Iterable[str]], kind: type[Any]) -> Watch:
    """Objects that name other classes than before: one that is being deleted may have waited for that."""
    return mapped(
        kind,
        lambda _caches, obj: [Key("", name) for name in of(obj)],
        lambda old, new: set(of(old)) != set(of(new)),
    )


CLASSES: Final = Controller(
    name="volumeattributesclass-protection",
    kind=api.VolumeAttributesClass,
    watches=(
        _left(attributes_classes, api.PersistentVolumeClaim),
        _left(_class_of_volume, api.PersistentVolume),
    ),
    indexes={
        api.PersistentVolumeClaim: {_OF_CLASS: attributes_classes},
        api.PersistentVolume: {_OF_CLASS: _class_of_volume},
    },
    gather=gather_class,
    plan=plan,
    workers=1,
)
