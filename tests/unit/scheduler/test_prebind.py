"""Between the decision and the binding: what becomes of a pod whose volumes do not come as they should."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec
import pytest

from sampan.client.errors import ApiError
from sampan.schema import api
from tests.unit.scheduler.harness import SELECTED, World, end, start, turns


def disks(world: World) -> None:
    """A claim for local disks, of which n1 has one and n2 has one."""
    world.add_class("local", "kubernetes.io/no-provisioner")
    for name in ("n1", "n2"):
        world.add_volume(f"disk-{name}", name, storageClassName="local")
    world.add_claim("data", storageClassName="local")


def to_be_made(world: World) -> None:
    world.add_class("made", "csi.x")
    world.add_claim("data", storageClassName="made")


def pointed(world: World) -> dict[str, str]:
    """The volumes that point at a claim."""
    return {
        name: v.spec.claimRef.name for name, v in world.volumes.truth.items() if v.spec.claimRef is not None
    }


def bound(world: World) -> list[tuple[str | None, str | None]]:
    return [(b.metadata.name, b.target.name if b.target else None) for b, _ in world.bindings]


def told(world: World) -> list[str]:
    """What was said of pods that wait, the latest last."""
    return [e.message or "" for e in world.events if e.reason == "FailedScheduling"]


async def begin(world: World, *nodes: str) -> asyncio.Task[None]:
    running = await start(world, *nodes)
    world.add_pod(1, 1, 0, "data")
    world.deliver_everything()
    await turns()
    return running


async def settle(world: World) -> None:
    world.deliver_everything()
    await turns()


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def test_a_pod_is_bound_once_its_volume_is() -> None:
    async def main() -> None:
        world = World(0)
        disks(world)
        running = await begin(world, "n1")
        assert pointed(world) == {"disk-n1": "data"}
        await settle(world)
        assert bound(world) == []
        world.bind_claims()
        await settle(world)
        assert bound(world) == [("p1", "n1")]
        assert world.scheduler.world.promises.volumes == {}
        await end(running)

    run(main())


def test_two_pods_of_one_claim_go_where_the_first_is_promised() -> None:
    async def main(make: Any) -> None:
        world = World(0)
        make(world)
        running = await start(world, "n1", "n2", "n3")
        for number in range(1, 4):
            world.add_pod(number, 1, 0, "data")
        world.pods.deliver_all()  # but nothing of what the first decision wrote
        await turns()
        world.bind_claims()
        await settle(world)
        assert len(bound(world)) == 3
        assert len({node for _, node in bound(world)}) == 1
        await end(running)

    run(main(disks))
    run(main(to_be_made))


def test_two_claims_of_one_pod_never_get_the_same_volume() -> None:
    async def main() -> None:
        world = World(0)
        disks(world)
        world.add_claim("more", storageClassName="local")
        running = await start(world, "n1", "n2")
        world.add_pod(1, 1, 0, "data")
        one = world.pods.truth["p1"]
        second = api.Volume(
            name="w", persistentVolumeClaim=api.PersistentVolumeClaimVolumeSource(claimName="more")
        )
        spec = msgspec.structs.replace(one.spec, volumes=[*one.spec.volumes, second])
        world.pods.set("p1", msgspec.structs.replace(one, spec=spec))
        await settle(world)
        assert told(world)[-1].startswith(
            "0/2 nodes are available: 2 node(s) didn't find available persistent volumes to bind."
        )
        world.add_volume("another", "n2", storageClassName="local")
        await settle(world)
        assert set(pointed(world)) == {"disk-n2", "another"}
        assert set(pointed(world).values()) == {"data", "more"}
        await end(running)

    run(main())


def test_the_wait_ends_after_a_while_and_begins_anew() -> None:
    async def main() -> None:
        world = World(0)
        to_be_made(world)
        running = await begin(world, "n1")
        await world.clock.advance(599)
        assert told(world) == []
        await world.clock.advance(1)
        text = 'running PreBind plugin "VolumeBinding": binding volumes: context deadline exceeded'
        assert told(world) == [text]
        assert world.scheduler.world.placed == {}
        await world.clock.advance(15)  # it is tried again and waits again: the room is taken once more
        assert list(world.scheduler.world.placed) == [("default", "p1")]
        world.deliver_everything()
        world.bind_claims()
        await settle(world)
        assert bound(world) == [("p1", "n1")]
        await end(running)

    run(main())


def gone(world: World) -> None:
    world.volumes.set("disk-n1", None)


def reset(world: World) -> None:
    held = world.volumes.truth["disk-n1"]
    world.put(msgspec.structs.replace(held, spec=msgspec.structs.replace(held.spec, claimRef=None)))


def elsewhere(world: World) -> None:
    held = world.claims.truth["data"]
    world.put(msgspec.structs.replace(held, spec=msgspec.structs.replace(held.spec, volumeName="disk-n2")))


def claim_gone(world: World) -> None:
    world.claims.set("data", None)


def node_gone(world: World) -> None:
    world.nodes.set("n1", None)


@pytest.mark.parametrize(
    ("happens", "text"),
    [
        (gone, 'persistentvolume "disk-n1" not found'),
        (reset, 'ClaimRef got reset for pv "disk-n1"'),
        (
            elsewhere,
            'pv "disk-n2" node affinity doesn\'t match node "n1": no matching NodeSelectorTerms',
        ),
        (claim_gone, 'persistentvolumeclaim "data" not found'),
        (node_gone, 'node "n1" not found'),
    ],
)
def test_what_comes_in_between_ends_the_wait(happens: Any, text: str) -> None:
    async def main() -> None:
        world = World(0)
        disks(world)
        running = await begin(world, "n1")
        await settle(world)
        happens(world)
        await settle(world)
        assert told(world)[0] == f'running PreBind plugin "VolumeBinding": binding volumes: {text}'
        assert world.scheduler.world.promises.volumes == {}
        assert bound(world) == []
        assert "p1" in world.pods.truth and not running.done()
        await end(running)

    run(main())


def test_a_provisioner_that_gives_up_has_the_pod_tried_elsewhere() -> None:
    async def main() -> None:
        world = World(0)
        to_be_made(world)
        running = await begin(world, "n1")
        await settle(world)
        assert world.claims.truth["data"].metadata.annotations[SELECTED] == "n1"
        world.nodes.set("n1", node_of(world, "n1", unschedulable=True))
        world.put_node("n2")
        world.give_up_provisioning()
        await settle(world)
        assert told(world)[0].endswith("selectedNode annotation reset")
        await world.clock.advance(15)
        await settle(world)
        assert world.claims.truth["data"].metadata.annotations[SELECTED] == "n2"
        await end(running)

    run(main())


def node_of(world: World, name: str, **spec: Any) -> api.Node:
    held: api.Node = world.nodes.truth[name]
    return msgspec.structs.replace(held, spec=msgspec.structs.replace(held.spec, **spec))


def test_a_pod_that_is_deleted_while_it_waits_leaves_nothing_behind() -> None:
    async def main() -> None:
        world = World(0)
        disks(world)
        running = await begin(world, "n1")
        world.pods.set("p1", None)
        await settle(world)
        there = world.scheduler.world
        assert there.placed == {} and there.promises.volumes == {} and there.volumes.users == {}
        assert len(world.scheduler.queue) == 0 and told(world) == []
        world.add_pod(1, 1, 0, "data")  # another of the same name: the volume is its claim's already
        await settle(world)
        world.bind_claims()
        await settle(world)
        assert bound(world) == [("p1", "n1")]
        await end(running)

    run(main())


@pytest.mark.parametrize("make", [disks, to_be_made])
def test_a_scheduler_that_begins_again_in_between_finishes_the_work(make: Any) -> None:
    async def main() -> None:
        world = World(0)
        make(world)
        running = await begin(world, "n1", "n2")
        node = next(iter(world.scheduler.world.placed.values())).node
        await end(running)
        running = await start(world)
        await settle(world)
        world.bind_claims()
        await settle(world)
        assert bound(world) == [("p1", node)]
        await end(running)

    run(main())


@pytest.mark.parametrize("problem", [ApiError.of(403, "Forbidden", "quota"), TimeoutError("no answer")])
def test_a_write_that_fails_is_tried_again(problem: Exception) -> None:
    async def main() -> None:
        world = World(0)
        disks(world)
        world.failing = problem
        running = await begin(world, "n1")
        assert told(world)[0].startswith('running PreBind plugin "VolumeBinding": binding volumes: ')
        assert world.scheduler.world.promises.volumes == {}
        await world.clock.advance(15)
        assert pointed(world) == {"disk-n1": "data"}
        await end(running)

    run(main())
