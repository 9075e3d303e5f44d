"""Images as volumes: what the runtime knows them by, and what they were resolved to. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from sampan.node.model import PodState
from sampan.schema import api


def volume_name(pod: api.Pod, volume: api.Volume) -> str:
    """What the runtime knows the mounted image by."""
    return f"sampan-volume-{pod.metadata.uid}-{volume.name}"


def resolved(state: PodState) -> Mapping[str, str]:
    """The digests of the pod's image volumes by the volume's name: those that are mounted by now."""
    if state.image_volumes or all(volume.image is None for volume in state.pod.spec.volumes):
        return state.image_volumes
    return _told(state.pod.status)


def _told(status: api.PodStatus) -> dict[str, str]:
    """What the pod's status says of them: an agent that starts again has nothing else."""
    containers = [
        *status.initContainerStatuses,
        *status.containerStatuses,
        *status.ephemeralContainerStatuses,
    ]
    return {
        mount.name: mount.volumeStatus.image.imageRef
        for each in containers
        for mount in each.volumeMounts
        if mount.volumeStatus is not None and mount.volumeStatus.image is not None
    }
