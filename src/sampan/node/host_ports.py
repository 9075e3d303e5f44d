"""Host ports lead to a pod before its containers start, as they do where a CNI plugin maps them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from sampan.node.runtimes.runtime import RuntimeFailure
from sampan.schema import api

# Rules of thousands of services take about a second; a kernel that refuses them is asked again all the time.
OPEN_LIMIT_S: Final = 15.0


class HostPorts(Protocol):
    """Whoever carries out the host ports of this machine's pods."""

    async def lead_to(self, pod: api.Pod) -> None:
        """Return once the host ports lead to the pod's addresses, which the API need not know yet."""
        ...


def wants_host_ports(pod: api.Pod) -> bool:
    """Whether the pod has ports that somebody must lead to it."""
    spec = pod.spec
    if spec.hostNetwork:
        return False
    return any(port.hostPort for c in (*spec.containers, *spec.initContainers) for port in c.ports)


def with_addresses(pod: api.Pod, ips: Sequence[str], node_ips: Sequence[str]) -> api.Pod:
    """The pod as the API will have it once its addresses are reported."""
    status = replace(
        pod.status,
        podIP=ips[0] if ips else None,
        podIPs=[api.PodIP(ip=ip) for ip in ips],
        hostIP=node_ips[0] if node_ips else None,
        hostIPs=[api.HostIP(ip=ip) for ip in node_ips],
    )
    return replace(pod, status=status)


async def opened(ports: HostPorts | None, pod: api.Pod, ips: Sequence[str], node_ips: Sequence[str]) -> None:
    """Return once the pod's host ports lead to `ips`. Raises RuntimeFailure where they do not in time."""
    if ports is None or not wants_host_ports(pod):
        return
    try:
        async with asyncio.timeout(OPEN_LIMIT_S):
            await ports.lead_to(with_addresses(pod, ips, node_ips))
    except TimeoutError:
        raise RuntimeFailure(
            "CreateContainerError",
            "the node's ports do not lead to the pod yet: its proxy could not change the kernel's rules",
        ) from None
