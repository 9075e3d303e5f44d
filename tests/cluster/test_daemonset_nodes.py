"""A DaemonSet over nodes that change: which have its pod, what an update and its undoing restart."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.client import STRATEGIC
from sampan.schema import api
from sampan.testing import Cluster

NAMESPACE = "default"
LABELS = {"app": "agent"}


def create(cluster: Cluster, pod: dict[str, Any] | None = None, **spec: Any) -> None:
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels=LABELS),
        spec=api.PodSpec(containers=[api.Container(name="agent", image="agent:1")], **(pod or {})),
    )
    given = api.DaemonSetSpec(selector=api.LabelSelector(matchLabels=LABELS), template=template, **spec)
    cluster.client.create(
        api.DaemonSet(metadata=api.ObjectMeta(name="agent", namespace=NAMESPACE), spec=given)
    )


def status(cluster: Cluster) -> api.DaemonSetStatus:
    return cluster.client.get(api.DaemonSet, "agent", NAMESPACE).status


def where(cluster: Cluster) -> dict[str, str]:
    """Node to image, of the pods that are not going."""
    return {
        pod.spec.nodeName or "": (pod.spec.containers[0].image or "").removeprefix("agent:")
        for pod in cluster.client.list(api.Pod, NAMESPACE)
        if pod.metadata.deletionTimestamp is None
    }


def label(cluster: Cluster, node: str, **labels: str | None) -> None:
    cluster.client.patch(api.Node, node, "", {"metadata": {"labels": labels}})


def change(cluster: Cluster, spec: dict[str, Any]) -> None:
    cluster.client.patch(api.DaemonSet, "agent", NAMESPACE, {"spec": spec})


def image(tag: str) -> dict[str, Any]:
    return {"template": {"spec": {"containers": [{"name": "agent", "image": f"agent:{tag}"}]}}}


@pytest.mark.conformance("Daemon set should run and stop complex daemon")
def test_labels_of_nodes_decide_and_may_change() -> None:
    with Cluster(nodes=3) as cluster:
        create(cluster, {"nodeSelector": {"color": "blue"}})
        cluster.settle()
        assert where(cluster) == {}
        assert status(cluster).desiredNumberScheduled == 0
        label(cluster, "node-2", color="blue")
        cluster.wait_until(lambda: where(cluster) == {"node-2": "1"} and status(cluster).numberReady == 1)
        label(cluster, "node-2", color="green")
        cluster.wait_until(lambda: where(cluster) == {})
        cluster.wait_until(lambda: status(cluster).desiredNumberScheduled == 0)
        change(cluster, {"template": {"spec": {"nodeSelector": {"color": "green"}}}})
        cluster.wait_until(lambda: where(cluster) == {"node-2": "1"})


def test_taints_keep_it_away_and_tolerations_let_it_in() -> None:
    with Cluster(nodes=2) as cluster:
        taint = {"spec": {"taints": [{"key": "only", "value": "gpu", "effect": "NoSchedule"}]}}
        cluster.client.patch(api.Node, "node-1", "", taint)
        create(cluster)
        cluster.wait_until(lambda: where(cluster) == {"node-2": "1"})
        cluster.settle()
        assert status(cluster).desiredNumberScheduled == 1
        change(cluster, {"template": {"spec": {"tolerations": [{"operator": "Exists"}]}}})
        cluster.wait_until(lambda: sorted(where(cluster)) == ["node-1", "node-2"])
        cluster.client.patch(api.Node, "node-2", "", {"spec": {"unschedulable": True}})
        cluster.advance(30)
        assert sorted(where(cluster)) == ["node-1", "node-2"]


@pytest.mark.conformance("Daemon set should rollback without unnecessary restarts")
def test_an_update_that_is_undone_restarts_only_what_it_changed() -> None:
    with Cluster(nodes=4) as cluster:
        create(cluster)
        cluster.wait_until(lambda: status(cluster).numberAvailable == 4)
        before = {pod.metadata.uid for pod in cluster.client.list(api.Pod, NAMESPACE)}
        (revision,) = cluster.client.list(api.ControllerRevision, NAMESPACE)
        broken = {"metadata": {"annotations": {"sampan.dev/simulate": '{"fail_start": "no such image"}'}}}
        change(cluster, {"template": broken})
        cluster.wait_until(lambda: status(cluster).updatedNumberScheduled == 1)
        cluster.advance(60)
        assert status(cluster).updatedNumberScheduled == 1  # one may be unavailable, and is
        # What `kubectl rollout undo` sends is a revision's data.
        cluster.client.patch(api.DaemonSet, "agent", NAMESPACE, revision.data, patch_type=STRATEGIC)
        cluster.wait_until(
            lambda: status(cluster).numberAvailable == 4 and status(cluster).updatedNumberScheduled == 4
        )
        after = {pod.metadata.uid for pod in cluster.client.list(api.Pod, NAMESPACE)}
        assert len(before & after) == 3


def test_on_delete_waits_for_the_deletion() -> None:
    with Cluster(nodes=2) as cluster:
        create(cluster, updateStrategy=api.DaemonSetUpdateStrategy(type="OnDelete"))
        cluster.wait_until(lambda: status(cluster).numberAvailable == 2)
        change(cluster, image("2"))
        cluster.advance(60)
        assert set(where(cluster).values()) == {"1"}
        (pod,) = (p for p in cluster.client.list(api.Pod, NAMESPACE) if p.spec.nodeName == "node-1")
        cluster.client.delete(api.Pod, pod.metadata.name or "", NAMESPACE)
        cluster.wait_until(lambda: where(cluster) == {"node-1": "2", "node-2": "1"})


@pytest.mark.parametrize("surge", [1, "100%"])
def test_with_surge_the_new_pod_runs_before_the_old_one_goes(surge: int | str) -> None:
    with Cluster(nodes=2) as cluster:
        rolling = api.RollingUpdateDaemonSet(maxSurge=surge, maxUnavailable=0)
        strategy = api.DaemonSetUpdateStrategy(type="RollingUpdate", rollingUpdate=rolling)
        create(cluster, updateStrategy=strategy)
        cluster.wait_until(lambda: status(cluster).numberAvailable == 2)
        change(cluster, image("2"))

        def done() -> bool:
            ready = {
                pod.spec.nodeName
                for pod in cluster.client.list(api.Pod, NAMESPACE)
                if any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)
            }
            assert ready == {"node-1", "node-2"}
            return status(cluster).updatedNumberScheduled == status(cluster).numberAvailable == 2

        cluster.wait_until(done)
        assert set(where(cluster).values()) == {"2"}


def test_a_node_that_comes_back_is_ready_again() -> None:
    with Cluster(nodes=2) as cluster:

        def ready(name: str) -> str:
            node = cluster.client.get(api.Node, name)
            return next(c.status for c in node.status.conditions if c.type == "Ready")

        cluster.nodes.pause("node-1")
        cluster.wait_until(lambda: ready("node-1") == "Unknown")
        assert ready("node-2") == "True"
        cluster.nodes.resume("node-1")
        cluster.wait_until(lambda: ready("node-1") == "True")
        cluster.wait_until(lambda: not cluster.client.get(api.Node, "node-1").spec.taints)
