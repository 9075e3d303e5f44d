"""lightkube: typed resources over httpx, apply, watch, wait, logs."""

from __future__ import annotations

from collections.abc import Iterator

import lightkube
import pytest
from lightkube.core.exceptions import ApiError
from lightkube.generic_resource import create_namespaced_resource
from lightkube.models.autoscaling_v1 import ScaleSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Node, Pod
from lightkube.types import PatchType

from sampan.testing.cluster import Cluster
from tests.clients.manifests import deployment, pod

pytestmark = pytest.mark.clients


@pytest.fixture
def light(live: Cluster, own: str) -> Iterator[lightkube.Client]:
    config = lightkube.KubeConfig.from_file(str(live.kubeconfig))
    with lightkube.Client(config=config, namespace=own, field_manager="tester") as made:
        yield made


def test_objects_are_made_changed_and_deleted(light: lightkube.Client, own: str) -> None:
    made = light.create(ConfigMap(metadata=ObjectMeta(name="a", namespace=own), data={"x": "1"}))
    made.data["y"] = "2"
    assert light.replace(made).data == {"x": "1", "y": "2"}
    assert light.patch(ConfigMap, "a", {"data": {"x": None}}, patch_type=PatchType.MERGE).data == {"y": "2"}
    assert [each.metadata.name for each in light.list(ConfigMap, fields={"metadata.name": "a"})] == ["a"]
    with pytest.raises(ApiError) as stale:
        light.replace(made)
    assert (stale.value.status.code, stale.value.status.reason) == (409, "Conflict")
    light.delete(ConfigMap, "a")
    with pytest.raises(ApiError) as gone:
        light.get(ConfigMap, "a")
    assert gone.value.status.code == 404


def test_server_side_apply(light: lightkube.Client, own: str) -> None:
    applied = light.apply(
        ConfigMap(
            apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a", namespace=own), data={"x": "1"}
        )
    )
    assert [entry.manager for entry in applied.metadata.managedFields] == ["tester"]
    other = ConfigMap(
        apiVersion="v1", kind="ConfigMap", metadata=ObjectMeta(name="a", namespace=own), data={"x": "2"}
    )
    with pytest.raises(ApiError) as refused:
        light.apply(other, field_manager="other")
    assert refused.value.status.code == 409
    assert light.apply(other, field_manager="other", force=True).data == {"x": "2"}


def test_a_deployment_is_awaited_and_scaled(light: lightkube.Client, own: str) -> None:
    light.create(Deployment.from_dict(deployment("web", own)))
    light.wait(Deployment, "web", for_conditions=["Available"])
    scaled = light.replace(
        Deployment.Scale(metadata=ObjectMeta(name="web", namespace=own), spec=ScaleSpec(replicas=3)), "web"
    )
    assert scaled.spec.replicas == 3
    for _, seen in light.watch(Deployment, fields={"metadata.name": "web"}):
        if seen.status.readyReplicas == 3:
            break
    assert len(list(light.list(Pod, labels={"app": "web"}))) == 3


def test_logs_nodes_and_resources_without_a_class(light: lightkube.Client, own: str) -> None:
    light.create(Pod.from_dict(pod("one", own)))
    light.wait(Pod, "one", for_conditions=["Ready"])
    assert list(light.log("one")) is not None
    assert {node.metadata.name for node in light.list(Node)} == {"node-1", "node-2"}
    leases = create_namespaced_resource("coordination.k8s.io", "v1", "Lease", "leases")
    light.create(leases(metadata=ObjectMeta(name="l", namespace=own), spec={"holderIdentity": "me"}))
    assert light.get(leases, "l").spec["holderIdentity"] == "me"
