"""A Service and the pods behind it, and which port of a pod a port of the Service means."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import msgspec

from sampan.controllers.runtime import pods as podutil
from sampan.controllers.runtime.controller import Caches, Key
from sampan.machinery import selectors
from sampan.schema import api

SERVICE_NAME: Final = "kubernetes.io/service-name"
# Which controller writes a slice.
MANAGED_BY: Final = "endpointslice.kubernetes.io/managed-by"
TRIGGER: Final = "endpoints.kubernetes.io/last-change-trigger-time"
HEADLESS: Final = "service.kubernetes.io/headless"
ZONE: Final = "topology.kubernetes.io/zone"
BY_LABEL: Final = "selector"
WITH_LABEL: Final = "label"
IPV4: Final = "IPv4"
IPV6: Final = "IPv6"


class Backend(msgspec.Struct, frozen=True):
    """A pod that has an address, and the zone of its node."""

    pod: api.Pod
    zone: str | None = None


def selects(service: api.Service) -> bool:
    """Whether the Service's endpoints are ours to find."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def is_headless(service: api.Service) -> bool:
    return service.spec.clusterIP == "None"


def labels_of(service: api.Service) -> dict[str, str]:
    """The labels that what we write has from the Service."""
    labels = {name: value for name, value in service.metadata.labels.items() if name != HEADLESS}
    return {**labels, HEADLESS: ""} if is_headless(service) else labels


def services_of_slices(manager: str) -> Callable[[Caches, api.EndpointSlice], Iterable[Key]]:
    """For a watch: the Service of a slice, if the slice is this manager's."""

    def service_of(_caches: Caches, one: api.EndpointSlice) -> Iterable[Key]:
        labels = one.metadata.labels
        if labels.get(MANAGED_BY) == manager and labels.get(SERVICE_NAME):
            yield Key(one.metadata.namespace or "", labels[SERVICE_NAME])

    return service_of


def slices_by_service(manager: str) -> Callable[[api.EndpointSlice], Iterable[str]]:
    """An index of this manager's slices: `namespace/name` of the Service."""

    def by_service(one: api.EndpointSlice) -> Iterable[str]:
        labels = one.metadata.labels
        if labels.get(MANAGED_BY) == manager:
            yield f"{one.metadata.namespace}/{labels.get(SERVICE_NAME, '')}"

    return by_service


def backends(caches: Caches, service: api.Service) -> tuple[Backend, ...]:
    """The Service's pods that have an address and are not finished, by name. Needs the index `WITH_LABEL`."""
    selector = selectors.from_labels(service.spec.selector)
    label = min(service.spec.selector.items(), default=None)
    if label is None:
        return ()
    found = []
    # Thousands of Services in a namespace must not each look at all of its pods.
    for pod in caches.of(api.Pod).by_index(WITH_LABEL, _label(service, *label)):
        if selector.matches(pod.metadata.labels) and addresses(pod) and not podutil.is_finished(pod):
            node = caches.of(api.Node).get("", pod.spec.nodeName or "")
            found.append(Backend(pod, node.metadata.labels.get(ZONE) if node is not None else None))
    return tuple(sorted(found, key=lambda backend: backend.pod.metadata.name or ""))


def addresses(pod: api.Pod) -> list[str]:
    """All of the pod's addresses, its first one first."""
    every = [entry.ip for entry in pod.status.podIPs if entry.ip]
    return every or ([pod.status.podIP] if pod.status.podIP else [])


def family(address: str) -> str:
    return IPV6 if ":" in address else IPV4


def families(service: api.Service) -> Sequence[str]:
    """The Service's address families, its first one first."""
    if service.spec.ipFamilies:
        return service.spec.ipFamilies
    address = service.spec.clusterIP or ""
    return (family(address),) if address and address != "None" else (IPV4,)


def port_number(pod: api.Pod, port: api.ServicePort) -> int | None:
    """The port of the pod: named ones are looked up in its containers; None where no container has it."""
    target = port.targetPort
    if target is None or target in (0, ""):
        return port.port
    if isinstance(target, int):
        return target
    protocol = port.protocol or "TCP"
    sidecars = [one for one in pod.spec.initContainers if one.restartPolicy == "Always"]
    for container in [*pod.spec.containers, *sidecars]:
        for one in container.ports:
            if one.name == target and (one.protocol or "TCP") == protocol:
                return one.containerPort
    return None


def hostname(pod: api.Pod, service: api.Service) -> str | None:
    """The name that DNS gives the pod under this Service."""
    if pod.spec.hostname and pod.spec.subdomain == service.metadata.name:
        return pod.spec.hostname
    return None


def target(pod: api.Pod) -> api.ObjectReference:
    meta = pod.metadata
    return api.ObjectReference(kind="Pod", namespace=meta.namespace, name=meta.name, uid=meta.uid)


def by_label(service: api.Service) -> Iterable[str]:
    """For the index `BY_LABEL`: one of the labels that pods of the Service have, for want of them all."""
    if not selects(service):
        return ()
    name, value = min(service.spec.selector.items())
    return (_label(service, name, value),)


def with_label(pod: api.Pod) -> Iterable[str]:
    """For the index `WITH_LABEL`: each label of the pod."""
    return [_label(pod, name, value) for name, value in pod.metadata.labels.items()]


def services_of(caches: Caches, pod: Any) -> Iterable[Key]:
    """The Services that select the pod; needs the index `BY_LABEL` of Services."""
    namespace = pod.metadata.namespace or ""
    services = caches.of(api.Service)
    for name, value in pod.metadata.labels.items():
        for service in services.by_index(BY_LABEL, _label(pod, name, value)):
            if selectors.from_labels(service.spec.selector).matches(pod.metadata.labels):
                yield Key(namespace, service.metadata.name or "")


def _label(obj: Any, name: str, value: str) -> str:
    return f"{obj.metadata.namespace}/{name}={value}"


def services_on(caches: Caches, node: api.Node) -> Iterable[Key]:
    """The Services that lead to pods on the node."""
    for pod in caches.of(api.Pod).by_index(podutil.ON_NODE, node.metadata.name or ""):
        yield from services_of(caches, pod)


def node_matters(old: Any, new: Any) -> bool:
    """Whether anything changed that endpoints or their hints go by."""
    return _told(old) != _told(new)


def _told(node: api.Node) -> tuple[Any, ...]:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions)
    return node.metadata.labels.get(ZONE), ready, node.status.allocatable.get("cpu")


def trigger_time(service: api.Service, found: Sequence[Backend], before: str | None) -> str | None:
    """When what changed the endpoints now happened: the first such time after `before`; None for unknown."""
    times = [podutil.ready_since(one.pod) for one in found] + [service.metadata.creationTimestamp]
    told = [at.strftime("%Y-%m-%dT%H:%M:%SZ") for at in times if at is not None]
    return min((text for text in told if before is None or text > before), default=None)


def pod_matters(old: Any, new: Any) -> bool:
    """Whether anything changed that an endpoint shows."""
    return _shown(old) != _shown(new)


def _shown(pod: api.Pod) -> tuple[Any, ...]:
    return (
        pod.metadata.labels,
        pod.metadata.deletionTimestamp is None,
        pod.spec.nodeName,
        pod.status.phase,
        addresses(pod),
        podutil.is_ready(pod),
    )
