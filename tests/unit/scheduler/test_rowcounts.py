"""What is added up under a label's values as pods come and go is what counting all of them anew gives."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.machinery.selectors import from_labels
from sampan.machinery.tolerations import untolerated
from sampan.scheduler.cycle import Engine
from sampan.scheduler.groups import Selects
from sampan.scheduler.plugins.pod_topology_spread import PodTopologySpread
from sampan.scheduler.registry import default_profile
from sampan.scheduler.rowcounts import MOST_STEPS, RowCounts
from sampan.scheduler.world import World
from sampan.schema import api
from tests.unit.scheduler.objects import node, pod, taint

WEB = Selects(frozenset({"default"}), from_labels({"app": "web"}))
NAMES = [f"n{at}" for at in range(6)]
STEPS = st.one_of(
    *[st.tuples(st.just("place"), st.integers(0, 5), st.sampled_from(NAMES), st.booleans())] * 2,
    st.tuples(st.just("unplace"), st.integers(0, 5)),
    st.tuples(st.just("node"), st.sampled_from(NAMES), st.sampled_from(["", "a", "b", "c"]), st.booleans()),
    st.tuples(st.just("gone"), st.sampled_from(NAMES)),
    st.tuples(st.just("trial"), st.sampled_from(NAMES)),
    st.tuples(st.just("look")),
)
SPREAD = {"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "web"}}}


def web(number: int, is_web: bool = True, **spec: Any) -> api.Pod:
    made = pod(f"p{number}", **spec)
    made.metadata.labels = {"app": "web" if is_web else "db"}
    return made


def spreading(policy: str, when: str) -> api.Pod:
    one = {**SPREAD, "maxSkew": 1, "whenUnsatisfiable": when, "nodeTaintsPolicy": policy}
    return web(999, topologySpreadConstraints=[one, {**one, "topologyKey": "kubernetes.io/hostname"}])


def labels_of(world: World, name: str) -> dict[str, str]:
    return dict(world.table.labels(world.table.rows[name]))


def placed_web(world: World) -> list[str]:
    return [
        p.node for p in world.placed.values() if p.pod.labels["app"] == "web" and p.node in world.table.rows
    ]


def naive_refused(world: World, wanting: api.Pod, *, honors_taints: bool) -> set[str]:
    """The nodes that a hard constraint on zone and hostname with a skew of 1 refuses, one node at a time."""
    keys = ("zone", "kubernetes.io/hostname")
    nodes = {n.metadata.name or "": n for n in world.table.nodes if n is not None}
    refused = {name for name in nodes if any(key not in labels_of(world, name) for key in keys)}
    counting = [n for n in nodes if n not in refused]
    if honors_taints:
        counting = [n for n in counting if not untolerated(nodes[n].spec.taints, wanting.spec.tolerations)]
    for key in keys:
        counts = Counter({labels_of(world, name)[key]: 0 for name in counting})
        counts.update(labels_of(world, on)[key] for on in placed_web(world) if on in counting)
        least = min(counts.values(), default=0)
        refused |= {
            n for n in nodes if key in labels_of(world, n) and counts[labels_of(world, n)[key]] > least
        }
    return refused


@settings(max_examples=40)
@given(st.lists(STEPS, min_size=10, max_size=40))
def test_sums_stay_those_of_a_fresh_count(steps: list[tuple[Any, ...]]) -> None:
    world = World()
    hard = {policy: spreading(policy, "DoNotSchedule") for policy in ("Ignore", "Honor")}
    soft = spreading("Ignore", "ScheduleAnyway")
    plugin = PodTopologySpread()
    for what, *given_ in steps:
        if what == "place":
            number, on, is_web = given_
            world.unplace(("default", f"p{number}"))
            world.place(world.infos.of(web(number, is_web)), on)
        elif what == "unplace":
            world.unplace(("default", f"p{given_[0]}"))
        elif what == "node":
            name, zone, is_tainted = given_
            labels = {"kubernetes.io/hostname": name} | ({"zone": zone} if zone else {})
            world.put_node(node(name, labels=labels, taints=[taint("k")] if is_tainted else []))
        elif what == "gone":
            world.remove_node(given_[0])
        elif what == "trial" and given_[0] in world.table.rows:
            with world.without(given_[0], world.on(given_[0])):
                world.counter((WEB,)).by_place(world.table.domains("zone"))
        domains = world.table.domains("zone")
        expected = Counter(labels_of(world, on).get("zone") for on in placed_web(world))
        sums = world.counter((WEB,)).by_place(domains)
        assert {z: int(sums[n + 1]) for z, n in domains.numbers.items()} == {
            z: expected[z] for z in domains.numbers
        }
        assert sums[0] == 0
        for policy, wanting in hard.items():
            info = world.infos.of(wanting)
            verdict = plugin.filter(plugin.prepare(info, world), world, slice(None))
            refused = {
                n for n, row in world.table.rows.items() if verdict is not None and verdict.refused[row]
            }
            assert refused == naive_refused(world, wanting, honors_taints=policy == "Honor")
        if what == "look" and world.table.rows:
            assert scores_of(world, soft) == scores_of(afresh(world), soft)


def afresh(world: World) -> World:
    made = World()
    for each in filter(None, world.table.nodes):
        made.put_node(each)
    for placed in world.placed.values():
        made.place(made.infos.of(placed.pod.pod), placed.node)
    return made


def scores_of(world: World, wanting: api.Pod) -> dict[str, int]:
    rows = np.array(list(world.table.rows.values()), dtype=np.intp)
    totals = Engine(default_profile(), world).totals(world.infos.of(wanting), rows)
    return dict(zip(world.table.rows, totals.tolist(), strict=True))


def test_who_looks_too_seldom_adds_up_anew() -> None:
    counts = RowCounts(4)
    counts.add(1, 2)
    seen = counts.position
    for _ in range(3 * MOST_STEPS):
        counts.add(9, 1)
    assert counts.since(seen) is None
    assert counts.since(counts.position) == []
    assert counts.per_row.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 0, 3 * MOST_STEPS]
