"""Pod groups in a whole cluster: all pods of a gang run, or none; and people are told why."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.scheduler.asking import explain_pod
from sampan.schema import api, codec
from sampan.simulation.asking import snapshot_to_simulate
from sampan.simulation.placing import simulate
from sampan.testing import Cluster
from tests.cluster.test_sig_scheduling import asking, made
from tests.unit.scheduler.test_shell import get, has_a_node, scheduled, web

GANG = {"gang": {"minCount": 3}}


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    with Cluster(nodes=2, runtime_config=["scheduling.k8s.io/v1beta1=true"]) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared: Cluster) -> Iterator[Cluster]:
    yield shared
    for kind in (api.Pod, api.PodGroupV1beta1):
        for each in shared.client.list(kind, "default"):
            shared.client.delete(kind, each.metadata.name or "", "default")
        shared.wait_until(lambda kind=kind: not shared.client.list(kind, "default"))  # type: ignore[misc]
    shared.settle()


def group(name: str = "g", **spec: Any) -> api.PodGroupV1beta1:
    return made(api.PodGroupV1beta1, name, "default", spec={"schedulingPolicy": GANG, **spec})


def member(cluster: Cluster, name: str, share: float = 0.1, of: str = "g", **spec: Any) -> api.Pod:
    """A pod that asks for a share of a node's CPU."""
    node = cluster.client.list(api.Node)[0]
    cpu = f"{int(float(node.status.allocatable['cpu'].value) * 1000 * share)}m"
    return web(name, containers=asking(cpu=cpu), schedulingGroup={"podGroupName": of}, **spec)


def condition(cluster: Cluster, name: str = "g") -> tuple[str, str, str] | None:
    held = cluster.client.get(api.PodGroupV1beta1, name, "default")
    found = next((c for c in held.status.conditions if c.type == "PodGroupInitiallyScheduled"), None)
    return (found.status, found.reason, found.message) if found is not None else None


def waits(cluster: Cluster, name: str, reason: str, text: str) -> None:
    def says_so() -> bool:
        found = scheduled(get(cluster, name))
        return found is not None and found.reason == reason and text in (found.message or "")

    cluster.wait_until(says_so)


def test_pods_wait_for_their_group_and_for_each_other(cluster: Cluster) -> None:
    cluster.client.create(member(cluster, "a"))
    waits(cluster, "a", "NotReadyForScheduling", 'waiting for pod\'s pod group "g" to appear')
    cluster.client.create(group())
    waits(cluster, "a", "NotReadyForScheduling", "waiting for minCount pods from a gang")
    cluster.client.create(member(cluster, "b"))
    waits(cluster, "b", "NotReadyForScheduling", "waiting for minCount pods from a gang")
    cluster.client.create(member(cluster, "c"))
    for name in "abc":
        has_a_node(cluster, name)
    cluster.wait_until(lambda: condition(cluster) == ("True", "Scheduled", ""))
    cluster.client.create(member(cluster, "later"))
    has_a_node(cluster, "later")


def test_a_gang_without_room_takes_none_and_says_why(cluster: Cluster) -> None:
    cluster.client.create(group())
    for name in "abc":
        cluster.client.create(member(cluster, name, 0.8))
    cluster.wait_until(lambda: condition(cluster) is not None)
    found = condition(cluster)
    assert found is not None and found[:2] == ("False", "Unschedulable")
    assert found[2].startswith("minCount (3) cannot be satisfied: 2 scheduled, 0 remaining; c: 0/2 nodes")
    waits(cluster, "c", "Unschedulable", "0/2 nodes are available: 2 Insufficient cpu.")
    waits(cluster, "a", "Unschedulable", "minCount (3) cannot be satisfied")
    assert all(not get(cluster, name).spec.nodeName for name in "abc")
    told = cluster.call(explain_pod(cluster.async_client, "default", "a"))
    assert told.message.startswith("pod group g: minCount (3) cannot be satisfied")
    # The waiting gang takes no room from others, and fewer pods wanted let it in.
    change = {"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}}
    cluster.client.patch(api.PodGroupV1beta1, "g", "default", change)
    has_a_node(cluster, "a")
    has_a_node(cluster, "b")
    cluster.wait_until(lambda: condition(cluster) == ("True", "Scheduled", ""))
    assert not get(cluster, "c").spec.nodeName


def test_a_gang_makes_room_as_a_whole(cluster: Cluster) -> None:
    for name, value in (("low", -10), ("high", 1000)):
        if not any(c.metadata.name == name for c in cluster.client.list(api.PriorityClass)):
            cluster.client.create(made(api.PriorityClass, name, value=value))
    for name in ("x", "y"):
        cluster.client.create(
            web(name, containers=member(cluster, "m", 0.7).spec.containers, priorityClassName="low")
        )
        has_a_node(cluster, name)
    change = {"spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}}
    cluster.client.create(group(**change["spec"], priorityClassName="high"))
    for name in "ab":
        cluster.client.create(member(cluster, name, 0.6, priorityClassName="high"))
    for name in "ab":
        has_a_node(cluster, name)
    left = {p.metadata.name for p in cluster.client.list(api.Pod, "default")}
    assert left == {"a", "b"}


def test_a_simulation_places_a_gang_as_a_whole(cluster: Cluster) -> None:
    snapshot = cluster.call(snapshot_to_simulate(cluster.async_client))
    pods = [member(cluster, name, 0.8) for name in "abc"]
    found = simulate(snapshot, [group(), *pods])
    assert [(p.name, p.node) for p in found] == [("a", ""), ("b", ""), ("c", "")]
    assert found[0].why.startswith("minCount (3) cannot be satisfied")
    fewer = codec.from_builtins(
        {**codec.to_builtins(group()), "spec": {"schedulingPolicy": {"gang": {"minCount": 2}}}},
        api.PodGroupV1beta1,
    )
    found = simulate(snapshot, [fewer, *pods])
    assert [bool(p.node) for p in found] == [True, True, False]
    found = simulate(snapshot, pods)
    assert {p.why for p in found} == {'waiting for pod\'s pod group "g" to appear in scheduling queue'}


def test_groups_that_nobody_serves_hold_no_pod_back() -> None:
    with Cluster(nodes=1) as plain:
        plain.client.create(member(plain, "a"))
        has_a_node(plain, "a")
        snapshot = plain.call(snapshot_to_simulate(plain.async_client))
        assert simulate(snapshot, [member(plain, "b")])[0].node
