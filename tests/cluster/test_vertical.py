"""The vertical recommender in a cluster: it says what requests should be, and where asked to, sets them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from sampan.autoscaler.vertical.objects import PATH, PLURAL
from sampan.autoscaler.vertical.recommender import Recommender
from sampan.machinery.quantity import quantity
from sampan.schema import api, codec
from sampan.testing import Cluster
from tests.cluster.test_horizontalpodautoscalers import LABELS, Metrics

DEFINITION = Path(__file__).parents[2] / "examples" / "vertical" / "definition.yaml"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def post(cluster: Cluster, path: str, document: dict[str, Any]) -> None:
    cluster.call(cluster.async_client.post(path, document, dict))


def autoscaler(cluster: Cluster) -> dict[str, Any]:
    path = f"{PATH}/namespaces/default/{PLURAL}/web"
    found: dict[str, Any] = cluster.call(cluster.async_client.read(path, dict))
    return found


def deploy(cluster: Cluster, mode: str) -> None:
    post(cluster, CRDS, yaml.safe_load(DEFINITION.read_text()))
    resources = api.ResourceRequirements(
        requests={"cpu": quantity("100m"), "memory": quantity("300Mi")}, limits={"cpu": quantity("200m")}
    )
    template = api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels=LABELS),
        spec=api.PodSpec(containers=[api.Container(name="c", image="c:1", resources=resources)]),
    )
    spec = api.DeploymentSpec(replicas=2, selector=api.LabelSelector(matchLabels=LABELS), template=template)
    cluster.client.create(api.Deployment(metadata=api.ObjectMeta(name="web", namespace="default"), spec=spec))
    cluster.wait_until(lambda: cluster.client.get(api.Deployment, "web", "default").status.readyReplicas == 2)
    vpa = {
        "apiVersion": "autoscaling.k8s.io/v1",
        "kind": "VerticalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "targetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "updatePolicy": {"updateMode": mode},
            "resourcePolicy": {"containerPolicies": [{"maxAllowed": {"cpu": "2"}}]},
        },
    }
    post(cluster, f"{PATH}/namespaces/default/{PLURAL}", vpa)


def watch(cluster: Cluster, recommender: Recommender, minutes: int) -> None:
    for _ in range(minutes):
        cluster.advance(60)
        cluster.call(recommender.look())


@pytest.mark.parametrize("mode", ["Off", "InPlaceOrRecreate"])
def test_requests_follow_usage(mode: str) -> None:
    with Cluster() as cluster:
        recommender = Recommender(cluster.async_client, cluster.clock)
        cluster.call(recommender.look())  # no definition yet: nothing to do
        deploy(cluster, mode)
        Metrics(cluster, load_m=1000)
        watch(cluster, recommender, 10)
        (advice,) = autoscaler(cluster)["status"]["recommendation"]["containerRecommendations"]
        assert advice["containerName"] == "c"
        # 500m each, in a bucket of 5%, and a margin of 15%.
        assert 575 <= quantity(advice["target"]["cpu"]).milli() <= 640
        assert quantity(advice["upperBound"]["cpu"]) == quantity("2")
        pods = cluster.client.list(api.Pod, "default")
        asked = {str(pod.spec.containers[0].resources.requests["cpu"]) for pod in pods}
        limits = {pod.spec.containers[0].resources.limits["cpu"] for pod in pods}
        if mode == "Off":
            assert (asked, limits) == ({"100m"}, {quantity("200m")})
        else:
            assert asked == {advice["target"]["cpu"]}
            assert {limit.milli() for limit in limits} == {2 * quantity(advice["target"]["cpu"]).milli()}
        assert all(pod.status.containerStatuses[0].restartCount == 0 for pod in pods)


def test_what_cannot_be_followed_does_not_stop_the_others() -> None:
    with Cluster() as cluster:
        recommender = Recommender(cluster.async_client, cluster.clock)
        deploy(cluster, "Off")
        lost = {
            "apiVersion": "autoscaling.k8s.io/v1",
            "kind": "VerticalPodAutoscaler",
            "metadata": {"name": "a-lost-one"},
            "spec": {"targetRef": {"apiVersion": "example.com/v1", "kind": "Nothing", "name": "web"}},
        }
        post(cluster, f"{PATH}/namespaces/default/{PLURAL}", msgspec.json.decode(codec.encode(lost)))
        Metrics(cluster, load_m=100)
        watch(cluster, recommender, 2)
        assert autoscaler(cluster)["status"]["recommendation"]
