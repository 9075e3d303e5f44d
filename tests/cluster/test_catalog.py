"""What holds for every controller of the catalog, on a world that has something for each of them.

A manager whose process ends between any two writes is followed by one that brings the same world about, and
so are managers that each end after a write or two, as long as it takes; and once that world is there, every
controller plans nothing more for any key that it ever looked at.
"""

from __future__ import annotations

from collections import Counter

import pytest

from sampan.client.client import STRATEGIC
from sampan.schema import api
from tests.cluster.world import World, begun, happen, objects, taint

# How many places to break off at, spread over all writes of a run.
CUTS = 12


def run_world(cut: int | None) -> tuple[Counter[tuple[str, ...]], int]:
    """The shape of the world in the end, and how many writes the controllers made until then."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start(cut))
        for obj in objects():
            cluster.client.create(obj)
            if obj.kind == "Namespace" or isinstance(obj, api.Namespace):
                cluster.advance(1)
        cluster.advance(1)
        happen(cluster)
        if cut is not None:
            cluster.advance(10)
            cluster.call(world.stop())
            cluster.call(world.start())
        world.converge()
        if cut is None:
            world.assert_nothing_more()
        shape, writes = world.shape(), world.transport.writes
        cluster.call(world.stop())
        return shape, writes


def run_dying(lives: int) -> tuple[Counter[tuple[str, ...]], int]:
    """The shape of the world that managers who end after so many writes bring about, and their number."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start(lives))
        made = objects()
        cluster.client.create(made.pop(0))  # the namespace, whose account the pods of the others need
        count = world.converge_dying(lives)
        for obj in made:
            cluster.client.create(obj)
        count += world.converge_dying(lives)
        happen(cluster)
        count += world.converge_dying(lives)
        shape = world.shape()
        cluster.call(world.stop())
        return shape, count


@pytest.fixture(scope="module")
def whole() -> tuple[Counter[tuple[str, ...]], int]:
    return run_world(None)


def test_nothing_is_planned_for_a_world_that_is_as_it_should_be(
    whole: tuple[Counter[tuple[str, ...]], int],
) -> None:
    shape, writes = whole
    assert shape["Pod", "shop", "ReplicaSet", "{'phase': 'Running'}", "[]"] == 3
    assert shape["Pod", "shop", "Job", "{'phase': 'Succeeded'}", "[]"] == 3
    assert writes > CUTS


@pytest.mark.parametrize("part", range(CUTS))
def test_a_manager_that_ends_anywhere_is_followed_by_one_that_finishes(
    part: int, whole: tuple[Counter[tuple[str, ...]], int]
) -> None:
    shape, writes = whole
    cut = part * writes // CUTS + part % 3
    assert run_world(cut)[0] == shape, f"cut off after {cut} of {writes} writes"


@pytest.mark.timeout(400)  # a manager for each write
@pytest.mark.parametrize("lives", [1, 3])
def test_managers_that_each_end_after_few_writes_finish_together(
    lives: int, whole: tuple[Counter[tuple[str, ...]], int]
) -> None:
    shape, writes = whole
    found, count = run_dying(lives)
    assert found == shape
    assert count > writes / lives / 2


@pytest.mark.timeout(400)
def test_a_rollout_goes_on_though_every_write_is_the_last_of_its_manager() -> None:
    """Deployment, DaemonSet and StatefulSet, with a process that ends between any two writes of theirs."""
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        cluster.call(world.start())
        wanted = {"web": (api.Deployment, 3), "every": (api.DaemonSet, 2), "db": (api.StatefulSet, 2)}
        for obj in objects():
            if isinstance(obj, (api.Namespace, api.StorageClass)) or obj.metadata.name in wanted:
                cluster.client.create(obj)
                cluster.advance(1)
        world.converge()
        before = {pod.metadata.uid for pod in cluster.client.list(api.Pod, "shop")}
        assert len(before) == 7
        cluster.call(world.stop())
        cluster.call(world.start(1))
        image = {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "web:2"}]}}}}
        for name, (kind, _) in wanted.items():
            cluster.client.patch(kind, name, "shop", image, patch_type=STRATEGIC)
        assert world.converge_dying(1) > 20
        pods = cluster.client.list(api.Pod, "shop")
        assert Counter(pod.metadata.labels["app"] for pod in pods) == {n: c for n, (_, c) in wanted.items()}
        assert {pod.spec.containers[0].image for pod in pods} == {"web:2"}
        assert before.isdisjoint(pod.metadata.uid for pod in pods)
        assert {pod.status.phase for pod in pods} == {"Running"}
        sets = cluster.client.list(api.ReplicaSet, "shop")
        assert sorted(one.spec.replicas or 0 for one in sets) == [0, 3]
        cluster.call(world.stop())
