"""Sentences of sig-apps' conformance tests about Deployments, ReplicaSets and their kin, each with its test.

Those of Jobs, CronJobs, DaemonSets, StatefulSets and PodDisruptionBudgets are in the files named for these.
"""

from __future__ import annotations

from typing import Any

import pytest

from sampan.schema import api
from sampan.testing import Cluster

NAMESPACE = "default"


def template(image: str = "web:1", **labels: str) -> api.PodTemplateSpec:
    return api.PodTemplateSpec(
        metadata=api.ObjectMeta(labels={"app": "web", **labels}),
        spec=api.PodSpec(containers=[api.Container(name="c", image=image)]),
    )


SELECTOR = api.LabelSelector(matchLabels={"app": "web"})
META = {"name": "web", "namespace": NAMESPACE}


def deployment(replicas: int = 3, **spec: Any) -> api.Deployment:
    return api.Deployment(
        metadata=api.ObjectMeta(**META),
        spec=api.DeploymentSpec(replicas=replicas, selector=SELECTOR, template=template(), **spec),
    )


def replicaset(replicas: int = 2) -> api.ReplicaSet:
    spec = api.ReplicaSetSpec(replicas=replicas, selector=SELECTOR, template=template())
    return api.ReplicaSet(metadata=api.ObjectMeta(**META, labels={"app": "web"}), spec=spec)


def controller(replicas: int = 2) -> api.ReplicationController:
    spec = api.ReplicationControllerSpec(replicas=replicas, selector={"app": "web"}, template=template())
    return api.ReplicationController(metadata=api.ObjectMeta(**META), spec=spec)


def stateful(replicas: int = 2) -> api.StatefulSet:
    spec = api.StatefulSetSpec(replicas=replicas, selector=SELECTOR, template=template())
    return api.StatefulSet(metadata=api.ObjectMeta(**META), spec=spec)


def pods(cluster: Cluster) -> list[api.Pod]:
    found = cluster.client.list(api.Pod, NAMESPACE)
    return [pod for pod in found if pod.metadata.deletionTimestamp is None]


def sets(cluster: Cluster) -> dict[int, api.ReplicaSet]:
    """ReplicaSets by revision."""
    found = cluster.client.list(api.ReplicaSet, NAMESPACE)
    return {int(one.metadata.annotations["deployment.kubernetes.io/revision"]): one for one in found}


def is_done(cluster: Cluster, replicas: int = 3) -> bool:
    held = cluster.client.get(api.Deployment, "web", NAMESPACE)
    status = held.status
    seen = status.observedGeneration == held.metadata.generation
    return seen and status.replicas == status.updatedReplicas == status.availableReplicas == replicas


def change_image(cluster: Cluster, image: str) -> None:
    containers = [{"name": "c", "image": image}]
    patch = {"spec": {"template": {"spec": {"containers": containers}}}}
    cluster.client.patch(api.Deployment, "web", NAMESPACE, patch)


def free_pod(name: str) -> api.Pod:
    made = template()
    meta = api.ObjectMeta(name=name, namespace=NAMESPACE, labels=made.metadata.labels)
    return api.Pod(metadata=meta, spec=made.spec)


@pytest.mark.conformance("Deployment Deployment should have a working scale subresource")
@pytest.mark.conformance("ReplicaSet Replicaset should have a working scale subresource")
@pytest.mark.conformance("ReplicationController should get and update a ReplicationController scale")
@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality should have a working scale subresource "
)
@pytest.mark.parametrize("make", [deployment, replicaset, controller, stateful])
def test_should_have_a_working_scale_subresource(make: Any) -> None:
    with Cluster() as cluster:
        made = cluster.client.create(make(2))
        cluster.wait_until(lambda: len(pods(cluster)) == 2)
        plural = f"{type(made).__name__.rpartition('_')[2].lower()}s"
        root = "/api/v1" if plural == "replicationcontrollers" else "/apis/apps/v1"
        path = f"{root}/namespaces/{NAMESPACE}/{plural}/web/scale"
        transport = cluster.async_client.transport
        scale = cluster.call(transport.request("GET", path))
        assert (scale.status, b'"replicas":2' in scale.body) == (200, True)
        patch = b'{"spec":{"replicas":4}}'
        media = "application/merge-patch+json"
        assert cluster.call(transport.request("PATCH", path, None, patch, media)).status == 200
        cluster.wait_until(lambda: len(pods(cluster)) == 4)


@pytest.mark.conformance("Deployment RollingUpdateDeployment should delete old pods and create new ones")
def test_rolling_update_deployment_should_delete_old_pods_and_create_new_ones() -> None:
    with Cluster() as cluster:
        cluster.client.create(deployment())
        cluster.wait_until(lambda: is_done(cluster))
        change_image(cluster, "web:2")
        cluster.wait_until(lambda: is_done(cluster))
        assert {pod.spec.containers[0].image for pod in pods(cluster)} == {"web:2"}
        assert {number: one.spec.replicas for number, one in sets(cluster).items()} == {1: 0, 2: 3}


@pytest.mark.conformance("Deployment RecreateDeployment should delete old pods and create new ones")
def test_recreate_deployment_never_runs_old_pods_beside_new_ones() -> None:
    with Cluster() as cluster:
        cluster.client.create(deployment(strategy=api.DeploymentStrategy(type="Recreate")))
        cluster.wait_until(lambda: is_done(cluster))
        change_image(cluster, "web:2")

        def rolled() -> bool:
            images = {pod.spec.containers[0].image for pod in cluster.client.list(api.Pod, NAMESPACE)}
            assert len(images) <= 1
            return is_done(cluster)

        cluster.wait_until(rolled)


@pytest.mark.conformance("Deployment deployment should support rollover")
def test_deployment_should_support_rollover() -> None:
    with Cluster() as cluster:
        cluster.client.create(deployment(minReadySeconds=30))
        cluster.wait_until(lambda: is_done(cluster))
        change_image(cluster, "web:2")
        cluster.advance(1)
        change_image(cluster, "web:3")  # before the one before it is through
        cluster.wait_until(lambda: is_done(cluster))
        assert {pod.spec.containers[0].image for pod in pods(cluster)} == {"web:3"}
        assert {number: one.spec.replicas for number, one in sets(cluster).items()} == {1: 0, 2: 0, 3: 3}


@pytest.mark.conformance("Deployment deployment should delete old replica sets")
def test_deployment_should_delete_old_replica_sets() -> None:
    with Cluster() as cluster:
        cluster.client.create(deployment(revisionHistoryLimit=1))
        cluster.wait_until(lambda: is_done(cluster))
        for number in (2, 3, 4):
            change_image(cluster, f"web:{number}")
            cluster.wait_until(lambda: is_done(cluster))
        cluster.wait_until(lambda: sorted(sets(cluster)) == [3, 4])


@pytest.mark.conformance("Deployment deployment should support proportional scaling")
def test_deployment_should_support_proportional_scaling() -> None:
    with Cluster() as cluster:
        rolling = api.RollingUpdateDeployment(maxSurge=3, maxUnavailable=2)
        strategy = api.DeploymentStrategy(type="RollingUpdate", rollingUpdate=rolling)
        cluster.client.create(deployment(10, strategy=strategy, minReadySeconds=10))
        cluster.wait_until(lambda: is_done(cluster, 10))
        broken = {"sampan.dev/simulate": '{"fail_start": "no such image"}'}
        patch = {"spec": {"template": {"metadata": {"annotations": broken}}}}
        cluster.client.patch(api.Deployment, "web", NAMESPACE, patch)
        cluster.advance(2)
        cluster.settle()
        assert {n: one.spec.replicas for n, one in sets(cluster).items()} == {1: 8, 2: 5}
        cluster.client.patch(api.Deployment, "web", NAMESPACE, {"spec": {"replicas": 30}})
        cluster.advance(2)
        cluster.settle()
        assert {n: one.spec.replicas for n, one in sets(cluster).items()} == {1: 20, 2: 13}


def test_a_deployment_is_rolled_back_by_its_old_template() -> None:
    with Cluster() as cluster:
        cluster.client.create(deployment())
        cluster.wait_until(lambda: is_done(cluster))
        change_image(cluster, "web:2")
        cluster.wait_until(lambda: is_done(cluster))
        change_image(cluster, "web:1")
        cluster.wait_until(lambda: is_done(cluster))
        assert {n: one.spec.replicas for n, one in sets(cluster).items()} == {2: 0, 3: 3}


@pytest.mark.conformance(
    "ReplicaSet should adopt matching pods on creation and release no longer matching pods"
)
@pytest.mark.conformance("ReplicationController should adopt matching pods on creation")
@pytest.mark.conformance("ReplicationController should release no longer matching pods")
@pytest.mark.parametrize("make", [replicaset, controller])
def test_should_adopt_matching_pods_on_creation_and_release_no_longer_matching_pods(make: Any) -> None:
    with Cluster() as cluster:
        cluster.client.create(free_pod("orphan"))
        owner = cluster.client.create(make(1))

        def adopted() -> bool:
            found = cluster.client.get(api.Pod, "orphan", NAMESPACE).metadata.ownerReferences
            return bool(found) and found[0].uid == owner.metadata.uid

        cluster.wait_until(adopted)
        assert len(pods(cluster)) == 1
        cluster.client.patch(api.Pod, "orphan", NAMESPACE, {"metadata": {"labels": {"app": "no-longer"}}})
        cluster.wait_until(lambda: not adopted())
        cluster.wait_until(lambda: len(pods(cluster)) == 2)  # the one that was let go, and its successor


@pytest.mark.conformance("ReplicaSet should list and delete a collection of ReplicaSets")
@pytest.mark.parametrize(
    ("make", "kind"),
    [(replicaset, api.ReplicaSet), (stateful, api.StatefulSet), (deployment, api.Deployment)],
)
def test_should_list_and_delete_a_collection(make: Any, kind: Any) -> None:
    with Cluster() as cluster:
        for name in ("a", "b", "c"):
            owner = make(1)
            owner.metadata.name, owner.metadata.labels = name, {"of": "many"}
            owner.spec.selector = api.LabelSelector(matchLabels={"app": name})
            owner.spec.template.metadata.labels = {"app": name}
            cluster.client.create(owner)
        cluster.wait_until(lambda: len(pods(cluster)) == 3)
        listed = cluster.call(cluster.async_client.list(kind, NAMESPACE, labels="of=many"))
        assert len(listed.items) == 3
        cluster.call(cluster.async_client.delete_all(kind, NAMESPACE, labels="of=many"))
        cluster.wait_until(lambda: not cluster.client.list(kind, NAMESPACE))
        cluster.wait_until(lambda: not pods(cluster))


@pytest.mark.parametrize(
    ("make", "kind"),
    [(replicaset, api.ReplicaSet), (stateful, api.StatefulSet), (deployment, api.Deployment)],
)
def test_should_validate_status_endpoints(make: Any, kind: Any) -> None:
    with Cluster(controllers=False) as cluster:
        cluster.client.create(make(1))
        condition = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from a test"}
        change = {"status": {"conditions": [condition]}, "spec": {"replicas": 9}}
        held = cluster.call(cluster.async_client.patch(kind, "web", NAMESPACE, change, subresource="status"))
        assert held.status.conditions[0].message == "Set from a test"
        assert held.spec.replicas == 1


def test_stateful_set_should_recreate_evicted_pods() -> None:
    with Cluster() as cluster:
        cluster.client.create(stateful(1))
        cluster.wait_until(lambda: [pod.status.phase for pod in pods(cluster)] == ["Running"])
        first = pods(cluster)[0].metadata.uid
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/web-0/eviction"
        body = b'{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"web-0"}}'
        assert cluster.call(cluster.async_client.transport.request("POST", path, None, body)).status == 201
        cluster.wait_until(
            lambda: (
                [(p.metadata.name, p.status.phase) for p in pods(cluster)] == [("web-0", "Running")]
                and pods(cluster)[0].metadata.uid != first
            )
        )


@pytest.mark.conformance("StatefulSet Basic StatefulSet functionality Should recreate evicted statefulset")
def test_stateful_set_should_recreate_a_pod_that_its_node_refuses() -> None:
    with Cluster() as cluster:
        port = [api.ContainerPort(containerPort=80, hostPort=21017)]
        first = free_pod("first")
        first.metadata.labels = {}
        first.spec.nodeName = "node-1"
        first.spec.containers[0].ports = port
        cluster.client.create(first)
        cluster.wait_until(lambda: cluster.client.get(api.Pod, "first", NAMESPACE).status.phase == "Running")
        owner = stateful(1)
        owner.spec.template.spec.nodeName = "node-1"
        owner.spec.template.spec.containers[0].ports = port
        cluster.client.create(owner)
        seen: set[str | None] = set()

        def recreated() -> bool:
            seen.update(p.metadata.uid for p in pods(cluster) if p.metadata.name == "web-0")
            return len(seen) > 1

        cluster.wait_until(recreated)
        cluster.client.delete(api.Pod, "first", NAMESPACE, grace_s=0)
        cluster.wait_until(
            lambda: [(p.metadata.name, p.status.phase) for p in pods(cluster)] == [("web-0", "Running")]
        )
        reasons = {event.reason for event in cluster.client.list(api.Event, NAMESPACE)}
        assert "RecreatingFailedPod" in reasons
