"""An autoscaler in a cluster: a Deployment follows the load that the metrics API tells of, up and down."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.client.transport import Reply
from sampan.controllers.horizontalpodautoscaler import sources
from sampan.machinery.quantity import quantity
from sampan.schema import api
from sampan.testing import Cluster

LABELS = {"app": "web"}


class Metrics:
    """Answers for metrics.k8s.io in front of the API server: each pod's share of one load."""

    def __init__(self, cluster: Cluster, load_m: int) -> None:
        self._cluster, self.load_m = cluster, load_m
        self._inner = cluster.async_client.transport
        cluster.async_client.transport = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def request(self, method: str, path: str, *rest: Any) -> Reply:
        if not path.startswith(sources.RESOURCE):
            return await self._inner.request(method, path, *rest)
        pods = (await self._cluster.async_client.list(api.Pod, "default")).items
        running = [pod for pod in pods if pod.status.phase == "Running"]
        items = [
            {
                "metadata": {"name": pod.metadata.name},
                "timestamp": self._cluster.now(),
                "window": "15s",
                "containers": [{"name": "c", "usage": {"cpu": f"{self.load_m // len(running)}m"}}],
            }
            for pod in running
        ]
        return Reply(200, {}, msgspec.json.encode({"items": items}))


def deployment() -> api.Deployment:
    asked = api.ResourceRequirements(requests={"cpu": quantity("100m")})
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels=LABELS),
        spec=api.PodSpec(containers=[api.Container(name="c", image="c:1", resources=asked)]),
    )
    return api.Deployment(
        metadata=api.ObjectMeta(name="web", namespace="default"),
        spec=api.DeploymentSpec(
            replicas=2, selector=api.LabelSelector(matchLabels=LABELS), template=template
        ),
    )


def autoscaler() -> Any:
    return api.HorizontalPodAutoscalerV2(
        metadata=api.ObjectMeta(name="web", namespace="default"),
        spec=api.HorizontalPodAutoscalerSpecV2(
            scaleTargetRef=api.CrossVersionObjectReferenceV2(
                apiVersion="apps/v1", kind="Deployment", name="web"
            ),
            minReplicas=1,
            maxReplicas=8,
        ),
    )


def replicas(cluster: Cluster) -> int:
    return cluster.client.get(api.Deployment, "web", "default").spec.replicas or 0


def test_replicas_follow_the_load() -> None:
    with Cluster() as cluster:
        metrics = Metrics(cluster, load_m=160)
        cluster.client.create(deployment())
        cluster.wait_until(
            lambda: cluster.client.get(api.Deployment, "web", "default").status.readyReplicas == 2
        )
        cluster.client.create(autoscaler())
        cluster.advance(400)  # pods that have just started count for little
        assert replicas(cluster) == 2
        metrics.load_m = 480
        cluster.wait_until(lambda: replicas(cluster) != 2)
        assert replicas(cluster) == 4  # no faster than twice or four
        cluster.advance(400)
        assert replicas(cluster) == 6
        metrics.load_m = 5000
        cluster.advance(400)
        assert replicas(cluster) == 8
        seen = cluster.client.get(api.HorizontalPodAutoscalerV2, "web", "default")
        assert {c.type: c.reason for c in seen.status.conditions}["ScalingLimited"] == "TooManyReplicas"
        metrics.load_m = 80
        cluster.advance(200)
        assert replicas(cluster) == 8  # a high recommendation is not yet old enough
        cluster.advance(200)
        assert replicas(cluster) == 1
        events = cluster.client.list(api.Event, "default")
        told = {e.message for e in events if e.reason == "SuccessfulRescale"}
        assert "New size: 1; reason: All metrics below target" in told
