"""Whatever happens in whatever order, no node is over its allocatable and no host port is given twice."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from sampan.client.errors import ApiError
from sampan.schema import api, codec
from tests.unit.scheduler.harness import CPUS, DRIVER, World, end, start, turns

PORTS = (0, 0, 80, 81)


async def play(
    seed: int, operations: list[tuple[Any, ...]], *, volumes: bool = False, devices: bool = False
) -> None:
    world = World(seed, together=seed % 2 == 1)
    if volumes:
        add_volumes(world)
    if devices:
        add_devices(world)
    for name in ("n1", "n2"):
        world.put_node(name)
    world.deliver_everything()
    running = asyncio.create_task(world.scheduler.run())
    try:
        await turns()
        for what, *arguments in operations:
            if what == "restart":
                await end(running)
                world.bindings.clear()
                running = asyncio.create_task(world.scheduler.run())
            elif what == "deliver":
                getattr(world, arguments[0]).deliver()
            elif what == "node goes":
                world.nodes.set(arguments[0], None)
            elif what == "pod goes":
                world.pods.set(f"p{arguments[0]}", None)
            elif what == "fail":
                world.failing, world.lost = arguments[0], len(arguments) > 1
            elif what == "flow":
                await flow(world)
            elif what == "advance":
                await world.clock.advance(arguments[0])
            else:
                getattr(world, what)(*arguments)
            await turns()
            world.check()
        await come_to_rest(world)
        world.check_table()
        assert not running.done()
        for held in world.pods.truth.values():
            if not held.spec.nodeName:  # who still waits, waits for a reason
                assert all(why for _, _, why in world.scheduler.explain(held))
    finally:
        await end(running)


def add_volumes(world: World) -> None:
    """Claims of all sorts: of attached volumes, local disks fewer than claims, and one to be provisioned."""
    world.add_class("local", "kubernetes.io/no-provisioner")
    world.add_class("made", DRIVER)
    for name in CPUS:
        world.add_limit(name)
        world.add_volume(f"disk-{name}", name, storageClassName="local")
    for number in range(3):
        name = f"net{number}"
        world.add_volume(name, csi={"driver": DRIVER, "volumeHandle": name})
        modes = ["ReadWriteOncePod"] if number == 0 else ["ReadWriteMany"]
        world.add_claim(name, volumeName=name, accessModes=modes)
    for name in ("local1", "local2"):
        world.add_claim(name, storageClassName="local")
    world.add_claim("made1", storageClassName="made")


def add_devices(world: World) -> None:
    """A device on each node, and as many claims for one as there are nodes, and one more."""
    world.put(codec.from_builtins({"metadata": {"name": "any"}, "spec": {}}, api.DeviceClass))
    for name in CPUS:
        world.add_devices(name)
    for number in range(len(CPUS) + 1):
        world.add_device_claim(f"c{number}")


async def come_to_rest(world: World) -> None:
    world.failing, world.lost = None, False
    for _ in range(40):
        world.release_devices()
        await flow(world)
        await world.clock.advance(15)


async def flow(world: World) -> None:
    """Everything arrives, and everybody answers."""
    world.deliver_everything()
    await turns()
    world.bind_claims()
    while world.bindings:
        world.answer("bound")
        await turns()
        world.check()


def test_a_binding_whose_answer_was_lost_keeps_its_room() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        world.answer("bound but unanswered")
        await turns()
        world.add_pod(2, 2, 0)
        world.pods.lose()  # the watch is behind: of the first pod's binding it has not told yet
        world.pods.deliver()
        await turns()
        await world.clock.advance(30)
        assert world.bindings == []
        await end(running)

    asyncio.run(main())


def test_a_scheduler_that_begins_again_takes_up_unfinished_bindings() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        assert len(world.bindings) == 1
        await end(running)
        world.bindings.clear()  # it was never made
        running = await start(world)
        assert len(world.bindings) == 1
        world.answer("bound")
        world.pods.deliver_all()
        await turns()
        world.check_table()
        await end(running)

    asyncio.run(main())


def test_what_an_earlier_run_bound_counts_though_no_watch_has_shown_it() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        await end(running)
        world.answer("bound but unanswered")
        running = await start_again(world)
        world.add_pod(2, 2, 0)
        world.pods.lose()  # the binding comes late, after the second pod
        world.pods.deliver()
        await world.clock.advance(30)
        assert world.bindings == []
        await end(running)

    asyncio.run(main())


async def start_again(world: World) -> asyncio.Task[None]:
    running = asyncio.create_task(world.scheduler.run())
    await turns()
    return running


def test_a_refused_binding_frees_its_room_for_others() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n2")
        for number in (1, 2):
            world.add_pod(number, 2, 0)
        world.pods.deliver_all()
        await turns()
        assert [b.metadata.name for b, _ in world.bindings] == ["p1"]
        world.answer("refused")
        await turns()
        assert [b.metadata.name for b, _ in world.bindings] == ["p2"]
        await end(running)

    asyncio.run(main())


def test_a_stale_event_after_a_binding_does_not_schedule_the_pod_again() -> None:
    async def main() -> None:
        world = World(0)
        running = await start(world, "n1", "n2")
        world.add_pod(1, 2, 0)
        world.pods.deliver()
        await turns()
        world.touch_pod(1)
        world.answer("bound")
        await turns()
        world.pods.deliver()  # the touch, from before the binding
        await turns()
        assert world.bindings == []
        await end(running)

    asyncio.run(main())


NUMBERS = st.integers(0, 6)
NODES = st.sampled_from(sorted(CPUS))
OPERATION = st.one_of(
    st.tuples(st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from(PORTS)),
    st.tuples(st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from(PORTS)),
    st.tuples(st.just("deliver"), st.sampled_from(["pods", "nodes"])),
    st.tuples(st.just("deliver"), st.just("pods")),
    st.tuples(
        st.just("answer"), st.sampled_from(["bound", "bound but unanswered", "lost", "broken", "refused"])
    ),
    st.tuples(st.just("answer"), st.just("bound")),
    st.tuples(st.just("touch_pod"), NUMBERS),
    st.tuples(st.just("finish_pod"), NUMBERS),
    st.tuples(st.just("pod goes"), NUMBERS),
    st.tuples(st.just("put_node"), NODES),
    st.tuples(st.just("node goes"), NODES),
    st.tuples(st.just("advance"), st.sampled_from([0.5, 1, 15, 400])),
    st.tuples(st.just("restart")),
)


@settings(max_examples=120, deadline=None)
@given(st.integers(0, 9), st.lists(OPERATION, max_size=45))
def test_no_node_is_ever_over_its_allocatable(seed: int, operations: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(seed, operations))


CLAIMS = ("net0", "net1", "net2", "local1", "local2", "made1", "net0")
REFUSED = ApiError.of(409, "Conflict", "the object has been modified")
MOUNTING = st.tuples(
    st.just("add_pod"), NUMBERS, st.integers(0, 2), st.sampled_from(PORTS), st.sampled_from(CLAIMS)
)
VOLUME_OPERATION = st.one_of(
    *[MOUNTING] * 6,
    *[st.tuples(st.just("flow"))] * 3,
    st.tuples(st.just("deliver"), st.sampled_from(["claims", "volumes"])),
    st.tuples(st.just("bind_claims")),
    st.tuples(st.just("give_up_provisioning")),
    st.tuples(st.just("fail"), st.sampled_from([REFUSED, TimeoutError("no answer")])),
    OPERATION,
)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 9), st.lists(VOLUME_OPERATION, min_size=12, max_size=45))
def test_no_volume_is_ever_given_twice_or_out_of_reach(seed: int, operations: list[tuple[Any, ...]]) -> None:
    asyncio.run(play(seed, operations, volumes=True))


USING = st.tuples(
    st.just("add_user"), NUMBERS, st.integers(0, 2), st.sampled_from([f"c{n}" for n in range(len(CPUS) + 1)])
)
LOST = TimeoutError("no answer")
DEVICE_OPERATION = st.one_of(
    *[USING] * 6,
    *[st.tuples(st.just("flow"))] * 3,
    st.tuples(st.just("deliver"), st.just("device_claims")),
    st.tuples(st.just("release_devices")),
    st.tuples(st.just("fail"), st.sampled_from([REFUSED, LOST])),
    st.tuples(st.just("fail"), st.just(LOST), st.just("after it was written")),
    OPERATION,
)


# A pod that was not bound, and is tried again before the watch shows that it left the claim that it shares.
LEFT_AND_TRIED_AGAIN: list[tuple[Any, ...]] = [
    *[("flow",)] * 3,
    ("add_user", 0, 0, "c0"),
    ("flow",),
    ("fail", LOST),
    ("add_user", 1, 0, "c0"),
    ("flow",),
    ("restart",),
    ("answer", "lost"),
    ("deliver", "device_claims"),
    ("advance", 1),
]


@settings(max_examples=80, deadline=None)
@example(0, LEFT_AND_TRIED_AGAIN)
@given(st.integers(0, 9), st.lists(DEVICE_OPERATION, min_size=12, max_size=45))
def test_no_device_is_ever_given_twice_or_used_elsewhere(
    seed: int, operations: list[tuple[Any, ...]]
) -> None:
    asyncio.run(play(seed, operations, devices=True))
