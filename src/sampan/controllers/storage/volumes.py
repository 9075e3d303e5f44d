"""What is next for a volume: available, bound, released, and then what its reclaim policy says."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from sampan.client.client import Client
from sampan.client.effects import Effect, Emit, Patch, Plan
from sampan.client.errors import ApiError, is_not_found
from sampan.client.resources import ref_of
from sampan.controllers.storage.claims import volume_phase
from sampan.controllers.storage.matching import modes_differ
from sampan.controllers.storage.names import BOUND_BY_CONTROLLER, IN_TREE, PROVISIONED_BY
from sampan.schema import api


class VolumeView(msgspec.Struct, frozen=True):
    """A volume, and the claim of the name that its claimRef gives (None: there is none)."""

    volume: api.PersistentVolume
    claim: api.PersistentVolumeClaim | None = None

    @property
    def may_be_released(self) -> bool:
        """Whether it looks as if the claim were gone."""
        ref = self.volume.spec.claimRef
        return bool(
            ref is not None
            and ref.uid
            and (self.claim is None or self.claim.metadata.uid != ref.uid)
            and self.volume.status.phase not in ("Released", "Failed")
        )


async def look_again(client: Client, view: VolumeView) -> VolumeView:
    """The view with the claim as the server has it now."""
    ref = view.volume.spec.claimRef
    assert ref is not None
    try:
        claim = await client.get(api.PersistentVolumeClaim, ref.name or "", ref.namespace or "")
    except ApiError as error:
        if not is_not_found(error):
            raise
        return msgspec.structs.replace(view, claim=None)
    return msgspec.structs.replace(view, claim=claim)


def plan(view: VolumeView, now: datetime) -> Plan:
    volume, claim = view.volume, view.claim
    ref = volume.spec.claimRef
    if ref is None or not ref.uid:
        return _phase(volume, "Available", now)
    if claim is None or claim.metadata.uid != ref.uid:
        return _release(volume, now)
    if claim.spec.volumeName == volume.metadata.name:
        return _phase(volume, "Bound", now)
    if not claim.spec.volumeName:
        return _half_bound(volume, claim)
    return _misbound(volume, now)


def _phase(volume: api.PersistentVolume, phase: str, now: datetime) -> Plan:
    return Plan() if volume.status.phase == phase else Plan((volume_phase(volume, phase, now),))


def _half_bound(volume: api.PersistentVolume, claim: api.PersistentVolumeClaim) -> Plan:
    if not modes_differ(claim, volume):
        return Plan(waiting_for=f"the claim {claim.metadata.namespace}/{claim.metadata.name} to be bound")
    message = (
        f'Cannot bind PersistentVolume to requested PersistentVolumeClaim "{claim.metadata.name}" '
        "due to incompatible volumeMode."
    )
    other = f'Cannot bind to requested volume "{volume.metadata.name}": incompatible volumeMode'
    notices = (
        Emit(ref_of(volume), "Warning", "VolumeMismatch", message),
        Emit(ref_of(claim), "Warning", "VolumeMismatch", other),
    )
    return Plan(waiting_for=message, notices=notices)


def _misbound(volume: api.PersistentVolume, now: datetime) -> Plan:
    """The claim got another volume: one made for it goes, one found for it is free again."""
    deletes = volume.spec.persistentVolumeReclaimPolicy == "Delete"
    if PROVISIONED_BY in volume.metadata.annotations and deletes:
        return _release(volume, now)
    meta: dict[str, Any] = {"uid": volume.metadata.uid, "resourceVersion": volume.metadata.resourceVersion}
    ref: Any = {"uid": None, "resourceVersion": None}
    if BOUND_BY_CONTROLLER in volume.metadata.annotations:
        meta["annotations"] = {BOUND_BY_CONTROLLER: None}
        ref = None
    patch = Patch(ref_of(volume), {"metadata": meta, "spec": {"claimRef": ref}})
    return Plan((patch, volume_phase(volume, "Available", now)))


def _release(volume: api.PersistentVolume, now: datetime) -> Plan:
    if volume.status.phase not in ("Released", "Failed"):
        return Plan((volume_phase(volume, "Released", now),))
    policy = volume.spec.persistentVolumeReclaimPolicy
    if policy == "Retain" or volume.metadata.deletionTimestamp is not None:
        return Plan()
    if policy == "Delete":
        return _delete(volume, now)
    if policy == "Recycle":
        message = "Recycling is deprecated and not done here: delete the volume, or provision dynamically"
        return _fail(volume, "VolumeFailedRecycle", message, now)
    message = "Volume has an unrecognized PersistentVolumeReclaimPolicy"
    return _fail(volume, "VolumeUnknownReclaimPolicy", message, now)


def _delete(volume: api.PersistentVolume, now: datetime) -> Plan:
    maker = volume.metadata.annotations.get(PROVISIONED_BY, "")
    if (maker and not maker.startswith(IN_TREE)) or volume.spec.csi is not None:
        return Plan(waiting_for=f"{maker or 'the CSI driver'} to delete the volume")
    message = (
        f'error getting deleter volume plugin for volume "{volume.metadata.name}": no volume plugin matched'
    )
    return _fail(volume, "VolumeFailedDelete", message, now)


def _fail(volume: api.PersistentVolume, reason: str, message: str, now: datetime) -> Plan:
    if volume.status.phase == "Failed":
        return Plan()
    effects: list[Effect] = [volume_phase(volume, "Failed", now, message)]
    effects.append(Emit(ref_of(volume), "Warning", reason, message))
    return Plan(tuple(effects))
