"""Whether a node takes a pod that was bound to it: kubelet's last word, with kubelet's reasons. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from sampan.kinds.core.node_selection import required
from sampan.kinds.core.phases import is_finished
from sampan.node.model import Trouble
from sampan.node.resources import pod_requests
from sampan.node.sysctls import refused_sysctl
from sampan.schema import api

ANY_ADDRESS: Final = ("", "0.0.0.0", "::")


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """A node as admission sees it: allocatable with cpu in thousandths, the rest in whole units."""

    name: str
    labels: Mapping[str, str]
    allocatable: Mapping[str, int]
    # Extended resources that it does not know of are the scheduler's word.
    trusts_extended: bool = False


def admit(pod: api.Pod, others: Iterable[api.Pod], node: NodeView) -> Trouble | None:
    """Why the node must refuse the pod beside the `others` it runs; None if it can take it."""
    running = [p for p in others if p.metadata.uid != pod.metadata.uid and not is_finished(p)]
    return _sysctls(pod) or _affinity(pod, node) or _ports(pod, running) or _resources(pod, running, node)


def rejection(reason: str, message: str) -> Trouble:
    """Why a node refuses a pod, as its status says it."""
    return Trouble(reason, f"Pod was rejected: {message}")


def _sysctls(pod: api.Pod) -> Trouble | None:
    refused = refused_sysctl(pod)
    return rejection("SysctlForbidden", refused) if refused else None


def _affinity(pod: api.Pod, node: NodeView) -> Trouble | None:
    if matches_node(pod, node.name, node.labels):
        return None
    return rejection(
        "NodeAffinity",
        "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
    )


def matches_node(pod: api.Pod, name: str, labels: Mapping[str, str]) -> bool:
    """Whether nodeSelector and the required node affinity of the pod hold for a node."""
    wanted = required(pod.spec)
    return wanted is None or wanted(name, labels)


def host_ports(pod: api.Pod) -> set[tuple[str, str, int]]:
    """The (address, protocol, port) of the host that the pod takes."""
    taken = set()
    containers = [*pod.spec.containers, *(c for c in pod.spec.initContainers if c.restartPolicy == "Always")]
    for container in containers:
        for port in container.ports:
            number = port.hostPort or (port.containerPort if pod.spec.hostNetwork else 0)
            if number:
                taken.add((port.hostIP or "", port.protocol or "TCP", number))
    return taken


def _ports(pod: api.Pod, others: Iterable[api.Pod]) -> Trouble | None:
    wanted = host_ports(pod)
    if not wanted:
        return None
    taken = {entry for other in others for entry in host_ports(other)}
    for ip, protocol, port in wanted:
        for other_ip, other_protocol, other_port in taken:
            same = (protocol, port) == (other_protocol, other_port)
            if same and (ip == other_ip or ip in ANY_ADDRESS or other_ip in ANY_ADDRESS):
                return rejection(
                    "NodePorts",
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
                )
    return None


def _resources(pod: api.Pod, others: list[api.Pod], node: NodeView) -> Trouble | None:
    most = node.allocatable.get("pods", 0)
    if len(others) + 1 > most:
        return _lack("pods", 1, len(others), most)
    wanted = {name: amount for name, amount in pod_requests(pod).items() if amount > 0}
    if not wanted:
        return None
    used: dict[str, int] = {}
    for other in others:
        for name, amount in pod_requests(other).items():
            used[name] = used.get(name, 0) + amount
    extended = pod.status.extendedResourceClaimStatus
    served = {mapping.resourceName for mapping in extended.requestMappings} if extended is not None else ()
    for name, amount in wanted.items():
        if name in served:  # by a claim, which the node does not count
            continue
        if node.trusts_extended and "/" in name and name not in node.allocatable:
            continue
        if amount + used.get(name, 0) > node.allocatable.get(name, 0):
            return _lack(name, amount, used.get(name, 0), node.allocatable.get(name, 0))
    return None


def _lack(name: str, requested: int, used: int, capacity: int) -> Trouble:
    figures = f"requested: {requested}, used: {used}, capacity: {capacity}"
    return rejection(f"OutOf{name}", f"Node didn't have enough resource: {name}, {figures}")
