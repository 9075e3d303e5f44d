"""The claims of a StatefulSet's pods, and whose deletion takes them along (the retention policy)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sampan.client.effects import Create, Effect, Emit, Patch
from sampan.client.resources import ref_of
from sampan.controllers.runtime.owners import owner_reference
from sampan.controllers.statefulset.identity import claim_name, make_claims, ordinal_of, ordinals
from sampan.schema import api, codec

Claims = Mapping[str, api.PersistentVolumeClaim]


def missing(owner: api.StatefulSet, pod: str, claims: Claims) -> list[Effect]:
    """The creation of the claims that the pod needs and that are not there."""
    about = ref_of(owner)
    effects: list[Effect] = []
    for claim in make_claims(owner, pod):
        name = claim.metadata.name or ""
        if name in claims:
            continue
        of = f"in StatefulSet {owner.metadata.name}"
        done = Emit(about, "Normal", "SuccessfulCreate", f"Create Claim {name} Pod {pod} {of} success")
        failed = Emit(
            about,
            "Warning",
            "FailedCreate",
            f"Create Claim {name} for Pod {pod} {of} failed error: {{error}}",
        )
        # Without its claims the pod cannot be made either.
        too = Emit(
            about,
            "Warning",
            "FailedCreate",
            f"Create Pod {pod} {of} failed error: failed to create PVC {name}: {{error}}",
        )
        effects.append(Create(claim, expect_exists=True, done=done, failed=(failed, too)))
    return effects


def is_held_up(owner: api.StatefulSet, pod: str, claims: Claims) -> bool:
    """Whether a claim of the pod is on its way out: its successor must come first, with its own volume."""
    for template in owner.spec.volumeClaimTemplates:
        claim = claims.get(claim_name(template, pod))
        if claim is not None and (claim.metadata.deletionTimestamp is not None or _is_of_pod(claim, pod)):
            return True
    return False


def settle(owner: api.StatefulSet, pod: api.Pod, claims: Claims) -> list[Effect]:
    """Patches that have the pod's claims belong to whom the retention policy says."""
    effects: list[Effect] = []
    for template in owner.spec.volumeClaimTemplates:
        claim = claims.get(claim_name(template, pod.metadata.name or ""))
        if claim is None or claim.metadata.deletionTimestamp is not None:
            continue
        references = _references(owner, pod, claim)
        if references != claim.metadata.ownerReferences:
            meta = {
                "uid": claim.metadata.uid,
                "resourceVersion": claim.metadata.resourceVersion,
                "ownerReferences": codec.to_builtins(references) or None,
            }
            effects.append(Patch(ref_of(claim), {"metadata": meta}))
    return effects


def _references(
    owner: api.StatefulSet, pod: api.Pod, claim: api.PersistentVolumeClaim
) -> list[api.OwnerReference]:
    """The claim's owners: besides others the set, or the pod once it is scaled away, or neither."""
    policy = owner.spec.persistentVolumeClaimRetentionPolicy
    deletes = policy is not None and policy.whenDeleted == "Delete"
    scales = policy is not None and policy.whenScaled == "Delete"
    condemned = ordinal_of(owner, pod) not in ordinals(owner)
    holder: Any = None
    if scales and condemned:
        holder = pod
    elif deletes:
        holder = owner
    mine = {owner.metadata.uid, pod.metadata.uid}
    others = [one for one in claim.metadata.ownerReferences if one.uid not in mine]
    if holder is None:
        return others
    known = [one for one in claim.metadata.ownerReferences if one.uid == holder.metadata.uid]
    if known:
        return [one for one in claim.metadata.ownerReferences if one in others or one in known]
    reference = owner_reference(holder)
    if any(one.controller for one in others):  # it is somebody else's: it may be deleted, but not controlled
        reference = msgspec.structs.replace(reference, controller=None)
    return [*others, reference]


def _is_of_pod(claim: api.PersistentVolumeClaim, pod: str) -> bool:
    """Whether the claim goes with a pod of this name that is gone already."""
    return any(one.kind == "Pod" and one.name == pod for one in claim.metadata.ownerReferences)
