"""What every cluster holds from its first moment: namespaces, roles, priority classes, the API's Service."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from typing import Any, Final

from sampan.apiserver.core.admission.services import DEFAULT_CIDR
from sampan.schema import api

NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_ALL: Final = ["*"]
_READ: Final = ["get", "list", "watch"]
_WRITE: Final = ["create", "delete", "deletecollection", "patch", "update"]
_BOOTSTRAP: Final = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_RBAC: Final = "rbac.authorization.k8s.io"

_WORKLOADS: Final = (
    ("", ["pods", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "pods/eviction", "configmaps",
          "endpoints", "events", "persistentvolumeclaims", "replicationcontrollers",
          "replicationcontrollers/scale", "secrets", "serviceaccounts", "services", "services/proxy"]),
    ("apps", ["daemonsets", "deployments", "deployments/rollback", "deployments/scale", "replicasets",
              "replicasets/scale", "statefulsets", "statefulsets/scale", "controllerrevisions"]),
    ("autoscaling", ["horizontalpodautoscalers"]),
    ("batch", ["cronjobs", "jobs"]),
    ("policy", ["poddisruptionbudgets"]),
    ("networking.k8s.io", ["ingresses", "networkpolicies"]),
    ("coordination.k8s.io", ["leases"]),
    ("discovery.k8s.io", ["endpointslices"]),
)  # fmt: skip
_NOT_FOR_VIEWERS: Final = frozenset(
    {"secrets", "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "pods/eviction",
     "services/proxy", "deployments/rollback"}
)  # fmt: skip
_STATUS: Final = (
    ("", ["pods/log", "pods/status", "services/status", "namespaces", "namespaces/status", "bindings",
          "limitranges", "resourcequotas", "resourcequotas/status", "persistentvolumeclaims/status",
          "replicationcontrollers/status"]),
    ("apps", ["daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status"]),
    ("autoscaling", ["horizontalpodautoscalers/status"]),
    ("batch", ["cronjobs/status", "jobs/status"]),
    ("policy", ["poddisruptionbudgets/status"]),
    ("networking.k8s.io", ["ingresses/status"]),
)  # fmt: skip
_DISCOVERY_PATHS: Final = [
    "/api", "/api/*", "/apis", "/apis/*", "/healthz", "/livez", "/openapi", "/openapi/*", "/readyz",
    "/version", "/version/",
]  # fmt: skip
_PUBLIC_PATHS: Final = ["/healthz", "/livez", "/readyz", "/version", "/version/"]


def objects(service_ip: str, server_address: str, server_port: int, service_cidr: str) -> Iterator[Any]:
    """Everything to create on a first start, in order."""
    for name in NAMESPACES:
        yield api.Namespace(metadata=api.ObjectMeta(name=name))
    yield from _cluster_roles()
    yield from _bindings()
    yield from _priority_classes()
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
        clusterIPs=[service_ip],
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


def _rule(groups: list[str], resources: list[str], verbs: list[str]) -> api.PolicyRule:
    return api.PolicyRule(apiGroups=groups, resources=resources, verbs=verbs)


def _role(name: str, rules: Sequence[api.PolicyRule], **labels: str) -> api.ClusterRole:
    marks = {key.replace("_to_", "rbac.authorization.k8s.io/aggregate-to-"): v for key, v in labels.items()}
    return api.ClusterRole(
        metadata=api.ObjectMeta(
            name=name,
            labels=_BOOTSTRAP | marks,
            annotations={"rbac.authorization.kubernetes.io/autoupdate": "true"},
        ),
        rules=list(rules),
    )


def _cluster_roles() -> Iterator[api.ClusterRole]:
    everything = api.PolicyRule(nonResourceURLs=_ALL, verbs=_ALL)
    yield _role("cluster-admin", [_rule(_ALL, _ALL, _ALL), everything])
    write = [_rule([group], names, [*_READ, *_WRITE]) for group, names in _WORKLOADS]
    read_status = [_rule([group], names, _READ) for group, names in _STATUS]
    view = [
        _rule([group], [n for n in names if n not in _NOT_FOR_VIEWERS], _READ) for group, names in _WORKLOADS
    ]
    rbac = _rule([_RBAC], ["roles", "rolebindings"], [*_READ, *_WRITE])
    reviews = _rule(["authorization.k8s.io"], ["localsubjectaccessreviews"], ["create"])
    yield _role("admin", [*write, *read_status, rbac, reviews])
    yield _role("edit", [*write, *read_status])
    yield _role("view", [*view, *read_status])
    yield _role("system:discovery", [api.PolicyRule(nonResourceURLs=_DISCOVERY_PATHS, verbs=["get"])])
    yield _role("system:public-info-viewer", [api.PolicyRule(nonResourceURLs=_PUBLIC_PATHS, verbs=["get"])])
    yield _role(
        "system:basic-user",
        [
            _rule(
                ["authorization.k8s.io"],
                ["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
                ["create"],
            ),
            _rule(["authentication.k8s.io"], ["selfsubjectreviews"], ["create"]),
        ],
    )
    yield _role("system:service-account-issuer-discovery", [
        api.PolicyRule(nonResourceURLs=["/.well-known/openid-configuration", "/openid/v1/jwks"],
                       verbs=["get"])])  # fmt: skip
    yield _role(
        "system:kube-dns",
        [_rule([""], ["endpoints", "services", "pods", "namespaces"], _READ),
         _rule(["discovery.k8s.io"], ["endpointslices"], _READ)],
    )  # fmt: skip
    yield _role(
        "system:auth-delegator",
        [
            _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
            _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
        ],
    )
    yield from _component_roles()


def _component_roles() -> Iterator[api.ClusterRole]:
    events = _rule(["", "events.k8s.io"], ["events"], ["create", "patch", "update"])
    leases = _rule(["coordination.k8s.io"], ["leases"], [*_READ, "create", "update", "patch"])
    yield _role(
        "system:node",
        [
            _rule([""], ["services", "configmaps", "secrets", "persistentvolumeclaims", "persistentvolumes",
                         "namespaces", "endpoints"], _READ),
            _rule([""], ["nodes"], [*_READ, "create", "patch", "update"]),
            _rule([""], ["nodes/status"], ["patch", "update"]),
            _rule([""], ["pods"], [*_READ, "create", "delete"]),
            _rule([""], ["pods/status"], ["patch", "update"]),
            _rule([""], ["serviceaccounts"], ["get"]),
            _rule([""], ["serviceaccounts/token"], ["create"]),
            _rule(["discovery.k8s.io"], ["endpointslices"], _READ),
            _rule(["node.k8s.io"], ["runtimeclasses"], _READ),
            _rule(["storage.k8s.io"], ["csidrivers", "csinodes", "volumeattachments"], _READ),
            _rule(["authentication.k8s.io"], ["tokenreviews"], ["create"]),
            _rule(["authorization.k8s.io"], ["subjectaccessreviews"], ["create"]),
            leases,
            events,
        ],
    )  # fmt: skip
    yield _role(
        "system:kube-scheduler",
        [
            _rule([""], ["nodes", "pods", "namespaces", "services", "persistentvolumes",
                         "persistentvolumeclaims", "replicationcontrollers"], _READ),
            _rule([""], ["pods"], ["delete"]),
            _rule([""], ["bindings", "pods/binding"], ["create"]),
            _rule([""], ["pods/status"], ["patch", "update"]),
            _rule(["apps"], ["replicasets", "statefulsets"], _READ),
            _rule(["policy"], ["poddisruptionbudgets"], _READ),
            _rule(["storage.k8s.io"], _ALL, _READ),
            leases,
            events,
        ],
    )  # fmt: skip
    # A node lets go of a local-path volume once it has removed the data.
    yield _role("sampan:local-path", [_rule([""], ["persistentvolumes"], ["get", "patch"])])
    # The garbage and namespace controllers delete whatever there is, so the manager may do anything.
    paths = api.PolicyRule(nonResourceURLs=_ALL, verbs=["get"])
    yield _role("system:kube-controller-manager", [_rule(_ALL, _ALL, _ALL), paths])


def _binding(role: str, name: str, *subjects: api.RbacSubject) -> api.ClusterRoleBinding:
    return api.ClusterRoleBinding(
        metadata=api.ObjectMeta(name=name, labels=dict(_BOOTSTRAP)),
        roleRef=api.RoleRef(apiGroup=_RBAC, kind="ClusterRole", name=role),
        subjects=list(subjects),
    )


def _group(name: str) -> api.RbacSubject:
    return api.RbacSubject(kind="Group", name=name, apiGroup=_RBAC)


def _user(name: str) -> api.RbacSubject:
    return api.RbacSubject(kind="User", name=name, apiGroup=_RBAC)


def _bindings() -> Iterator[api.ClusterRoleBinding]:
    yield _binding("cluster-admin", "cluster-admin", _group("system:masters"))
    yield _binding("system:discovery", "system:discovery", _group("system:authenticated"))
    yield _binding("system:basic-user", "system:basic-user", _group("system:authenticated"))
    yield _binding(
        "system:public-info-viewer",
        "system:public-info-viewer",
        _group("system:authenticated"),
        _group("system:unauthenticated"),
    )
    accounts = _group("system:serviceaccounts")
    role = "system:service-account-issuer-discovery"
    yield _binding(role, role, accounts)
    dns = api.RbacSubject(kind="ServiceAccount", name="kube-dns", namespace="kube-system")
    yield _binding("system:kube-dns", "system:kube-dns", dns)
    yield _binding("system:node", "system:node", _group("system:nodes"))
    yield _binding("sampan:local-path", "sampan:local-path", _group("system:nodes"))
    for name in ("system:kube-scheduler", "system:kube-controller-manager"):
        yield _binding(name, name, _user(name))


def _priority_classes() -> Iterator[api.PriorityClass]:
    for name, value in (
        ("system-cluster-critical", 2_000_000_000),
        ("system-node-critical", 2_000_001_000),
    ):
        yield api.PriorityClass(
            metadata=api.ObjectMeta(name=name),
            value=value,
            globalDefault=False,
            preemptionPolicy="PreemptLowerPriority",
            description="Used for system critical pods that must not be moved from their current node.",
        )
