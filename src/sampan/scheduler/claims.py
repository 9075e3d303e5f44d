"""The claims that a pod mounts, and what has to be done for them before it is bound. Pure."""

from __future__ import annotations

import msgspec

from sampan.schema import api


class BindVolume(msgspec.Struct, frozen=True):
    """To be done before the pod is bound: point the volume at the claim."""

    claim: api.PersistentVolumeClaim
    volume: api.PersistentVolume


class Provision(msgspec.Struct, frozen=True):
    """To be done before the pod is bound: ask the claim's provisioner for a volume on the node."""

    claim: api.PersistentVolumeClaim
    node: str


Work = BindVolume | Provision


def claim_names(pod: api.Pod) -> list[tuple[str, bool]]:
    """The names of the pod's claims, and whether each is made for the pod alone."""
    found = []
    for volume in pod.spec.volumes:
        if volume.persistentVolumeClaim is not None:
            found.append((volume.persistentVolumeClaim.claimName, False))
        elif volume.ephemeral is not None:
            found.append((f"{pod.metadata.name}-{volume.name}", True))
    return found
