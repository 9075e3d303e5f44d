"""Service: one address and name for a changing set of pods."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sampan.kinds.core.addresses import is_ipv6
from sampan.kinds.core.cells import NONE, UNKNOWN, labels_text
from sampan.kinds.core.pod import PROXY_VERBS
from sampan.kinds.core.service_update import prepare_update
from sampan.kinds.core.service_validation import (
    HEADLESS,
    is_externally_accessible,
    is_headless,
    validate_service,
    validate_service_status_update,
    validate_service_update,
)
from sampan.kinds.core.warnings import service_warnings
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import names
from sampan.schema import api

AFFINITY_TIMEOUT_S: Final = 10800


def default_service(service: api.Service) -> None:
    """Fill in a Service; its addresses and node ports are given out by the server."""
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    _default_affinity(spec)
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        if port.targetPort is None or port.targetPort in (0, ""):
            port.targetPort = port.port
    if is_externally_accessible(spec) and not spec.externalTrafficPolicy:
        spec.externalTrafficPolicy = "Cluster"
    if spec.internalTrafficPolicy is None and spec.type != "ExternalName":
        spec.internalTrafficPolicy = "Cluster"
    if spec.type == "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts is None:
            spec.allocateLoadBalancerNodePorts = True
        for ingress in service.status.loadBalancer.ingress if service.status.loadBalancer else ():
            if ingress.ip and ingress.ipMode is None:
                ingress.ipMode = "VIP"
    if spec.type != "ExternalName":
        _default_families(spec)
    if service.status.loadBalancer is None:
        service.status.loadBalancer = api.LoadBalancerStatus()  # embedded by value in Go


def prepare_create(service: api.Service) -> None:
    """A new Service has no status; `clusterIPs` follows the older `clusterIP`."""
    service.status = api.ServiceStatus(loadBalancer=api.LoadBalancerStatus())
    spec = service.spec
    if spec.clusterIP and not spec.clusterIPs:
        spec.clusterIPs = [spec.clusterIP]


def _default_affinity(spec: api.ServiceSpec) -> None:
    spec.sessionAffinity = spec.sessionAffinity or "None"
    if spec.sessionAffinity == "None":
        spec.sessionAffinityConfig = None
    elif spec.sessionAffinity == "ClientIP":
        config = spec.sessionAffinityConfig
        if config is None or config.clientIP is None or config.clientIP.timeoutSeconds is None:
            timeout = api.ClientIPConfig(timeoutSeconds=AFFINITY_TIMEOUT_S)
            spec.sessionAffinityConfig = api.SessionAffinityConfig(clientIP=timeout)


def _default_families(spec: api.ServiceSpec) -> None:
    # A headless Service without a selector may point anywhere, so Kubernetes lets it hold both families.
    anywhere = (is_headless(spec) or spec.clusterIP == HEADLESS) and not spec.selector
    if spec.ipFamilyPolicy is None:
        spec.ipFamilyPolicy = "RequireDualStack" if anywhere else "SingleStack"
    if not spec.ipFamilies:
        addresses = spec.clusterIPs or ([spec.clusterIP] if spec.clusterIP else [])
        families = ["IPv6" if is_ipv6(address) else "IPv4" for address in addresses if address != HEADLESS]
        spec.ipFamilies = families or ["IPv4"]
        if anywhere and spec.ipFamilyPolicy == "RequireDualStack":
            spec.ipFamilies = ["IPv4", "IPv6"]


def _external_ip(service: api.Service, _now: datetime) -> str:
    spec = service.spec
    if spec.type in ("ClusterIP", "NodePort"):
        return ",".join(spec.externalIPs) or NONE
    if spec.type == "LoadBalancer":
        balancer = service.status.loadBalancer
        points = {point.ip or point.hostname or "" for point in balancer.ingress} if balancer else set()
        return ",".join([*sorted(points - {""}), *spec.externalIPs]) or "<pending>"
    if spec.type == "ExternalName":
        return spec.externalName or ""
    return UNKNOWN


def _cluster_ip(service: api.Service, _now: datetime) -> str:
    return (service.spec.clusterIPs[0] if service.spec.clusterIPs else service.spec.clusterIP) or NONE


def _ports(service: api.Service, _now: datetime) -> str:
    return (
        ",".join(
            f"{port.port}:{port.nodePort}/{port.protocol}"
            if port.nodePort
            else f"{port.port}/{port.protocol}"
            for port in service.spec.ports
        )
        or NONE
    )


KIND: Final = Kind(
    api_version="v1",
    kind="Service",
    plural="services",
    told_alone="whole",
    short=("svc",),
    categories=("all",),
    status=True,
    default=default_service,
    warnings=service_warnings,
    validate=validate_service,
    validate_update=validate_service_update,
    validate_status_update=validate_service_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_label,
    field_selectors={
        "spec.clusterIP": lambda service: service.spec.clusterIP or "",
        "spec.type": lambda service: service.spec.type or "",
    },
    columns=(
        NAME,
        Column("Type", lambda s, _now: s.spec.type, description="How the Service is exposed."),
        Column("Cluster-IP", _cluster_ip, description="The address inside the cluster."),
        Column("External-IP", _external_ip, description="Where the Service is reached from outside."),
        Column("Port(s)", _ports, description="The ports of the Service."),
        AGE,
        Column(
            "Selector",
            lambda s, _now: labels_text(s.spec.selector),
            description="The labels of the pods behind the Service.",
            priority=1,
        ),
    ),
    subresources=(("services/proxy", "ServiceProxyOptions", PROXY_VERBS),),
)
