"""Nodes and pods, as short as a table row."""

from __future__ import annotations

from typing import Any

from sampan.scheduler.cycle import Engine
from sampan.scheduler.decision import Decision
from sampan.scheduler.profile import Profile
from sampan.scheduler.registry import default_profile
from sampan.scheduler.world import World
from sampan.schema import api, codec


def node(name: str = "a", *, labels: dict[str, str] | None = None, **spec: Any) -> api.Node:
    allocatable = spec.pop("allocatable", {"cpu": "4", "memory": "8Gi", "pods": "10"})
    return codec.from_builtins(
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels or {}},
            "spec": spec,
            "status": {"allocatable": allocatable},
        },
        api.Node,
    )


def taint(key: str, value: str = "", effect: str = "NoSchedule") -> dict[str, str]:
    return {"key": key, "value": value, "effect": effect}


def container(name: str = "c", **requests: str) -> dict[str, Any]:
    return {"name": name, "image": "i", "resources": {"requests": requests}}


def pod(name: str = "p", *, uid: str = "", status: Any = None, **spec: Any) -> api.Pod:
    return codec.from_builtins(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": uid or f"uid-{name}"},
            "spec": {"containers": [container()], "schedulerName": "default-scheduler", **spec},
            "status": status or {},
        },
        api.Pod,
    )


def table(*nodes: api.Node) -> World:
    made = World()
    for each in nodes:
        made.put_node(each)
    return made


def decide(wanting: api.Pod, world: World, profile: Profile | None = None) -> Decision:
    engine = Engine(profile or default_profile(), world)
    return engine.decide(world.infos.of(wanting), lambda rows: rows[0])
