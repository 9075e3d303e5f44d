"""Simulations of a running cluster come true, and change nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from sampan.base.errors import SampanError
from sampan.cli import simulate as command
from sampan.cluster.config import Layout
from sampan.scheduler.snapshot import Snapshot
from sampan.schema import api
from sampan.simulation.asking import snapshot_to_simulate
from sampan.simulation.draining import drain
from sampan.simulation.placing import simulate
from sampan.testing import Cluster
from tests.unit.simulation.test_manifests import made

CPU = "500m"


def test_what_is_foretold_happens() -> None:
    with Cluster(nodes=2) as cluster:
        cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name="shop")))
        deployment = made(api.Deployment, CPU, replicas=4)
        before = cluster.call(snapshot_to_simulate(cluster.async_client))
        foretold = sorted(p.node for p in simulate(before, [deployment]))
        assert all(foretold)
        after = cluster.call(snapshot_to_simulate(cluster.async_client))
        assert {kind: len(after.others[kind]) for kind in (api.Deployment, api.ReplicaSet)} == {
            api.Deployment: 0,
            api.ReplicaSet: 0,
        }
        assert not after.pods
        cluster.client.create(deployment)
        cluster.wait_until(lambda: _bound(cluster) == foretold)
        now = cluster.call(snapshot_to_simulate(cluster.async_client))
        found = drain(now, "node-1")
        assert {p.node for p in found.moved} == {"node-2"}
        assert len(found.moved) == foretold.count("node-1")


def _bound(cluster: Cluster) -> list[str]:
    return sorted(p.spec.nodeName or "" for p in cluster.client.list(api.Pod, "shop"))


MANIFESTS = """
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: Pod
  metadata: {name: big}
  spec:
    containers: [{name: c, image: i, resources: {requests: {cpu: "9"}}}]
- {apiVersion: example.com/v1, kind: Widget, metadata: {name: w}}
"""


def test_the_command_tells_people(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tests.unit.scheduler.objects import node

    file = tmp_path / "pods.yaml"
    file.write_text(MANIFESTS)
    monkeypatch.setattr(command, "_read", lambda layout: ((), Snapshot([node("a")])))
    assert command.simulate_manifests(Layout(tmp_path), [file], "team", "table") == 0
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "0 of 1 pods would have a node.",
        "",
        "POD       NODE  WHY",
        "team/big  -     0/1 nodes are available: 1 Insufficient cpu.",
        "",
        "team/big would run with any one of these:",
        "  1. 5 more cpu on a, or a pod that asks for 4 instead of 9",
    ]
    assert told.err == "Widget 'w' is of no built-in kind and is left out.\n"
    assert command.simulate_manifests(Layout(tmp_path), [file], "team", "json") == 0
    assert '"name": "big"' in capsys.readouterr().out
    file.write_text("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}}")
    with pytest.raises(SampanError, match="There are no pods"):
        command.simulate_manifests(Layout(tmp_path), [file], "team", "table")
