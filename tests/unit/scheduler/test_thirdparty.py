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
from typing import ClassVar

import numpy as np

from sampan.scheduler.framework import NODE, NODE_EVENT, UPDATE_LABELS, ADD, Plugin, refuse
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
    names = {"Quiet": "quiet", "Plain": "Plain", "Wrong": "Wrong", "Nothing": "nothing", "Other": "Plain"}
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
