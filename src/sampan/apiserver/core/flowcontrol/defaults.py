"""The FlowSchemas and PriorityLevelConfigurations of Kubernetes 1.37: mandatory and suggested."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from sampan.schema import api

# Whether Kubernetes keeps the spec of a suggested object as it suggests it.
AUTO_UPDATE: Final = "apf.kubernetes.io/autoupdate-spec"
MANDATORY: Final = frozenset({"exempt", "catch-all"})
_GROUP: Final = "flowcontrol.apiserver.k8s.io"
_API_VERSION: Final = f"{_GROUP}/v1"
_ALL: Final = ("*",)
_EVERYBODY: Final = ("system:unauthenticated", "system:authenticated")
_MANAGER: Final = "system:kube-controller-manager"


class _Level(msgspec.Struct, frozen=True):
    shares: int
    lendable: int
    queues: int = 0
    hand: int = 0


_LEVELS: Final[dict[str, _Level]] = {
    "catch-all": _Level(5, 0),
    "system": _Level(30, 33, 64, 6),
    "node-high": _Level(40, 25, 64, 6),
    "leader-election": _Level(10, 0, 16, 4),
    "workload-high": _Level(40, 50, 128, 6),
    "workload-low": _Level(100, 90, 128, 6),
    "global-default": _Level(20, 50, 128, 6),
}
_QUEUE_LENGTH: Final = 50


def priority_levels() -> list[api.PriorityLevelConfiguration]:
    """Every level that a cluster has from its first moment."""
    free = api.ExemptPriorityLevelConfiguration(nominalConcurrencyShares=0, lendablePercent=0)
    made = [_level("exempt", api.PriorityLevelConfigurationSpec(type="Exempt", exempt=free))]
    for name, level in _LEVELS.items():
        response = api.LimitResponse(type="Reject")
        if level.queues:
            queuing = api.QueuingConfiguration(
                queues=level.queues, handSize=level.hand, queueLengthLimit=_QUEUE_LENGTH
            )
            response = api.LimitResponse(type="Queue", queuing=queuing)
        limited = api.LimitedPriorityLevelConfiguration(
            nominalConcurrencyShares=level.shares, lendablePercent=level.lendable, limitResponse=response
        )
        made.append(_level(name, api.PriorityLevelConfigurationSpec(type="Limited", limited=limited)))
    return made


def flow_schemas() -> list[api.FlowSchema]:
    """Every schema that a cluster has from its first moment."""
    everything = [_resources(cluster=True)]
    anything = [api.NonResourcePolicyRule(verbs=list(_ALL), nonResourceURLs=list(_ALL))]
    leases = ("coordination.k8s.io",), ("leases",)
    elect = ("get", "create", "update")
    health = [api.NonResourcePolicyRule(verbs=["get"], nonResourceURLs=["/healthz", "/readyz", "/livez"])]
    nodes = _groups("system:nodes")
    managers = _users(_MANAGER)
    kube_system = _accounts("*")
    return [
        _schema("exempt", "exempt", 1, "", _groups("system:masters"), everything, anything),
        _schema("probes", "exempt", 2, "", _groups(*_EVERYBODY), [], health),
        _schema(
            "system-leader-election", "leader-election", 100, "ByUser",
            [*_users(_MANAGER, "system:kube-scheduler"), *kube_system], [_resources(elect, *leases)],
        ),
        _schema(
            "system-node-high", "node-high", 400, "ByUser", nodes,
            [_resources(_ALL, ("",), ("nodes", "nodes/status"), cluster=True), _resources(_ALL, *leases)],
        ),
        _schema("system-nodes", "system", 500, "ByUser", nodes, everything, anything),
        _schema(
            "kube-controller-manager", "workload-high", 800, "ByNamespace", managers, everything, anything
        ),
        _schema(
            "kube-scheduler", "workload-high", 800, "ByNamespace",
            _users("system:kube-scheduler"), everything, anything,
        ),
        _schema(
            "kube-system-service-accounts", "workload-high", 900, "ByNamespace",
            kube_system, everything, anything,
        ),
        _schema(
            "service-accounts", "workload-low", 9000, "ByUser",
            _groups("system:serviceaccounts"), everything, anything,
        ),
        _schema(
            "global-default", "global-default", 9900, "ByUser", _groups(*_EVERYBODY), everything, anything
        ),
        _schema("catch-all", "catch-all", 10_000, "ByUser", _groups(*_EVERYBODY), everything, anything),
    ]  # fmt: skip


def _level(name: str, spec: api.PriorityLevelConfigurationSpec) -> api.PriorityLevelConfiguration:
    return api.PriorityLevelConfiguration(
        apiVersion=_API_VERSION, kind="PriorityLevelConfiguration", metadata=_metadata(name), spec=spec
    )


def _schema(
    name: str,
    level: str,
    precedence: int,
    distinguisher: str,
    subjects: Sequence[api.Subject],
    resources: Sequence[api.ResourcePolicyRule],
    others: Sequence[api.NonResourcePolicyRule] = (),
) -> api.FlowSchema:
    rules = api.PolicyRulesWithSubjects(
        subjects=list(subjects), resourceRules=list(resources), nonResourceRules=list(others)
    )
    spec = api.FlowSchemaSpec(
        priorityLevelConfiguration=api.PriorityLevelConfigurationReference(name=level),
        matchingPrecedence=precedence,
        distinguisherMethod=api.FlowDistinguisherMethod(type=distinguisher) if distinguisher else None,
        rules=[rules],
    )
    return api.FlowSchema(apiVersion=_API_VERSION, kind="FlowSchema", metadata=_metadata(name), spec=spec)


def _metadata(name: str) -> api.ObjectMeta:
    return api.ObjectMeta(name=name, annotations={AUTO_UPDATE: "true"})


def _resources(
    verbs: Sequence[str] = _ALL,
    groups: Sequence[str] = _ALL,
    resources: Sequence[str] = _ALL,
    *,
    cluster: bool = False,
) -> api.ResourcePolicyRule:
    return api.ResourcePolicyRule(
        verbs=list(verbs),
        apiGroups=list(groups),
        resources=list(resources),
        namespaces=list(_ALL),
        clusterScope=cluster or None,
    )


def _groups(*names: str) -> list[api.Subject]:
    return [api.Subject(kind="Group", group=api.GroupSubject(name=name)) for name in names]


def _users(*names: str) -> list[api.Subject]:
    return [api.Subject(kind="User", user=api.UserSubject(name=name)) for name in names]


def _accounts(*names: str) -> list[api.Subject]:
    return [
        api.Subject(
            kind="ServiceAccount",
            serviceAccount=api.ServiceAccountSubject(namespace="kube-system", name=name),
        )
        for name in names
    ]
