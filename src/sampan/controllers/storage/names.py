"""Words that storage controllers, the scheduler and provisioners agree by, and who uses which claim."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sampan.kinds.core.persistentvolumeclaim import STORAGE_CLASS_ANNOTATION
from sampan.machinery.quantity import Quantity
from sampan.schema import api

BIND_COMPLETED: Final = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER: Final = "pv.kubernetes.io/bound-by-controller"
PROVISIONED_BY: Final = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE: Final = "volume.kubernetes.io/selected-node"
PROVISIONER: Final = "volume.kubernetes.io/storage-provisioner"
BETA_PROVISIONER: Final = "volume.beta.kubernetes.io/storage-provisioner"
IN_TREE: Final = "kubernetes.io/"
NO_PROVISIONER: Final = "kubernetes.io/no-provisioner"
WAIT: Final = "WaitForFirstConsumer"
ZERO: Final = Quantity("0")

# The index of pods by the claims that they name, `namespace/name`.
USES: Final = "claims"


def where(namespace: str, name: str) -> str:
    """How indexes name a claim."""
    return f"{namespace}/{name}"


def claims_of(pod: api.Pod) -> Iterable[str]:
    """The names of the claims that the pod mounts, those of its ephemeral volumes included."""
    for volume in pod.spec.volumes:
        if volume.persistentVolumeClaim is not None:
            yield volume.persistentVolumeClaim.claimName
        elif volume.ephemeral is not None:
            yield ephemeral_claim(pod, volume.name)


def ephemeral_claim(pod: api.Pod, volume: str) -> str:
    """The name of the claim that belongs to a pod's ephemeral volume."""
    return f"{pod.metadata.name}-{volume}"


def used_claims(pod: api.Pod) -> Iterable[str]:
    """For the index `USES`."""
    return [where(pod.metadata.namespace or "", name) for name in claims_of(pod)]


def class_of(obj: Any) -> str | None:
    """The class that a claim or volume names; None where it names none. The old annotation wins."""
    named: str | None = obj.metadata.annotations.get(STORAGE_CLASS_ANNOTATION)
    return named if named is not None else obj.spec.storageClassName


def size_of(claim: api.PersistentVolumeClaim) -> Quantity:
    """How much the claim asks for."""
    return claim.spec.resources.requests.get("storage", ZERO)


def capacity_of(volume: api.PersistentVolume) -> Quantity:
    return volume.spec.capacity.get("storage", ZERO)


def is_bound_to(volume: api.PersistentVolume, claim: api.PersistentVolumeClaim) -> bool:
    """Whether the volume is for this very claim, by its uid or before one is known."""
    ref, meta = volume.spec.claimRef, claim.metadata
    if ref is None or (ref.namespace, ref.name) != (meta.namespace, meta.name):
        return False
    return not ref.uid or ref.uid == meta.uid
