"""Node groups in a cluster: nodes come for pods that have no room, and go when they are idle."""

from __future__ import annotations

from typing import Any

from sampan.autoscaler.nodes.config import GROUP_LABEL, SPARE_LABEL
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster
from tests.cluster.test_bad_input import writes_a_minute

LABELS = {"app": "web"}


def config(provider: str = "simulated", **more: Any) -> dict[str, Any]:
    template = {"capacity": {"cpu": "2", "memory": "4Gi"}, "labels": {"pool": "extra"}}
    group = {"name": "extra", "max": 3, "provider": provider, "template": template}
    return {
        "groups": [group],
        "scaleDownUnneededTimeS": 60,
        "scaleDownDelayAfterAddS": 60,
        **more,
    }


def deploy(cluster: Cluster, replicas: int, cpu: str = "1500m") -> None:
    resources = api.ResourceRequirements(requests={"cpu": quantity(cpu)})
    container = api.Container(name="c", image="c:1", resources=resources)
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels=LABELS),
        spec=api.PodSpec(containers=[container], nodeSelector={"pool": "extra"}),
    )
    spec = api.DeploymentSpec(
        replicas=replicas, selector=api.LabelSelector(matchLabels=LABELS), template=template
    )
    cluster.client.create(api.Deployment(metadata=api.ObjectMeta(name="web", namespace="default"), spec=spec))


def ready(cluster: Cluster) -> int:
    return cluster.client.get(api.Deployment, "web", "default").status.readyReplicas or 0


def extra(cluster: Cluster) -> list[api.Node]:
    return cluster.client.list(api.Node, labels=f"{GROUP_LABEL}=extra")


def reasons(cluster: Cluster) -> set[str]:
    return {e.reason or "" for e in cluster.client.list(api.Event, "default")}


def scale(cluster: Cluster, replicas: int) -> None:
    cluster.client.patch(api.Deployment, "web", "default", {"spec": {"replicas": replicas}})


def test_nodes_come_for_pods_and_go_without_them() -> None:
    with Cluster(autoscaler=config()) as cluster:
        deploy(cluster, 2)
        cluster.wait_until(lambda: ready(cluster) == 2)
        assert len(extra(cluster)) == 2
        cluster.wait_until(lambda: "TriggeredScaleUp" in reasons(cluster))
        status = cluster.client.get(api.ConfigMap, "cluster-autoscaler-status", "kube-system")
        assert "- name: extra" in status.data["status"]
        scale(cluster, 0)
        cluster.wait_until(lambda: not extra(cluster))


def test_no_more_nodes_than_max() -> None:
    with Cluster(autoscaler=config()) as cluster:
        deploy(cluster, 5)
        cluster.wait_until(lambda: ready(cluster) == 3)
        cluster.wait_until(lambda: "NotTriggerScaleUp" in reasons(cluster))
        cluster.advance(120)
        assert len(extra(cluster)) == 3


def test_a_pod_that_fits_no_template_makes_no_node() -> None:
    with Cluster(autoscaler=config()) as cluster:
        deploy(cluster, 1, cpu="3")
        cluster.wait_until(lambda: "NotTriggerScaleUp" in reasons(cluster))
        events = cluster.client.list(api.Event, "default")
        told = [e.message or "" for e in events if e.reason == "NotTriggerScaleUp"]
        assert told == ["pod didn't trigger scale-up: 1 Insufficient cpu"]
        assert extra(cluster) == []
        assert writes_a_minute(cluster) <= 10  # the node's lease and status: nothing is told again and again


def test_a_budget_holds_nodes_until_it_goes() -> None:
    with Cluster(autoscaler=config()) as cluster:
        deploy(cluster, 3, cpu="900m")
        cluster.wait_until(lambda: ready(cluster) == 3)
        assert len(extra(cluster)) == 2
        meta = api.ObjectMeta(name="web", namespace="default")
        selector = api.LabelSelector(matchLabels=LABELS)
        spec = api.PodDisruptionBudgetSpec(minAvailable=2, selector=selector)
        cluster.client.create(api.PodDisruptionBudget(metadata=meta, spec=spec))
        scale(cluster, 2)
        cluster.wait_until(lambda: ready(cluster) == 2)
        assert len({p.spec.nodeName for p in cluster.client.list(api.Pod, "default")}) == 2
        cluster.advance(300)
        assert [t.key for n in extra(cluster) for t in n.spec.taints] == []
        cluster.client.delete(api.PodDisruptionBudget, "web", "default")
        cluster.wait_until(lambda: len(extra(cluster)) == 1)
        cluster.wait_until(lambda: ready(cluster) == 2)


def test_spare_nodes_are_taken_into_service_and_given_back() -> None:
    with Cluster(nodes=2, autoscaler=config("spare")) as cluster:
        labels = {SPARE_LABEL: "extra", "pool": "extra"}
        patch = {"metadata": {"labels": labels}, "spec": {"unschedulable": True}}
        cluster.client.patch(api.Node, "node-2", "", patch)
        deploy(cluster, 1)
        cluster.wait_until(lambda: ready(cluster) == 1)
        assert [n.metadata.name for n in extra(cluster)] == ["node-2"]
        scale(cluster, 0)
        cluster.wait_until(lambda: not extra(cluster))
        node = cluster.client.get(api.Node, "node-2")
        assert node.spec.unschedulable
        assert [t.key for t in node.spec.taints] == ["node.kubernetes.io/unschedulable"]


def test_daemons_leave_less_of_a_new_node() -> None:
    with Cluster(autoscaler=config()) as cluster:
        resources = api.ResourceRequirements(requests={"cpu": quantity("600m")})
        container = api.Container(name="c", image="c:1", resources=resources)
        labels = {"app": "agent"}
        template = api.PodTemplateSpec(
            metadata=api.ObjectMeta(labels=labels), spec=api.PodSpec(containers=[container])
        )
        spec = api.DaemonSetSpec(selector=api.LabelSelector(matchLabels=labels), template=template)
        meta = api.ObjectMeta(name="agent", namespace="default")
        cluster.client.create(api.DaemonSet(metadata=meta, spec=spec))
        deploy(cluster, 2, cpu="900m")
        cluster.wait_until(lambda: ready(cluster) == 2)
        assert len(extra(cluster)) == 2  # without the daemons one would do
        cluster.client.patch(api.Deployment, "web", "default", {"spec": {"replicas": 0}})
        cluster.wait_until(lambda: not extra(cluster))
        deploy_big(cluster)
        cluster.wait_until(lambda: "NotTriggerScaleUp" in reasons(cluster))
        cluster.advance(120)
        assert extra(cluster) == []


def deploy_big(cluster: Cluster) -> None:
    """What fits a new node only without its daemons."""
    cluster.client.delete(api.Deployment, "web", "default")
    cluster.wait_until(lambda: not cluster.client.list(api.Deployment, "default"))
    deploy(cluster, 1, cpu="1500m")
