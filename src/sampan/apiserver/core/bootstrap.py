"""What every cluster holds from its first moment: namespaces, roles, priority classes, the API's Service."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sampan.apiserver.core import roles
from sampan.apiserver.core.admission.escalation import lacking
from sampan.apiserver.core.admission.services import DEFAULT_CIDR
from sampan.apiserver.core.authz import compile_rule
from sampan.schema import api, codec

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
AUTOUPDATE: Final = "rbac.authorization.kubernetes.io/autoupdate"
_BOOTSTRAP: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE: Final = "rbac.authorization.k8s.io/aggregate-to-"
_RBAC: Final = "rbac.authorization.k8s.io"


def everywhere() -> Iterator[Any]:
    """What is the same in every cluster, in the order to create it in."""
    for name in NAMESPACES:
        yield api.Namespace(metadata=api.ObjectMeta(name=name))
    yield from _cluster_roles()
    yield from _roles()
    yield from _bindings()
    yield from _priority_classes()


def own(service_ip: str, server_address: str, server_port: int, service_cidr: str) -> Iterator[Any]:
    """What each cluster has in its own way."""
    yield api.ServiceCIDR(
        metadata=api.ObjectMeta(name=DEFAULT_CIDR), spec=api.ServiceCIDRSpec(cidrs=[service_cidr])
    )
    yield _service(service_ip, server_port)
    if not ipaddress.ip_address(server_address).is_loopback:  # which no pod could reach, and none may name
        yield _slice(server_address, server_port)
        yield _endpoints(server_address, server_port)


def _service(service_ip: str, port: int) -> api.Service:
    spec = api.ServiceSpec(
        type="ClusterIP",
        clusterIP=service_ip,
        ipFamilyPolicy="SingleStack",
        ports=[api.ServicePort(name="https", port=443, protocol="TCP", targetPort=port)],
    )
    labels = {"component": "apiserver", "provider": "kubernetes"}
    return api.Service(
        metadata=api.ObjectMeta(name="kubernetes", namespace="default", labels=labels), spec=spec
    )


def _endpoints(address: str, port: int) -> api.Endpoints:
    return api.Endpoints(
        metadata=api.ObjectMeta(
            name="kubernetes",
            namespace="default",
            # The slice is made beside it, not from it.
            labels={"endpointslice.kubernetes.io/skip-mirror": "true"},
        ),
        subsets=[
            api.EndpointSubset(
                addresses=[api.EndpointAddress(ip=address)],
                ports=[api.EndpointPort(name="https", port=port, protocol="TCP")],
            )
        ],
    )


def _slice(address: str, port: int) -> api.EndpointSlice:
    return api.EndpointSlice(
        metadata=api.ObjectMeta(
            name="kubernetes", namespace="default", labels={"kubernetes.io/service-name": "kubernetes"}
        ),
        addressType="IPv4",
        endpoints=[api.Endpoint(addresses=[address], conditions=api.EndpointConditions(ready=True))],
        ports=[api.DiscoveryEndpointPort(name="https", port=port, protocol="TCP")],
    )


def _metadata(name: str, namespace: str = "", **labels: str) -> api.ObjectMeta:
    marks = {_AGGREGATE + key: value for key, value in labels.items()}
    return api.ObjectMeta(
        name=name, namespace=namespace or None, labels=_BOOTSTRAP | marks, annotations={AUTOUPDATE: "true"}
    )


def _cluster_roles() -> Iterator[api.ClusterRole]:
    for name, text in roles.CLUSTER_ROLES.items():
        part = roles.PARTS.get(name)
        marks = {part: "true"} if part else {}
        yield api.ClusterRole(metadata=_metadata(name, **marks), rules=list(roles.rules_of(text)))
    for name, text in roles.CONTROLLERS.items():
        metadata = _metadata(f"system:controller:{name}")
        yield api.ClusterRole(metadata=metadata, rules=list(roles.rules_of(text)))
    for name, label in roles.AGGREGATED.items():
        part = roles.PARTS.get(name)
        marks = {part: "true"} if part else {}
        selector = api.LabelSelector(matchLabels={_AGGREGATE + label: "true"})
        yield api.ClusterRole(
            metadata=_metadata(name, **marks),
            aggregationRule=api.AggregationRule(clusterRoleSelectors=[selector]),
            # What the controller would make of it, so that a server without controllers has these roles too.
            rules=list(_aggregated(label)),
        )


def _aggregated(label: str) -> Iterator[api.PolicyRule]:
    for name, part in roles.PARTS.items():
        if part == label:
            text = roles.CLUSTER_ROLES.get(name)
            yield from roles.rules_of(text) if text else _aggregated(roles.AGGREGATED[name])


def _roles() -> Iterator[api.Role]:
    for namespace, name, text in roles.ROLES:
        yield api.Role(metadata=_metadata(name, namespace), rules=list(roles.rules_of(text)))


def _bindings() -> Iterator[Any]:
    for name, role, subjects in roles.CLUSTER_BINDINGS:
        yield _cluster_binding(name, role, subjects)
    for controller in roles.CONTROLLERS:
        name = f"system:controller:{controller}"
        yield _cluster_binding(name, name, (f"ServiceAccount {controller}",))
    for namespace, name, role, named in roles.BINDINGS:
        yield api.RoleBinding(
            metadata=_metadata(name, namespace),
            roleRef=api.RoleRef(apiGroup=_RBAC, kind="Role", name=role),
            subjects=[_subject(text) for text in named],
        )


def _cluster_binding(name: str, role: str, subjects: Sequence[str]) -> api.ClusterRoleBinding:
    return api.ClusterRoleBinding(
        metadata=_metadata(name),
        roleRef=api.RoleRef(apiGroup=_RBAC, kind="ClusterRole", name=role),
        subjects=[_subject(text) for text in subjects],
    )


def _subject(text: str) -> api.RbacSubject:
    kind, name = text.split()
    if kind == "ServiceAccount":
        return api.RbacSubject(kind=kind, name=name, namespace="kube-system")
    return api.RbacSubject(kind=kind, name=name, apiGroup=_RBAC)


def reconciled(wanted: Any, found: Any) -> Any | None:
    """A default role or binding that is there, with what it lacks; None where nothing is to be done.

    As in Kubernetes, what was added stays, and objects with autoupdate=false stay as they are.
    """
    if found.metadata.annotations.get(AUTOUPDATE) == "false":
        return None
    changed = codec.copy(found)
    metadata = changed.metadata
    metadata.labels = wanted.metadata.labels | metadata.labels
    metadata.annotations = wanted.metadata.annotations | metadata.annotations
    if isinstance(wanted, api.ClusterRole | api.Role):
        held = tuple(map(compile_rule, found.rules))
        if isinstance(wanted, api.ClusterRole) and wanted.aggregationRule is not None:
            changed.aggregationRule = found.aggregationRule or wanted.aggregationRule
        missing = [rule for rule in wanted.rules if any(lacking([compile_rule(rule)], held))]
        changed.rules = [*found.rules, *missing]
    else:
        known = {(s.kind, s.namespace, s.name) for s in found.subjects}
        missing = [s for s in wanted.subjects if (s.kind, s.namespace, s.name) not in known]
        changed.subjects = [*found.subjects, *missing]
    return None if changed == found else changed


def _priority_classes() -> Iterator[api.PriorityClass]:
    for name, value, text in (
        (
            "system-cluster-critical",
            2_000_000_000,
            "Used for system critical pods that must run in the cluster, but can be moved to another node "
            "if necessary.",
        ),
        (
            "system-node-critical",
            2_000_001_000,
            "Used for system critical pods that must not be moved from their current node.",
        ),
    ):
        yield api.PriorityClass(
            metadata=api.ObjectMeta(name=name),
            value=value,
            preemptionPolicy="PreemptLowerPriority",
            description=text,
        )
