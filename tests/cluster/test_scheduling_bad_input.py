"""Bad input for the scheduler: each piece ends in a clear word, and the pods behind it have their nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from sampan.base.clock import SimulatedClock
from sampan.client.errors import ApiError
from sampan.scheduler.asking import explain_pod
from sampan.scheduler.unclaimed import PATIENCE_S, REASON
from sampan.schema import api, codec
from sampan.testing import Cluster
from tests.cluster.test_sig_scheduling import asking
from tests.unit.scheduler.harness import World, end, start, turns
from tests.unit.scheduler.objects import pod
from tests.unit.scheduler.test_shell import get, has_a_node, scheduled, waits_because, web

HOST = "kubernetes.io/hostname"
OWN = {"labelSelector": {"matchLabels": {"app": "x"}}, "topologyKey": HOST}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
NONE = {"example.com/none": "1"}
BOTH = [{"key": HOST, "operator": operator, "values": ["node-1"]} for operator in ("In", "NotIn")]
MATCH_BOTH = [{"matchExpressions": BOTH}]
NOT_HELPFUL = "preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"containers": asking(cpu="1000000")}, f"1 Insufficient cpu. {NOT_HELPFUL}"),
        ({"containers": asking(memory="9E")}, f"1 Insufficient memory. {NOT_HELPFUL}"),
        ({"containers": asking(cpu="9223372036854775807")}, f"1 Insufficient cpu. {NOT_HELPFUL}"),
        ({"containers": asking(**NONE)}, f"1 Insufficient example.com/none. {NOT_HELPFUL}"),
        (
            {"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": MATCH_BOTH}}}},
            f"1 node(s) didn't match Pod's node affinity/selector. {NOT_HELPFUL}",
        ),
        (
            {"affinity": {"podAffinity": {REQUIRED: [OWN]}, "podAntiAffinity": {REQUIRED: [OWN]}}},
            f"1 node(s) didn't match pod affinity rules. {NOT_HELPFUL}",
        ),
    ],
)  # fmt: skip
def test_what_no_node_can_do(sampan_cluster: Cluster, spec: dict[str, Any], why: str) -> None:
    cluster = sampan_cluster
    cluster.client.create(web("odd", **spec))
    waits_because(cluster, f"0/1 nodes are available: {why}", "odd")
    cluster.wait_until(
        lambda: any(e.reason == "FailedScheduling" for e in cluster.client.list(api.Event, "default"))
    )
    cluster.client.create(web("next"))
    has_a_node(cluster, "next")
    assert not get(cluster, "odd").spec.nodeName


@pytest.mark.parametrize(
    ("amounts", "told"),
    [
        ({"cpu": "-1"}, "must be greater than or equal to 0"),
        ({"memory": "-5Gi"}, "must be greater than or equal to 0"),
        ({"example.com/gpu": "0.5"}, "must be an integer"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(
    sampan_cluster: Cluster, amounts: dict[str, str], told: str
) -> None:
    with pytest.raises(ApiError, match=told) as refused:
        sampan_cluster.client.create(web("odd", containers=asking(**amounts)))
    assert refused.value.code == 422


def test_a_node_that_offers_an_enormous_amount(sampan_cluster: Cluster) -> None:
    cluster = sampan_cluster
    (node,) = cluster.client.list(api.Node)
    cluster.call(
        cluster.async_client.patch(
            api.Node,
            node.metadata.name or "",
            "",
            {"status": {"allocatable": {"example.com/much": "9E"}, "capacity": {"example.com/much": "9E"}}},
            subresource="status",
        )
    )
    for name in ("one", "two"):
        cluster.client.create(web(name, containers=asking(**{"example.com/much": "4E"})))
    has_a_node(cluster, "one")
    cluster.client.create(web("next"))
    has_a_node(cluster, "next")


def test_a_scheduler_that_nobody_runs(sampan_cluster: Cluster) -> None:
    """As upstream nobody writes a condition: it is for the other scheduler to speak. Explaining tells."""
    cluster = sampan_cluster
    cluster.client.create(web("odd", schedulerName="nobody"))
    cluster.client.create(web("next"))
    has_a_node(cluster, "next")
    assert scheduled(get(cluster, "odd")) is None
    told = cluster.call(explain_pod(cluster.async_client, "default", "odd"))
    assert "the pod waits for a scheduler named 'nobody'" in told.ways[0].changes[0].text
    # Nor does it stay without a word.
    cluster.advance(PATIENCE_S + 1)
    cluster.wait_until(lambda: _events_about(cluster, "odd"))
    (event,) = _events_about(cluster, "odd")
    assert (event.type, event.reason) == ("Warning", REASON)
    assert event.message == (
        "nothing has been heard of a scheduler named 'nobody' for 60 s: "
        "run it, or make the pod anew with schedulerName default-scheduler"
    )
    assert scheduled(get(cluster, "odd")) is None


def _events_about(cluster: Cluster, name: str) -> list[api.Event]:
    return [e for e in cluster.client.list(api.Event, "default") if e.involvedObject.name == name]


@pytest.mark.parametrize(
    "change",
    [
        {"status": {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]}},
        {"status": {"phase": "Succeeded"}},
        {"status": {"nominatedNodeName": "n1"}},
        {"spec": {"nodeName": "n1"}},
        {"spec": {"schedulingGates": [{"name": "later"}]}},
        None,
    ],
)
def test_of_a_pod_that_another_scheduler_speaks_for_nothing_is_said(change: dict[str, Any] | None) -> None:
    async def story(told: World) -> None:
        held = pod("p1", schedulerName="other")
        told.pods.set("p1", held)
        told.deliver_everything()
        await told.clock.advance(PATIENCE_S / 2)
        whole = codec.to_builtins(held)
        for part, values in (change or {}).items():
            whole.setdefault(part, {}).update(values)
        told.pods.set("p1", codec.from_builtins(whole, api.Pod) if change is not None else None)
        told.deliver_everything()
        await told.clock.advance(PATIENCE_S)
        await turns()
        assert told.events == []
        told.pods.set("p1", pod("p1", uid="later", schedulerName="other"))
        told.deliver_everything()
        await told.clock.advance(PATIENCE_S + 1)
        await turns()
        assert [event.reason for event in told.events] == [REASON]

    played(story, "n1")


def played(story: Callable[[World], Any], *nodes: str) -> None:
    async def main() -> None:
        told = World(0)
        running = await start(told, *nodes)
        try:
            await story(told)
        finally:
            await end(running)

    asyncio.run(main())


def test_a_node_that_vanishes_between_decision_and_binding() -> None:
    async def story(told: World) -> None:
        told.add_pod(1, 2, 0)
        told.pods.deliver()
        await turns()
        assert told.bindings[0][0].target.name == "n2"
        told.nodes.set("n2", None)
        told.deliver_everything()
        told.answer("refused")
        await turns()
        assert told.bindings == []  # it waits, for there is no node
        assert told.scheduler.queue.next_due_s() is not None
        told.put_node("n3")
        told.deliver_everything()
        await told.clock.advance(2)
        await turns()
        assert [binding.target.name for binding, _ in told.bindings] == ["n3"]

    played(story, "n2")


def test_a_node_that_vanishes_with_the_pods_it_has_and_comes_back_smaller() -> None:
    async def story(told: World) -> None:
        told.add_pod(1, 2, 0)
        told.pods.deliver()
        await turns()
        told.answer("bound")
        told.nodes.set("n2", None)
        told.deliver_everything()
        told.add_pod(2, 1, 0)
        told.deliver_everything()
        await turns()
        assert told.bindings == []
        told.put_node("n2")  # its pod is still there and takes all of it
        told.deliver_everything()
        await told.clock.advance(2)
        assert told.bindings == []
        told.pods.set("p1", None)
        told.deliver_everything()
        await told.clock.advance(2)
        await turns()
        assert [binding.metadata.name for binding, _ in told.bindings] == ["p2"]

    played(story, "n2")


@pytest.mark.parametrize("jump_s", [-86400.0, 86400.0 * 365])
def test_a_wall_clock_that_is_set_leaves_no_pod_behind(jump_s: float) -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(web("big", containers=asking(cpu="1000")))
        cluster.wait_until(lambda: scheduled(get(cluster, "big")) is not None)
        assert isinstance(cluster.clock, SimulatedClock)
        cluster.clock.set_by(jump_s)
        cluster.client.create(web("next"))
        has_a_node(cluster, "next")
        (node,) = cluster.client.list(api.Node)
        more = {"status": {"allocatable": {"cpu": "2000"}, "capacity": {"cpu": "2000"}}}
        patch = cluster.async_client.patch(api.Node, node.metadata.name or "", "", more, subresource="status")
        cluster.call(patch)
        has_a_node(cluster, "big")
