"""The Node and Lease objects of a node. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from sampan.base.clock import kube_time, micro_time
from sampan.kinds import localpath
from sampan.node.config import AgentConfig
from sampan.node.node_info import MachineInfo, allocatable, capacity
from sampan.node.runtimes.runtime import Image
from sampan.schema import api

LEASE_NAMESPACE: Final = "kube-node-lease"
# kubelet lists no more images than this in a node's status.
IMAGES_MOST: Final = 50

# type: (reason and message while all is well, reason and message otherwise)
_PRESSURES: Final = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}


def node_labels(config: AgentConfig, machine: MachineInfo) -> dict[str, str]:
    """The labels that every node carries, with the config's own."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        **config.labels,
    }


def node_annotations(config: AgentConfig) -> dict[str, str]:
    """The annotations that every node carries, with the config's own."""
    found = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    if config.local_path_dir:
        found[localpath.NODE_DIRECTORY] = config.local_path_dir
    return {**found, **config.annotations}


def new_node(config: AgentConfig, machine: MachineInfo, status: api.NodeStatus) -> api.Node:
    """The Node as it is registered first."""
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(
            name=config.node_name,
            labels=node_labels(config, machine),
            annotations=node_annotations(config),
        ),
        spec=api.NodeSpec(
            taints=[_taint(text) for text in config.taints], providerID=config.provider_id or None
        ),
        status=status,
    )


def _taint(text: str) -> api.Taint:
    pair, _, effect = text.rpartition(":")
    key, _, value = pair.partition("=")
    return api.Taint(key=key, value=value or None, effect=effect)


def node_status(
    config: AgentConfig,
    machine: MachineInfo,
    *,
    runtime_version: str,
    runtime_error: str,
    images: Sequence[Image],
    pressures: frozenset[str],
    before: Iterable[api.NodeCondition],
    now: datetime,
) -> api.NodeStatus:
    """The node's status. It is Ready once the runtime answers; transition times of `before` are kept."""
    addresses = [api.NodeAddress(type="InternalIP", address=ip) for ip in config.node_ips]
    addresses.append(api.NodeAddress(type="Hostname", address=config.node_name))
    return api.NodeStatus(
        addresses=addresses,
        allocatable=allocatable(config, machine),
        capacity=capacity(config, machine),
        conditions=_conditions(runtime_version, runtime_error, pressures, before, now),
        daemonEndpoints=api.NodeDaemonEndpoints(kubeletEndpoint=api.DaemonEndpoint(Port=config.kubelet_port)),
        images=[_image(i) for i in sorted(images, key=lambda i: -i.size_bytes)[:IMAGES_MOST]],
        nodeInfo=api.NodeSystemInfo(
            architecture=machine.architecture,
            bootID=machine.boot_id,
            containerRuntimeVersion=runtime_version,
            kernelVersion=machine.kernel_version,
            kubeProxyVersion="",
            kubeletVersion=config.kubelet_version,
            machineID=machine.machine_id,
            operatingSystem="linux",
            osImage=machine.os_image,
            systemUUID=machine.system_uuid,
        ),
    )


def _image(image: Image) -> api.ContainerImage:
    return api.ContainerImage(names=[*image.digests, *image.tags], sizeBytes=image.size_bytes)


def _conditions(
    version: str,
    error: str,
    pressures: frozenset[str],
    before: Iterable[api.NodeCondition],
    now: datetime,
) -> list[api.NodeCondition]:
    wanted = []
    for name, (well, ill) in _PRESSURES.items():
        pressed = name in pressures
        reason, message = ill if pressed else well
        wanted.append(
            api.NodeCondition(
                type=name, status="True" if pressed else "False", reason=reason, message=message
            )
        )
    if version:
        wanted.append(
            api.NodeCondition(
                type="Ready", status="True", reason="KubeletReady", message="kubelet is posting ready status"
            )
        )
    else:
        message = f"container runtime is down: {error}" if error else "container runtime is down"
        wanted.append(
            api.NodeCondition(type="Ready", status="False", reason="KubeletNotReady", message=message)
        )
    known = {c.type: c for c in before}
    for condition in wanted:
        old = known.get(condition.type)
        same = old is not None and old.status == condition.status and old.lastTransitionTime is not None
        condition.lastTransitionTime = old.lastTransitionTime if same and old else kube_time(now)
        condition.lastHeartbeatTime = kube_time(now)
    return wanted


def is_same_but_for_heartbeats(one: api.NodeStatus, other: api.NodeStatus) -> bool:
    """Whether two statuses tell the same but for when they were written."""
    return _without_heartbeats(one) == _without_heartbeats(other)


def _without_heartbeats(status: api.NodeStatus) -> api.NodeStatus:
    return replace(status, conditions=[replace(c, lastHeartbeatTime=None) for c in status.conditions])


def new_lease(
    node_name: str, owner_uid: str, duration_s: int, now: datetime, held: api.Lease | None = None
) -> api.Lease:
    """The node's Lease, renewed `now`."""
    meta = held.metadata if held is not None else api.ObjectMeta(name=node_name, namespace=LEASE_NAMESPACE)
    if owner_uid and not meta.ownerReferences:
        owner = api.OwnerReference(apiVersion="v1", kind="Node", name=node_name, uid=owner_uid)
        meta = replace(meta, ownerReferences=[owner])
    return api.Lease(
        apiVersion="coordination.k8s.io/v1",
        kind="Lease",
        metadata=meta,
        spec=api.LeaseSpec(
            holderIdentity=node_name, leaseDurationSeconds=duration_s, renewTime=micro_time(now)
        ),
    )


def lost_labels(node: api.Node, wanted: Mapping[str, str]) -> dict[str, str]:
    """The labels that the Node should have and has not (or other)."""
    return {key: value for key, value in wanted.items() if node.metadata.labels.get(key) != value}
