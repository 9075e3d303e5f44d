"""What sig-network's conformance tests say of Endpoints and EndpointSlices."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api, codec
from sampan.testing import Cluster

NAMESPACE = "default"
OF = "kubernetes.io/service-name"


def service(cluster: Cluster, selector: dict[str, str] | None = None) -> None:
    ports = [{"name": "web", "port": 80, "targetPort": 3000, "protocol": "TCP"}]
    body = {
        "metadata": {"name": "web", "namespace": NAMESPACE},
        "spec": {"ports": ports, "selector": selector or {}},
    }
    cluster.client.create(codec.from_builtins(body, api.Service))


def pod(cluster: Cluster, name: str, **labels: str) -> str:
    """The address of a new pod."""
    body = {
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {
            "containers": [{"name": "main", "image": "web:1", "ports": [{"containerPort": 3000}]}],
            "terminationGracePeriodSeconds": 0,
        },
    }
    cluster.client.create(codec.from_builtins(body, api.Pod))
    cluster.wait_until(lambda: bool(cluster.client.get(api.Pod, name, NAMESPACE).status.podIP))
    return cluster.client.get(api.Pod, name, NAMESPACE).status.podIP or ""


def slices(cluster: Cluster) -> list[api.EndpointSlice]:
    return cluster.client.list(api.EndpointSlice, NAMESPACE, labels=f"{OF}=web")


def ready(cluster: Cluster) -> set[str]:
    """What EndpointSlices say."""
    return {
        address
        for one in slices(cluster)
        for endpoint in one.endpoints
        if endpoint.conditions is not None and endpoint.conditions.ready
        for address in endpoint.addresses
    }


def classic(cluster: Cluster) -> set[str] | None:
    """What Endpoints say; None where there are none."""
    try:
        found = cluster.client.get(api.Endpoints, "web", NAMESPACE)
    except ApiError as error:
        assert error.code == 404
        return None
    return {a.ip or "" for subset in found.subsets for a in subset.addresses}


@pytest.mark.conformance(
    "EndpointSlice should create Endpoints and EndpointSlices for Pods matching a Service"
)
@pytest.mark.conformance("EndpointsController should create Endpoints for Pods matching a Service")
def test_pods_that_a_service_selects_are_its_endpoints() -> None:
    with Cluster() as cluster:
        service(cluster, {"app": "web"})
        first, second = (pod(cluster, name, app="web") for name in ("one", "two"))
        pod(cluster, "other", app="other")
        cluster.wait_until(lambda: ready(cluster) == classic(cluster) == {first, second})
        (one,) = slices(cluster)
        assert [(p.name, p.port, p.protocol) for p in one.ports] == [("web", 3000, "TCP")]
        assert {e.targetRef.name for e in one.endpoints if e.targetRef} == {"one", "two"}
        assert one.metadata.ownerReferences[0].kind == "Service"
        cluster.client.delete(api.Pod, "one", NAMESPACE, grace_s=0)
        cluster.wait_until(lambda: ready(cluster) == classic(cluster) == {second})


@pytest.mark.conformance(
    "EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods"
)
@pytest.mark.conformance(
    "EndpointsController should create and delete Endpoints for a Service with a selector that matches "
    "no pods"
)
def test_a_service_that_selects_nobody_has_empty_ones_that_go_with_it() -> None:
    with Cluster(nodes=0) as cluster:
        service(cluster, {"app": "nobody"})
        cluster.wait_until(lambda: classic(cluster) == set() and len(slices(cluster)) == 1)
        assert ready(cluster) == set()
        cluster.client.delete(api.Service, "web", NAMESPACE)
        cluster.wait_until(lambda: classic(cluster) is None and not slices(cluster))


@pytest.mark.conformance("Service endpoints latency should not be very high")
def test_endpoints_come_at_once() -> None:
    """However many Services come at once, no timer stands between one and its endpoints."""
    with Cluster() as cluster:
        ip = pod(cluster, "one", app="web")
        cluster.wait_until(lambda: cluster.client.get(api.Pod, "one", NAMESPACE).status.phase == "Running")
        begun = cluster.now()

        async def make() -> None:
            spec = api.ServiceSpec(selector={"app": "web"}, ports=[api.ServicePort(port=80)])
            for number in range(100):
                meta = api.ObjectMeta(name=f"s{number}", namespace=NAMESPACE)
                await cluster.async_client.create(api.Service(metadata=meta, spec=spec))

        cluster.call(make())

        def reached() -> set[str]:
            found = cluster.client.list(api.EndpointSlice, NAMESPACE)
            return {s.metadata.labels[OF] for s in found for e in s.endpoints if ip in e.addresses}

        cluster.wait_until(lambda: len(reached()) == 100, advance=False)
        assert cluster.now() == begun


@pytest.mark.conformance(
    "EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete"
)
def test_endpoints_that_somebody_writes_are_mirrored() -> None:
    def subsets(ip: str) -> list[dict[str, Any]]:
        return [{"addresses": [{"ip": ip}], "ports": [{"name": "web", "port": 80}]}]

    with Cluster(nodes=0) as cluster:
        service(cluster)
        meta = {"name": "web", "namespace": NAMESPACE}
        made = codec.from_builtins({"metadata": meta, "subsets": subsets("10.1.2.3")}, api.Endpoints)
        cluster.client.create(made)
        cluster.wait_until(lambda: ready(cluster) == {"10.1.2.3"})
        (one,) = slices(cluster)
        assert one.metadata.labels["endpointslice.kubernetes.io/managed-by"] == (
            "endpointslicemirroring-controller.k8s.io"
        )
        cluster.client.patch(api.Endpoints, "web", NAMESPACE, {"subsets": subsets("10.2.3.4")})
        cluster.wait_until(lambda: ready(cluster) == {"10.2.3.4"})
        cluster.client.delete(api.Endpoints, "web", NAMESPACE)
        cluster.wait_until(lambda: not slices(cluster))
