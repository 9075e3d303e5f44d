"""PodTopologySpread and InterPodAffinity as tables: who may be beside whom, and who had better be."""

from __future__ import annotations

import random
from typing import Any

import pytest

from sampan.scheduler.cycle import Engine
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api
from tests.unit.scheduler.objects import decide, node, pod, table

ZONE = "zone"
SPREAD = "node(s) didn't match pod topology spread constraints"
ROOMY = {"cpu": "100", "memory": "100Gi", "pods": "200"}


def labelled(name: str, labels: dict[str, str], namespace: str = "default", **spec: Any) -> api.Pod:
    made = pod(name, **spec)
    made.metadata.labels = labels
    made.metadata.namespace = namespace
    return made


def zones(*names: str) -> World:
    """One node for each name, in the zone of its first letter."""
    return table(
        *(node(n, labels={ZONE: n[0], "kubernetes.io/hostname": n}, allocatable=ROOMY) for n in names)
    )


def put(world: World, name: str, on: str, labels: dict[str, str], **spec: Any) -> None:
    namespace = spec.pop("namespace", "default")
    world.place(world.infos.of(labelled(name, labels, namespace, **spec)), on)


def spread(key: str = ZONE, skew: int = 1, hard: bool = True, **more: Any) -> dict[str, Any]:
    return {
        "topologyKey": key,
        "maxSkew": skew,
        "whenUnsatisfiable": "DoNotSchedule" if hard else "ScheduleAnyway",
        "labelSelector": {"matchLabels": {"app": "web"}},
        **more,
    }


def near(key: str = ZONE, app: str = "db", **more: Any) -> dict[str, Any]:
    return {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}, **more}


def required(*terms: dict[str, Any], anti: bool = False) -> dict[str, Any]:
    return {
        "podAntiAffinity" if anti else "podAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": list(terms)
        }
    }


def preferred(*terms: tuple[int, dict[str, Any]], anti: bool = False) -> dict[str, Any]:
    weighted = [{"weight": w, "podAffinityTerm": t} for w, t in terms]
    return {
        "podAntiAffinity" if anti else "podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": weighted
        }
    }


WEB = {"app": "web"}


def where(world: World, wanting: api.Pod) -> set[str]:
    """The nodes that will do."""
    found = Engine(default_profile(), world).explain(world.infos.of(wanting))
    return {name for name, plugin, _ in found if not plugin}


def best(world: World, wanting: api.Pod) -> set[str]:
    """The nodes of the best score."""
    engine, info = Engine(default_profile(), world), world.infos.of(wanting)
    return {engine.decide(info, random.Random(seed).choice).node for seed in range(12)}


@pytest.mark.parametrize(
    ("placed", "constraint", "expected"),
    [
        ([], spread(), {"a1", "a2", "b1", "c1"}),
        (["a1"], spread(), {"b1", "c1"}),
        (["a1"], spread(skew=2), {"a1", "a2", "b1", "c1"}),
        (["a1", "b1"], spread(), {"c1"}),
        (["a1", "b1", "c1"], spread(), {"a1", "a2", "b1", "c1"}),
        (["a1"], spread("kubernetes.io/hostname"), {"a2", "b1", "c1"}),
        # With too few domains the least counts as none.
        (["a1", "b1", "c1"], spread(minDomains=4), set()),
        (["a1", "b1", "c1"], spread(minDomains=3), {"a1", "a2", "b1", "c1"}),
        (["a1"], spread("rack"), set()),
        # The pod does not match its own selector: it adds nothing where it goes.
        (["a1"], spread(labelSelector={"matchLabels": {"app": "db"}}), {"a1", "a2", "b1", "c1"}),
    ],
)
def test_required_spread(placed: list[str], constraint: dict[str, Any], expected: set[str]) -> None:
    world = zones("a1", "a2", "b1", "c1")
    for number, name in enumerate(placed):
        put(world, f"p{number}", name, WEB)
    put(world, "elsewhere", "b1", WEB, namespace="other")
    wanting = labelled("w", WEB, topologySpreadConstraints=[constraint])
    assert where(world, wanting) == expected


def test_spread_counts_no_pods_that_are_being_deleted() -> None:
    world = zones("a1", "b1")
    going = labelled("going", WEB)
    going.metadata.deletionTimestamp = api.ObjectMeta(name="x").creationTimestamp or _now()
    world.place(world.infos.of(going), "a1")
    assert where(world, labelled("w", WEB, topologySpreadConstraints=[spread()])) == {"a1", "b1"}


def _now() -> Any:
    from datetime import UTC, datetime

    return datetime(2026, 1, 1, tzinfo=UTC)


def test_node_policies_of_spread() -> None:
    world = zones("a1", "b1", "c1")
    tainted = node(
        "c1",
        labels={ZONE: "c"},
        allocatable=ROOMY,
        taints=[{"key": "k", "effect": "NoSchedule"}],
    )
    world.put_node(tainted)
    put(world, "p", "a1", WEB)
    put(world, "q", "b1", WEB)
    # The tainted zone has no pod: while it counts, no other may have a second one.
    assert where(world, labelled("w", WEB, topologySpreadConstraints=[spread()])) == set()
    honoring = spread(nodeTaintsPolicy="Honor")
    assert where(world, labelled("w", WEB, topologySpreadConstraints=[honoring])) == {"a1", "b1"}
    only_a = {"topologySpreadConstraints": [spread()], "nodeSelector": {ZONE: "a"}}
    assert where(world, labelled("w", WEB, **only_a)) == {"a1"}
    ignoring = {
        "topologySpreadConstraints": [spread(nodeAffinityPolicy="Ignore")],
        "nodeSelector": {ZONE: "a"},
    }
    assert where(world, labelled("w", WEB, **ignoring)) == set()


def test_match_label_keys_tell_versions_apart() -> None:
    world = zones("a1", "b1")
    put(world, "old", "a1", {**WEB, "hash": "1"})
    new = labelled("w", {**WEB, "hash": "2"}, topologySpreadConstraints=[spread(matchLabelKeys=["hash"])])
    assert where(world, new) == {"a1", "b1"}


def test_the_words_of_spread() -> None:
    world = zones("a1", "b1")
    world.put_node(node("bare", allocatable=ROOMY))
    put(world, "p", "a1", WEB)
    put(world, "q", "a1", WEB)
    crowded = labelled("w", WEB, topologySpreadConstraints=[spread()], nodeSelector={"zone": "a"})
    assert decide(crowded, world).node == "a1"  # no other zone counts for it
    both = spread(nodeAffinityPolicy="Ignore")
    crowded = labelled("w", WEB, topologySpreadConstraints=[both], nodeSelector={"zone": "a"})
    assert decide(crowded, world).message == (
        f"0/3 nodes are available: 1 {SPREAD}, 2 node(s) didn't match Pod's node affinity/selector."
    )
    rack = labelled("w", WEB, topologySpreadConstraints=[spread("rack")])
    assert decide(rack, world).message == f"0/3 nodes are available: 3 {SPREAD} (missing required label)."


def test_preferred_spread_goes_where_there_are_fewest() -> None:
    world = zones("a1", "a2", "b1", "c1")
    for number, name in enumerate(["a1", "a2", "b1", "b1", "b1"]):
        put(world, f"p{number}", name, WEB)
    assert best(world, labelled("w", WEB, topologySpreadConstraints=[spread(hard=False)])) == {"c1"}


@pytest.mark.parametrize(
    ("affinity", "labels", "expected"),
    [
        (required(near()), WEB, {"a1", "a2"}),
        (required(near("kubernetes.io/hostname")), WEB, {"a1"}),
        (required(near(app="nobody")), WEB, set()),
        # The first of its kind need not wait for another one.
        (required(near(app="web")), WEB, {"a1", "a2", "b1", "c1"}),
        (required(near(app="web"), near()), WEB, set()),
        (required(near(), anti=True), WEB, {"b1", "c1"}),
        (required(near("rack"), anti=True), WEB, {"a1", "a2", "b1", "c1"}),
        (required(near(namespaces=["other"])), WEB, {"b1"}),
        (required(near(namespaceSelector={})), WEB, {"a1", "a2", "b1"}),
        (required(near(matchLabelKeys=["team"])), {**WEB, "team": "red"}, {"a1", "a2"}),
        (required(near(mismatchLabelKeys=["team"])), {**WEB, "team": "red"}, set()),
        (
            required(near(matchLabelKeys=["team"]), anti=True),
            {**WEB, "team": "blue"},
            {"a1", "a2", "b1", "c1"},
        ),
    ],
)
def test_required_neighbours(affinity: dict[str, Any], labels: dict[str, str], expected: set[str]) -> None:
    world = zones("a1", "a2", "b1", "c1")
    put(world, "db", "a1", {"app": "db", "team": "red"})
    put(world, "theirs", "b1", {"app": "db"}, namespace="other")
    assert where(world, labelled("w", labels, affinity=affinity)) == expected


def test_those_that_are_there_keep_others_out() -> None:
    world = zones("a1", "a2", "b1")
    put(world, "alone", "a1", {"app": "x"}, affinity=required(near(app="web"), anti=True))
    wanting = labelled("w", WEB)
    assert where(world, wanting) == {"b1"}
    decision = decide(labelled("w", WEB, nodeSelector={ZONE: "a"}), world)
    assert decision.message == (
        "0/3 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, "
        "2 node(s) didn't satisfy existing pods anti-affinity rules."
    )
    world.unplace(("default", "alone"))
    assert where(world, wanting) == {"a1", "a2", "b1"}


@pytest.mark.parametrize(
    ("placed", "affinity", "expected"),
    [
        ({}, preferred((10, near())), {"a1", "a2"}),
        ({}, preferred((10, near()), anti=True), {"b1", "c1"}),
        ({}, preferred((10, near()), (20, near(app="cache"))), {"b1"}),
        ({"affinity": required(near(app="web"))}, None, {"a1", "a2"}),
        ({"affinity": preferred((5, near(app="web")))}, None, {"a1", "a2"}),
        ({"affinity": preferred((5, near(app="web")), anti=True)}, None, {"b1", "c1"}),
    ],
)
def test_preferred_neighbours(
    placed: dict[str, Any], affinity: dict[str, Any] | None, expected: set[str]
) -> None:
    world = zones("a1", "a2", "b1", "c1")
    put(world, "db", "a1", {"app": "db"}, **placed)
    put(world, "cache", "b1", {"app": "cache"})
    wanting = labelled("w", WEB, **({"affinity": affinity} if affinity else {}))
    assert best(world, wanting) == expected


def test_what_is_kept_equals_what_is_worked_out_afresh() -> None:
    """Over many placements and removals, an engine with kept answers decides as a new one does."""
    chance = random.Random(3)
    world = zones(*(f"{z}{n}" for z in "abc" for n in range(4)))
    engine = Engine(default_profile(), world)
    shapes: list[dict[str, Any]] = [
        {},
        {"topologySpreadConstraints": [spread()]},
        {"topologySpreadConstraints": [spread(hard=False), spread("kubernetes.io/hostname", 2)]},
        {"affinity": required(near(app="web"))},
        {"affinity": required(near("kubernetes.io/hostname", app="web"), anti=True)},
        {"affinity": preferred((3, near(app="web")), anti=True)},
        {"containers": [{"name": "c", "resources": {"requests": {"cpu": "7"}}}]},
    ]
    for number in range(300):
        wanting = labelled(f"p{number}", chance.choice([WEB, {"app": "db"}]), **chance.choice(shapes))
        info = world.infos.of(wanting)
        kept = engine.decide(info, lambda rows: rows[0])
        afresh = Engine(default_profile(), world).decide(info, lambda rows: rows[0])
        assert kept == afresh
        if kept.node:
            world.place(info, kept.node)
        if number % 3 == 0 and world.placed:
            world.unplace(chance.choice(list(world.placed)))
        if number % 40 == 0:
            world.remove_node("a1")
            world.put_node(node("a1", labels={ZONE: chance.choice("ab")}, allocatable=ROOMY))
