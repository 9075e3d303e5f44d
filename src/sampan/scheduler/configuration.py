"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), made into profiles. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.scheduler.cycle import Profile
from sampan.scheduler.framework import Plugin
from sampan.scheduler.registry import DEFAULT_NAME, DEFAULTS, PLUGINS, Make

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"
# Plugins that are not asked about nodes: the queue, preemption and binding do what they stand for.
BUILT_IN: Final = frozenset(
    {"SchedulingGates", "PrioritySort", "DeadlineSort", "DefaultPreemption", "DefaultBinder"}
)
# Of upstream, and known, but without effect here.
INERT: Final = frozenset(
    {"DynamicResources", "NodeDeclaredFeatures", "GangScheduling", "DeferredPodScheduling"}
)
_POINTS: Final = ("preFilter", "filter", "preScore", "score", "queueSort", "postFilter", "multiPoint")
_DURATION: Final = re.compile(r"([0-9.]+)(ms|h|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


class ConfigurationError(SampanError):
    """A configuration that cannot be used; the text names the field and the mend."""


class _PluginRef(msgspec.Struct, rename="camel"):
    name: str
    weight: int = 0


class _PluginSet(msgspec.Struct, rename="camel"):
    enabled: list[_PluginRef] = []
    disabled: list[_PluginRef] = []


class _Args(msgspec.Struct, rename="camel"):
    name: str
    args: dict[str, Any] = {}


class _Profile(msgspec.Struct, rename="camel"):
    scheduler_name: str = DEFAULT_NAME
    plugins: dict[str, _PluginSet] = {}
    plugin_config: list[_Args] = []
    percentage_of_nodes_to_score: int | None = None


class ManagedResource(msgspec.Struct, rename="camel", frozen=True):
    """A resource that an extender looks after."""

    name: str
    ignored_by_scheduler: bool = False


class Extender(msgspec.Struct, rename="camel", frozen=True):
    """One HTTP extender, as configured."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 0
    enable_http_s: bool = msgspec.field(default=False, name="enableHTTPS")
    tls_config: dict[str, Any] | None = None
    http_timeout: str = msgspec.field(default="5s", name="httpTimeout")
    node_cache_capable: bool = False
    managed_resources: tuple[ManagedResource, ...] = ()
    ignorable: bool = False

    @property
    def timeout_s(self) -> float:
        return seconds_of(self.http_timeout)


class _File(msgspec.Struct, rename="camel"):
    api_version: str
    kind: str
    profiles: list[_Profile] = []
    extenders: list[Extender] = []
    parallelism: int = 16
    percentage_of_nodes_to_score: int | None = None
    pod_initial_backoff_seconds: int = 1
    pod_max_backoff_seconds: int = 10
    leader_election: dict[str, Any] = {}
    client_connection: dict[str, Any] = {}
    delay_cache_until_active: bool = False
    enable_profiling: bool = False
    enable_contention_profiling: bool = False
    health_z_bind_address: str = msgspec.field(default="", name="healthzBindAddress")
    metrics_bind_address: str = ""


class Configuration(msgspec.Struct, frozen=True):
    """What the scheduler goes by."""

    profiles: tuple[Profile, ...]
    extenders: tuple[Extender, ...] = ()
    first_backoff_s: float = 1.0
    max_backoff_s: float = 10.0


def configuration(document: Any, more: Mapping[str, Make] | None = None) -> Configuration:
    """The configuration of a parsed file; `more` are plugins from elsewhere. Raises ConfigurationError."""
    try:
        given = msgspec.convert(document, _File)
    except msgspec.ValidationError as problem:
        raise ConfigurationError(f"the scheduler's configuration cannot be read: {problem}") from None
    if (given.api_version, given.kind) != (API_VERSION, KIND):
        what = f"{given.api_version}, kind {given.kind}"
        raise ConfigurationError(f"the configuration is of {what}; write {API_VERSION}, kind {KIND}")
    _check(given)
    plugins = {**PLUGINS, **(more or {})}
    ignored = {
        r.name for extender in given.extenders for r in extender.managed_resources if r.ignored_by_scheduler
    }
    profiles = tuple(_profile(p, plugins, ignored) for p in given.profiles or [_Profile()])
    names = [p.name for p in profiles]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"profiles: schedulerName {twice!r} is there twice; name each profile once")
    first, most = given.pod_initial_backoff_seconds, given.pod_max_backoff_seconds
    return Configuration(profiles, tuple(given.extenders), float(first), float(most))


def _check(given: _File) -> None:
    for path, value in (
        ("percentageOfNodesToScore", given.percentage_of_nodes_to_score),
        *(("profiles[].percentageOfNodesToScore", p.percentage_of_nodes_to_score) for p in given.profiles),
    ):
        if value is not None and not 0 <= value <= 100:
            raise ConfigurationError(f"{path}: {value} is not in the range 0 to 100")
    if given.pod_initial_backoff_seconds <= 0:
        raise ConfigurationError("podInitialBackoffSeconds must be greater than 0")
    if given.pod_max_backoff_seconds < given.pod_initial_backoff_seconds:
        raise ConfigurationError("podMaxBackoffSeconds must not be less than podInitialBackoffSeconds")
    binders = 0
    for extender in given.extenders:
        if extender.prioritize_verb and extender.weight <= 0:
            raise ConfigurationError("extenders: one with a prioritizeVerb must have a positive weight")
        binders += bool(extender.bind_verb)
        seconds_of(extender.http_timeout)
    if binders > 1:
        raise ConfigurationError("extenders: only one of them can have a bindVerb")


def _profile(given: _Profile, known: Mapping[str, Make], ignored: set[str]) -> Profile:
    for point in given.plugins:
        for ref in (*given.plugins[point].enabled, *given.plugins[point].disabled):
            if ref.name != "*" and ref.name not in known and ref.name not in BUILT_IN | INERT:
                text = f"profile {given.scheduler_name}: there is no plugin {ref.name!r}"
                raise ConfigurationError(f"{text}; known are {', '.join(sorted(known))}")
    args = {each.name: each.args for each in given.plugin_config}
    made: dict[str, Plugin] = {}

    def plugin(name: str) -> Plugin:
        if name not in made:
            made[name] = _made(given.scheduler_name, name, known[name], args.get(name, {}), ignored)
        return made[name]

    multi = given.plugins.get("multiPoint", _PluginSet())
    defaults: dict[str, int] = dict(DEFAULTS)
    base = _merged(defaults, multi)
    filters = _merged(base, given.plugins.get("filter", _PluginSet()))
    scorers = _merged(base, given.plugins.get("score", _PluginSet()))
    sorting = given.plugins.get("queueSort", _PluginSet())
    names = {ref.name for ref in (*multi.enabled, *sorting.enabled)}
    off = {ref.name for ref in (*multi.disabled, *given.plugins.get("postFilter", _PluginSet()).disabled)}
    preempts = args.get("DefaultPreemption", {})
    return Profile(
        given.scheduler_name,
        tuple(plugin(name) for name in filters if name in known),
        tuple((plugin(n), w or 1) for n, w in scorers.items() if n in known and plugin(n).overrides("score")),
        preempts=not off & {"DefaultPreemption", "*"} or "DefaultPreemption" in names,
        preemption_share=int(preempts.get("minCandidateNodesPercentage", 10)) / 100,
        preemption_least=int(preempts.get("minCandidateNodesAbsolute", 100)),
        by_deadline="DeadlineSort" in names,
    )


def _merged(base: Mapping[str, int], changes: _PluginSet) -> dict[str, int]:
    """Enabled plugins with their weights, in order: what is configured again keeps its place."""
    off = {ref.name for ref in changes.disabled}
    custom = {ref.name: ref.weight for ref in changes.enabled}
    kept = {} if "*" in off else {n: custom.pop(n, w) or w for n, w in base.items() if n not in off}
    return {**kept, **custom}


def _made(profile: str, name: str, make: Make, args: dict[str, Any], ignored: set[str]) -> Plugin:
    if name == "NodeResourcesFit" and ignored:
        args = {**args, "ignoredResources": [*(args.get("ignoredResources") or ()), *sorted(ignored)]}
    try:
        return make(args)
    except (ValueError, TypeError, KeyError, msgspec.ValidationError) as problem:
        text = f"profile {profile}: the args of {name} cannot be used: {problem}"
        raise ConfigurationError(text) from None


def seconds_of(duration: str) -> float:
    """A Go duration such as `1m30s`. Raises ConfigurationError."""
    parts = _DURATION.findall(duration)
    if not parts or "".join(a + b for a, b in parts) != duration:
        raise ConfigurationError(f"{duration!r} is not a duration; write it as in 5s or 1m30s")
    return sum(float(amount) * _SECONDS[unit] for amount, unit in parts)
