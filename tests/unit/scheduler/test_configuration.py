"""KubeSchedulerConfiguration: what files say reaches the decisions, and what makes no sense is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.cache import Cache
from sampan.scheduler.changes import ALL
from sampan.scheduler.configuration import ConfigurationError, configuration, seconds_of
from sampan.scheduler.cycle import Engine
from sampan.scheduler.profile import Profile
from sampan.scheduler.queue import Queue
from sampan.scheduler.world import World
from sampan.schema import api, codec
from tests.unit.scheduler.objects import container, node, pod, table, taint

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}


def profile(plugins: Any = None, args: Any = None, **more: Any) -> Profile:
    """The one profile of a configuration, with the args by plugin."""
    config = [{"name": name, "args": each} for name, each in (args or {}).items()]
    given = {"plugins": plugins or {}, "pluginConfig": config, **more.pop("profile", {})}
    return configuration({**HEAD, "profiles": [given], **more}).profiles[0]


def filters(given: Profile) -> set[str]:
    return {plugin.name for plugin in given.filters}


def weights(given: Profile) -> dict[str, int]:
    return {plugin.name: weight for plugin, weight in given.scorers}


def off(*names: str) -> dict[str, Any]:
    return {"disabled": [{"name": name} for name in names]}


def on(*refs: Any) -> dict[str, Any]:
    return {"enabled": [{"name": r} if isinstance(r, str) else {"name": r[0], "weight": r[1]} for r in refs]}


USUAL = {
    "TaintToleration": 3,
    "NodeAffinity": 2,
    "NodeResourcesFit": 1,
    "VolumeBinding": 1,
    "PodTopologySpread": 2,
    "InterPodAffinity": 2,
    "NodeResourcesBalancedAllocation": 1,
    "ImageLocality": 1,
}


def test_without_profiles_there_is_the_usual_one() -> None:
    found = configuration(HEAD)
    assert [p.name for p in found.profiles] == ["default-scheduler"]
    only = found.profiles[0]
    assert {name: weights(only)[name] for name in USUAL if name != "VolumeBinding"} == {
        name: weight for name, weight in USUAL.items() if name != "VolumeBinding"
    }
    assert only.preempts and not only.by_deadline and only.percentage_scored == 0
    assert (found.first_backoff_s, found.max_backoff_s) == (1.0, 10.0)


@pytest.mark.parametrize(
    ("plugins", "check"),
    [
        ({"filter": off("NodePorts")}, lambda p: "NodePorts" not in filters(p)),
        ({"filter": off("NodeResourcesFit")}, lambda p: "NodeResourcesFit" in weights(p)),
        ({"score": off("NodeResourcesFit")}, lambda p: "NodeResourcesFit" in filters(p)),
        ({"score": off("NodeResourcesFit")}, lambda p: "NodeResourcesFit" not in weights(p)),
        ({"score": off("*"), "preScore": off("*")}, lambda p: not weights(p) and filters(p)),
        ({"score": {**off("*"), **on("ImageLocality")}}, lambda p: weights(p) == {"ImageLocality": 1}),
        (
            {"score": {**off("ImageLocality"), **on(("ImageLocality", 7))}},
            lambda p: weights(p)["ImageLocality"] == 7,
        ),
        ({"multiPoint": on(("TaintToleration", 9))}, lambda p: weights(p)["TaintToleration"] == 9),
        ({"multiPoint": on("TaintToleration")}, lambda p: weights(p)["TaintToleration"] == 1),
        (
            {"multiPoint": on(("TaintToleration", 9)), "score": on(("TaintToleration", 4))},
            lambda p: weights(p)["TaintToleration"] == 4,
        ),
        ({"multiPoint": off("TaintToleration")}, lambda p: "TaintToleration" not in filters(p)),
        ({"score": on(("DataLocality", 5))}, lambda p: weights(p)["DataLocality"] == 5),
        ({"postFilter": off("DefaultPreemption")}, lambda p: not p.preempts),
        ({"postFilter": off("*")}, lambda p: not p.preempts),
        ({"multiPoint": off("DefaultPreemption")}, lambda p: not p.preempts),
        (
            {"multiPoint": off("DefaultPreemption"), "postFilter": on("DefaultPreemption")},
            lambda p: p.preempts,
        ),
        ({"queueSort": {**off("*"), **on("DeadlineSort")}}, lambda p: p.by_deadline),
        ({"multiPoint": on("DeadlineSort")}, lambda p: p.by_deadline),
    ],
)
def test_plugins_by_extension_point(plugins: Any, check: Any) -> None:
    assert check(profile(plugins))


def scores(given: Profile, name: str, world: World, **spec: Any) -> dict[str, int]:
    plugin = next(p for p, _ in given.scorers if p.name == name)
    state = plugin.prepare_score(world.infos.of(pod(**spec)), world)
    found = plugin.score(state, world, ALL) if state is not None else None
    return {n: int(found[row]) if found is not None else 0 for n, row in world.table.rows.items()}


def refusals(given: Profile, world: World, **spec: Any) -> dict[str, str]:
    engine = Engine(given, world)
    info = world.infos.of(pod(**spec))
    return {name: engine.refusal(info, row) for name, row in world.table.rows.items()}


def test_an_added_affinity_holds_for_every_pod_of_the_profile() -> None:
    term = {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["ssd"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    given = profile(args={"NodeAffinity": {"addedAffinity": required}})
    world = table(node("a", labels={"disk": "ssd"}), node("b"))
    assert refusals(given, world) == {"a": "", "b": "node(s) didn't match scheduler-enforced node affinity"}


def owned(name: str) -> Any:
    """A pod of a Service, whose default constraints select what the Service does."""
    one = pod(name)
    one.metadata.labels = {"app": "web"}
    return one


def test_default_constraints_are_for_pods_without_their_own() -> None:
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    args = {"PodTopologySpread": {"defaultingType": "List", "defaultConstraints": [constraint]}}
    cache: Cache[Any] = Cache()
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"selector": {"app": "web"}}}
    cache.put(codec.from_builtins(service, api.Service))
    world = World({api.Service: cache})
    for name in ("a", "b"):
        world.put_node(node(name, labels={"zone": name}))
    world.place(world.infos.of(owned("first")), "a")
    info = world.infos.of(owned("second"))
    row = world.table.rows["a"]
    assert Engine(profile(), world).refusal(info, row) == ""
    engine = Engine(profile(args=args), world)
    assert engine.refusal(info, row) == "node(s) didn't match pod topology spread constraints"
    assert engine.refusal(info, world.table.rows["b"]) == ""


@pytest.mark.parametrize(("weight", "score"), [(80, 100), (0, 0)])
def test_the_weight_of_hard_affinity(weight: int, score: int) -> None:
    world = table(node("a", labels={"kubernetes.io/hostname": "a"}), node("b"))
    term = {"labelSelector": {"matchLabels": {"app": "web"}}, "topologyKey": "kubernetes.io/hostname"}
    affinity = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    world.place(world.infos.of(pod("near", affinity=affinity)), "a")
    given = profile(args={"InterPodAffinity": {"hardPodAffinityWeight": weight}})
    plugin = next(p for p, _ in given.scorers if p.name == "InterPodAffinity")
    state = plugin.prepare_score(world.infos.of(owned("web")), world)
    found = plugin.score(state, world, ALL) if state is not None else None
    assert (int(found[world.table.rows["a"]]) if found is not None else 0) == score


def test_how_room_is_scored() -> None:
    world = table(node("a", allocatable={"cpu": "4", "memory": "8Gi", "pods": "9"}), node("b"))
    world.place(world.infos.of(pod("big", containers=[container(cpu="3", memory="6Gi")])), "a")
    small = {"containers": [container(cpu="500m", memory="1Gi")]}
    least = scores(profile(), "NodeResourcesFit", world, **small)
    strategy = {"scoringStrategy": {"type": "MostAllocated"}}
    most = scores(profile(args={"NodeResourcesFit": strategy}), "NodeResourcesFit", world, **small)
    assert least["a"] < least["b"] and most["a"] > most["b"]
    shape = [{"utilization": 0, "score": 0}, {"utilization": 100, "score": 10}]
    ratio = {"type": "RequestedToCapacityRatio", "requestedToCapacityRatio": {"shape": shape}}
    curve = profile(args={"NodeResourcesFit": {"scoringStrategy": ratio}})
    found = scores(curve, "NodeResourcesFit", world, **small)
    assert found["a"] > found["b"]


def test_resources_that_are_ignored() -> None:
    world = table(node("a"))
    gpu = {"containers": [container(**{"example.com/gpu": "1"})]}
    assert refusals(profile(), world, **gpu)["a"] == "Insufficient example.com/gpu"
    given = profile(args={"NodeResourcesFit": {"ignoredResourceGroups": ["example.com"]}})
    assert refusals(given, world, **gpu)["a"] == ""
    extender = {
        "urlPrefix": "http://127.0.0.1:1",
        "filterVerb": "filter",
        "managedResources": [{"name": "example.com/gpu", "ignoredByScheduler": True}],
    }
    assert refusals(profile(extenders=[extender]), world, **gpu)["a"] == ""


def test_balance_of_other_resources() -> None:
    args = {"NodeResourcesBalancedAllocation": {"resources": [{"name": "cpu", "weight": 1}]}}
    plugin = next(p for p, _ in profile(args=args).scorers if p.name == "NodeResourcesBalancedAllocation")
    usual = next(p for p, _ in profile().scorers if p.name == "NodeResourcesBalancedAllocation")
    assert plugin.__dict__ != usual.__dict__


def test_how_many_nodes_preemption_tries() -> None:
    args = {"DefaultPreemption": {"minCandidateNodesPercentage": 25, "minCandidateNodesAbsolute": 7}}
    given = profile(args=args)
    assert (given.preemption_share, given.preemption_least) == (0.25, 7)


def test_how_long_volumes_are_awaited() -> None:
    given = profile(args={"VolumeBinding": {"bindTimeoutSeconds": 30}})
    assert Engine(given, World()).volumes_timeout_s == 30


def test_disabled_filters_do_not_refuse() -> None:
    world = table(node("a", taints=[taint("team")]))
    assert refusals(profile(), world)["a"] == "node(s) had untolerated taint(s)"
    assert refusals(profile({"filter": off("TaintToleration")}), world)["a"] == ""


def test_only_a_share_of_the_nodes_is_scored_and_another_each_time() -> None:
    world = table(*(node(f"n{number}") for number in range(400)))
    engine = Engine(profile(percentageOfNodesToScore=30), world)
    info = world.infos.of(pod())
    rows = engine.feasible(info)
    taken = [set(engine.sampled(rows).tolist()) for _ in range(4)]  # type: ignore[arg-type]
    assert [len(each) for each in taken] == [120] * 4
    assert set().union(*taken) == set(world.table.rows.values())
    few = profile(percentageOfNodesToScore=30, profile={"percentageOfNodesToScore": 1})
    assert len(Engine(few, world).sampled(rows)) == 100  # type: ignore[arg-type]
    assert len(Engine(profile(), world).sampled(rows)) == 400  # type: ignore[arg-type]


def test_back_off_as_configured() -> None:
    found = configuration({**HEAD, "podInitialBackoffSeconds": 3, "podMaxBackoffSeconds": 20})
    queue = Queue(first_backoff_s=found.first_backoff_s, max_backoff_s=found.max_backoff_s)
    queue.add(("default", "p"), "u", 0)
    waits = []
    now_s = 0.0
    for _ in range(5):
        waiting = queue.pop(now_s)
        assert waiting is not None
        queue.retry_later(waiting, now_s)
        due_s = queue.next_due_s()
        assert due_s is not None
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == [3, 6, 12, 20, 20]


def test_several_profiles() -> None:
    found = configuration({**HEAD, "profiles": [{}, {"schedulerName": "batch"}]})
    assert [p.name for p in found.profiles] == ["default-scheduler", "batch"]


REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
EXTENDER = {"urlPrefix": "http://127.0.0.1:1"}


def bad() -> Iterator[tuple[dict[str, Any], str]]:
    yield {"kind": "Pod"}, "the configuration is of kubescheduler.config.k8s.io/v1, kind Pod"
    yield {"apiVersion": "kubescheduler.config.k8s.io/v1beta3"}, "write kubescheduler.config.k8s.io/v1"
    yield {"profles": []}, "Object contains unknown field `profles`"
    yield {"parallelism": 0}, "parallelism must be greater than 0"
    yield {"percentageOfNodesToScore": 101}, "percentageOfNodesToScore: 101 is not in the range 0 to 100"
    yield {"podInitialBackoffSeconds": 0}, "podInitialBackoffSeconds must be greater than 0"
    yield (
        {"podInitialBackoffSeconds": 20},
        "podMaxBackoffSeconds must not be less than podInitialBackoffSeconds",
    )
    yield {"profiles": [{}, {}]}, "'default-scheduler' is there twice"
    yield {"profiles": [{"schedulerName": ""}]}, "empty schedulerName"
    yield {"extenders": [{"urlPrefix": "ftp://x"}]}, "'ftp://x' is no http or https address"
    yield {"extenders": [{**EXTENDER, "prioritizeVerb": "p"}]}, "must have a positive weight"
    yield {"extenders": [{**EXTENDER, "bindVerb": "b"}] * 2}, "only one of them can have a bindVerb"
    yield {"extenders": [{**EXTENDER, "httpTimeout": "soon"}]}, "'soon' is not a duration"
    yield (
        {"extenders": [{**EXTENDER, "managedResources": [{"name": "cpu"}]}]},
        "'cpu' is no extended resource",
    )
    yield {"extenders": [{**EXTENDER, "filterverb": "f"}]}, "unknown field `filterverb`"
    for plugins, text in (
        ({"filters": off("NodePorts")}, "there is no extension point 'filters'"),
        ({"filter": off("NodePort")}, "there is no plugin 'NodePort'; known are"),
        ({"filter": on("*")}, "filter enables '*'; name the plugins"),
        ({"filter": on("NodePorts", "NodePorts")}, "filter enables NodePorts twice"),
        ({"filter": on("ImageLocality")}, "the plugin ImageLocality does not take part in filter"),
        ({"score": on(("ImageLocality", 101))}, "the weight 101 of ImageLocality is not from 0 to 100"),
        ({"bind": off("DefaultBinder")}, "nothing binds its pods"),
    ):
        yield {"profiles": [{"plugins": plugins}]}, text
    for name, args, text in (
        ("NodePort", {}, "there is no plugin 'NodePort'"),
        ("NodePorts", {"a": 1}, "it has no args; remove a"),
        ("NodeResourcesFit", {"kind": "Args"}, "write NodeResourcesFitArgs"),
        ("NodeResourcesFit", {"scoringStrategy": {"type": "Best"}}, "'Best' is none of"),
        ("NodeResourcesFit", {"ignoredResourceGroups": ["a/b"]}, "'a/b' is a resource"),
        ("NodeResourcesFit", {"ignored": []}, "unknown field `ignored`"),
        (
            "NodeResourcesFit",
            {"scoringStrategy": {"type": "RequestedToCapacityRatio"}},
            "shape must have at least one point",
        ),
        (
            "NodeResourcesBalancedAllocation",
            {"resources": [{"name": "cpu", "weight": 2}]},
            "the weight of cpu must be 1",
        ),
        ("InterPodAffinity", {"hardPodAffinityWeight": 101}, "101 is not in the range 0 to 100"),
        ("InterPodAffinity", {"hardPodAffinityWeight": "much"}, "Expected `int`, got `str`"),
        ("DefaultPreemption", {"minCandidateNodesPercentage": 200}, "200 is not in the range"),
        (
            "DefaultPreemption",
            {"minCandidateNodesPercentage": 0, "minCandidateNodesAbsolute": 0},
            "cannot both be zero",
        ),
        ("VolumeBinding", {"bindTimeoutSeconds": -1}, "bindTimeoutSeconds must not be negative"),
        ("NodeAffinity", {"addedAffinity": {"required": 1}}, "unknown field 'required'"),
        ("NodeAffinity", {"addedAffinity": {REQUIRED: {"nodeSelectorTerms": []}}}, "at least one term"),
        (
            "NodeAffinity",
            {"addedAffinity": {REQUIRED: {"nodeSelectorTerms": [{"matchFields": [{"operator": "Is"}]}]}}},
            "the operator 'Is' is none of In,",
        ),
        ("PodTopologySpread", {"defaultingType": "None"}, "'None' is neither System nor List"),
        ("PodTopologySpread", {"defaultConstraints": [{}]}, "are for the defaultingType List"),
    ):
        yield {"profiles": [{"pluginConfig": [{"name": name, "args": args}]}]}, text
    constraint = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    for change, text in (
        ({"maxSkew": 0}, "defaultConstraints[0].maxSkew must be greater than zero"),
        ({"topologyKey": ""}, "defaultConstraints[0].topologyKey must be set"),
        ({"whenUnsatisfiable": "Never"}, "whenUnsatisfiable must be one of DoNotSchedule, ScheduleAnyway"),
        ({"labelSelector": {}}, "labelSelector must be left out"),
    ):
        args = {"defaultingType": "List", "defaultConstraints": [{**constraint, **change}]}
        yield {"profiles": [{"pluginConfig": [{"name": "PodTopologySpread", "args": args}]}]}, text


@pytest.mark.parametrize(("change", "text"), list(bad()))
def test_what_makes_no_sense_is_told(change: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        configuration({**HEAD, **change})
    assert text in str(raised.value)


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_a_file_of_something_else(document: Any) -> None:
    with pytest.raises(ConfigurationError, match="no mapping"):
        configuration(document)


@pytest.mark.parametrize(
    ("text", "seconds"), [("5s", 5.0), ("1m30s", 90.0), ("100ms", 0.1), ("1.5h", 5400.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert seconds_of(text) == seconds
