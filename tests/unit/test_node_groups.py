"""Node groups: what the file may say, when they grow and shrink, and what an external command may answer."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sampan.autoscaler.nodes.config import Config, Group, parse
from sampan.autoscaler.nodes.down import CANDIDATE, DISABLED, SAFE, TO_BE_DELETED, plan_down
from sampan.autoscaler.nodes.providers import Command, ProviderError
from sampan.autoscaler.nodes.up import Option, best, plan_up
from sampan.client.client import Client
from sampan.machinery.quantity import quantity
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TEMPLATE = {"capacity": {"cpu": "2", "memory": "4Gi"}}
SMALL = {"name": "small", "max": 5, "provider": "simulated", "template": TEMPLATE}
LARGE = {**SMALL, "name": "large", "priority": 9, "template": {"capacity": {"cpu": "16", "memory": "32Gi"}}}


def config(*groups: Mapping[str, Any], **more: Any) -> Config:
    return parse({"groups": list(groups) or [SMALL], **more})


def group(**more: Any) -> Group:
    return config({**SMALL, **more}).groups[0]


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"groups": []}, "at least one"),
        ({"groups": [SMALL, SMALL]}, "two node groups named 'small'"),
        ({"groups": [{**SMALL, "min": 6}]}, "min must be"),
        ({"groups": [{**SMALL, "provider": "aws"}]}, "none of spare, simulated, command"),
        ({"groups": [{**SMALL, "provider": "command"}]}, "give a command"),
        ({"groups": [{**SMALL, "template": {"capacity": {"cpu": "1"}}}]}, "must say memory"),
        ({"groups": [{**SMALL, "template": {"capacity": {"cpu": "x", "memory": "1"}}}]}, "capacity.cpu"),
        ({"groups": [SMALL], "expander": "price"}, "expander 'price'"),
        ({"groups": [SMALL], "unknown": 1}, "unknown"),
        ({"groups": [{**SMALL, "max": "5"}]}, "max"),
    ],
)
def test_what_cannot_be_used_is_named(document: Any, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse(document)


def pod(name: str, cpu: str = "1500m", node: str = "", **meta: Any) -> api.Pod:
    resources = api.ResourceRequirements(requests={"cpu": quantity(cpu)})
    condition = api.PodCondition(type="PodScheduled", status="False", reason="Unschedulable")
    owner = api.OwnerReference(apiVersion="apps/v1", kind="ReplicaSet", name="r", uid="r", controller=True)
    meta = {"namespace": "default", "ownerReferences": [owner], "labels": {"app": "web"}, **meta}
    return api.Pod(
        metadata=api.ObjectMeta(name=name, uid=name, **meta),
        spec=api.PodSpec(
            nodeName=node or None, containers=[api.Container(name="c", image="c", resources=resources)]
        ),
        status=api.PodStatus(conditions=[] if node else [condition]),
    )


def grow(pods: list[api.Pod], chosen: Config, size: int = 0, **given: Any) -> tuple[str, int]:
    sizes = {g.name: size for g in chosen.groups}
    upcoming, backed_off = given.get("upcoming", {}), frozenset(given.get("backed_off", ()))
    growth = plan_up(Snapshot(pods=pods), chosen, sizes, upcoming, backed_off, lambda n: 0)
    option = growth.chosen
    return (option.group.name, option.count) if option is not None else ("", 0)


@pytest.mark.parametrize(
    ("count", "cpu", "size", "given", "grows"),
    [
        (0, "1", 0, {}, ("", 0)),
        (3, "1500m", 0, {}, ("small", 3)),
        (4, "1", 0, {}, ("small", 2)),
        (9, "1500m", 0, {}, ("small", 5)),
        (9, "1500m", 4, {}, ("small", 1)),
        (1, "1500m", 5, {}, ("", 0)),
        (1, "3", 0, {}, ("", 0)),
        (2, "1500m", 2, {"upcoming": {"small": ["a", "b"]}}, ("", 0)),
        (3, "1500m", 2, {"upcoming": {"small": ["a", "b"]}}, ("small", 1)),
        (1, "1", 0, {"backed_off": ["small"]}, ("", 0)),
    ],
)
def test_growth(count: int, cpu: str, size: int, given: Any, grows: tuple[str, int]) -> None:
    assert grow([pod(f"p{n}", cpu) for n in range(count)], config(), size, **given) == grows


def test_a_group_below_its_least_size_grows() -> None:
    assert grow([], config({**SMALL, "min": 2})) == ("small", 2)


@pytest.mark.parametrize(
    ("expander", "cpu", "name"),
    [("least-waste", "1500m", "small"), ("least-waste", "15", "large"), ("priority", "1500m", "large")],
)
def test_expanders(expander: str, cpu: str, name: str) -> None:
    assert grow([pod("p", cpu)], config(SMALL, LARGE, expander=expander))[0] == name


def test_chance_and_most_pods() -> None:
    few = Option(group(), 1, (pod("a"),))
    many = Option(group(name="b"), 1, (pod("a"), pod("b")))
    assert best([few, many], "most-pods", lambda n: 0) is many
    assert best([few, many], "random", lambda n: n - 1) is many


def node(name: str, cpu: str = "2", *taints: api.Taint, **annotations: str) -> api.Node:
    amounts = {"cpu": quantity(cpu), "memory": quantity("4Gi"), "pods": quantity("110")}
    return api.Node(
        metadata=api.ObjectMeta(name=name, annotations=annotations),
        spec=api.NodeSpec(taints=list(taints)),
        status=api.NodeStatus(capacity=amounts, allocatable=amounts),
    )


def candidate(seconds: int) -> api.Taint:
    at = int((NOW - timedelta(seconds=seconds)).timestamp())
    return api.Taint(key=CANDIDATE, value=str(at), effect="PreferNoSchedule")


def budget(allowed: int) -> api.PodDisruptionBudget:
    return api.PodDisruptionBudget(
        metadata=api.ObjectMeta(name="web", namespace="default"),
        spec=api.PodDisruptionBudgetSpec(selector=api.LabelSelector(matchLabels={"app": "web"})),
        status=api.PodDisruptionBudgetStatus(disruptionsAllowed=allowed),
    )


DIRECTORY = api.Volume(name="v", emptyDir=api.EmptyDirVolumeSource())
LITTLE = "100m"


def on_disk() -> api.Pod:
    made = pod("p", LITTLE, "a")
    made.spec.volumes = [DIRECTORY]
    return made


@pytest.mark.parametrize(
    ("pods", "budgets", "why"),
    [
        ([], [], ""),
        ([pod("p", LITTLE, "a")], [], ""),
        ([pod("p", "1", "a")], [], "utilization is 0.50"),
        ([pod("p", LITTLE, "a")], [budget(0)], "PodDisruptionBudget web"),
        ([pod("p", LITTLE, "a")], [budget(1)], ""),
        ([pod("p", LITTLE, "a", ownerReferences=[])], [], "no controller"),
        ([pod("p", LITTLE, "a", ownerReferences=[], annotations={SAFE: "true"})], [], ""),
        ([pod("p", LITTLE, "a", annotations={SAFE: "false"})], [], "safe-to-evict: false"),
        ([pod("p", LITTLE, "a", namespace="kube-system")], [], "system pod"),
        ([on_disk()], [], "local storage"),
        ([pod("p", "900m", "a"), pod("full", "1500m", "rest")], [], "no other node"),
    ],
)
def test_what_keeps_a_node(pods: list[api.Pod], budgets: list[api.PodDisruptionBudget], why: str) -> None:
    world = Snapshot([node("a"), node("rest")], pods)
    plan = plan_down(world, config(), {"small": ["a"]}, budgets, NOW)
    assert plan.mark == (() if why else ("a",))
    assert why in plan.kept.get("a", "")


@pytest.mark.parametrize(
    ("nodes", "least", "mark", "unmark", "drain"),
    [
        ([node("a")], 0, ("a",), (), ()),
        ([node("a", "2", candidate(599))], 0, (), (), ()),
        ([node("a", "2", candidate(600))], 0, (), (), ("a",)),
        ([node("a", "2", candidate(600))], 1, (), ("a",), ()),
        ([node("a", "2", candidate(600)), node("b", "2", candidate(600))], 0, (), (), ("a",)),
        ([node("a", "2", candidate(600), api.Taint(key=TO_BE_DELETED, effect="NoSchedule"))], 0, (), (), ()),
        ([node("a", **{DISABLED: "true"})], 0, (), (), ()),
    ],
)
def test_shrinking(nodes: list[api.Node], least: int, mark: Any, unmark: Any, drain: Any) -> None:
    names = [n.metadata.name or "" for n in nodes]
    plan = plan_down(Snapshot(nodes), config({**SMALL, "min": least}), {"small": names}, [], NOW)
    assert (plan.mark, plan.unmark, plan.drain) == (mark, unmark, drain)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ('print(\'{"error": "no quota"}\')', "refused 'nodes': no quota"),
        ("print('nonsense')", "no JSON object"),
        ("print('{}')", "without a list"),
        ("import sys; sys.exit('out of order')", "status 1: out of order"),
        ("import time; time.sleep(60)", "did not answer 'nodes' within 0.2 s"),
    ],
)
def test_commands_that_fail_are_named(script: str, says: str, tmp_path: Path) -> None:
    timeout_s = 0.2 if "sleep" in script else 30.0
    made = group(provider="command", command=[sys.executable, "-c", script], commandTimeoutS=timeout_s)

    async def ask() -> None:
        await Command(None).nodes(made)  # type: ignore[arg-type]

    with pytest.raises(ProviderError, match=says):
        asyncio.run(ask())


def test_a_command_is_asked_in_json() -> None:
    script = (
        "import json, sys; q = json.load(sys.stdin); print(json.dumps({'nodes': [q['group'], q['verb']]}))"
    )
    made = group(provider="command", command=[sys.executable, "-c", script])
    client: Client = None  # type: ignore[assignment]
    assert asyncio.run(Command(client).nodes(made)) == ["small", "nodes"]
