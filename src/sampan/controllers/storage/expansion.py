"""Bound claims that ask for more: directories grow at once, CSI volumes when their resizer says so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.client.effects import Effect, Emit, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.runtime.controller import Caches, Controller, Key, mapped
from sampan.controllers.storage.names import PROVISIONED_BY, capacity_of, is_bound_to, size_of
from sampan.kinds import localpath
from sampan.machinery.quantity import Quantity
from sampan.schema import api, codec

RESIZER: Final = "volume.kubernetes.io/storage-resizer"
_EXTERNAL: Final = "waiting for an external controller to expand this PVC"
_UNKNOWN: Final = (
    "Ignoring the PVC: didn't find a plugin capable of expanding the volume; "
    "waiting for an external controller to process this PVC."
)
_RESIZE_CONDITIONS: Final = frozenset(
    {"Resizing", "FileSystemResizePending", "ControllerResizeError", "NodeResizeError"}
)


class View(msgspec.Struct, frozen=True):
    """A bound claim that asks for more than it has, and its volume."""

    claim: api.PersistentVolumeClaim
    volume: api.PersistentVolume


def gather(caches: Caches, key: Key) -> View | None:
    claim = caches.of(api.PersistentVolumeClaim).get(*key)
    if claim is None or claim.status.phase != "Bound" or claim.metadata.deletionTimestamp is not None:
        return None
    held = claim.status.capacity.get("storage")
    if held is None or not held < size_of(claim):
        return None
    volume = caches.of(api.PersistentVolume).get("", claim.spec.volumeName or "")
    return View(claim, volume) if volume is not None and is_bound_to(volume, claim) else None


def plan(view: View, now: datetime) -> Plan:
    """A directory has room as long as its node has: only the sizes that are told change."""
    claim, volume = view.claim, view.volume
    if volume.metadata.annotations.get(PROVISIONED_BY) != localpath.PROVISIONER:
        return _plan_elsewhere(claim, volume)
    wanted, name = size_of(claim), volume.metadata.name
    about = ref_of(claim)
    effects: list[Effect] = []
    if capacity_of(volume) < wanted:
        begun = f"External resizer is resizing volume {name}"
        patch = {"metadata": {"uid": volume.metadata.uid}, "spec": {"capacity": {"storage": wanted.text}}}
        effects += [Emit(about, "Normal", "Resizing", begun), Patch(ref_of(volume), patch)]
    effects.append(_grown(claim, wanted))
    effects.append(Emit(about, "Normal", "VolumeResizeSuccessful", "Resize volume succeeded"))
    return Plan(tuple(effects))


def _grown(claim: api.PersistentVolumeClaim, size: Quantity) -> Patch:
    others = [c for c in claim.status.conditions if c.type not in _RESIZE_CONDITIONS]
    status: dict[str, Any] = {
        "capacity": {"storage": size.text},
        "allocatedResources": {"storage": size.text},
        "allocatedResourceStatuses": None,
        "conditions": codec.to_builtins(others) or None,
    }
    patch = {"metadata": {"uid": claim.metadata.uid}, "status": status}
    return Patch(ref_of(claim), patch, subresource="status")


def _plan_elsewhere(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> Plan:
    if volume.spec.csi is None:
        return Plan(
            waiting_for=_UNKNOWN, notices=(Emit(ref_of(claim), "Warning", "ExternalExpanding", _UNKNOWN),)
        )
    driver = volume.spec.csi.driver
    effects: tuple[Effect, ...] = ()
    if claim.metadata.annotations.get(RESIZER) != driver:
        meta = {"uid": claim.metadata.uid, "annotations": {RESIZER: driver}}
        effects = (Patch(ref_of(claim), {"metadata": meta}),)
    notice = Emit(ref_of(claim), "Normal", "ExternalExpanding", _EXTERNAL)
    return Plan(effects, _EXTERNAL, notices=(notice,))


def _claim_of(_caches: Caches, volume: api.PersistentVolume) -> Iterable[Key]:
    ref = volume.spec.claimRef
    if ref is not None:
        yield Key(ref.namespace or "", ref.name or "")


CONTROLLER: Final = Controller(
    name="volume-expand",
    reporter="volume_expand",
    kind=api.PersistentVolumeClaim,
    watches=(mapped(api.PersistentVolume, _claim_of),),
    gather=gather,
    plan=plan,
    workers=1,
)
