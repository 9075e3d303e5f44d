"""KubeSchedulerConfiguration (kubescheduler.config.k8s.io/v1), made into profiles. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from sampan.base.errors import SampanError
from sampan.machinery import durations
from sampan.scheduler import pluginargs
from sampan.scheduler.framework import Plugin
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import DEFAULT_NAME, DEFAULTS, PLUGINS, Make, PluginError

API_VERSION: Final = "kubescheduler.config.k8s.io/v1"
KIND: Final = "KubeSchedulerConfiguration"
# Plugins that are not asked about nodes: the queue, preemption and binding do what they stand for.
BUILT_IN: Final = frozenset(
    {"SchedulingGates", "PrioritySort", "DeadlineSort", "DefaultPreemption", "DefaultBinder"}
)
# Of upstream, and known, but without effect here.
INERT: Final = frozenset({"NodeDeclaredFeatures", "DeferredPodScheduling"})
# Points between decision and binding. Who is enabled there takes part in all of them.
_AFTER: Final = ("reserve", "permit", "preBind", "postBind")
_POINTS: Final = (
    "preEnqueue",
    "queueSort",
    "preFilter",
    "filter",
    "postFilter",
    "preScore",
    "score",
    "reserve",
    "permit",
    "preBind",
    "bind",
    "postBind",
    "multiPoint",
)
_EVERY: Final = "*"
_MOST_WEIGHT: Final = 100


class ConfigurationError(SampanError):
    """A configuration that cannot be used; the text names the field and the mend."""


class _Strict(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    """Names that are not known are refused: they are mostly misspelt."""


class _PluginRef(_Strict):
    name: str
    weight: int = 0


class _PluginSet(_Strict):
    enabled: list[_PluginRef] = []
    disabled: list[_PluginRef] = []


class _Args(_Strict):
    name: str
    args: dict[str, Any] = {}


class _Profile(_Strict):
    scheduler_name: str = DEFAULT_NAME
    plugins: dict[str, _PluginSet] = {}
    plugin_config: list[_Args] = []
    percentage_of_nodes_to_score: int | None = None


class ManagedResource(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """A resource that an extender looks after."""

    name: str
    ignored_by_scheduler: bool = False


class TlsConfig(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """How an extender is known, and how we show who we are: files, or their contents in base64."""

    insecure: bool = False
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""
    ca_file: str = ""
    cert_data: str = ""
    key_data: str = ""
    ca_data: str = ""


class Extender(msgspec.Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """One HTTP extender, as configured."""

    url_prefix: str
    filter_verb: str = ""
    prioritize_verb: str = ""
    preempt_verb: str = ""
    bind_verb: str = ""
    weight: int = 0
    enable_https: bool = msgspec.field(default=False, name="enableHTTPS")
    tls_config: TlsConfig | None = None
    http_timeout: str = msgspec.field(default="5s", name="httpTimeout")
    node_cache_capable: bool = False
    managed_resources: tuple[ManagedResource, ...] = ()
    ignorable: bool = False

    @property
    def timeout_s(self) -> float:
        return seconds_of(self.http_timeout)


class _File(_Strict):
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


class Configuration(msgspec.Struct, frozen=True):
    """What the scheduler goes by."""

    profiles: tuple[Profile, ...]
    extenders: tuple[Extender, ...] = ()
    first_backoff_s: float = 1.0
    max_backoff_s: float = 10.0


def configuration(document: Any, more: Mapping[str, Make] | None = None) -> Configuration:
    """The configuration of a parsed file; `more` are plugins from elsewhere. Raises ConfigurationError."""
    if not isinstance(document, Mapping):
        raise ConfigurationError(f"the scheduler's configuration is no mapping; write kind: {KIND} and so on")
    what = f"{document.get('apiVersion')}, kind {document.get('kind')}"
    if (document.get("apiVersion"), document.get("kind")) != (API_VERSION, KIND):
        raise ConfigurationError(f"the configuration is of {what}; write {API_VERSION}, kind {KIND}")
    try:
        given = msgspec.convert(document, _File)
    except msgspec.ValidationError as problem:
        raise ConfigurationError(f"the scheduler's configuration cannot be read: {problem}") from None
    _check(given)
    plugins = {**PLUGINS, **(more or {})}
    ignored = {
        r.name for extender in given.extenders for r in extender.managed_resources if r.ignored_by_scheduler
    }
    profiles = tuple(
        _profile(p, plugins, ignored, given.percentage_of_nodes_to_score)
        for p in given.profiles or [_Profile()]
    )
    names = [p.name for p in profiles]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise ConfigurationError(f"profiles: schedulerName {twice!r} is there twice; name each profile once")
    first, most = given.pod_initial_backoff_seconds, given.pod_max_backoff_seconds
    return Configuration(profiles, tuple(given.extenders), float(first), float(most))


def _check(given: _File) -> None:
    for path, value in (
        ("percentageOfNodesToScore", given.percentage_of_nodes_to_score),
        *(
            (f"profiles[{at}].percentageOfNodesToScore", p.percentage_of_nodes_to_score)
            for at, p in enumerate(given.profiles)
        ),
    ):
        if value is not None and not 0 <= value <= 100:
            raise ConfigurationError(f"{path}: {value} is not in the range 0 to 100")
    if given.parallelism <= 0:
        raise ConfigurationError("parallelism must be greater than 0")
    if given.pod_initial_backoff_seconds <= 0:
        raise ConfigurationError("podInitialBackoffSeconds must be greater than 0")
    if given.pod_max_backoff_seconds < given.pod_initial_backoff_seconds:
        raise ConfigurationError("podMaxBackoffSeconds must not be less than podInitialBackoffSeconds")
    _check_extenders(given.extenders)


def _check_extenders(extenders: Sequence[Extender]) -> None:
    managed: set[str] = set()
    for at, extender in enumerate(extenders):
        where = f"extenders[{at}]"
        if not re.match("https?://[^/]", extender.url_prefix):
            raise ConfigurationError(
                f"{where}.urlPrefix: {extender.url_prefix!r} is no http or https address"
            )
        if extender.prioritize_verb and extender.weight <= 0:
            raise ConfigurationError(f"{where}: one with a prioritizeVerb must have a positive weight")
        if extender.timeout_s <= 0:
            raise ConfigurationError(f"{where}.httpTimeout must be greater than 0")
        for resource in extender.managed_resources:
            if "/" not in resource.name:
                text = f"{resource.name!r} is no extended resource; write it as in example.com/thing"
                raise ConfigurationError(f"{where}.managedResources: {text}")
            if resource.name in managed:
                raise ConfigurationError(f"{where}.managedResources: {resource.name} is there twice")
            managed.add(resource.name)
    if sum(bool(extender.bind_verb) for extender in extenders) > 1:
        raise ConfigurationError("extenders: only one of them can have a bindVerb")


def _profile(
    given: _Profile, known: Mapping[str, Make], ignored: set[str], share_of_all: int | None
) -> Profile:
    _check_plugins(given, known)
    args = _args_of(given, known)
    made: dict[str, Plugin] = {}

    def plugin(name: str) -> Plugin:
        if name not in made:
            made[name] = _made(given.scheduler_name, name, known[name], args.get(name, {}), ignored)
        return made[name]

    def changes(point: str) -> _PluginSet:
        return given.plugins.get(point, _PluginSet())

    multi = changes("multiPoint")
    base = _merged(dict(DEFAULTS), multi)
    filters = _merged(base, changes("filter"))
    scorers = _merged(base, changes("score"))
    for point, method in (("filter", "filter"), ("score", "score")):
        for ref in changes(point).enabled:
            if ref.name in known and not plugin(ref.name).overrides(method):
                text = f"profile {given.scheduler_name}: the plugin {ref.name} does not take part in {point}"
                raise ConfigurationError(f"{text}; enable it in multiPoint")
    binding = [ref.name for point in _AFTER for ref in changes(point).enabled if ref.name in known]
    names = {ref.name for ref in (*multi.enabled, *changes("queueSort").enabled)}
    preempts = args.get("DefaultPreemption", {})
    share = given.percentage_of_nodes_to_score
    return Profile(
        given.scheduler_name,
        tuple(plugin(name) for name in filters if name in known),
        tuple((plugin(n), w or 1) for n, w in scorers.items() if n in known and plugin(n).overrides("score")),
        hooked=tuple(plugin(name) for name in dict.fromkeys(binding)),
        preempts="DefaultPreemption"
        in _merged(_merged({"DefaultPreemption": 1}, multi), changes("postFilter")),
        preemption_share=int(preempts.get("minCandidateNodesPercentage", 10)) / 100,
        preemption_least=int(preempts.get("minCandidateNodesAbsolute", 100)),
        by_deadline="DeadlineSort" in names,
        percentage_scored=(share if share is not None else share_of_all) or 0,
    )


def _check_plugins(given: _Profile, known: Mapping[str, Make]) -> None:
    where = f"profile {given.scheduler_name}"
    if not given.scheduler_name:
        raise ConfigurationError("profiles: one has an empty schedulerName; name it, or leave the field out")
    for point, changes in given.plugins.items():
        if point not in _POINTS:
            text = f"{where}: there is no extension point {point!r}; known are {', '.join(_POINTS)}"
            raise ConfigurationError(text)
        enabled = [ref.name for ref in changes.enabled]
        for name in (*enabled, *(ref.name for ref in changes.disabled)):
            if name not in known and name not in BUILT_IN | INERT | {_EVERY}:
                text = f"{where}: there is no plugin {name!r}"
                raise ConfigurationError(f"{text}; known are {', '.join(sorted({*known, *BUILT_IN}))}")
        if _EVERY in enabled:
            raise ConfigurationError(f"{where}: {point} enables '*'; name the plugins")
        twice = next((name for name in enabled if enabled.count(name) > 1), None)
        if twice is not None:
            raise ConfigurationError(f"{where}: {point} enables {twice} twice")
        heavy = next((ref for ref in changes.enabled if not 0 <= ref.weight <= _MOST_WEIGHT), None)
        if heavy is not None:
            text = f"{where}: the weight {heavy.weight} of {heavy.name} is not from 0 to {_MOST_WEIGHT}"
            raise ConfigurationError(text)
    binding = _merged(
        _merged({"DefaultBinder": 1}, given.plugins.get("multiPoint", _PluginSet())),
        given.plugins.get("bind", _PluginSet()),
    )
    if not binding.keys() - known.keys():
        raise ConfigurationError(f"{where}: nothing binds its pods; leave DefaultBinder enabled")


def _args_of(given: _Profile, known: Mapping[str, Make]) -> dict[str, dict[str, Any]]:
    """The args by plugin, checked."""
    found: dict[str, dict[str, Any]] = {}
    for each in given.plugin_config:
        where = f"profile {given.scheduler_name}: pluginConfig"
        if each.name not in known and each.name not in BUILT_IN | INERT:
            raise ConfigurationError(f"{where}: there is no plugin {each.name!r}")
        if each.name in found:
            raise ConfigurationError(f"{where}: {each.name} is there twice")
        try:
            pluginargs.check(each.name, each.args, each.name in PLUGINS or each.name not in known)
        except ValueError as problem:
            text = f"profile {given.scheduler_name}: the args of {each.name} cannot be used: {problem}"
            raise ConfigurationError(text) from None
        found[each.name] = each.args
    return found


def _merged(base: Mapping[str, int], changes: _PluginSet) -> dict[str, int]:
    """Enabled plugins with their weights, in order: what is configured again keeps its place.

    As upstream, one that is enabled explicitly has the weight that is given there, or 1.
    """
    off = {ref.name for ref in changes.disabled}
    custom = {ref.name: ref.weight or 1 for ref in changes.enabled}
    kept = {} if _EVERY in off else {n: custom.pop(n, w) for n, w in base.items() if n not in off}
    return {**kept, **custom}


def _made(profile: str, name: str, make: Make, args: dict[str, Any], ignored: set[str]) -> Plugin:
    if name == "NodeResourcesFit" and ignored:
        args = {**args, "ignoredResources": [*(args.get("ignoredResources") or ()), *sorted(ignored)]}
    try:
        return make(args)
    except PluginError as problem:
        raise ConfigurationError(f"profile {profile}: {problem}") from problem
    except (ValueError, TypeError, KeyError, msgspec.ValidationError) as problem:
        text = f"profile {profile}: the args of {name} cannot be used: {problem}"
        raise ConfigurationError(text) from None


def seconds_of(duration: str) -> float:
    """A Go duration such as `1m30s`. Raises ConfigurationError."""
    try:
        return durations.parse_s(duration)
    except durations.DurationError:
        raise ConfigurationError(f"{duration!r} is not a duration; write it as in 5s or 1m30s") from None
