from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sampan.base.clock import micro_time
from sampan.client.client import Client
from sampan.client.effects import Emit, Patch, Remove, UpdateStatus
from sampan.controllers import nodelifecycle, podgc, tainteviction, taints, zones
from sampan.controllers.nodelifecycle import View, plan
from sampan.schema import api
from tests.fakes.bench import NAMESPACE, make_ready
from tests.fakes.managed import Managed, managed
from tests.fakes.waiting import run, until

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFECYCLE = nodelifecycle.controller()


def node(ready: str | None = "True", *held: api.Taint, **conditions: str) -> api.Node:
    statuses = {**({"Ready": ready} if ready is not None else {}), **conditions}
    return api.Node(
        apiVersion="v1",
        kind="Node",
        metadata=api.ObjectMeta(name="n1", uid="n1", resourceVersion="1", creationTimestamp=NOW),
        spec=api.NodeSpec(taints=list(held)),
        status=api.NodeStatus(conditions=[api.NodeCondition(type=t, status=s) for t, s in statuses.items()]),
    )


def taint(key: str, effect: str = taints.NO_SCHEDULE, added: datetime | None = NOW) -> api.Taint:
    return api.Taint(key=key, effect=effect, timeAdded=added)


def after_plan(view: View) -> set[tuple[str, str]]:
    (effect,) = [e for e in plan(view, NOW).effects if isinstance(e, Patch) and e.ref.kind == "Node"]
    return {(t["key"], t["effect"]) for t in effect.patch["spec"]["taints"] or ()}


def pod(name: str = "p", *tolerations: api.Toleration, node_name: str = "n1") -> api.Pod:
    return api.Pod(
        apiVersion="v1",
        kind="Pod",
        metadata=api.ObjectMeta(name=name, namespace=NAMESPACE, uid=name, creationTimestamp=NOW),
        spec=api.PodSpec(nodeName=node_name, tolerations=list(tolerations)),
    )


@pytest.mark.parametrize(
    ("ready", "conditions", "wanted"),
    [
        ("False", {}, {(taints.NOT_READY, "NoSchedule"), (taints.NOT_READY, "NoExecute")}),
        ("Unknown", {}, {(taints.UNREACHABLE, "NoSchedule"), (taints.UNREACHABLE, "NoExecute")}),
        ("True", {"MemoryPressure": "True"}, {("node.kubernetes.io/memory-pressure", "NoSchedule")}),
        ("True", {"DiskPressure": "True"}, {("node.kubernetes.io/disk-pressure", "NoSchedule")}),
        ("True", {"PIDPressure": "True"}, {("node.kubernetes.io/pid-pressure", "NoSchedule")}),
        ("True", {"NetworkUnavailable": "True"}, {("node.kubernetes.io/network-unavailable", "NoSchedule")}),
        (None, {}, {(taints.NOT_READY, "NoSchedule")}),
    ],
)
def test_conditions_become_taints(
    ready: str | None, conditions: dict[str, str], wanted: set[tuple[str, str]]
) -> None:
    assert after_plan(View(node(ready, **conditions), NOW)) == wanted


def test_taints_go_when_their_reason_goes_and_others_stay() -> None:
    mine = taint("example.com/mine")
    held = (mine, taint(taints.UNREACHABLE), taint(taints.UNREACHABLE, taints.NO_EXECUTE))
    assert after_plan(View(node("True", *held), NOW)) == {("example.com/mine", "NoSchedule")}
    assert plan(View(node("True", mine), NOW), NOW).effects == ()


def test_an_unschedulable_node_says_so_in_a_taint() -> None:
    cordoned = node()
    cordoned.spec.unschedulable = True
    assert after_plan(View(cordoned, NOW)) == {(taints.UNSCHEDULABLE, "NoSchedule")}


def test_where_no_node_is_ready_no_pod_is_driven_away() -> None:
    found = after_plan(View(node("Unknown"), NOW, zone=zones.Zone(any_ready=False)))
    assert found == {(taints.UNREACHABLE, "NoSchedule")}


def test_a_taint_without_a_time_gets_one() -> None:
    by_hand = taint("example.com/go", taints.NO_EXECUTE, added=None)
    (effect,) = plan(View(node("True", by_hand), NOW), NOW).effects
    assert isinstance(effect, Patch)
    assert effect.patch["spec"]["taints"][0]["timeAdded"] == "2026-01-01T00:00:00Z"


def test_silence_makes_all_conditions_unknown() -> None:
    silent = View(node("True", MemoryPressure="False"), NOW)
    assert plan(silent, NOW + timedelta(seconds=39)).effects == ()
    status, event = plan(silent, NOW + timedelta(seconds=40)).effects
    assert isinstance(status, UpdateStatus)
    assert isinstance(event, Emit)
    told = {c.type: (c.status, c.reason) for c in status.obj.status.conditions}
    assert told["Ready"] == told["MemoryPressure"] == ("Unknown", "NodeStatusUnknown")
    assert told["DiskPressure"] == ("Unknown", "NodeStatusNeverUpdated")
    assert plan(View(status.obj, NOW), NOW + timedelta(seconds=40)).effects != (status, event)


def test_a_node_that_never_spoke_gets_longer() -> None:
    view = View(node(None), None)
    assert not any(isinstance(e, UpdateStatus) for e in plan(view, NOW + timedelta(seconds=59)).effects)
    assert isinstance(plan(view, NOW + timedelta(seconds=60)).effects[0], UpdateStatus)


def test_pods_on_a_silent_node_are_not_ready() -> None:
    ready = make_ready(pod(), NOW)
    held = (taint(taints.UNREACHABLE, taints.NO_EXECUTE), taint(taints.UNREACHABLE))
    patch, event = plan(View(node("Unknown", *held), NOW, pods=(ready, pod("q"))), NOW).effects
    assert isinstance(patch, Patch)
    assert isinstance(event, Emit)
    assert patch.ref.name == "p"
    assert patch.patch["status"]["conditions"][0]["status"] == "False"


def tolerate(seconds: int | None = None, key: str = "k", effect: str | None = None) -> api.Toleration:
    return api.Toleration(key=key, operator="Exists", effect=effect, tolerationSeconds=seconds)


EXECUTE = taint("k", taints.NO_EXECUTE)


@pytest.mark.parametrize(
    ("tolerations", "waits_s"),
    [
        ((), 0),
        ((tolerate(),), None),
        ((tolerate(300),), 300),
        ((tolerate(300), tolerate(20)), 20),
        ((tolerate(-5),), 0),
        ((tolerate(key="other"),), 0),
        ((tolerate(effect="NoSchedule"),), 0),
        ((api.Toleration(key="k", operator="Equal", value="v"),), 0),
        ((api.Toleration(operator="Exists"),), None),
    ],
)
def test_how_long_a_taint_is_tolerated(
    tolerations: tuple[api.Toleration, ...], waits_s: float | None
) -> None:
    found = tainteviction.plan(tainteviction.View(pod("p", *tolerations), (EXECUTE,)), NOW)
    if waits_s == 0:
        assert [e.ref.name for e in found.effects if isinstance(e, Remove)] == ["p"]
    else:
        assert found.effects == ()
        assert found.requeue_after_s == waits_s


async def healthy(client: Client, *names: str) -> None:
    for name in names:
        made = node()
        made.metadata = api.ObjectMeta(name=name)
        await client.create(made)
        await beat(client, name, NOW)


async def beat(client: Client, name: str, now: datetime) -> None:
    spec = api.LeaseSpec(holderIdentity=name, renewTime=micro_time(now))
    lease = api.Lease(metadata=api.ObjectMeta(name=name, namespace=nodelifecycle.LEASES), spec=spec)
    found = (await client.list(api.Lease, nodelifecycle.LEASES)).items
    if name in {one.metadata.name for one in found}:
        await client.update(lease)
    else:
        await client.create(lease)


async def live(cluster: Managed, seconds: int, *names: str) -> None:
    """Let time pass while the named nodes renew their leases."""
    for _ in range(seconds // 10):
        for name in names:
            await beat(cluster.client, name, cluster.clock.now())
        await cluster.clock.advance(10)


def test_a_node_falls_silent_its_pods_leave_and_it_recovers() -> None:
    async def main() -> None:
        async with managed((LIFECYCLE, tainteviction.CONTROLLER)) as cluster:
            await healthy(cluster.client, "n1", "n2")
            patient = pod("patient", tolerate(300, taints.UNREACHABLE))
            for one in (patient, pod("hasty"), pod("elsewhere", node_name="n2")):
                await cluster.client.create(make_ready(one, NOW, one.spec.nodeName or ""))
            await live(cluster, 30, "n1", "n2")
            assert {p["spec"]["nodeName"] for p in _leaving(cluster)} == set()
            await live(cluster, 60, "n2")
            assert _status(cluster, "n1") == "Unknown"
            assert _status(cluster, "n2") == "True"
            assert [p["metadata"]["name"] for p in _leaving(cluster)] == ["hasty"]
            await live(cluster, 200, "n2")
            assert [p["metadata"]["name"] for p in _leaving(cluster)] == ["hasty"]
            back = {"type": "Ready", "status": "True", "lastHeartbeatTime": cluster.clock.now()}
            await cluster.client.patch(
                api.Node, "n1", "", {"status": {"conditions": [back]}}, subresource="status"
            )
            await live(cluster, 200, "n1", "n2")
            (n1,) = [n for n in cluster.server.of_kind("Node") if n["metadata"]["name"] == "n1"]
            assert not n1["spec"].get("taints")
            assert [p["metadata"]["name"] for p in _leaving(cluster)] == ["hasty"]

    run(main())


def test_a_node_that_registers_and_never_says_how_it_is_becomes_unknown() -> None:
    async def main() -> None:
        async with managed((LIFECYCLE,)) as cluster:
            await healthy(cluster.client, "n2")
            await cluster.client.create(api.Node(metadata=api.ObjectMeta(name="n1")))
            await live(cluster, 50, "n2")
            (n1,) = [n for n in cluster.server.of_kind("Node") if n["metadata"]["name"] == "n1"]
            assert not n1["status"].get("conditions")
            await live(cluster, 20, "n2")
            assert _status(cluster, "n1") == "Unknown"
            (n1,) = [n for n in cluster.server.of_kind("Node") if n["metadata"]["name"] == "n1"]
            held = {(one["key"], one["effect"]) for one in n1["spec"]["taints"]}
            assert held == {(taints.UNREACHABLE, "NoSchedule"), (taints.UNREACHABLE, "NoExecute")}

    run(main())


def test_nodes_that_come_and_go_are_told_once_each() -> None:
    async def main() -> None:
        async with managed((LIFECYCLE,)) as cluster:
            for _ in range(2):
                await healthy(cluster.client, "n1")
                await live(cluster, 30, "n1")
                await cluster.client.delete(api.Node, "n1")
                await cluster.quiet()
            told = [
                (one["reason"], one["message"], one.get("count"))
                for one in cluster.server.of_kind("Event")
                if one["involvedObject"]["name"] == "n1"
            ]
            # One of each for each of the two nodes of that name.
            assert sorted(told) == [
                *[("RegisteredNode", "Node n1 event: Registered Node n1 in Controller", 1)] * 2,
                *[("RemovingNode", "Node n1 event: Removing Node n1 from Controller", 1)] * 2,
            ]

    run(main())


def _leaving(cluster: Managed) -> list[dict[str, Any]]:
    return [p for p in cluster.server.of_kind("Pod") if p["metadata"].get("deletionTimestamp")]


def _status(cluster: Managed, name: str) -> str:
    (found,) = [n for n in cluster.server.of_kind("Node") if n["metadata"]["name"] == name]
    return str(next(c["status"] for c in found["status"]["conditions"] if c["type"] == "Ready"))


def test_removing_a_taint_cancels_the_eviction() -> None:
    async def main() -> None:
        async with managed((LIFECYCLE, tainteviction.CONTROLLER)) as cluster:
            await healthy(cluster.client, "n1")
            await cluster.client.create(make_ready(pod("p", tolerate(60)), NOW))
            await cluster.client.patch(
                api.Node, "n1", "", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
            )
            await live(cluster, 40, "n1")
            await cluster.client.patch(api.Node, "n1", "", {"spec": {"taints": None}})
            await live(cluster, 60, "n1")
            assert _leaving(cluster) == []
            await cluster.client.patch(
                api.Node, "n1", "", {"spec": {"taints": [{"key": "k", "effect": "NoExecute"}]}}
            )
            await live(cluster, 50, "n1")
            assert _leaving(cluster) == []
            await live(cluster, 20, "n1")
            assert len(_leaving(cluster)) == 1

    run(main())


def test_pods_on_a_node_that_is_gone_are_removed_after_a_while() -> None:
    async def main() -> None:
        async with managed((podgc.ORPHANS,)) as cluster:
            await healthy(cluster.client, "n1", "n2")
            for one in (pod("a"), pod("b", node_name="n2"), pod("c", node_name="never")):
                await cluster.client.create(one)
            await cluster.quiet()
            await cluster.client.delete(api.Node, "n1")
            await cluster.clock.advance(39)
            assert len(cluster.server.of_kind("Pod")) == 3
            await cluster.clock.advance(2)
            assert [p["metadata"]["name"] for p in cluster.server.of_kind("Pod")] == ["b"]

    run(main())


def test_a_node_that_comes_back_in_time_keeps_its_pods() -> None:
    async def main() -> None:
        async with managed((podgc.ORPHANS,)) as cluster:
            await healthy(cluster.client, "n1")
            await cluster.client.create(pod("a"))
            await cluster.quiet()
            await cluster.client.delete(api.Node, "n1")
            await cluster.clock.advance(20)
            await cluster.client.create(node())
            await cluster.clock.advance(60)
            assert len(cluster.server.of_kind("Pod")) == 1

    run(main())


def test_orphaned_pods_are_marked_as_failed_first() -> None:
    patch, remove = podgc.plan_orphans(podgc.OrphanView("n1", (pod(),)), NOW).effects
    assert isinstance(patch, Patch)
    assert isinstance(remove, Remove)
    assert patch.patch["status"]["phase"] == "Failed"
    assert patch.patch["status"]["conditions"][0]["reason"] == "DeletionByPodGC"
    assert (remove.grace_s, remove.ref.uid) == (0, "p")


def test_only_the_newest_finished_pods_are_kept() -> None:
    async def main() -> None:
        async with managed((podgc.finished(3),)) as cluster:
            for number in range(6):
                done = pod(f"p{number}")
                done.status.phase = "Succeeded"
                await cluster.clock.advance(1)
                await cluster.client.create(done)
            await until(lambda: len(cluster.server.of_kind("Pod")) == 3)
            await cluster.quiet()
            assert sorted(p["metadata"]["name"] for p in cluster.server.of_kind("Pod")) == ["p3", "p4", "p5"]

    run(main())


def test_a_pod_deleted_before_it_was_scheduled_is_removed_at_once() -> None:
    leaving = pod(node_name="")
    (remove,) = podgc.plan_unscheduled(podgc.UnscheduledView(leaving), NOW).effects
    assert isinstance(remove, Remove)
    assert remove.grace_s == 0
