from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.client.effects import Create, Plan, Remove, UpdateStatus
from sampan.controllers.daemonset import plan as daemonset
from sampan.controllers.daemonset.failures import KEPT_MOST, FailureLog
from sampan.controllers.daemonset.placement import Fit, Placement
from sampan.controllers.daemonset.view import View
from sampan.controllers.nodeaffinity import named_node
from sampan.controllers.runtime import revisions
from sampan.schema import api
from tests.fakes.apiserver import Refuse
from tests.fakes.bench import NAMESPACE, Bench, key, make_ready, template
from tests.fakes.waiting import run

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def owner(**spec: Any) -> api.DaemonSet:
    rolling = spec.pop("rolling", None)
    strategy = spec.pop("strategy", "RollingUpdate")
    return api.DaemonSet(
        apiVersion="apps/v1",
        kind="DaemonSet",
        metadata=api.ObjectMeta(name="web", namespace=NAMESPACE, uid="ds", generation=1),
        spec=api.DaemonSetSpec(
            selector=api.LabelSelector(matchLabels={"app": "web"}),
            template=spec.pop("template", template()),
            updateStrategy=api.DaemonSetUpdateStrategy(type=strategy, rollingUpdate=rolling),
            revisionHistoryLimit=spec.pop("revisionHistoryLimit", 10),
            **spec,
        ),
    )


def node(name: str, *taints: tuple[str, str], **labels: str) -> api.Node:
    held = [api.Taint(key=key, effect=effect) for key, effect in taints]
    meta = api.ObjectMeta(name=name, uid=name, labels=labels)
    return api.Node(apiVersion="v1", kind="Node", metadata=meta, spec=api.NodeSpec(taints=held))


@pytest.mark.parametrize(
    ("taints", "fit"),
    [
        ([], Fit(True, True)),
        ([("node.kubernetes.io/not-ready", "NoExecute")], Fit(True, True)),
        ([("node.kubernetes.io/unschedulable", "NoSchedule")], Fit(True, True)),
        ([("node.kubernetes.io/disk-pressure", "NoSchedule")], Fit(True, True)),
        ([("node.kubernetes.io/network-unavailable", "NoSchedule")], Fit(False, True)),
        ([("mine", "NoSchedule")], Fit(False, True)),
        ([("mine", "PreferNoSchedule")], Fit(True, True)),
        ([("mine", "NoExecute")], Fit(False, False)),
    ],
)
def test_taints_keep_new_pods_away_or_all(taints: list[tuple[str, str]], fit: Fit) -> None:
    assert Placement(owner()).fit(node("n1", *taints)) == fit


def test_selectors_affinity_and_names_choose_nodes() -> None:
    wanted = owner()
    wanted.spec.template.spec.nodeSelector = {"disk": "ssd"}
    assert Placement(wanted).fit(node("n1", disk="ssd")) == Fit(True, True)
    assert Placement(wanted).fit(node("n1", disk="hdd")) == Fit(False, False)
    named = owner()
    named.spec.template.spec.nodeName = "n2"
    assert Placement(named).fit(node("n1")) == Fit(False, False)
    zoned = owner()
    term = api.NodeSelectorTerm(
        matchExpressions=[api.NodeSelectorRequirement(key="zone", operator="NotIn", values=["a"])]
    )
    zoned.spec.template.spec.affinity = api.Affinity(
        nodeAffinity=api.NodeAffinity(
            requiredDuringSchedulingIgnoredDuringExecution=api.NodeSelector(nodeSelectorTerms=[term])
        )
    )
    assert Placement(zoned).fit(node("n1", zone="a")) == Fit(False, False)
    assert Placement(zoned).fit(node("n1", zone="b")) == Fit(True, True)


def test_a_pod_names_its_node_and_tolerates_what_daemons_do() -> None:
    given = owner()
    given.spec.template.spec.hostNetwork = True
    given.spec.template.spec.tolerations = [api.Toleration(key="mine", operator="Exists")]
    pod = Placement(given).pod_for("n7", "abc")
    assert named_node(pod.spec) == "n7"
    assert pod.spec.nodeName is None
    assert pod.metadata.labels == {"app": "web", "controller-revision-hash": "abc"}
    assert {toleration.key for toleration in pod.spec.tolerations} == {
        "mine",
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
        "node.kubernetes.io/disk-pressure",
        "node.kubernetes.io/memory-pressure",
        "node.kubernetes.io/pid-pressure",
        "node.kubernetes.io/unschedulable",
        "node.kubernetes.io/network-unavailable",
    }
    assert given.spec.template.spec.tolerations == [api.Toleration(key="mine", operator="Exists")]


# -- rollouts, planned over a table of nodes -----------------------------------------------------------------
# One letter a pod: O old and up, o old and down, N new and up, n new and down, F new and failed.

HASHED = revisions.hash_of(revisions.find(owner(), (), None).current)


def pod(node_name: str, letter: str, position: int) -> api.Pod:
    name = f"{node_name}{letter}{position}"
    made = Placement(owner()).pod_for(node_name, HASHED if letter in "NnF" else "old")
    made.metadata.name = made.metadata.uid = name
    made.metadata.creationTimestamp = NOW - timedelta(hours=1) + timedelta(seconds=position)
    made.status.phase = "Failed" if letter == "F" else "Pending"
    return make_ready(made, NOW - timedelta(minutes=10), node_name) if letter in "ON" else made


def planned(given: api.DaemonSet, states: list[str], **view: Any) -> tuple[list[str], list[str]]:
    """`(names of removed pods, nodes that get one)`; the n-th string has the pods of node n."""
    found = revisions.find(given, (), None).current
    found.metadata.ownerReferences[0].uid = "ds"
    pods = [pod(f"n{i}", letter, at) for i, text in enumerate(states) for at, letter in enumerate(text)]
    nodes = tuple(node(f"n{i}") for i in range(len(states)))
    plan = daemonset.plan(View(given, nodes, tuple(pods), (found,), **view), NOW)
    return removed(plan), created(plan)


def removed(plan: Plan) -> list[str]:
    return sorted(effect.ref.name for effect in plan.effects if isinstance(effect, Remove))


def created(plan: Plan) -> list[str]:
    creates = [effect.obj for effect in plan.effects if isinstance(effect, Create)]
    return sorted(named_node(obj.spec) for obj in creates if isinstance(obj, api.Pod))


UNAVAILABLE_2 = api.RollingUpdateDaemonSet(maxUnavailable=2, maxSurge=0)
HALF = api.RollingUpdateDaemonSet(maxUnavailable="50%")
SURGE_1 = api.RollingUpdateDaemonSet(maxUnavailable=0, maxSurge=1)


@pytest.mark.parametrize(
    ("rolling", "states", "gone", "nodes"),
    [
        (None, ["", "N", ""], [], ["n0", "n2"]),
        (None, ["NN", "N"], ["n0N1"], []),
        (None, ["O", "O", "O"], ["n0O0"], []),
        (None, ["n", "O", "O"], [], []),
        (None, ["", "O"], [], ["n0"]),
        (None, ["o", "O"], ["n0o0", "n1O0"], []),
        (UNAVAILABLE_2, ["O", "O", "O"], ["n0O0", "n1O0"], []),
        (UNAVAILABLE_2, ["n", "O", "O"], ["n1O0"], []),
        (HALF, ["O", "O", "O"], ["n0O0", "n1O0"], []),
        (SURGE_1, ["O", "O"], [], ["n0"]),
        (SURGE_1, ["On", "O"], [], []),
        (SURGE_1, ["ON", "O"], ["n0O0", "n0O0"], ["n1"]),
        (SURGE_1, ["o", "O"], [], ["n0", "n1"]),
        (SURGE_1, ["on"], ["n0o0"], []),
        (None, ["F"], ["n0F0"], []),
    ],
)
def test_rolling_updates(
    rolling: api.RollingUpdateDaemonSet | None, states: list[str], gone: list[str], nodes: list[str]
) -> None:
    names, places = planned(owner(rolling=rolling), states)
    assert (names, places) == (sorted(set(gone)), nodes)


def test_on_delete_replaces_nothing_by_itself() -> None:
    assert planned(owner(strategy="OnDelete"), ["O", ""]) == ([], ["n1"])


def test_a_failed_pod_stays_until_it_is_due() -> None:
    assert planned(owner(), ["F"], due={"n0F0": NOW + timedelta(seconds=4)}) == ([], [])
    assert planned(owner(), ["F"], due={"n0F0": NOW}) == (["n0F0"], [])


def test_failures_back_off_and_are_forgotten() -> None:
    log, at = FailureLog(), NOW
    waits = []
    for count in range(12):
        due = log.due(("ds", "n1"), str(count), at)
        assert log.due(("ds", "n1"), str(count), at + timedelta(hours=1)) == due
        waits.append((due - at).total_seconds())
        at = due
    assert waits == [0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900]
    assert log.due(("ds", "n1"), "later", at + timedelta(hours=1)) == at + timedelta(hours=1)
    for count in range(KEPT_MOST + 5):
        log.due(("ds", str(count)), "x", NOW)
    assert len(log._records) == KEPT_MOST


# -- against a server ---------------------------------------------------------------------------------------


async def start(bench: Bench, given: api.DaemonSet, *nodes: str) -> Any:
    controller = daemonset.controller()
    for name in nodes:
        bench.server.put(node(name))
    await bench.client.create(given)
    await bench.settle(controller, key("web"))
    return controller


async def bring_up(bench: Bench) -> None:
    for one in await bench.all(api.Pod):
        bench.server.put(make_ready(one, bench.now, named_node(one.spec)))


async def end_leaving(bench: Bench) -> None:
    for one in await bench.all(api.Pod):
        if one.metadata.deletionTimestamp is not None:
            bench.server.drop(f"/api/v1/namespaces/{NAMESPACE}/pods/{one.metadata.name}")


async def roll_out(bench: Bench, controller: Any) -> None:
    for _ in range(10):
        await bench.settle(controller, key("web"))
        await end_leaving(bench)
        await bring_up(bench)


def test_every_node_gets_one_pod_and_planning_again_changes_nothing() -> None:
    async def main() -> None:
        bench = Bench()
        controller = await start(bench, owner(), "a", "b", "c")
        assert sorted(named_node(p.spec) for p in await bench.all(api.Pod)) == ["a", "b", "c"]
        await bring_up(bench)
        await bench.settle(controller, key("web"))
        status = (await bench.get(api.DaemonSet, "web")).status
        assert (status.desiredNumberScheduled, status.currentNumberScheduled, status.numberReady) == (3, 3, 3)
        assert (status.updatedNumberScheduled, status.numberAvailable, status.numberUnavailable) == (
            3,
            3,
            None,
        )
        assert (await bench.step(controller, key("web"))).effects == ()

    run(main())


def test_nodes_that_do_not_fit_any_more_lose_their_pods() -> None:
    async def main() -> None:
        bench = Bench()
        given = owner()
        given.spec.template.spec.nodeSelector = {"color": "blue"}
        controller = await start(bench, given, "a")
        assert await bench.all(api.Pod) == []
        bench.server.put(node("a", color="blue"))
        await bench.settle(controller, key("web"))
        assert len(await bench.all(api.Pod)) == 1
        bench.server.put(node("a", color="green"))
        await bench.step(controller, key("web"))
        assert (await bench.get(api.DaemonSet, "web")).status.numberMisscheduled == 1
        await bench.settle(controller, key("web"))
        assert await bench.all(api.Pod) == []
        assert (await bench.get(api.DaemonSet, "web")).status.numberMisscheduled == 0

    run(main())


def test_a_rollback_takes_the_old_revision_again_and_restarts_only_what_is_new() -> None:
    async def main() -> None:
        bench = Bench()
        controller = await start(bench, owner(), "a", "b")
        await roll_out(bench, controller)
        first = {p.metadata.name for p in await bench.all(api.Pod)}
        (one,) = await bench.all(api.ControllerRevision)
        change = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
        await bench.client.patch(api.DaemonSet, "web", NAMESPACE, change)
        await bench.settle(controller, key("web"))
        found = {r.metadata.name: r.revision for r in await bench.all(api.ControllerRevision)}
        assert sorted(found.values(), key=lambda n: n or 0) == [1, 2]
        assert len({p.metadata.name for p in await bench.all(api.Pod)} & first) == 2  # one is leaving
        back = bench.server.objects["/apis/apps/v1/namespaces/default/daemonsets/web"]
        back["spec"]["template"] = {k: v for k, v in one.data["spec"]["template"].items() if k != "$patch"}
        bench.server.put(back)
        await bench.settle(controller, key("web"))
        found = {r.metadata.name: r.revision for r in await bench.all(api.ControllerRevision)}
        assert found[one.metadata.name] == 3
        await roll_out(bench, controller)
        assert len({p.metadata.name for p in await bench.all(api.Pod)} & first) == 1

    run(main())


def test_old_revisions_over_the_limit_go_but_not_those_in_use() -> None:
    async def main() -> None:
        bench = Bench()
        controller = await start(bench, owner(revisionHistoryLimit=1, strategy="OnDelete"), "a")
        for number in range(2, 6):
            change = {
                "spec": {"template": {"spec": {"containers": [{"name": "web", "image": f"web:{number}"}]}}}
            }
            await bench.client.patch(api.DaemonSet, "web", NAMESPACE, change)
            await bench.settle(controller, key("web"))
        numbers = sorted(r.revision or 0 for r in await bench.all(api.ControllerRevision))
        assert numbers == [1, 4, 5]  # 1 has a pod

    run(main())


def test_a_revision_name_that_is_taken_is_salted() -> None:
    async def main() -> None:
        bench = Bench()
        taken = revisions.find(owner(), (), None).current
        taken.metadata.ownerReferences, taken.metadata.labels, taken.data = [], {}, {"other": True}
        await bench.client.create(taken)
        controller = await start(bench, owner())
        assert (await bench.get(api.DaemonSet, "web")).status.collisionCount == 1
        made = [r for r in await bench.all(api.ControllerRevision) if r.metadata.ownerReferences]
        assert [r.metadata.name for r in made] != [taken.metadata.name]
        assert (await bench.step(controller, key("web"))).effects == ()

    run(main())


def test_a_quota_stops_creating_and_status_is_still_told() -> None:
    async def main() -> None:
        bench = Bench()

        def quota(method: str, path: str, body: Any) -> None:
            if method == "POST" and path.endswith("/pods"):
                raise Refuse(403, "Forbidden", "exceeded quota")

        for name in "abcdefgh":
            bench.server.put(node(name))
        await bench.client.create(owner())
        bench.server.intercept = quota
        plan = await bench.step(daemonset.controller(), key("web"))
        assert sum(isinstance(effect, UpdateStatus) for effect in plan.effects) == 1
        assert sum(path.endswith("/pods") for method, path in bench.server.requests if method == "POST") == 1
        assert (await bench.get(api.DaemonSet, "web")).status.desiredNumberScheduled == 8

    run(main())
