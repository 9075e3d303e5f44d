"""What fieldRef and resourceFieldRef name: parts of a pod, as text. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from sampan.machinery.quantity import Quantity
from sampan.node.errors import ConfigError
from sampan.node.model import NodeFacts
from sampan.node.turn import spec_of
from sampan.schema import api

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


def field_value(pod: api.Pod, path: str, node: NodeFacts, pod_ips: tuple[str, ...]) -> str:
    """The value of a fieldRef. Raises ConfigError for a path that is not supported."""
    meta, spec = pod.metadata, pod.spec
    plain = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "spec.nodeName": spec.nodeName or node.name,
        "spec.serviceAccountName": spec.serviceAccountName or "default",
        "status.hostIP": node.ips[0] if node.ips else "",
        "status.hostIPs": ",".join(node.ips),
        "status.podIP": pod_ips[0] if pod_ips else "",
        "status.podIPs": ",".join(pod_ips),
    }
    if path in plain:
        return plain[path] or ""
    if path == "metadata.labels":
        return map_text(meta.labels)
    if path == "metadata.annotations":
        return map_text(meta.annotations)
    found = _SUBSCRIPT.fullmatch(path)
    if found is None:
        raise ConfigError(f"unsupported fieldPath: {path}")
    held = meta.labels if found.group(1) == "labels" else meta.annotations
    return held.get(found.group(2), "")


def map_text(values: Mapping[str, str]) -> str:
    """Labels or annotations as the downward API writes them: sorted lines of `key="value"`."""
    return "\n".join(f"{key}={json.dumps(values[key], ensure_ascii=False)}" for key in sorted(values))


def resource_value(
    pod: api.Pod, selector: api.ResourceFieldSelector, container_name: str, node: NodeFacts
) -> str:
    """The value of a resourceFieldRef, rounded up in units of its divisor.

    A limit that is not set is what the node has to give. Raises ConfigError for what is not there.
    """
    name = selector.containerName or container_name
    container = spec_of(pod, name)
    if container is None:
        raise ConfigError(f"container {name} not found")
    side, _, resource = selector.resource.partition(".")
    held = container.resources.limits if side == "limits" else container.resources.requests
    if side not in ("limits", "requests"):
        raise ConfigError(f"unsupported container resource : {selector.resource}")
    amount = held.get(resource)
    value = amount.value if amount is not None else _absent(side, resource, container, node)
    divisor = _divisor(selector.divisor)
    return str(int((value / divisor).to_integral_value(ROUND_CEILING)))


def _divisor(given: Quantity | None) -> Decimal:
    return given.value if given is not None and given.value > 0 else Decimal(1)


def _absent(side: str, resource: str, container: api.Container, node: NodeFacts) -> Decimal:
    if side == "requests":
        limit = container.resources.limits.get(resource)
        return limit.value if limit is not None else Decimal(0)
    if resource == "cpu":
        return Decimal(node.allocatable_cpu_milli) / 1000
    if resource == "memory":
        return Decimal(node.allocatable_memory_bytes)
    return Decimal(0)
