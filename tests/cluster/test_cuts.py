"""A manager lives on though its effects fail, or succeed and it never learns of that: all comes right.

A course of events gives every controller of the catalog something to do. Each write of theirs is cut in one
of the runs: the first that a controller sends to a path in the first run, the second in the second and so on,
and round again. Whatever is cut, each step ends as it does without cuts.
"""

from __future__ import annotations

import functools
import re
from collections import Counter
from typing import Any, Final

import msgspec
import pytest

from sampan.client.transport import Reply
from sampan.schema import api
from sampan.testing import Cluster
from tests.cluster import course
from tests.cluster.world import Watched, World, Writes, begun, taint

# In how many runs all writes are cut.
RUNS: Final = 6
# What finds nothing to write in a whole cluster, and why.
SILENT: Final = {
    "unscheduled-pod-gc": "the API server removes a pod that has no node by itself",
}
ERROR: Final = {
    "kind": "Status",
    "apiVersion": "v1",
    "status": "Failure",
    "reason": "InternalError",
    "message": "the store is away",
    "code": 500,
}

Shapes = dict[str, Counter[tuple[str, ...]]]


class Cutting(Watched):
    """A transport on which every write fails once: before it is made, or when its answer comes."""

    def __init__(self, cluster: Cluster, run: int, kind: str) -> None:
        super().__init__(cluster)
        self._run = run
        self._kind = kind
        self.cut: Writes = Counter()

    async def carry(self, key: tuple[str, str, str], *args: Any, **kwargs: Any) -> Reply:
        if (self.each[key] - 1) % RUNS != self._run:
            return await super().carry(key, *args, **kwargs)
        self.cut[key] += 1
        if self._kind == "fails":
            return Reply(500, {}, msgspec.json.encode(ERROR))
        await super().carry(key, *args, **kwargs)
        raise ConnectionError("the answer was lost")


def run_course(make: Any = Watched, *, idempotent: bool = False) -> tuple[Shapes, Watched]:
    """What there is after each step, and the transport that knows what was written."""
    shapes: Shapes = {}
    with begun() as cluster:
        taint(cluster)
        world = World(cluster)
        transport = make(cluster)
        cluster.call(world.start(transport=transport))
        for step in course.STEPS:
            step(cluster)
            world.converge()
            shapes[step.__name__] = world.shape()
            if idempotent:
                world.assert_nothing_more()
        idle = {name for name, keys in world.keys.items() if not keys}
        assert idle == set(), f"{idle} have nothing to look at here: add it to the course"
        assert cluster.client.list(api.Pod, "shop") == []
        names = {*world.manager.controllers}
        cluster.call(world.stop())
    if idempotent:
        silent = names - {who for who, _, _ in transport.each}
        assert silent == {*SILENT}, "these have nothing to write here: add it to the course"
    return shapes, transport


@pytest.fixture(scope="module")
def whole() -> tuple[Shapes, Watched]:
    return run_course(idempotent=True)


def classes(writes: Writes) -> set[tuple[str, str, str]]:
    """Who writes how to what, whichever object it is."""
    return {(who, method, _class(path)) for who, method, path in writes}


def _class(path: str) -> str:
    """`/api/v1/namespaces/shop/pods/web-0/status` -> `pods/*/status`."""
    parts = re.sub(r"^/apis?/[^/]+(/v\d\w*)?(/namespaces/[^/]+(?=/.))?/", "", path).split("/")
    return "/".join("*" if place == 1 else part for place, part in enumerate(parts))


def test_planning_again_after_each_step_gives_nothing(whole: tuple[Shapes, Watched]) -> None:
    shapes, transport = whole
    assert [*shapes] == [step.__name__ for step in course.STEPS]
    assert len(classes(transport.each)) > 90
    assert sum(shapes["begin"].values()) > sum(shapes["end"].values())


@pytest.mark.parametrize("kind", ["fails", "is lost"])
@pytest.mark.parametrize("run", range(RUNS))
def test_a_manager_that_lives_on_gets_there_all_the_same(
    kind: str, run: int, whole: tuple[Shapes, Watched]
) -> None:
    shapes, undisturbed = whole
    found, transport = run_course(functools.partial(Cutting, run=run, kind=kind))
    assert isinstance(transport, Cutting)
    for step, wanted in shapes.items():
        assert found[step] == wanted, f"after {step}"
    if run == 0:
        missed = classes(undisturbed.each) - classes(transport.cut)
        assert missed == set(), "what controllers write here was not cut"
    else:
        assert len(classes(transport.cut)) > 1
