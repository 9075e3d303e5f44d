"""The args of the built-in plugins in a KubeSchedulerConfiguration: their fields and their limits. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.schema import api, codec

SYSTEM: Final = "System"
LIST: Final = "List"
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_OPERATORS: Final = ("In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt")
_ACTIONS: Final = ("DoNotSchedule", "ScheduleAnyway")


class _Args(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    api_version: str = ""
    kind: str = ""


class _Resource(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    weight: int = 1


class _Point(msgspec.Struct, forbid_unknown_fields=True):
    utilization: int = 0
    score: int = 0


class _Shape(msgspec.Struct, forbid_unknown_fields=True):
    shape: list[_Point] = []


class _Strategy(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    type: str = ""
    resources: list[_Resource] = []
    requested_to_capacity_ratio: _Shape | None = None


class _Fit(_Args):
    ignored_resources: list[str] = []
    ignored_resource_groups: list[str] = []
    scoring_strategy: _Strategy | None = None


class _Balanced(_Args):
    resources: list[_Resource] = []


class _NodeAffinity(_Args):
    added_affinity: dict[str, Any] | None = None


class _InterPodAffinity(_Args):
    hard_pod_affinity_weight: int = 1
    ignore_preferred_terms_of_existing_pods: bool = False


class _Spread(_Args):
    default_constraints: list[dict[str, Any]] = []
    defaulting_type: str = SYSTEM


class _Preemption(_Args):
    min_candidate_nodes_percentage: int = 10
    min_candidate_nodes_absolute: int = 100


class _VolumeBinding(_Args):
    bind_timeout_seconds: int = 600
    shape: list[_Point] = []


class _DynamicResources(_Args):
    filter_timeout: str = ""
    binding_timeout: str = ""


_KINDS: Final[Mapping[str, type[_Args]]] = {
    "NodeResourcesFit": _Fit,
    "NodeResourcesBalancedAllocation": _Balanced,
    "NodeAffinity": _NodeAffinity,
    "InterPodAffinity": _InterPodAffinity,
    "PodTopologySpread": _Spread,
    "DefaultPreemption": _Preemption,
    "VolumeBinding": _VolumeBinding,
    "DynamicResources": _DynamicResources,
}


def check(name: str, args: Mapping[str, Any], built_in: bool) -> None:
    """Whether a plugin can have these args. Raises ValueError that says what is wrong.

    Plugins from elsewhere read their own args; built-in ones that have none refuse any.
    """
    kind = _KINDS.get(name)
    if kind is None:
        more = sorted(args.keys() - {"apiVersion", "kind"})
        if built_in and more:
            raise ValueError(f"it has no args; remove {', '.join(more)}")
        return
    if args.get("kind") not in (None, f"{name}Args"):
        raise ValueError(f"kind is {args['kind']!r}; write {name}Args")
    try:
        given = msgspec.convert(args, kind)
    except msgspec.ValidationError as problem:
        raise ValueError(str(problem)) from None
    if isinstance(given, _Fit):
        _check_fit(given)
    elif isinstance(given, _InterPodAffinity):
        _in_range("hardPodAffinityWeight", given.hard_pod_affinity_weight)
    elif isinstance(given, _Preemption):
        _check_preemption(given)
    elif isinstance(given, _Balanced):
        for resource in given.resources:
            if resource.weight != 1:
                raise ValueError(f"resources: the weight of {resource.name} must be 1")
    elif isinstance(given, _NodeAffinity):
        _check_affinity(given.added_affinity or {})
    elif isinstance(given, _Spread):
        spread_defaults(args)


def _in_range(name: str, value: int) -> None:
    if not 0 <= value <= 100:
        raise ValueError(f"{name}: {value} is not in the range 0 to 100")


def _check_fit(given: _Fit) -> None:
    for group in given.ignored_resource_groups:
        if "/" in group:
            raise ValueError(f"ignoredResourceGroups: {group!r} is a resource; write what is before the '/'")
    strategy = given.scoring_strategy
    if strategy is not None and strategy.requested_to_capacity_ratio is not None:
        for point in strategy.requested_to_capacity_ratio.shape:
            _in_range("utilization of a point of the shape", point.utilization)
            if not 0 <= point.score <= 10:
                raise ValueError(f"score of a point of the shape: {point.score} is not in the range 0 to 10")


def _check_affinity(added: Mapping[str, Any]) -> None:
    for key in added:
        if key not in (_REQUIRED, _PREFERRED):
            raise ValueError(f"addedAffinity: unknown field {key!r}; known are {_REQUIRED} and {_PREFERRED}")
    try:
        found = codec.from_builtins(added, api.NodeAffinity)
    except msgspec.ValidationError as problem:
        raise ValueError(f"addedAffinity: {problem}") from None
    required = found.requiredDuringSchedulingIgnoredDuringExecution
    if required is not None and not required.nodeSelectorTerms:
        raise ValueError("addedAffinity: nodeSelectorTerms must have at least one term")
    terms = [*(required.nodeSelectorTerms if required is not None else ())]
    for preferred in found.preferredDuringSchedulingIgnoredDuringExecution:
        if not 1 <= preferred.weight <= 100:
            raise ValueError(f"addedAffinity: the weight {preferred.weight} is not from 1 to 100")
        terms += [preferred.preference] if preferred.preference is not None else []
    for term in terms:
        for requirement in (*term.matchExpressions, *term.matchFields):
            if requirement.operator not in _OPERATORS:
                text = f"the operator {requirement.operator!r} is none of {', '.join(_OPERATORS)}"
                raise ValueError(f"addedAffinity: {text}")


def _check_preemption(given: _Preemption) -> None:
    _in_range("minCandidateNodesPercentage", given.min_candidate_nodes_percentage)
    if given.min_candidate_nodes_absolute < 0:
        raise ValueError("minCandidateNodesAbsolute must not be negative")
    if not given.min_candidate_nodes_absolute and not given.min_candidate_nodes_percentage:
        raise ValueError("minCandidateNodesPercentage and minCandidateNodesAbsolute cannot both be zero")


def spread_defaults(args: Mapping[str, Any]) -> list[api.TopologySpreadConstraint] | None:
    """The constraints of pods that have none of their own; None for the built-in ones. Raises ValueError."""
    kind, given = args.get("defaultingType") or SYSTEM, args.get("defaultConstraints") or []
    if kind not in (SYSTEM, LIST):
        raise ValueError(f"defaultingType: {kind!r} is neither {SYSTEM} nor {LIST}")
    if kind == SYSTEM:
        if given:
            raise ValueError(
                f"defaultConstraints are for the defaultingType {LIST}; write that, or leave them out"
            )
        return None
    try:
        found = [codec.from_builtins(each, api.TopologySpreadConstraint) for each in given]
    except msgspec.ValidationError as problem:
        raise ValueError(f"defaultConstraints: {problem}") from None
    seen = set()
    for at, each in enumerate(found):
        where = f"defaultConstraints[{at}]"
        if each.maxSkew <= 0:
            raise ValueError(f"{where}.maxSkew must be greater than zero")
        if not each.topologyKey:
            raise ValueError(f"{where}.topologyKey must be set")
        if each.whenUnsatisfiable not in _ACTIONS:
            raise ValueError(f"{where}.whenUnsatisfiable must be one of {', '.join(_ACTIONS)}")
        if each.labelSelector is not None:
            raise ValueError(f"{where}.labelSelector must be left out: it is worked out for each pod")
        if (each.topologyKey, each.whenUnsatisfiable) in seen:
            raise ValueError(f"{where}: topologyKey {each.topologyKey!r} is there twice")
        seen.add((each.topologyKey, each.whenUnsatisfiable))
    return found
