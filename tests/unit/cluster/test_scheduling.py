"""The scheduler's configuration file: read where a cluster is made, and followed by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cli.main import main
from sampan.cluster import scheduling
from sampan.scheduler.asking import explain_pod
from sampan.schema import api
from sampan.testing import Cluster
from tests.unit.scheduler.test_shell import web

FILE = """
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
podMaxBackoffSeconds: 20
profiles:
- schedulerName: default-scheduler
- schedulerName: packs
  plugins:
    score:
      disabled: [{name: "*"}]
      enabled: [{name: NodeResourcesFit}]
  pluginConfig:
  - name: NodeResourcesFit
    args: {scoringStrategy: {type: MostAllocated}}
- schedulerName: tolerates-all
  plugins: {filter: {disabled: [{name: TaintToleration}]}}
"""


def test_profiles_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "scheduler.yaml"
    path.write_text(FILE)
    found = scheduling.chosen(path)
    assert found is not None
    assert found.max_backoff_s == 20
    with Cluster(nodes=3, scheduler_config=path) as cluster:
        ask = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m", "memory": "100Mi"}}}]
        for number in range(6):
            cluster.client.create(web(f"packed-{number}", schedulerName="packs", containers=ask))
            cluster.client.create(web(f"spread-{number}", containers=ask))
        cluster.wait_until(lambda: all(p.spec.nodeName for p in cluster.client.list(api.Pod, "default")))
        nodes = {p.metadata.name: p.spec.nodeName for p in cluster.client.list(api.Pod, "default")}
        assert len({node for name, node in nodes.items() if name.startswith("packed")}) == 1
        assert len({node for name, node in nodes.items() if name.startswith("spread")}) == 3
        found_by = cluster.call(explain_pod(cluster.async_client, "default", "packed-0", found.profiles))
        there = next(n for n in found_by.nodes if n.node == nodes["packed-0"])
        assert there.score == max(n.score or 0 for n in found_by.nodes)
        assert there.scores.keys() == {"NodeResourcesFit"}
        tainted = {"spec": {"taints": [{"key": "x", "effect": "NoSchedule"}]}}
        for number in (1, 2, 3):
            cluster.client.patch(api.Node, f"node-{number}", "", tainted)
        cluster.client.create(web("refused"))
        cluster.client.create(web("let-in", schedulerName="tolerates-all"))
        cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, "let-in", "default").spec.nodeName))
        assert cluster.client.get(api.Pod, "refused", "default").spec.nodeName is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("apiVersion: v1\nkind: Pod\n", "the configuration is of v1, kind Pod"),
        ("a: [", "cannot be used: while parsing"),
        ("", "no mapping"),
        (FILE.replace("MostAllocated", "Best"), "profile packs: the args of NodeResourcesFit cannot be used"),
    ],
)
def test_a_bad_file_is_told_before_anything_starts(
    text: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, data = tmp_path / "scheduler.yaml", tmp_path / "data"
    path.write_text(text)
    with pytest.raises(SampanError) as raised:
        scheduling.load(path)
    assert str(raised.value).startswith(f"The scheduler configuration {path} cannot be used: ")
    assert why in str(raised.value)
    arguments = ["up", "--runtime", "simulated", "--data-dir", str(data), "--scheduler-config", str(path)]
    assert main(arguments) == 1
    assert f"The scheduler configuration {path} cannot be used" in capsys.readouterr().err
    assert not data.exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SampanError, match="name a file that exists"):
        scheduling.load(tmp_path / "none.yaml")
