"""What makes a Service valid: ValidateService of k8s.io/kubernetes/pkg/apis/core/validation."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.core.addresses import (
    is_dual_stack,
    is_ipv6,
    validate_cidr,
    validate_ip,
    validate_not_special,
)
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.meta import validate_labels
from sampan.schema import api

HEADLESS: Final = "None"
PROTOCOLS: Final = ("SCTP", "TCP", "UDP")

_SPEC: Final = Path("spec")
_ANNOTATIONS: Final = Path("metadata.annotations")
_TYPES: Final = frozenset({"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"})
_AFFINITIES: Final = frozenset({"ClientIP", "None"})
_TRAFFIC_POLICIES: Final = frozenset({"Cluster", "Local"})
_DISTRIBUTIONS: Final = ("PreferClose", "PreferSameZone", "PreferSameNode")
_FAMILIES: Final = frozenset({"IPv4", "IPv6"})
_FAMILY_POLICIES: Final = frozenset({"SingleStack", "PreferDualStack", "RequireDualStack"})
_IP_MODES: Final = frozenset({"VIP", "Proxy"})
_AFFINITY_TIMEOUT_MAX_S: Final = 86400
_ONLY_BALANCERS: Final = "may only be used when `type` is 'LoadBalancer'"
_FIXED: Final = "may not change once set"
_SOURCE_RANGES: Final = "service.beta.kubernetes.io/load-balancer-source-ranges"
TOPOLOGY_MODE: Final = "service.kubernetes.io/topology-mode"
TOPOLOGY_HINTS: Final = "service.kubernetes.io/topology-aware-hints"


def is_headless(spec: api.ServiceSpec) -> bool:
    """Whether the Service has no address of its own."""
    return spec.clusterIPs == [HEADLESS]


def is_externally_accessible(spec: api.ServiceSpec) -> bool:
    """Whether the Service takes traffic from outside the cluster."""
    return spec.type in ("NodePort", "LoadBalancer") or (spec.type == "ClusterIP" and bool(spec.externalIPs))


def needs_health_check(spec: api.ServiceSpec) -> bool:
    """Whether nodes must tell a load balancer if they hold endpoints."""
    return spec.type == "LoadBalancer" and spec.externalTrafficPolicy == "Local"


def validate_service(service: api.Service) -> list[FieldError]:
    """Every error of a Service, beside its metadata."""
    spec = service.spec
    errors = _validate_topology(service.metadata.annotations)
    if not spec.ports and not is_headless(spec) and spec.type != "ExternalName":
        errors.append(field.required(_SPEC["ports"]))
    errors += _validate_type_demands(spec)
    errors += _validate_ports(spec)
    errors += validate_labels(spec.selector, _SPEC["selector"])
    errors += _validate_affinity(spec)
    if spec.type != "ExternalName":
        errors += _validate_cluster_ips(spec)
    for position, address in enumerate(spec.externalIPs):
        here = _SPEC["externalIPs"].index(position)
        errors += validate_ip(address, here) or validate_not_special(address, here)
    if not spec.type:
        errors.append(field.required(_SPEC["type"]))
    elif spec.type not in _TYPES:
        errors.append(field.not_supported(_SPEC["type"], spec.type, _TYPES))
    errors += _validate_port_uniqueness(spec)
    errors += _validate_source_ranges(service)
    if spec.allocateLoadBalancerNodePorts is not None and spec.type != "LoadBalancer":
        errors.append(field.forbidden(_SPEC["allocateLoadBalancerNodePorts"], _ONLY_BALANCERS))
    if spec.loadBalancerClass is not None:
        errors += _validate_load_balancer_class(spec, spec.loadBalancerClass)
    errors += _validate_traffic_policies(spec)
    return errors


def validate_service_update(service: api.Service, old: api.Service) -> list[FieldError]:
    """Addresses, families, the class and the health check port stay once they are set."""
    new_spec, old_spec = service.spec, old.spec
    errors: list[FieldError] = []
    if "ExternalName" not in (new_spec.type, old_spec.type):
        errors += _validate_cluster_ip_change(new_spec, old_spec)
        errors += _validate_family_change(new_spec, old_spec)
    other_class = new_spec.loadBalancerClass != old_spec.loadBalancerClass
    if new_spec.type == old_spec.type == "LoadBalancer" and other_class:
        errors.append(field.invalid(_SPEC["loadBalancerClass"], new_spec.loadBalancerClass, _FIXED))
    other_port = new_spec.healthCheckNodePort != old_spec.healthCheckNodePort
    if needs_health_check(new_spec) and needs_health_check(old_spec) and other_port:
        errors.append(field.forbidden(_SPEC["healthCheckNodePort"], "field is immutable"))
    return errors


def validate_service_status_update(service: api.Service, _old: api.Service) -> list[FieldError]:
    """Only load balancers report ingress points."""
    balancer = service.status.loadBalancer
    if balancer is None or not balancer.ingress:
        return []
    path = Path("status.loadBalancer.ingress")
    if service.spec.type != "LoadBalancer":
        return [field.forbidden(path, "may only be used when `spec.type` is 'LoadBalancer'")]
    errors: list[FieldError] = []
    for position, point in enumerate(balancer.ingress):
        errors += _validate_ingress_point(point, path.index(position))
    return errors


def _validate_ingress_point(point: api.LoadBalancerIngress, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if point.ip:
        errors += validate_ip(point.ip, path["ip"])
        if point.ipMode is None:
            errors.append(field.required(path["ipMode"], "must be specified when `ip` is set"))
        elif point.ipMode not in _IP_MODES:
            errors.append(field.not_supported(path["ipMode"], point.ipMode, _IP_MODES))
    elif point.ipMode is not None:
        errors.append(field.forbidden(path["ipMode"], "may not be specified when `ip` is not set"))
    if point.hostname:
        messages = names.dns1123_subdomain(point.hostname)
        errors += [field.invalid(path["hostname"], point.hostname, message) for message in messages]
        if not validate_ip(point.hostname, path):
            detail = "must be a DNS name, not an IP address"
            errors.append(field.invalid(path["hostname"], point.hostname, detail))
    return errors


def _validate_topology(annotations: dict[str, str]) -> list[FieldError]:
    mode, hints = annotations.get(TOPOLOGY_MODE), annotations.get(TOPOLOGY_HINTS)
    if mode is None or hints is None or mode == hints:
        return []
    detail = f"must match annotations[{TOPOLOGY_HINTS}] when both are specified"
    return [field.invalid(_ANNOTATIONS.key(TOPOLOGY_MODE), mode, detail)]


def _validate_type_demands(spec: api.ServiceSpec) -> list[FieldError]:
    if spec.type in ("LoadBalancer", "NodePort") and is_headless(spec):
        detail = f"may not be set to 'None' for {spec.type} services"
        return [field.invalid(_SPEC["clusterIPs"].index(0), HEADLESS, detail)]
    if spec.type != "ExternalName":
        return []
    given = (
        ("clusterIPs", bool(spec.clusterIPs)),
        ("ipFamilies", bool(spec.ipFamilies)),
        ("ipFamilyPolicy", spec.ipFamilyPolicy is not None),
    )
    detail = "may not be set for ExternalName services"
    errors = [field.forbidden(_SPEC[name], detail) for name, is_set in given if is_set]
    host = (spec.externalName or "").removesuffix(".")
    if not host:
        return [*errors, field.required(_SPEC["externalName"])]
    return errors + [field.invalid(_SPEC["externalName"], host, m) for m in names.dns1123_subdomain(host)]


def _validate_ports(spec: api.ServiceSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, port in enumerate(spec.ports):
        path = _SPEC["ports"].index(position)
        errors += validate_port_entry(port, len(spec.ports) > 1, path)
        if port.name:
            if port.name in seen:
                errors.append(field.duplicate(path["name"], port.name))
            seen.add(port.name)
        if port.targetPort is not None:
            errors += validate_port_or_name(port.targetPort, path["targetPort"])
        if port.nodePort and spec.type == "ClusterIP":
            errors.append(field.forbidden(path["nodePort"], "may not be used when `type` is 'ClusterIP'"))
    return errors


def validate_port_entry(port: Any, name_required: bool, path: Path) -> list[FieldError]:
    """Name, number, protocol and application protocol of a port of a Service or of Endpoints."""
    errors: list[FieldError] = []
    if port.name:
        errors += [field.invalid(path["name"], port.name, m) for m in names.dns1123_label(port.name)]
    elif name_required:
        errors.append(field.required(path["name"]))
    errors += [field.invalid(path["port"], port.port, m) for m in names.port_number(port.port)]
    if not port.protocol:
        errors.append(field.required(path["protocol"]))
    elif port.protocol not in PROTOCOLS:
        errors.append(field.not_supported(path["protocol"], port.protocol, PROTOCOLS))
    if port.appProtocol is not None:
        messages = names.qualified_name(port.appProtocol)
        errors += [field.invalid(path["appProtocol"], port.appProtocol, m) for m in messages]
    return errors


def validate_port_or_name(port: int | str, path: Path) -> list[FieldError]:
    """A port number, or the name of one."""
    messages = names.port_number(port) if isinstance(port, int) else names.port_name(port)
    return [field.invalid(path, port, message) for message in messages]


def _validate_port_uniqueness(spec: api.ServiceSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    node_ports: set[tuple[str | None, int]] = set()
    ports: set[tuple[str | None, int]] = set()
    for position, port in enumerate(spec.ports):
        path = _SPEC["ports"].index(position)
        if port.nodePort:
            if (port.protocol, port.nodePort) in node_ports:
                errors.append(field.duplicate(path["nodePort"], port.nodePort))
            node_ports.add((port.protocol, port.nodePort))
        if (port.protocol, port.port) in ports:
            errors.append(field.duplicate(path, api.ServicePort(protocol=port.protocol, port=port.port)))
        ports.add((port.protocol, port.port))
    return errors


def _validate_affinity(spec: api.ServiceSpec) -> list[FieldError]:
    path, config = _SPEC["sessionAffinityConfig"], spec.sessionAffinityConfig
    if not spec.sessionAffinity:
        return [field.required(_SPEC["sessionAffinity"])]
    if spec.sessionAffinity not in _AFFINITIES:
        return [field.not_supported(_SPEC["sessionAffinity"], spec.sessionAffinity, _AFFINITIES)]
    if spec.sessionAffinity == "None":
        detail = "must not be set when session affinity is None"
        return [] if config is None else [field.forbidden(path, detail)]
    timeout_s = config.clientIP.timeoutSeconds if config and config.clientIP else None
    if timeout_s is None:
        return [field.required(path, "when session affinity type is ClientIP")]
    if not 0 < timeout_s <= _AFFINITY_TIMEOUT_MAX_S:
        detail = f"must be greater than 0 and less than {_AFFINITY_TIMEOUT_MAX_S}"
        return [field.invalid(path["clientIP"]["timeoutSeconds"], timeout_s, detail)]
    return []


def _validate_cluster_ips(spec: api.ServiceSpec) -> list[FieldError]:
    path = _SPEC["clusterIPs"]
    errors: list[FieldError] = []
    if spec.clusterIP:
        if not spec.clusterIPs:
            errors.append(field.required(path))
        elif spec.clusterIPs[0] != spec.clusterIP:
            errors.append(field.invalid(path, spec.clusterIPs, "first value must match `clusterIP`"))
    elif spec.clusterIPs:
        detail = "must be empty when `clusterIP` is not specified"
        errors.append(field.invalid(path, spec.clusterIPs, detail))
    errors += _validate_families(spec)
    wrong: list[FieldError] = []
    if HEADLESS in spec.clusterIPs[:1] and len(spec.clusterIPs) > 1:
        wrong.append(field.invalid(path, spec.clusterIPs, "'None' must be the first and only value"))
    for position, address in enumerate(spec.clusterIPs):
        if position or address != HEADLESS:
            wrong += validate_ip(address, path.index(position))
    errors += wrong
    if len(spec.clusterIPs) > 2:
        errors.append(field.invalid(path, spec.clusterIPs, "may only hold up to 2 values"))
    if wrong or is_headless(spec):
        return errors
    if len(spec.clusterIPs) > 1 and not is_dual_stack(spec.clusterIPs):
        detail = "may specify no more than one IP for each IP family"
        errors.append(field.invalid(path, spec.clusterIPs, detail))
    for position, (address, family) in enumerate(zip(spec.clusterIPs, spec.ipFamilies, strict=False)):
        if family in _FAMILIES and (family == "IPv6") != is_ipv6(address):
            detail = f"expected an {family} value as indicated by `ipFamilies[{position}]`"
            errors.append(field.invalid(path.index(position), address, detail))
    return errors


def _validate_families(spec: api.ServiceSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, family in enumerate(spec.ipFamilies):
        here = _SPEC["ipFamilies"].index(position)
        if family not in _FAMILIES:
            errors.append(field.not_supported(here, family, _FAMILIES))
        if family in spec.ipFamilies[:position]:
            errors.append(field.duplicate(here, family))
    policy = spec.ipFamilyPolicy
    if policy is not None and policy not in _FAMILY_POLICIES:
        errors.append(field.not_supported(_SPEC["ipFamilyPolicy"], policy, _FAMILY_POLICIES))
    # Only what points anywhere may have two families, of which it then has no addresses.
    anywhere = is_headless(spec) and not spec.selector
    if policy == "RequireDualStack" and spec.type != "ExternalName" and not anywhere:
        detail = "this cluster is not configured for dual-stack services"
        errors.append(field.invalid(_SPEC["ipFamilyPolicy"], policy, detail))
    return errors


def _validate_source_ranges(service: api.Service) -> list[FieldError]:
    spec, annotation = service.spec, service.metadata.annotations.get(_SOURCE_RANGES)
    errors: list[FieldError] = []
    if spec.loadBalancerSourceRanges:
        path = _SPEC["LoadBalancerSourceRanges"]
        for position, text in enumerate(spec.loadBalancerSourceRanges):
            errors += validate_cidr(text.strip(), path.index(position))
    elif annotation is not None:
        path = _ANNOTATIONS.key(_SOURCE_RANGES)
        for text in annotation.strip().split(",") if annotation.strip() else ():
            errors += validate_cidr(text.strip(), path)
    else:
        return []
    if spec.type != "LoadBalancer":
        errors.insert(0, field.forbidden(path, _ONLY_BALANCERS))
    return errors


def _validate_load_balancer_class(spec: api.ServiceSpec, name: str) -> list[FieldError]:
    path = _SPEC["loadBalancerClass"]
    if spec.type != "LoadBalancer":
        return [field.forbidden(path, _ONLY_BALANCERS)]
    return [field.invalid(path, name, message) for message in names.qualified_name(name)]


def _validate_traffic_policies(spec: api.ServiceSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    path, policy = _SPEC["externalTrafficPolicy"], spec.externalTrafficPolicy
    if not is_externally_accessible(spec):
        if policy:
            errors.append(field.invalid(path, policy, "may only be set for externally-accessible services"))
    elif not policy:
        errors.append(field.required(path))
    elif policy not in _TRAFFIC_POLICIES:
        errors.append(field.not_supported(path, policy, _TRAFFIC_POLICIES))
    if spec.healthCheckNodePort:
        path = _SPEC["healthCheckNodePort"]
        if needs_health_check(spec):
            messages = names.port_number(spec.healthCheckNodePort)
        else:
            messages = [
                "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            ]
        errors += [field.invalid(path, spec.healthCheckNodePort, message) for message in messages]
    internal = spec.internalTrafficPolicy
    if internal is None:
        if spec.type in _TYPES and spec.type != "ExternalName":
            errors.append(field.required(_SPEC["internalTrafficPolicy"]))
    elif internal not in _TRAFFIC_POLICIES:
        errors.append(field.not_supported(_SPEC["internalTrafficPolicy"], internal, _TRAFFIC_POLICIES))
    spread = spec.trafficDistribution
    if spread is not None and spread not in _DISTRIBUTIONS:
        errors.append(field.not_supported(_SPEC["trafficDistribution"], spread, _DISTRIBUTIONS))
    return errors


def _validate_cluster_ip_change(new: api.ServiceSpec, old: api.ServiceSpec) -> list[FieldError]:
    if is_headless(new) and is_headless(old):
        return []
    path = _SPEC["clusterIPs"]
    if len(old.clusterIPs) == len(new.clusterIPs):
        return [
            field.invalid(path.index(position), new.clusterIPs, _FIXED)
            for position, (was, now) in enumerate(zip(old.clusterIPs, new.clusterIPs, strict=True))
            if was != now
        ]
    errors: list[FieldError] = []
    if not new.clusterIPs:
        errors.append(field.invalid(path.index(0), None, "primary clusterIP can not be unset"))
    elif old.clusterIPs and old.clusterIPs[0] != new.clusterIPs[0]:
        errors.append(field.invalid(path.index(0), new.clusterIPs, _FIXED))
    if len(old.clusterIPs) > len(new.clusterIPs) == 1 and new.ipFamilyPolicy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary clusterIP"
        errors.append(field.invalid(_SPEC["ipFamilyPolicy"], new.ipFamilyPolicy, detail))
    return errors


def _validate_family_change(new: api.ServiceSpec, old: api.ServiceSpec) -> list[FieldError]:
    if is_headless(new) or is_headless(old):
        return []
    path = _SPEC["ipFamilies"].index(0)
    if len(old.ipFamilies) == len(new.ipFamilies):
        return [
            field.invalid(path, new.ipFamilies, _FIXED)
            for was, now in zip(old.ipFamilies, new.ipFamilies, strict=True)
            if was != now
        ]
    errors: list[FieldError] = []
    if new.ipFamilies and old.ipFamilies and new.ipFamilies[0] != old.ipFamilies[0]:
        errors.append(field.invalid(path, new.clusterIPs, _FIXED))
    if len(old.ipFamilies) > len(new.ipFamilies) == 1 and new.ipFamilyPolicy != "SingleStack":
        detail = "must be set to 'SingleStack' when releasing the secondary ipFamily"
        errors.append(field.invalid(_SPEC["ipFamilyPolicy"], new.ipFamilyPolicy, detail))
    return errors
