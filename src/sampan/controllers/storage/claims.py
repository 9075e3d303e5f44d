"""What is next for a claim: find a volume, wait, have one made, finish a binding, or tell that it is lost."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import msgspec

from sampan.base.clock import kube_time
from sampan.client.effects import Effect, Emit, Patch, Plan
from sampan.client.resources import ref_of
from sampan.controllers.storage.matching import best_match, mismatch
from sampan.controllers.storage.names import (
    BETA_PROVISIONER,
    BIND_COMPLETED,
    BOUND_BY_CONTROLLER,
    IN_TREE,
    PROVISIONER,
    SELECTED_NODE,
    WAIT,
    class_of,
    is_bound_to,
)
from sampan.schema import api, codec

_FIRST: Final = "waiting for first consumer to be created before binding"
_EXTERNAL: Final = (
    "Waiting for a volume to be created either by the external provisioner '{}' or manually by the system "
    "administrator. If volume creation is delayed, please verify that the provisioner is running and "
    "correctly registered."
)
_NONE: Final = "no persistent volumes available for this claim and no storage class is set"
_LOST: Final = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
_LOST_REFERENCE: Final = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
_MISBOUND: Final = "Two claims are bound to the same volume, this one is bound incorrectly"


class ClaimView(msgspec.Struct, frozen=True):
    """A claim and what may serve it.

    `volume` is the one it names. `candidates` are volumes of its class without a claim, and those reserved
    for it. `node` is the one that the scheduler selected, `nodes` those of pods that mount it already.
    """

    claim: api.PersistentVolumeClaim
    volume: api.PersistentVolume | None = None
    candidates: tuple[api.PersistentVolume, ...] = ()
    storage_class: api.StorageClass | None = None
    default: api.StorageClass | None = None
    node: api.Node | None = None
    consumers: tuple[api.Pod, ...] = ()
    nodes: frozenset[str] = frozenset()


def plan(view: ClaimView, now: datetime) -> Plan:
    claim = view.claim
    if BIND_COMPLETED in claim.metadata.annotations:
        return _plan_bound(view, now)
    if claim.metadata.deletionTimestamp is not None:
        return Plan()
    if claim.spec.volumeName:
        return _plan_named(view, now)
    delayed = view.storage_class is not None and view.storage_class.volumeBindingMode == WAIT
    undecided = delayed and SELECTED_NODE not in claim.metadata.annotations
    found = best_match(claim, view.candidates, node=view.node if delayed else None, reserved_only=undecided)
    if found is not None:
        return bind(claim, found, now)
    if undecided:
        return _plan_delayed(view)
    if class_of(claim):
        return _plan_provisioning(view)
    if view.default is not None and class_of(claim) is None:
        meta = {"uid": claim.metadata.uid, "resourceVersion": claim.metadata.resourceVersion}
        name = view.default.metadata.name
        return Plan((Patch(ref_of(claim), {"metadata": meta, "spec": {"storageClassName": name}}),))
    return _wait(claim, "Normal", "FailedBinding", _NONE)


def _plan_delayed(view: ClaimView) -> Plan:
    """Nobody knows where the claim will be used; a pod that was put on a node by hand decides as well."""
    claim = view.claim
    if view.nodes:
        meta = {"uid": claim.metadata.uid, "annotations": {SELECTED_NODE: min(view.nodes)}}
        return Plan((Patch(ref_of(claim), {"metadata": meta}),))
    unscheduled = [pod.metadata.name or "" for pod in view.consumers if not pod.spec.nodeName]
    if unscheduled:
        message = f"waiting for pod {unscheduled[0]} to be scheduled"
        return _wait(claim, "Normal", "WaitForPodScheduled", message)
    return _wait(claim, "Normal", "WaitForFirstConsumer", _FIRST)


def _plan_provisioning(view: ClaimView) -> Plan:
    claim, found = view.claim, view.storage_class
    if found is None:
        message = f'storageclass.storage.k8s.io "{class_of(claim)}" not found'
        return _wait(claim, "Warning", "ProvisioningFailed", message)
    if found.provisioner.startswith(IN_TREE):
        message = f"no volume plugin matched name: {found.provisioner}"
        return _wait(claim, "Warning", "ProvisioningFailed", message)
    marks = {BETA_PROVISIONER: found.provisioner, PROVISIONER: found.provisioner}
    effects: tuple[Effect, ...] = ()
    if any(claim.metadata.annotations.get(key) != value for key, value in marks.items()):
        meta = {"uid": claim.metadata.uid, "annotations": marks}
        effects = (Patch(ref_of(claim), {"metadata": meta}),)
    waiting = _wait(claim, "Normal", "ExternalProvisioning", _EXTERNAL.format(found.provisioner))
    return msgspec.structs.replace(waiting, effects=(*effects, *waiting.effects))


def _plan_named(view: ClaimView, now: datetime) -> Plan:
    claim, volume = view.claim, view.volume
    if volume is None:
        return _pending(claim, f'the volume "{claim.spec.volumeName}" to be made')
    if volume.spec.claimRef is None:
        why = mismatch(claim, volume)
        if why:
            message = f'Cannot bind to requested volume "{volume.metadata.name}": {why}'
            return _wait(claim, "Warning", "VolumeMismatch", message)
        return bind(claim, volume, now)
    if is_bound_to(volume, claim):
        return bind(claim, volume, now)
    message = f'volume "{volume.metadata.name}" already bound to a different claim.'
    return _wait(claim, "Warning", "FailedBinding", message)


def _plan_bound(view: ClaimView, now: datetime) -> Plan:
    claim, volume = view.claim, view.volume
    if not claim.spec.volumeName:
        return _lost(claim, "ClaimLost", _LOST_REFERENCE)
    if volume is None:
        return _lost(claim, "ClaimLost", _LOST)
    if volume.spec.claimRef is None or is_bound_to(volume, claim):
        return bind(claim, volume, now)
    return _lost(claim, "ClaimMisbound", _MISBOUND)


def bind(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume, now: datetime) -> Plan:
    """Whatever is missing of a binding: first the volume, which two might want, then the claim."""
    return Plan((*_bind_volume(claim, volume, now), *_bind_claim(claim, volume)))


def _bind_volume(
    claim: api.PersistentVolumeClaim, volume: api.PersistentVolume, now: datetime
) -> list[Effect]:
    effects: list[Effect] = []
    ref = volume.spec.claimRef
    if ref is None or not ref.uid:
        meta: dict[str, Any] = {
            "uid": volume.metadata.uid,
            "resourceVersion": volume.metadata.resourceVersion,
        }
        if ref is None:
            meta["annotations"] = {BOUND_BY_CONTROLLER: "yes"}
        effects.append(Patch(ref_of(volume), {"metadata": meta, "spec": {"claimRef": _reference(claim)}}))
    if volume.status.phase != "Bound":
        effects.append(volume_phase(volume, "Bound", now))
    return effects


def _reference(claim: api.PersistentVolumeClaim) -> dict[str, Any]:
    meta = claim.metadata
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": meta.namespace,
        "name": meta.name,
        "uid": meta.uid,
        "resourceVersion": meta.resourceVersion,
    }


def _bind_claim(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> list[Effect]:
    effects: list[Effect] = []
    name, meta = volume.metadata.name, claim.metadata
    if claim.spec.volumeName != name or BIND_COMPLETED not in meta.annotations:
        marks = {BIND_COMPLETED: "yes"}
        patch: dict[str, Any] = {}
        if claim.spec.volumeName != name:
            marks[BOUND_BY_CONTROLLER] = "yes"
            patch["spec"] = {"volumeName": name}
        about = {"uid": meta.uid, "resourceVersion": meta.resourceVersion, "annotations": marks}
        effects.append(Patch(ref_of(claim), {"metadata": about, **patch}))
    status = _bound_status(claim, volume)
    if status:
        whole = {"metadata": {"uid": meta.uid}, "status": status}
        effects.append(Patch(ref_of(claim), whole, subresource="status"))
    return effects


def _bound_status(claim: api.PersistentVolumeClaim, volume: api.PersistentVolume) -> dict[str, Any]:
    """What the status lacks. A claim that is bound keeps its size: growing it is for who grows volumes."""
    status, wanted = claim.status, dict[str, Any]()
    if status.phase != "Bound":
        wanted["phase"] = "Bound"
        if status.capacity != volume.spec.capacity:
            wanted["capacity"] = codec.to_builtins(volume.spec.capacity)
    if status.accessModes != volume.spec.accessModes:
        wanted["accessModes"] = list(volume.spec.accessModes)
    attributes = volume.spec.volumeAttributesClassName
    if status.phase != "Bound" and attributes != status.currentVolumeAttributesClassName:
        wanted["currentVolumeAttributesClassName"] = attributes
    return wanted


def volume_phase(volume: api.PersistentVolume, phase: str, now: datetime, message: str = "") -> Patch:
    """The volume comes to this phase now."""
    status = {
        "phase": phase,
        "message": message or None,
        "lastPhaseTransitionTime": codec.to_builtins(kube_time(now)),
    }
    patch = {"metadata": {"uid": volume.metadata.uid}, "status": status}
    return Patch(ref_of(volume), patch, subresource="status")


def _wait(claim: api.PersistentVolumeClaim, type: str, reason: str, message: str) -> Plan:
    waiting = _pending(claim, message)
    return msgspec.structs.replace(waiting, notices=(Emit(ref_of(claim), type, reason, message),))


def _pending(claim: api.PersistentVolumeClaim, waiting_for: str) -> Plan:
    if claim.status.phase == "Pending":
        return Plan(waiting_for=waiting_for)
    patch = {"metadata": {"uid": claim.metadata.uid}, "status": {"phase": "Pending"}}
    return Plan((Patch(ref_of(claim), patch, subresource="status"),), waiting_for)


def _lost(claim: api.PersistentVolumeClaim, reason: str, message: str) -> Plan:
    if claim.status.phase == "Lost":
        return Plan()
    meta = {"uid": claim.metadata.uid}
    # A lost claim has no size and no modes, as upstream writes it.
    status = {"phase": "Lost", "accessModes": None, "capacity": None}
    patch = Patch(ref_of(claim), {"metadata": meta, "status": status}, subresource="status")
    return Plan((patch, Emit(ref_of(claim), "Warning", reason, message)))
