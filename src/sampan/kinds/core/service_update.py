"""What an update of a Service keeps: what the server gave out, unless the new type has no use for it.

Follows the strategy and the allocator of k8s.io/kubernetes/pkg/registry/core/service.
"""

from __future__ import annotations

from typing import Final

from sampan.kinds.core.service_validation import is_externally_accessible, needs_health_check
from sampan.schema import api

_WITH_CLUSTER_IP: Final = ("ClusterIP", "NodePort", "LoadBalancer")


def prepare_update(service: api.Service, old: api.Service) -> None:
    """Keep addresses and node ports that the caller left out; drop what the new type cannot hold."""
    service.spec.type = service.spec.type or "ClusterIP"
    _keep_allocated(service.spec, old.spec)
    _align_cluster_ips(service.spec, old.spec)
    _drop_type_dependent(service.spec, old.spec)


def needs_node_port(spec: api.ServiceSpec) -> bool:
    """Whether the ports of the Service are open on every node."""
    if spec.type == "LoadBalancer":
        return spec.allocateLoadBalancerNodePorts is not False
    return spec.type == "NodePort"


def _keep_allocated(spec: api.ServiceSpec, old: api.ServiceSpec) -> None:
    if spec.type in _WITH_CLUSTER_IP and old.type in _WITH_CLUSTER_IP:
        if not spec.clusterIP:
            spec.clusterIP = old.clusterIP
        if not spec.clusterIPs and spec.clusterIP == old.clusterIP:
            spec.clusterIPs = list(old.clusterIPs)
    if needs_node_port(spec) and needs_node_port(old):
        given = {port.name or "": port.nodePort for port in old.ports}
        taken = {port.nodePort for port in spec.ports}
        for port in spec.ports:
            node_port = given.get(port.name or "")
            if not port.nodePort and node_port not in taken:
                port.nodePort = node_port
    if needs_health_check(spec) and needs_health_check(old) and not spec.healthCheckNodePort:
        spec.healthCheckNodePort = old.healthCheckNodePort


def _align_cluster_ips(spec: api.ServiceSpec, old: api.ServiceSpec) -> None:
    # Clients that know only clusterIP change only that one.
    if spec.clusterIP == old.clusterIP or spec.clusterIPs not in ([], old.clusterIPs):
        return
    spec.clusterIPs = [spec.clusterIP] if spec.clusterIP else []


def _drop_type_dependent(spec: api.ServiceSpec, old: api.ServiceSpec) -> None:
    """Fields that only the old type had go, where the caller did not touch them."""
    if old.type in _WITH_CLUSTER_IP and spec.type not in _WITH_CLUSTER_IP:
        if spec.clusterIPs == old.clusterIPs and spec.clusterIP == old.clusterIP:
            spec.clusterIP, spec.clusterIPs = None, []
        if spec.ipFamilies == old.ipFamilies:
            spec.ipFamilies = []
        if spec.ipFamilyPolicy == old.ipFamilyPolicy:
            spec.ipFamilyPolicy = None
    same_ports = [port.nodePort for port in spec.ports] == [port.nodePort for port in old.ports]
    if needs_node_port(old) and not needs_node_port(spec) and same_ports:
        for port in spec.ports:
            port.nodePort = None
    same_check = spec.healthCheckNodePort == old.healthCheckNodePort
    if needs_health_check(old) and not needs_health_check(spec) and same_check:
        spec.healthCheckNodePort = None
    if old.type == "LoadBalancer" and spec.type != "LoadBalancer":
        if spec.allocateLoadBalancerNodePorts == old.allocateLoadBalancerNodePorts:
            spec.allocateLoadBalancerNodePorts = None
        if spec.loadBalancerClass == old.loadBalancerClass:
            spec.loadBalancerClass = None
    same_policy = spec.externalTrafficPolicy == old.externalTrafficPolicy
    if is_externally_accessible(old) and not is_externally_accessible(spec) and same_policy:
        spec.externalTrafficPolicy = None
