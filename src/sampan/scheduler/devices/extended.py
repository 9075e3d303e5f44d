"""Resources of containers that device classes serve: the claim that the scheduler makes for a pod. Pure.

As kube-scheduler does for `spec.extendedResourceName` of a DeviceClass: on a node that offers none of such a
resource itself, the pod gets a claim of its own instead, with a request for each container that asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from sampan.schema import api, codec

# On a claim that was made for the extended resources of its pod.
ANNOTATION: Final = "resource.kubernetes.io/extended-resource-claim"
# What the claim is called before it is made; no claim can have this name.
UNMADE: Final = "<extended-resources>"


class _Asked(msgspec.Struct, frozen=True):
    """What one container asks for of one resource; `index` counts init containers first."""

    container: str
    index: int
    request: str
    count: int
    ends: bool  # before the next one starts: an init container that is no sidecar


class Served(msgspec.Struct, frozen=True):
    """The claim for what a pod asks of some resources, and which request is for which container."""

    claim: api.ResourceClaim
    mappings: tuple[api.ContainerExtendedResourceRequest, ...]


def claim_for(pod: api.Pod, resources: Mapping[str, str]) -> Served:
    """The claim that serves these resources, each by its class."""
    requests: list[api.DeviceRequest] = []
    mappings: list[api.ContainerExtendedResourceRequest] = []
    for resource in sorted(resources):
        counts, named = _requests(_asked(pod.spec, resource))
        requests += [_request(name, resources[resource], count) for name, count in counts.items()]
        mappings += [
            api.ContainerExtendedResourceRequest(
                containerName=container, resourceName=resource, requestName=request
            )
            for container, request in named
        ]
    requests.sort(key=lambda request: request.name)
    claim = unmade(pod)
    claim.spec.devices = api.DeviceClaim(requests=requests)
    return Served(claim, tuple(mappings))


def unmade(pod: api.Pod) -> api.ResourceClaim:
    """The claim before it is made, without requests."""
    meta = pod.metadata
    owner = api.OwnerReference(
        apiVersion="v1", kind="Pod", name=meta.name or "", uid=meta.uid or "", controller=True
    )
    return api.ResourceClaim(
        apiVersion="resource.k8s.io/v1",
        kind="ResourceClaim",
        metadata=api.ObjectMeta(
            name=UNMADE,
            generateName=f"{meta.name}-extended-resources-",
            namespace=meta.namespace,
            uid=f"{UNMADE}{meta.uid or f'{meta.namespace}/{meta.name}'}",
            annotations={ANNOTATION: "true"},
            ownerReferences=[owner],
        ),
    )


def to_make(claim: api.ResourceClaim) -> api.ResourceClaim:
    """The claim as it is created."""
    made = codec.copy(claim)
    made.metadata.name = None
    made.metadata.uid = None
    return made


def is_special(claim: api.ResourceClaim) -> bool:
    """Whether the claim is for the extended resources of its pod."""
    return claim.metadata.annotations.get(ANNOTATION) == "true"


def _asked(spec: api.PodSpec, resource: str) -> list[_Asked]:
    found = []
    for index, container in enumerate((*spec.initContainers, *spec.containers)):
        requests = container.resources.requests if container.resources is not None else {}
        count = requests[resource].whole() if resource in requests else 0
        if count > 0:
            name = f"container-{index}-request-{sorted(requests).index(resource)}"
            ends = index < len(spec.initContainers) and container.restartPolicy != "Always"
            found.append(_Asked(container.name, index, name, count, ends))
    return found


def _requests(asked: Sequence[_Asked]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """How many devices for each request, and (container, request).

    Init containers use what later containers have; what is missing they have in common, one after the other.
    """
    lasting = [each for each in asked if not each.ends]
    counts = {each.request: each.count for each in lasting}
    named = [(each.container, each.request) for each in lasting]
    common: tuple[str, int] = "", 0
    missing: list[str] = []
    for each in (each for each in asked if each.ends):
        left = each.count
        for later in (other for other in lasting if other.index >= each.index):
            if left <= 0:
                break
            named.append((each.container, later.request))
            left -= later.count
        if left > 0:
            missing.append(each.container)
            common = max(common, (each.request, left), key=lambda one: one[1])
    if missing:
        counts[common[0]] = common[1]
        named += [(container, common[0]) for container in missing]
    return counts, named


def _request(name: str, device_class: str, count: int) -> api.DeviceRequest:
    exactly = api.ExactDeviceRequest(deviceClassName=device_class, allocationMode="ExactCount", count=count)
    return api.DeviceRequest(name=name, exactly=exactly)
