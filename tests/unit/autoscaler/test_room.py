"""A question to the room leaves it as it was, and is answered as in a world made for it alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sampan.autoscaler.nodes.room import Room
from sampan.machinery.quantity import quantity
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api

NODES = 4


def node(number: int, cpu: int) -> api.Node:
    amounts = {"cpu": quantity(str(cpu)), "memory": quantity("8Gi"), "pods": quantity("110")}
    labels = {"kubernetes.io/hostname": f"n{number}", "zone": str(number % 2)}
    return api.Node(
        metadata=api.ObjectMeta(name=f"n{number}", labels=labels),
        status=api.NodeStatus(capacity=amounts, allocatable=amounts),
    )


def pod(number: int, on: int, cpu: int, app: str, apart: bool) -> api.Pod:
    term = api.PodAffinityTerm(
        labelSelector=api.LabelSelector(matchLabels={"app": app}), topologyKey="kubernetes.io/hostname"
    )
    apart_from = api.PodAntiAffinity(requiredDuringSchedulingIgnoredDuringExecution=[term])
    resources = api.ResourceRequirements(requests={"cpu": quantity(str(cpu))})
    port = [api.ContainerPort(containerPort=80, hostPort=80)] if cpu == 3 else []
    return api.Pod(
        metadata=api.ObjectMeta(
            name=f"p{number}", namespace="default", uid=f"p{number}", labels={"app": app}
        ),
        spec=api.PodSpec(
            nodeName=f"n{on}",
            containers=[api.Container(name="c", image="c", resources=resources, ports=port)],
            affinity=api.Affinity(podAntiAffinity=apart_from) if apart else None,
        ),
    )


PODS = st.lists(
    st.tuples(st.integers(0, NODES - 1), st.integers(1, 3), st.sampled_from("ab"), st.booleans()), max_size=8
)


def held(room: Room) -> tuple[Any, ...]:
    placed = {key: each.node for key, each in room.world.placed.items()}
    return room.world.table.contents(), placed


@given(st.lists(st.integers(2, 6), min_size=NODES, max_size=NODES), PODS)
def test_asking_changes_nothing(cpus: list[int], wanted: list[tuple[int, int, str, bool]]) -> None:
    nodes = [node(number, cpu) for number, cpu in enumerate(cpus)]
    pods = [pod(number, *each) for number, each in enumerate(wanted)]
    room = Room(Snapshot(nodes, pods))
    before = held(room)

    def ask(where: Room, node: api.Node) -> str:
        here = [p for p in pods if p.spec.nodeName == node.metadata.name]
        with ExitStack() as undo:
            homeless = where.empty(node, here, undo)
        return homeless.metadata.name or "" if homeless is not None else ""

    for each in [*nodes, *reversed(nodes)]:
        assert ask(room, each) == ask(Room(Snapshot(nodes, pods)), each)
        assert held(room) == before


def test_a_pod_that_fits_nowhere_else_is_named() -> None:
    pods = [pod(0, 0, 1, "a", False), pod(1, 0, 3, "a", False), pod(2, 1, 3, "b", False)]
    with ExitStack() as undo:
        homeless = Room(Snapshot([node(0, 6), node(1, 6)], pods)).empty(node(0, 6), pods[:2], undo)
    assert homeless is not None
    assert homeless.metadata.name == "p1"  # its host port is taken there
