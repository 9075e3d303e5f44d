"""What one object uses of the resources that a ResourceQuota can limit.

Follows pkg/quota/v1/evaluator/core. A usage maps resource names as quotas spell them (`requests.cpu`,
`count/deployments.apps`) to amounts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from sampan.kinds.core.persistentvolumeclaim import attributes_classes
from sampan.kinds.core.phases import FINISHED
from sampan.kinds.core.qos import qos_class
from sampan.kinds.core.resources import (
    HUGE_PAGES,
    add,
    aggregate_container_limits,
    aggregate_container_requests,
    is_extended,
)
from sampan.kinds.kind import Kind
from sampan.kinds.quota.devices import (
    IMPLICIT,
    NOTHING,
    ZERO,
    Served,
    Usage,
    claim_amounts,
    is_of_claims,
)
from sampan.machinery.quantity import Quantity

ONE: Final = Quantity("1")
CLAIMS: Final = "resourceclaims.resource.k8s.io"
_COMPUTE: Final = ("cpu", "memory", "ephemeral-storage")
# Kinds that older quotas count by their plain names.
_PLAIN: Final = frozenset(
    {
        "configmaps",
        "persistentvolumeclaims",
        "pods",
        "replicationcontrollers",
        "resourcequotas",
        "secrets",
        "services",
    }
)
_CLASS: Final = ".storageclass.storage.k8s.io/"
_CLAIM_CLASS: Final = "volume.beta.kubernetes.io/storage-class"


def count_name(kind: Kind) -> str:
    """The name under which quotas count objects of the kind."""
    return f"count/{kind.resource}"


def names_of(kind: Kind, hard: Mapping[str, Any]) -> list[str]:
    """Which of a quota's resources objects of this kind use."""
    count = count_name(kind)
    plain = kind.plural if not kind.group and kind.plural in _PLAIN else None
    own = _OWN.get(kind.resource)
    return [name for name in hard if name in (count, plain) or (own is not None and own(name))]


def usage_of(kind: Kind, obj: Any, served: Served = NOTHING) -> Usage:
    """All that the object uses. What classes serve counts for ResourceClaims only."""
    usage: Usage = {count_name(kind): ONE}
    if kind.resource == "pods":
        if obj.status.phase in FINISHED:
            return usage
        usage["pods"] = ONE
        usage |= _pod_amounts(obj.spec)
    elif kind.resource == "services":
        usage["services"] = ONE
        usage |= _service_amounts(obj.spec)
    elif kind.resource == "persistentvolumeclaims":
        usage["persistentvolumeclaims"] = ONE
        usage |= _claim_amounts(obj)
    elif kind.resource == CLAIMS:
        usage |= claim_amounts(obj, served)
    elif not kind.group and kind.plural in _PLAIN:
        usage[kind.plural] = ONE
    return usage


def pod_requests(spec: Any) -> Usage:
    """What a pod requests in all: its containers', or what it says for itself, and its class's overhead."""
    return _whole(spec, aggregate_container_requests(spec), "requests")


def pod_limits(spec: Any) -> Usage:
    return _whole(spec, aggregate_container_limits(spec), "limits")


def _whole(spec: Any, amounts: Usage, side: str) -> Usage:
    if spec.resources is not None:
        amounts = amounts | getattr(spec.resources, side)
    for name, extra in (spec.overhead or {}).items():
        if side == "requests" or name in amounts:
            amounts[name] = add(amounts[name], extra) if name in amounts else extra
    return amounts


def _pod_amounts(spec: Any) -> Usage:
    usage: Usage = {}
    for name, amount in pod_requests(spec).items():
        if name in _COMPUTE or name.startswith(HUGE_PAGES):
            usage[name] = usage[f"requests.{name}"] = amount
        elif is_extended(name) or name.startswith(IMPLICIT):
            usage[f"requests.{name}"] = amount
    for name, amount in pod_limits(spec).items():
        if name in _COMPUTE:
            usage[f"limits.{name}"] = amount
    return usage


def _service_amounts(spec: Any) -> Usage:
    if spec.type not in ("NodePort", "LoadBalancer"):
        return {}
    usage: Usage = {}
    ports = len(spec.ports)
    if spec.type == "LoadBalancer":
        usage["services.loadbalancers"] = ONE
        if spec.allocateLoadBalancerNodePorts is False:
            ports = sum(1 for port in spec.ports if port.nodePort)
    usage["services.nodeports"] = Quantity(str(ports))
    return usage


def _claim_amounts(claim: Any) -> Usage:
    resources = claim.spec.resources
    size = resources.requests.get("storage") if resources is not None else None
    usage: Usage = {}
    name = claim.metadata.annotations.get(_CLAIM_CLASS) or claim.spec.storageClassName
    if name:
        usage[f"{name}{_CLASS}persistentvolumeclaims"] = ONE
    if size is not None:
        usage["requests.storage"] = size
        if name:
            usage[f"{name}{_CLASS}requests.storage"] = size
    return usage


def _is_of_pods(name: str) -> bool:
    bare = name.removeprefix("requests.")
    return (
        name in _COMPUTE
        or (name.startswith("limits.") and name.removeprefix("limits.") in _COMPUTE)
        or bare.startswith(HUGE_PAGES)
        or (bare != name and (bare in _COMPUTE or is_extended(bare) or bare.startswith(IMPLICIT)))
    )


_OWN: Final[dict[str, Callable[[str], bool]]] = {
    "pods": _is_of_pods,
    "services": lambda name: name in ("services.nodeports", "services.loadbalancers"),
    "persistentvolumeclaims": lambda name: name == "requests.storage" or _CLASS in name,
    CLAIMS: is_of_claims,
}


# -- scopes ------------------------------------------------------------------------------------------------


def in_scope(kind: Kind, obj: Any, spec: Any) -> bool:
    """Whether the object is one of those that the quota's scopes select."""
    asked = [(scope, "Exists", ()) for scope in spec.scopes]
    if spec.scopeSelector is not None:
        asked += [(e.scopeName, e.operator, tuple(e.values)) for e in spec.scopeSelector.matchExpressions]
    if not asked:
        return True
    if kind.resource == "pods":
        return all(_pod_in(obj.spec, *each) for each in asked)
    if kind.resource == "persistentvolumeclaims":
        names: list[str | None] = [*attributes_classes(obj)] or [None]
        return all(
            scope == "VolumeAttributesClass" and any(_meets(name, op, vs) for name in names)
            for scope, op, vs in asked
        )
    return False


def _pod_in(spec: Any, scope: str, operator: str, values: tuple[str, ...]) -> bool:
    match scope:
        case "Terminating":
            return spec.activeDeadlineSeconds is not None
        case "NotTerminating":
            return spec.activeDeadlineSeconds is None
        case "BestEffort":
            return qos_class(spec) == "BestEffort"
        case "NotBestEffort":
            return qos_class(spec) != "BestEffort"
        case "PriorityClass":
            return _meets(spec.priorityClassName, operator, values)
        case "CrossNamespacePodAffinity":
            return _reaches_other_namespaces(spec.affinity)
    return False


def _meets(name: str | None, operator: str, values: tuple[str, ...]) -> bool:
    match operator:
        case "Exists":
            return bool(name)
        case "DoesNotExist":
            return not name
        case "In":
            return bool(name) and name in values
        case "NotIn":
            return name not in values
    return False


def _reaches_other_namespaces(affinity: Any) -> bool:
    if affinity is None:
        return False
    for part in (affinity.podAffinity, affinity.podAntiAffinity):
        if part is None:
            continue
        terms = [*part.requiredDuringSchedulingIgnoredDuringExecution]
        terms += [t.podAffinityTerm for t in part.preferredDuringSchedulingIgnoredDuringExecution]
        if any(t is not None and (t.namespaces or t.namespaceSelector is not None) for t in terms):
            return True
    return False


# -- arithmetic --------------------------------------------------------------------------------------------


def used_by(kind: Kind, obj: Any, spec: Any, served: Served = NOTHING) -> Usage:
    """What the object uses of this quota: nothing where it is not in scope."""
    names = names_of(kind, spec.hard)
    if not names or not in_scope(kind, obj, spec):
        return {}
    usage = usage_of(kind, obj, served)
    return {name: usage[name] for name in names if name in usage}


def plus(first: Usage, second: Usage) -> Usage:
    return first | {name: add(first.get(name, ZERO), amount) for name, amount in second.items()}


def minus(first: Usage, second: Usage) -> Usage:
    """The difference; amounts below zero are what was given back."""
    return first | {name: _difference(first.get(name, ZERO), amount) for name, amount in second.items()}


def _difference(first: Quantity, second: Quantity) -> Quantity:
    whole = first.value - second.value
    if (first if first.value else second).text.endswith("i") and whole % 1024 == 0 and whole > 0:
        return Quantity(f"{int(whole) // 1024}Ki")
    return Quantity(f"{whole:f}")


def missing_amounts(spec: Any, names: list[str]) -> str:
    """Which of the quota's compute resources a pod's containers leave open, and which containers those
    are."""
    wanted = [name for name in names if _is_of_pods(name)]
    found: dict[str, list[str]] = {}
    for container in (*spec.containers, *spec.initContainers):
        usage: Usage = {}
        for name, amount in container.resources.requests.items():
            usage[name] = usage[f"requests.{name}"] = amount
        usage |= {f"limits.{name}": amount for name, amount in container.resources.limits.items()}
        for name in wanted:
            if name in _MUST_BE_SAID and name not in usage:
                found.setdefault(name, []).append(container.name)
    if spec.resources is not None:
        said = {f"limits.{name}" for name in spec.resources.limits}
        said |= {f"{p}{name}" for p in ("", "requests.") for name in spec.resources.requests}
        found = {name: who for name, who in found.items() if name not in said}
    return "; ".join(f"{name} for: {','.join(sorted(who))}" for name, who in sorted(found.items()))


_MUST_BE_SAID: Final = frozenset(
    {"cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"}
)
