"""Sentences of sig-api-machinery's conformance tests that need controllers: garbage, namespaces, quotas."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.machinery.quantity import Quantity
from sampan.schema import api, codec
from sampan.testing import Cluster

LABELS = {"app": "web"}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=1) as made:
        yield made


@pytest.fixture
def space(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own."""
    name = request.node.name.replace("_", "-").removeprefix("test-")[:60]
    cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name=name)))
    cluster.wait_until(lambda: _names(cluster, api.ServiceAccount, name) == ["default"])
    return name


def _names(cluster: Cluster, kind: type[Any], namespace: str) -> list[str]:
    return sorted(found.metadata.name for found in cluster.client.list(kind, namespace))


def _template() -> api.PodTemplateSpec:
    spec = api.PodSpec(containers=[api.Container(name="c", image="web:1")])
    return api.PodTemplateSpec(metadata=api.ObjectMeta(labels=LABELS), spec=spec)


def _controller(cluster: Cluster, namespace: str, name: str = "rc", replicas: int = 2) -> Any:
    spec = api.ReplicationControllerSpec(replicas=replicas, selector=LABELS, template=_template())
    made = api.ReplicationController(metadata=api.ObjectMeta(name=name, namespace=namespace), spec=spec)
    held = cluster.client.create(made)
    cluster.wait_until(lambda: len(cluster.client.list(api.Pod, namespace)) == replicas)
    return held


def _deployment(cluster: Cluster, namespace: str) -> Any:
    spec = api.DeploymentSpec(
        replicas=2, selector=api.LabelSelector(matchLabels=LABELS), template=_template()
    )
    held = cluster.client.create(
        api.Deployment(metadata=api.ObjectMeta(name="web", namespace=namespace), spec=spec)
    )
    cluster.wait_until(lambda: len(cluster.client.list(api.ReplicaSet, namespace)) == 1)
    return held


def _pod(name: str, namespace: str, **metadata: Any) -> api.Pod:
    meta = api.ObjectMeta(name=name, namespace=namespace, **metadata)
    return api.Pod(metadata=meta, spec=_template().spec)


def _owner(held: Any, *, block: bool = True) -> api.OwnerReference:
    meta = held.metadata
    return api.OwnerReference(
        apiVersion=held.apiVersion, kind=held.kind, name=meta.name, uid=meta.uid, blockOwnerDeletion=block
    )


# -- garbage ---------------------------------------------------------------------------------------------


@pytest.mark.conformance("Garbage collector should delete pods created by rc when not orphaning")
def test_pods_go_with_their_rc(cluster: Cluster, space: str) -> None:
    _controller(cluster, space)
    cluster.client.delete(api.ReplicationController, "rc", space, propagation="Background")
    cluster.wait_until(lambda: _names(cluster, api.Pod, space) == [])


@pytest.mark.conformance("Garbage collector should orphan pods created by rc if delete options say so")
def test_pods_outlive_their_rc(cluster: Cluster, space: str) -> None:
    _controller(cluster, space)
    pods = _names(cluster, api.Pod, space)
    cluster.client.delete(api.ReplicationController, "rc", space, propagation="Orphan")
    cluster.wait_until(lambda: _names(cluster, api.ReplicationController, space) == [])
    cluster.advance(30)
    assert _names(cluster, api.Pod, space) == pods
    assert all(not pod.metadata.ownerReferences for pod in cluster.client.list(api.Pod, space))


@pytest.mark.conformance(
    "Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so"
)
def test_an_rc_waits_for_its_pods(cluster: Cluster, space: str) -> None:
    _controller(cluster, space)
    held = cluster.client.list(api.Pod, space)[0]
    patch = {"metadata": {"finalizers": ["example.com/hold"]}}
    cluster.client.patch(api.Pod, held.metadata.name, space, patch)
    cluster.client.delete(api.ReplicationController, "rc", space, propagation="Foreground")
    cluster.wait_until(lambda: _names(cluster, api.Pod, space) == [held.metadata.name])
    waits = cluster.client.get(api.ReplicationController, "rc", space)
    assert waits.metadata.deletionTimestamp is not None
    assert waits.metadata.finalizers == ["foregroundDeletion"]
    cluster.client.patch(api.Pod, held.metadata.name, space, {"metadata": {"finalizers": None}})
    cluster.wait_until(lambda: _names(cluster, api.ReplicationController, space) == [])


@pytest.mark.conformance("Garbage collector should delete RS created by deployment when not orphaning")
def test_replica_sets_go_with_their_deployment(cluster: Cluster, space: str) -> None:
    _deployment(cluster, space)
    cluster.client.delete(api.Deployment, "web", space, propagation="Background")
    cluster.wait_until(lambda: _names(cluster, api.ReplicaSet, space) == [])


@pytest.mark.conformance(
    "Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan"
)
def test_replica_sets_outlive_their_deployment(cluster: Cluster, space: str) -> None:
    _deployment(cluster, space)
    cluster.client.delete(api.Deployment, "web", space, propagation="Orphan")
    cluster.wait_until(lambda: _names(cluster, api.Deployment, space) == [])
    cluster.advance(30)
    (left,) = cluster.client.list(api.ReplicaSet, space)
    assert not left.metadata.ownerReferences


@pytest.mark.conformance(
    "Garbage collector should not delete dependents that have both valid owner and owner that's waiting for "
    "dependents to be deleted"
)
def test_dependents_of_another_owner_stay(cluster: Cluster, space: str) -> None:
    spec = api.ReplicationControllerSpec(replicas=0, selector={"app": "other"}, template=_template())
    spec.template.metadata.labels = {"app": "other"}
    stays = cluster.client.create(
        api.ReplicationController(metadata=api.ObjectMeta(name="stays", namespace=space), spec=spec)
    )
    _controller(cluster, space, "goes", 4)
    both, alone = [pod.metadata.name for pod in cluster.client.list(api.Pod, space)][:2]
    # A patch, since the scheduler and the node write the pod as well at this time.
    owners = [*cluster.client.get(api.Pod, both, space).metadata.ownerReferences, _owner(stays)]
    cluster.client.patch(api.Pod, both, space, {"metadata": {"ownerReferences": codec.to_builtins(owners)}})
    cluster.client.delete(api.ReplicationController, "goes", space, propagation="Foreground")
    cluster.wait_until(lambda: _names(cluster, api.ReplicationController, space) == ["stays"])
    assert alone not in _names(cluster, api.Pod, space)
    left = cluster.client.get(api.Pod, both, space)
    assert left.metadata.deletionTimestamp is None
    assert [owner.name for owner in left.metadata.ownerReferences] == ["stays"]


@pytest.mark.conformance("Garbage collector should not be blocked by dependency circle")
def test_a_circle_of_owners_goes(cluster: Cluster, space: str) -> None:
    one, two, three = (cluster.client.create(_pod(name, space)) for name in ("one", "two", "three"))
    for pod, owner in ((one, three), (two, one), (three, two)):
        reference = {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": owner.metadata.name,
            "uid": owner.metadata.uid,
            "controller": True,
            "blockOwnerDeletion": True,
        }
        patch = {"metadata": {"ownerReferences": [reference]}}
        cluster.client.patch(api.Pod, pod.metadata.name, space, patch)
    cluster.client.delete(api.Pod, "one", space, propagation="Foreground")
    cluster.wait_until(lambda: _names(cluster, api.Pod, space) == [])


# -- namespaces ------------------------------------------------------------------------------------------


@pytest.mark.conformance(
    "Namespaces should ensure that all pods are removed when a namespace is deleted",
    "Namespaces should ensure that all services are removed when a namespace is deleted",
)
def test_pods_and_services_go_with_their_namespace(cluster: Cluster, space: str) -> None:
    cluster.client.create(_pod("web", space))
    spec = api.ServiceSpec(selector=LABELS, ports=[api.ServicePort(port=80)])
    service = api.Service(metadata=api.ObjectMeta(name="web", namespace=space), spec=spec)
    address = cluster.client.create(service).spec.clusterIP
    _running(cluster, "web", space)
    cluster.client.delete(api.Namespace, space)
    cluster.wait_until(lambda: space not in _names(cluster, api.Namespace, ""))
    # Of that name again, it is empty, and the address is free.
    cluster.client.create(api.Namespace(metadata=api.ObjectMeta(name=space)))
    assert _names(cluster, api.Pod, space) == _names(cluster, api.Service, space) == []
    service.spec.clusterIP = address
    cluster.client.create(service)


def _running(cluster: Cluster, name: str, namespace: str) -> None:
    cluster.wait_until(lambda: cluster.client.get(api.Pod, name, namespace).status.phase == "Running")


@pytest.mark.conformance("OrderedNamespaceDeletion namespace deletion should delete pod first")
def test_pods_go_before_the_rest_of_their_namespace(cluster: Cluster, space: str) -> None:
    cluster.client.create(_pod("web", space, finalizers=["example.com/hold"]))
    cluster.client.create(api.ConfigMap(metadata=api.ObjectMeta(name="needed", namespace=space)))
    _running(cluster, "web", space)
    cluster.client.delete(api.Namespace, space)
    cluster.wait_until(
        lambda: cluster.client.get(api.Pod, "web", space).metadata.deletionTimestamp is not None
    )
    cluster.advance(60)
    assert "needed" in _names(cluster, api.ConfigMap, space)
    conditions = {c.type: c for c in cluster.client.get(api.Namespace, space).status.conditions}
    assert conditions["NamespaceContentRemaining"].status == "True"
    cluster.client.patch(api.Pod, "web", space, {"metadata": {"finalizers": None}})
    cluster.wait_until(lambda: space not in _names(cluster, api.Namespace, ""))


# -- quotas ----------------------------------------------------------------------------------------------


@pytest.mark.conformance("ResourceQuota should be able to update and delete ResourceQuota.")
def test_a_quota_that_is_changed_is_counted_anew(cluster: Cluster, space: str) -> None:
    spec = api.ResourceQuotaSpec(hard={"cpu": Quantity("1"), "memory": Quantity("500Mi")})
    made = cluster.client.create(
        api.ResourceQuota(metadata=api.ObjectMeta(name="q", namespace=space), spec=spec)
    )
    cluster.wait_until(lambda: cluster.client.get(api.ResourceQuota, "q", space).status.hard == spec.hard)
    made = cluster.client.get(api.ResourceQuota, "q", space)
    made.spec.hard = {"cpu": Quantity("2"), "memory": Quantity("1Gi")}
    cluster.client.update(made)
    cluster.wait_until(
        lambda: cluster.client.get(api.ResourceQuota, "q", space).status.hard == made.spec.hard
    )
    cluster.client.delete(api.ResourceQuota, "q", space)
    assert _names(cluster, api.ResourceQuota, space) == []
