"""A DeschedulerPolicy, read and checked. Pure.

The file of the community's descheduler (`descheduler/v1alpha2`), as far as there are such strategies here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.kinds.groups.scheduling import SYSTEM_PRIORITIES
from sampan.machinery import selectors
from sampan.machinery.selectors import Selector
from sampan.scheduler.configuration import ConfigurationError, seconds_of
from sampan.schema import api, codec

API_VERSION: Final = "descheduler/v1alpha2"
KIND: Final = "DeschedulerPolicy"
INTERVAL_S: Final = 300.0
LEAST_INTERVAL_S: Final = 10.0
# Pods of this priority and above are never evicted, unless a policy asks for it.
SYSTEM_PRIORITY: Final = SYSTEM_PRIORITIES["system-cluster-critical"]
DUPLICATES: Final = "RemoveDuplicates"
NODE_AFFINITY: Final = "RemovePodsViolatingNodeAffinity"
ANTI_AFFINITY: Final = "RemovePodsViolatingInterPodAntiAffinity"
SPREAD: Final = "RemovePodsViolatingTopologySpreadConstraint"
TAINTS: Final = "RemovePodsViolatingNodeTaints"
UTILIZATION: Final = "LowNodeUtilization"
EVICTOR: Final = "DefaultEvictor"
# In the order in which they are asked.
STRATEGIES: Final = (TAINTS, NODE_AFFINITY, ANTI_AFFINITY, DUPLICATES, SPREAD, UTILIZATION)
_BALANCING: Final = (DUPLICATES, SPREAD, UTILIZATION)
_REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"


class _Args(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Namespaces(_Args, frozen=True):
    """Where a strategy looks: in these alone, or everywhere but in those."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def allows(self, namespace: str) -> bool:
        return (not self.include or namespace in self.include) and namespace not in self.exclude


class PriorityThreshold(_Args, frozen=True):
    """The priority from which on pods stay: a number, or that of a class."""

    value: int | None = None
    name: str = ""


class EvictorArgs(_Args, frozen=True):
    """Which pods may be evicted at all (DefaultEvictorArgs)."""

    evict_system_critical_pods: bool = False
    evict_local_storage_pods: bool = False
    ignore_pvc_pods: bool = False
    node_fit: bool = True
    label_selector: dict[str, Any] | None = None
    priority_threshold: PriorityThreshold | None = None
    min_replicas: int = 0
    min_pod_age: str = ""


class DuplicatesArgs(_Args, frozen=True):
    exclude_owner_kinds: tuple[str, ...] = ()
    namespaces: Namespaces = Namespaces()


class NodeAffinityArgs(_Args, frozen=True):
    node_affinity_type: tuple[str, ...] = (_REQUIRED,)
    namespaces: Namespaces = Namespaces()


class AntiAffinityArgs(_Args, frozen=True):
    namespaces: Namespaces = Namespaces()


class SpreadArgs(_Args, frozen=True):
    constraints: tuple[str, ...] = ("DoNotSchedule",)
    namespaces: Namespaces = Namespaces()


class TaintsArgs(_Args, frozen=True):
    """`excluded_taints` are keys or key=value."""

    excluded_taints: tuple[str, ...] = ()
    include_prefer_no_schedule: bool = False
    namespaces: Namespaces = Namespaces()


class UtilizationArgs(_Args, frozen=True):
    """Percentages of what nodes offer that their pods ask for, by resource.

    Nodes below all `thresholds` have room to spare; nodes above any of the `target_thresholds` are over-used.
    """

    thresholds: dict[str, float]
    target_thresholds: dict[str, float]
    number_of_nodes: int = 0
    evictable_namespaces: Namespaces = Namespaces()

    @property
    def namespaces(self) -> Namespaces:
        return self.evictable_namespaces


_ARGS: Final[Mapping[str, Any]] = {
    DUPLICATES: DuplicatesArgs,
    NODE_AFFINITY: NodeAffinityArgs,
    ANTI_AFFINITY: AntiAffinityArgs,
    SPREAD: SpreadArgs,
    TAINTS: TaintsArgs,
    UTILIZATION: UtilizationArgs,
    EVICTOR: EvictorArgs,
}


class _PluginConfig(_Args, frozen=True):
    name: str
    args: dict[str, Any] = {}


class _Enabled(_Args, frozen=True):
    enabled: tuple[str, ...] = ()


class _Plugins(_Args, frozen=True):
    deschedule: _Enabled = _Enabled()
    balance: _Enabled = _Enabled()
    filter: _Enabled = _Enabled()
    pre_eviction_filter: _Enabled = _Enabled()


class _Profile(_Args, frozen=True):
    name: str = ""
    plugin_config: tuple[_PluginConfig, ...] = ()
    plugins: _Plugins = _Plugins()


class _Document(_Args, frozen=True):
    api_version: str = ""
    kind: str = ""
    descheduling_interval: str = ""
    node_selector: str = ""
    max_no_of_pods_to_evict_per_node: int | None = None
    max_no_of_pods_to_evict_per_namespace: int | None = None
    max_no_of_pods_to_evict_total: int | None = None
    profiles: tuple[_Profile, ...] = ()


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """How many pods one run evicts at most; None for as many as it wants."""

    per_node: int | None = None
    per_namespace: int | None = None
    total: int | None = None


class Evictor(msgspec.Struct, frozen=True, kw_only=True):
    """Which pods may be evicted at all. `fits` asks for another node that the scheduler would choose."""

    args: EvictorArgs = EvictorArgs()
    selector: Selector | None = None
    min_age_s: float = 0.0


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """One that is enabled, with its args and who may be evicted."""

    name: str
    args: Any
    evictor: Evictor


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What to do, how often, and how much at once."""

    strategies: tuple[Strategy, ...]
    caps: Caps = Caps()
    interval_s: float = INTERVAL_S
    nodes: Selector | None = None


def parse(document: Any) -> Policy:
    """The policy in a decoded YAML document. Raises ValueError that names what is wrong."""
    given = msgspec.convert(document, _Document, strict=True)
    if (given.api_version, given.kind) != (API_VERSION, KIND):
        raise ValueError(f"apiVersion and kind have to be {API_VERSION} and {KIND}")
    caps = Caps(
        per_node=given.max_no_of_pods_to_evict_per_node,
        per_namespace=given.max_no_of_pods_to_evict_per_namespace,
        total=given.max_no_of_pods_to_evict_total,
    )
    for cap in (caps.per_node, caps.per_namespace, caps.total):
        if cap is not None and cap < 0:
            raise ValueError("a maxNoOfPodsToEvict… has to be 0 or more")
    strategies = [each for profile in given.profiles for each in _strategies(profile)]
    if not strategies:
        raise ValueError("profiles enable no strategy; name some under plugins.deschedule or plugins.balance")
    interval_s = INTERVAL_S
    if given.descheduling_interval:
        interval_s = _seconds(given.descheduling_interval, "deschedulingInterval")
        if interval_s < LEAST_INTERVAL_S:
            raise ValueError(f"deschedulingInterval has to be {LEAST_INTERVAL_S:.0f}s or more")
    strategies.sort(key=lambda each: STRATEGIES.index(each.name))
    try:
        nodes = selectors.parse(given.node_selector) if given.node_selector else None
    except selectors.SelectorError as problem:
        raise ValueError(f"nodeSelector {given.node_selector!r}: {problem}") from None
    return Policy(strategies=tuple(strategies), caps=caps, interval_s=interval_s, nodes=nodes)


def _strategies(profile: _Profile) -> list[Strategy]:
    where = f"profile {profile.name!r}"
    configs: dict[str, Any] = {}
    for config in profile.plugin_config:
        made = _ARGS.get(config.name)
        if made is None:
            raise ValueError(f"{where}: there is no plugin {config.name!r}; there are {', '.join(_ARGS)}")
        try:
            configs[config.name] = msgspec.convert(config.args, made, strict=True)
        except msgspec.ValidationError as problem:
            raise ValueError(f"{where}: {config.name}: {problem}") from None
    plugins = profile.plugins
    for names in (plugins.filter.enabled, plugins.pre_eviction_filter.enabled):
        if any(name != EVICTOR for name in names):
            raise ValueError(f"{where}: the only filter there is is {EVICTOR}")
    enabled = (*plugins.deschedule.enabled, *plugins.balance.enabled)
    evictor = _evictor(configs.get(EVICTOR, EvictorArgs()), where)
    found = []
    for name in enabled:
        if name not in STRATEGIES:
            raise ValueError(f"{where}: there is no strategy {name!r}; there are {', '.join(STRATEGIES)}")
        point = "balance" if name in _BALANCING else "deschedule"
        if name not in getattr(plugins, point).enabled:
            raise ValueError(f"{where}: {name} belongs under plugins.{point}")
        found.append(Strategy(name=name, args=_args(name, configs, where), evictor=evictor))
    return found


def _args(name: str, configs: Mapping[str, Any], where: str) -> Any:
    if name == UTILIZATION:
        args = configs.get(name)
        if args is None:
            raise ValueError(f"{where}: {name} needs thresholds and targetThresholds in pluginConfig")
        _check_thresholds(args, where)
        return args
    args = configs.get(name, _ARGS[name]())
    if name == NODE_AFFINITY and set(args.node_affinity_type) != {_REQUIRED}:
        raise ValueError(f"{where}: {name}: nodeAffinityType can only be {_REQUIRED}")
    if name == SPREAD and not set(args.constraints) <= {"DoNotSchedule"}:
        raise ValueError(f"{where}: {name}: constraints can only be DoNotSchedule")
    return args


def _check_thresholds(args: UtilizationArgs, where: str) -> None:
    low, high = args.thresholds, args.target_thresholds
    if not low or low.keys() != high.keys():
        raise ValueError(f"{where}: thresholds and targetThresholds have to name the same resources")
    for name in low:
        if not 0 <= low[name] <= high[name] <= 100:
            raise ValueError(
                f"{where}: the threshold of {name} has to be 0 or more, and at most its target, which is at "
                "most 100"
            )


def _evictor(args: EvictorArgs, where: str) -> Evictor:
    threshold = args.priority_threshold
    if threshold is not None and (threshold.value is None) == (not threshold.name):
        raise ValueError(f"{where}: priorityThreshold has either a value or a name")
    if threshold is not None and args.evict_system_critical_pods:
        raise ValueError(f"{where}: evictSystemCriticalPods leaves no use for a priorityThreshold")
    selector = None
    if args.label_selector is not None:
        given = codec.from_builtins(args.label_selector, api.LabelSelector)
        selector = selectors.from_label_selector(given)
    return Evictor(
        args=args,
        selector=selector,
        min_age_s=_seconds(args.min_pod_age, f"{where}: minPodAge") if args.min_pod_age else 0.0,
    )


def _seconds(text: str, where: str) -> float:
    try:
        return seconds_of(text)
    except ConfigurationError:
        raise ValueError(f"{where} {text!r} is no duration such as 5m or 1h30m") from None
