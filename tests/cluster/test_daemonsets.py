from __future__ import annotations

from typing import Any

import pytest

from sampan.client.client import STRATEGIC
from sampan.schema import api
from sampan.testing import Cluster

LABELS = {"app": "agent"}


def daemonset(**annotations: str) -> api.DaemonSet:
    return api.DaemonSet(
        metadata=api.ObjectMeta(name="agent", namespace="default"),
        spec=api.DaemonSetSpec(
            selector=api.LabelSelector(matchLabels=LABELS),
            template=api.PodTemplateSpec(
                metadata=api.ObjectMeta(labels=LABELS, annotations=annotations),
                spec=api.PodSpec(containers=[api.Container(name="agent", image="agent:1")]),
            ),
        ),
    )


def status(cluster: Cluster) -> Any:
    return cluster.client.get(api.DaemonSet, "agent", "default").status


def pods(cluster: Cluster) -> list[api.Pod]:
    return cluster.client.list(api.Pod, "default")


@pytest.mark.conformance("Daemon set should run and stop simple daemon")
@pytest.mark.conformance(
    "Daemon set should update pod when spec was updated and update strategy is RollingUpdate"
)
def test_a_daemonset_runs_everywhere_rolls_out_and_goes() -> None:
    with Cluster(nodes=3) as cluster:
        cluster.client.create(daemonset())
        cluster.wait_until(lambda: status(cluster).numberAvailable == 3)
        assert {pod.spec.nodeName for pod in pods(cluster)} == {"node-1", "node-2", "node-3"}
        stopped = pods(cluster)[0]
        cluster.client.delete(api.Pod, stopped.metadata.name or "", "default", grace_s=0)
        cluster.wait_until(lambda: stopped.metadata.uid not in {pod.metadata.uid for pod in pods(cluster)})
        cluster.wait_until(lambda: len(pods(cluster)) == status(cluster).numberAvailable == 3)
        image = {"spec": {"template": {"spec": {"containers": [{"name": "agent", "image": "agent:2"}]}}}}
        cluster.client.patch(api.DaemonSet, "agent", "default", image)
        cluster.wait_until(
            lambda: (
                status(cluster).observedGeneration == 2
                and status(cluster).updatedNumberScheduled == 3
                and status(cluster).numberAvailable == 3
            )
        )
        assert {pod.spec.containers[0].image for pod in pods(cluster)} == {"agent:2"}
        revisions = cluster.client.list(api.ControllerRevision, "default")
        assert sorted(one.revision or 0 for one in revisions) == [1, 2]
        (first,) = (one for one in revisions if one.revision == 1)
        # What `kubectl rollout undo` sends is a revision's data.
        cluster.client.patch(api.DaemonSet, "agent", "default", first.data, patch_type=STRATEGIC)
        cluster.wait_until(lambda: {pod.spec.containers[0].image for pod in pods(cluster)} == {"agent:1"})
        cluster.wait_until(lambda: status(cluster).numberAvailable == 3)
        revisions = cluster.client.list(api.ControllerRevision, "default")
        assert sorted(one.revision or 0 for one in revisions) == [2, 3]
        cluster.client.delete(api.DaemonSet, "agent", "default")
        cluster.wait_until(lambda: not pods(cluster))
        cluster.wait_until(lambda: not cluster.client.list(api.ControllerRevision, "default"))


@pytest.mark.conformance("Daemon set should retry creating failed daemon pods")
def test_a_failed_daemon_pod_is_replaced() -> None:
    with Cluster(nodes=1) as cluster:
        cluster.client.create(daemonset())
        cluster.wait_until(lambda: status(cluster).numberAvailable == 1)
        (pod,) = pods(cluster)
        failed = {"status": {"phase": "Failed"}}
        cluster.client.patch(api.Pod, pod.metadata.name or "", "default", failed, subresource="status")
        cluster.wait_until(
            lambda: (
                [p.metadata.uid for p in pods(cluster)] != [pod.metadata.uid]
                and status(cluster).numberAvailable == 1
            )
        )
