"""The identity of a StatefulSet's pods: everything that follows from the set's name and an ordinal."""

from __future__ import annotations

import re
from typing import Final

from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.revisions import HASH_LABEL
from sampan.schema import api, codec

POD_NAME: Final = "statefulset.kubernetes.io/pod-name"
POD_INDEX: Final = "apps.kubernetes.io/pod-index"
_ORDINAL: Final = re.compile(r"(.*)-([0-9]+)")


def start(owner: api.StatefulSet) -> int:
    """The first ordinal."""
    return (owner.spec.ordinals.start or 0) if owner.spec.ordinals is not None else 0


def wanted(owner: api.StatefulSet) -> int:
    """How many replicas are asked for."""
    return 1 if owner.spec.replicas is None else owner.spec.replicas


def ordinals(owner: api.StatefulSet) -> range:
    """The ordinals of the pods that there should be."""
    return range(start(owner), start(owner) + wanted(owner))


def pod_name(owner: api.StatefulSet, ordinal: int) -> str:
    return f"{owner.metadata.name}-{ordinal}"


def ordinal_of(owner: api.StatefulSet, pod: api.Pod) -> int | None:
    """The ordinal in the pod's name; None where the name is not one that the set gives."""
    match = _ORDINAL.fullmatch(pod.metadata.name or "")
    return int(match[2]) if match is not None and match[1] == owner.metadata.name else None


def claim_name(template: api.PersistentVolumeClaim, pod: str) -> str:
    return f"{template.metadata.name}-{pod}"


def labels(name: str, ordinal: int) -> dict[str, str]:
    """The labels that tell a pod's identity."""
    return {POD_NAME: name, POD_INDEX: str(ordinal)}


def make_pod(owner: api.StatefulSet, template: api.PodTemplateSpec, revision: str, ordinal: int) -> api.Pod:
    """The pod with this ordinal, from the template of this revision."""
    name = pod_name(owner, ordinal)
    pod = podutil.from_template(template, owner)
    pod.metadata.generateName = None
    pod.metadata.name = name
    pod.metadata.labels |= {**labels(name, ordinal), HASH_LABEL: revision}
    pod.spec.hostname = name
    pod.spec.subdomain = owner.spec.serviceName or None
    claimed = {
        one.metadata.name: api.Volume(
            name=one.metadata.name or "",
            persistentVolumeClaim=api.PersistentVolumeClaimVolumeSource(claimName=claim_name(one, name)),
        )
        for one in owner.spec.volumeClaimTemplates
    }
    pod.spec.volumes = [*claimed.values(), *(v for v in pod.spec.volumes if v.name not in claimed)]
    return pod


def make_claims(owner: api.StatefulSet, pod: str) -> list[api.PersistentVolumeClaim]:
    """The claims of the pod with this name. Their labels are the set's selector and their template's."""
    made = []
    selected = owner.spec.selector.matchLabels if owner.spec.selector is not None else {}
    for template in owner.spec.volumeClaimTemplates:
        claim = codec.copy(template)
        claim.apiVersion, claim.kind = "v1", "PersistentVolumeClaim"
        claim.metadata.name = claim_name(template, pod)
        claim.metadata.namespace = owner.metadata.namespace
        claim.metadata.labels |= selected
        claim.status = api.PersistentVolumeClaimStatus()
        made.append(claim)
    return made
