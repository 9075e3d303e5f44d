"""What /metrics tells of how things are now: flow control, objects, watches, APIServices, the build. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from sampan.apiserver.core.aggregation.plans import Route
from sampan.apiserver.core.flowcontrol.control import FlowControl, Level
from sampan.store.watchcache import WatchCache

_Value = Callable[[Level], float]
_LEVELS: Final[tuple[tuple[str, str, str, _Value], ...]] = (
    ("current_executing_requests", "gauge", "Requests that run.", lambda level: level.queues.running),
    ("current_executing_seats", "gauge", "Seats taken.", lambda level: level.queues.seats_in_use),
    ("current_inqueue_requests", "gauge", "Requests that wait.", lambda level: level.queues.waiting),
    ("current_limit_seats", "gauge", "Seats there are now.", lambda level: level.queues.limit),
    ("nominal_limit_seats", "gauge", "Seats by the level's shares.", lambda level: level.bounds.nominal),
    ("lower_limit_seats", "gauge", "Seats that are never lent.", lambda level: level.bounds.lowest),
    (
        "upper_limit_seats",
        "gauge",
        "Seats with all that can be borrowed.",
        lambda level: level.bounds.highest,
    ),
    (
        "demand_seats_high_watermark",
        "gauge",
        "Most seats wanted in the last period.",
        lambda level: level.demand.high,
    ),
    ("demand_seats_smoothed", "gauge", "Seats wanted, smoothed.", lambda level: level.demand.smooth),
    ("dispatched_requests_total", "counter", "Requests taken in.", lambda level: level.dispatched),
)


def head(name: str, kind: str, text: str) -> Iterable[str]:
    """The two lines that begin a metric."""
    return f"# HELP {name} {text}", f"# TYPE {name} {kind}"


def flow(control: FlowControl) -> Iterator[str]:
    """Priority levels: their seats, and what was taken in and turned away."""
    prefix = "apiserver_flowcontrol"
    levels = list(control.levels.values())
    for name, kind, text, value in _LEVELS:
        yield from head(f"{prefix}_{name}", kind, text)
        for level in levels:
            yield f'{prefix}_{name}{{priority_level="{level.name}"}} {value(level):.12g}'
    name = f"{prefix}_rejected_requests_total"
    yield from head(name, "counter", "Requests turned away, by reason.")
    for level in levels:
        for reason, count in level.rejected.items():
            yield f'{name}{{priority_level="{level.name}",reason="{reason}"}} {count}'
    name = "apiserver_current_inqueue_requests"
    yield from head(name, "gauge", "Requests that wait, of all levels.")
    yield f"{name} {sum(level.queues.waiting for level in levels)}"


def objects(cache: WatchCache) -> Iterator[str]:
    """How many objects are stored of each resource, by its old metric's name and its new one's."""
    counts = {_resource(prefix): kind.count for prefix, kind in cache.kinds()}
    name = "apiserver_storage_objects"
    yield from head(name, "gauge", "Objects stored, by resource.")
    for (group, plural), count in sorted(counts.items()):
        yield (
            f'{name}{{resource="{plural}.{group}"}} {count}'
            if group
            else f'{name}{{resource="{plural}"}} {count}'
        )
    name = "apiserver_resource_objects"
    yield from head(name, "gauge", "Objects stored, by group and resource.")
    for (group, plural), count in sorted(counts.items()):
        yield f'{name}{{group="{group}",resource="{plural}"}} {count}'


def watches(cache: WatchCache, versions: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """What lasts as long as its client likes; `versions` are those of the resources, as far as known."""
    name = "apiserver_longrunning_requests"
    yield from head(name, "gauge", "Requests that last, by resource.")
    for prefix, kind in cache.kinds():
        group, plural = _resource(prefix)
        scopes = {"cluster": 0, "namespace": 0}
        for watcher in kind.watchers():
            scopes["namespace" if watcher.namespace else "cluster"] += 1
        for scope, count in scopes.items():
            if count:
                labels = f'component="apiserver",group="{group}",resource="{plural}",scope="{scope}"'
                version = versions.get((group, plural), "")
                yield f'{name}{{{labels},subresource="",verb="WATCH",version="{version}"}} {count}'


def extensions(routes: Iterable[Route]) -> Iterator[str]:
    """Whether the APIServices that other servers answer are available."""
    name = "aggregator_unavailable_apiservice"
    yield from head(name, "gauge", "APIServices that are not available.")
    for route in routes:
        yield f'{name}{{name="{route.name}"}} {int(not route.available)}'


def build(info: Mapping[str, str]) -> Iterator[str]:
    """What /version tells, as the labels of a constant."""
    labels = {
        "build_date": info["buildDate"],
        "compiler": info["compiler"],
        "git_commit": info["gitCommit"],
        "git_tree_state": info["gitTreeState"],
        "git_version": info["gitVersion"],
        "go_version": info["goVersion"],
        "major": info["major"],
        "minor": info["minor"],
        "platform": info["platform"],
    }
    yield from head("kubernetes_build_info", "gauge", "What this server was built from.")
    told = ",".join(f'{name}="{text}"' for name, text in labels.items())
    yield f"kubernetes_build_info{{{told}}} 1"


def _resource(prefix: str) -> tuple[str, str]:
    group, plural = prefix.removeprefix("/registry/").strip("/").split("/", 1)
    return "" if group == "core" else group, plural
