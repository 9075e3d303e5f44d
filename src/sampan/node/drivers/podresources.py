"""The devices of pods as the pod resources API tells of them: the fields of its messages. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sampan.kinds.core.phases import FINISHED
from sampan.node.drivers.claimplan import Prepared, claim_names, devices_of
from sampan.node.drivers.deviceplan import Held
from sampan.schema import api

Nodes = Mapping[str, Sequence[int]]  # the NUMA nodes of devices, by id


def listed_pods(pods: Iterable[api.Pod]) -> list[api.Pod]:
    """The pods that use anything: not those that are over, nor what is left of pods that the API forgot."""
    return [pod for pod in pods if pod.spec.nodeName and pod.status.phase not in FINISHED]


def pod_fields(pod: api.Pod, held: Iterable[Held], prepared: Iterable[Prepared]) -> dict[str, Any]:
    """`v1.PodResources` of a pod, from what is held and prepared for it.

    As kubelet: sidecars and containers, each device by itself; CPUs and memory are nobody's own.
    """
    mine = sorted(held, key=lambda each: each.resource)
    claims = {each.name: each for each in prepared}
    return {
        "name": pod.metadata.name or "",
        "namespace": pod.metadata.namespace or "",
        "containers": [
            {
                "name": each.name,
                "devices": [
                    fields
                    for own in mine
                    if own.container == each.name
                    for fields in device_fields(own.resource, own.devices, own.nodes)
                ],
                "dynamic_resources": _claims_fields(pod, each, claims),
            }
            for each in _containers(pod)
        ],
    }


def old_pod_fields(pod: api.Pod, held: Iterable[Held]) -> dict[str, Any]:
    """`v1alpha1.PodResources` of a pod, which knows containers and devices only."""
    names = {each.name for each in pod.spec.containers}
    fields = pod_fields(pod, held, ())
    fields["containers"] = [
        {
            "name": each["name"],
            "devices": [
                {"resource_name": device["resource_name"], "device_ids": device["device_ids"]}
                for device in each["devices"]
            ],
        }
        for each in fields["containers"]
        if each["name"] in names
    ]
    return fields


def device_fields(resource: str, devices: Collection[str], nodes: Nodes) -> list[dict[str, Any]]:
    """`v1.ContainerDevices`: one for each device, or for each NUMA node that it is near to."""
    found: list[dict[str, Any]] = []
    for device in sorted(devices):
        fields = {"resource_name": resource, "device_ids": [device]}
        near = nodes.get(device, ())
        found += [{**fields, "topology": {"nodes": [{"ID": node}]}} for node in near] or [fields]
    return found


def _containers(pod: api.Pod) -> list[api.Container]:
    return [c for c in pod.spec.initContainers if c.restartPolicy == "Always"] + pod.spec.containers


def _claims_fields(
    pod: api.Pod, container: api.Container, prepared: Mapping[str, Prepared]
) -> list[dict[str, Any]]:
    """`v1.DynamicResource` of each claim that the container uses; none until all of these are known."""
    names = claim_names(pod)
    used = {each.name for each in (container.resources.claims if container.resources is not None else ())}
    found = [names[each.name] for each in pod.spec.resourceClaims if each.name in used & names.keys()]
    extended = pod.status.extendedResourceClaimStatus
    if extended is not None and any(m.containerName == container.name for m in extended.requestMappings):
        found.append(extended.resourceClaimName)
    if any(name not in prepared for name in found):
        return []
    return [_claim_fields(prepared[name]) for name in found]


def _claim_fields(claim: Prepared) -> dict[str, Any]:
    """All devices of the claim, whichever request they are for. Each has its own CDI devices."""
    return {
        "claim_name": claim.name,
        "claim_namespace": claim.namespace,
        "claim_resources": [
            {
                "cdi_devices": [{"name": name} for name in device.cdi],
                "driver_name": driver,
                "pool_name": device.pool,
                "device_name": device.name,
                "share_id": device.share,
            }
            for driver, device in devices_of(claim, "")
        ],
    }
