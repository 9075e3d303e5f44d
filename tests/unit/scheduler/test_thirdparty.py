"""Plugins of other distributions: an installed one decides, and one that is broken is told of."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from sampan.base.errors import SampanError
from sampan.cluster import scheduling
from sampan.scheduler.registry import PluginError
from sampan.scheduler.thirdparty import GROUP, installed
from sampan.schema import api
from sampan.testing import Cluster
from tests.unit.scheduler.test_shell import web

HEAD = {"apiVersion": "kubescheduler.config.k8s.io/v1", "kind": "KubeSchedulerConfiguration"}
# What docs/scheduler.md shows, as a distribution would bring it.
MODULE = '''
import asyncio
from typing import ClassVar

import numpy as np

from sampan.scheduler.framework import NODE, NODE_EVENT, UPDATE_LABELS, ADD, Plugin, Refused, refuse
from sampan.schema import api


class Quiet(Plugin):
    """Pods stay off nodes that are louder than `limit`, and prefer those with a `hush` in their rack."""

    name: ClassVar[str] = "Quiet"
    events: ClassVar[frozenset[str]] = frozenset({NODE_EVENT, "ConfigMap"})
    kinds: ClassVar[tuple[type, ...]] = (api.ConfigMap,)

    def __init__(self, limit):
        self.limit = limit

    def prepare(self, pod, world):
        return world.table.domains("example.com/noise")

    def filter(self, state, world, rows):
        levels = np.full(state.count + 1, 0)
        for value, number in state.numbers.items():
            levels[number + 1] = int(value)
        return refuse(levels[state.ids[rows] + 1] > self.limit, "node(s) were too loud", resolvable=False)

    def prepare_score(self, pod, world):
        hushed = world.cache(api.ConfigMap).get("default", "hushed")
        return hushed.data if hushed is not None else None

    def score(self, state, world, rows):
        scores = np.zeros(world.table.size, dtype=np.int64)
        for name in state:
            if name in world.table.rows:
                scores[world.table.rows[name]] = 100
        return scores[rows]

    def wakes(self, pod, event, world):
        return event.kind != NODE_EVENT or event.does(ADD, UPDATE_LABELS)


def quiet(args):
    return Quiet(int(args.get("limit", 5)))


class Plain(Plugin):
    name: ClassVar[str] = "Plain"


class Wrong(Plugin):
    name: ClassVar[str] = "Wrong"

    def prepare(self, pod, world):
        return pod.spec.hostname

    def filter(self, state, world, rows):
        raise RuntimeError("no idea")


class Pair(Plugin):
    """Pods of a pair are bound together; each waits for the other. Their node is labelled before."""

    name: ClassVar[str] = "Pair"
    events: ClassVar[frozenset[str]] = frozenset({"ConfigMap"})
    kinds: ClassVar[tuple[type, ...]] = (api.ConfigMap,)
    log: ClassVar[list] = []

    def __init__(self, args):
        self.permit_timeout_s = float(args.get("timeoutSeconds", 900))
        self.there = {}

    def reserve(self, pod, node, world):
        self.log.append(("reserve", pod.key[1]))
        if "refused" in pod.labels:
            raise Refused("no more pairs")
        self.there[pod.key[1]] = asyncio.Event()
        return ()

    def unreserve(self, pod, node, world):
        self.log.append(("unreserve", pod.key[1]))
        self.there.pop(pod.key[1], None)

    async def permit(self, pod, node, client):
        other = pod.labels.get("pair")
        if other == "nobody":
            raise Refused("nobody to pair with")
        if other in self.there:
            self.there[other].set()
        elif other:
            await self.there[pod.key[1]].wait()

    async def pre_bind(self, pod, node, client):
        if "broken" in pod.labels and "mended" not in node.metadata.labels:
            await client.patch(api.Node, node.metadata.name, "", {"metadata": {"labels": {"mended": "yes"}}})
            raise RuntimeError("not prepared")

    async def post_bind(self, pod, node, client):
        self.log.append(("bound", pod.key[1]))


def pair(args):
    return Pair(args)


def nothing(args):
    return "nothing"
'''


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A distribution as pip leaves it: a module, and beside it what its metadata say."""
    (tmp_path / "quiet_nodes.py").write_text(MODULE)
    info = tmp_path / "quiet_nodes-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: quiet-nodes\nVersion: 1.0\n")
    names = {
        "Quiet": "quiet",
        "Plain": "Plain",
        "Wrong": "Wrong",
        "Pair": "pair",
        "Nothing": "nothing",
        "Other": "Plain",
    }
    lines = [f"{name} = quiet_nodes:{target}" for name, target in names.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *lines, "Gone = quiet_gone:Gone"]))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("quiet_nodes", None)


def enabling(*names: str, args: Any = None, weight: int = 1) -> dict[str, Any]:
    refs = [{"name": name, "weight": weight} for name in names]
    config = [{"name": names[0], "args": args}] if args is not None else []
    return {**HEAD, "profiles": [{"plugins": {"multiPoint": {"enabled": refs}}, "pluginConfig": config}]}


def node_of(cluster: Cluster, name: str) -> str:
    cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, name, "default").spec.nodeName))
    return cluster.client.get(api.Pod, name, "default").spec.nodeName or ""


def condition(cluster: Cluster, name: str) -> tuple[str, str]:
    conditions = cluster.client.get(api.Pod, name, "default").status.conditions
    found = next((c for c in conditions if c.type == "PodScheduled"), None)
    return (found.reason or "", found.message or "") if found is not None else ("", "")


@pytest.mark.usefixtures("distribution")
def test_a_plugin_of_another_distribution_decides() -> None:
    with Cluster(nodes=3, scheduler_config=enabling("Quiet", args={"limit": 7}, weight=50)) as cluster:
        for number, level in ((1, "9"), (2, "7"), (3, "7")):
            label = {"metadata": {"labels": {"example.com/noise": level}}}
            cluster.client.patch(api.Node, f"node-{number}", "", label)
        meta = api.ObjectMeta(name="hushed", namespace="default")
        cluster.client.create(api.ConfigMap(metadata=meta, data={"node-1": "", "node-3": ""}))
        cluster.wait_until(lambda: cluster.scheduler.world.cache(api.ConfigMap).get("default", "hushed"))  # type: ignore[arg-type, return-value]
        for number in range(3):
            cluster.client.create(web(f"p{number}"))
            assert node_of(cluster, f"p{number}") == "node-3"
        for number in (2, 3):
            loud = {"metadata": {"labels": {"example.com/noise": "8"}}}
            cluster.client.patch(api.Node, f"node-{number}", "", loud)
        cluster.client.create(web("waits"))
        text = "0/3 nodes are available: 3 node(s) were too loud."
        cluster.wait_until(lambda: condition(cluster, "waits")[1].startswith(text))
        calm = {"metadata": {"labels": {"example.com/noise": "1"}}}
        cluster.client.patch(api.Node, "node-2", "", calm)
        assert node_of(cluster, "waits") == "node-2"


@pytest.mark.usefixtures("distribution")
def test_one_that_fails_holds_up_its_pod_alone() -> None:
    with Cluster(scheduler_config=enabling("Wrong")) as cluster:
        cluster.client.create(web("bad", hostname="x"))
        cluster.client.create(web("good"))
        assert node_of(cluster, "good")
        cluster.wait_until(lambda: condition(cluster, "bad") == ("SchedulerError", "no idea"))


@pytest.mark.usefixtures("distribution")
def test_none_is_imported_before_it_is_enabled() -> None:
    assert {"Quiet", "Plain", "Wrong", "Nothing", "Other", "Gone"} <= installed().keys()
    assert scheduling.chosen(enabling("NodeName")) is not None
    assert "quiet_nodes" not in sys.modules


@pytest.mark.usefixtures("distribution")
@pytest.mark.parametrize(
    ("name", "args", "text"),
    [
        ("Plain", {"a": 1}, "the plugin 'Plain' of quiet-nodes (quiet_nodes:Plain) has no args; remove a"),
        ("Quiet", {"limit": "much"}, "the args of Quiet cannot be used: invalid literal"),
        ("Nothing", None, "the plugin 'Nothing' of quiet-nodes (quiet_nodes:nothing) is no Plugin but a str"),
        ("Other", None, "(quiet_nodes:Plain) calls itself 'Plain'; both names must be the same"),
        ("Gone", None, "(quiet_gone:Gone) cannot be loaded: No module named 'quiet_gone'"),
        ("Missing", None, "there is no plugin 'Missing'; known are"),
    ],
)
def test_one_that_cannot_be_used(name: str, args: Any, text: str) -> None:
    with pytest.raises(SampanError) as raised:
        Cluster(scheduler_config=enabling(name, args=args))
    assert text in str(raised.value)


def test_names_that_are_taken() -> None:
    mine = metadata.EntryPoint("Mine", "a:A", GROUP)
    with pytest.raises(PluginError, match="has the name of a built-in plugin"):
        installed([metadata.EntryPoint("NodeName", "a:A", GROUP)])
    with pytest.raises(PluginError, match="have the same name; uninstall one of them"):
        installed([mine, metadata.EntryPoint("Mine", "b:B", GROUP)])
    assert installed([mine, mine]).keys() == {"Mine"}


# -- between decision and binding --------------------------------------------------------------------------


def labelled(cluster: Cluster, name: str, **labels: str) -> None:
    pod = web(name)
    pod.metadata.labels = labels
    cluster.client.create(pod)


def log() -> list[tuple[str, str]]:
    return list(sys.modules["quiet_nodes"].Pair.log)


def hooked(point: str = "multiPoint", **args: Any) -> dict[str, Any]:
    plugins = {point: {"enabled": [{"name": "Pair"}]}}
    return {**HEAD, "profiles": [{"plugins": plugins, "pluginConfig": [{"name": "Pair", "args": args}]}]}


@pytest.mark.parametrize("point", ["multiPoint", "permit"])
def test_a_pod_is_held_back_until_the_other_comes(distribution: None, point: str) -> None:
    with Cluster(nodes=1, scheduler_config=hooked(point)) as cluster:
        labelled(cluster, "one", pair="two")
        labelled(cluster, "alone")
        node_of(cluster, "alone")
        assert not cluster.client.get(api.Pod, "one", "default").spec.nodeName
        labelled(cluster, "two", pair="one")
        for name in ("one", "two"):
            node_of(cluster, name)
        cluster.wait_until(lambda: {("bound", n) for n in ("one", "two", "alone")} <= set(log()))


def test_a_pod_that_nobody_lets_go_is_turned_down(distribution: None) -> None:
    with Cluster(nodes=1, scheduler_config=hooked(timeoutSeconds=30)) as cluster:
        labelled(cluster, "one", pair="two")
        cluster.wait_until(lambda: ("reserve", "one") in log())
        cluster.advance(31)
        why = "rejected due to timeout after waiting 30s at plugin Pair"
        cluster.wait_until(lambda: condition(cluster, "one") == ("Unschedulable", why))
        assert ("unreserve", "one") in log()
        labelled(cluster, "two", pair="nobody")
        cluster.wait_until(lambda: condition(cluster, "two") == ("Unschedulable", "nobody to pair with"))
        labelled(cluster, "three", refused="yes")
        cluster.wait_until(lambda: condition(cluster, "three") == ("Unschedulable", "no more pairs"))
        assert log().count(("reserve", "three")) == 1
        config_map = api.ConfigMap(apiVersion="v1", kind="ConfigMap", metadata=api.ObjectMeta(name="x"))
        config_map.metadata.namespace = "default"
        cluster.client.create(config_map)  # an event of the plugin's: it may think otherwise now
        cluster.wait_until(lambda: log().count(("reserve", "three")) == 2)


def test_a_pod_that_goes_while_it_is_held_back_frees_its_room(distribution: None) -> None:
    with Cluster(nodes=1, scheduler_config=hooked()) as cluster:
        labelled(cluster, "one", pair="two")
        cluster.wait_until(lambda: ("reserve", "one") in log())
        cluster.client.delete(api.Pod, "one", "default", grace_s=0)
        cluster.wait_until(lambda: ("unreserve", "one") in log())


def test_a_node_that_is_not_prepared_is_tried_again(distribution: None) -> None:
    with Cluster(nodes=1, scheduler_config=hooked("preBind")) as cluster:
        labelled(cluster, "one", broken="yes")
        why = 'running PreBind plugin "Pair": not prepared'
        node_of(cluster, "one")
        cluster.wait_until(lambda: why in [e.message for e in cluster.client.list(api.Event, "default")])
        assert log().count(("unreserve", "one")) == 1
