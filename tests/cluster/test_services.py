"""Services in a whole cluster: addresses, ranges, balancers, and what is mended when somebody breaks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api
from sampan.testing import Cluster


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Cluster(nodes=1) as running:
        yield running


def service(name: str, **spec: Any) -> api.Service:
    ports = [api.ServicePort(port=80, protocol="TCP")]
    return api.Service(
        metadata=api.ObjectMeta(name=name, namespace="default"), spec=api.ServiceSpec(ports=ports, **spec)
    )


def get(cluster: Cluster, name: str) -> Any:
    return cluster.client.get(api.Service, name, "default")


def exists(cluster: Cluster, kind: Any, name: str, namespace: str = "") -> bool:
    try:
        cluster.client.get(kind, name, namespace)
    except ApiError as error:
        assert error.code == 404
        return False
    return True


def reasons(cluster: Cluster) -> set[str | None]:
    return {event.reason for event in cluster.client.list(api.Event, "default")}


def test_a_balancer_has_the_nodes_address_and_is_cleaned_up(cluster: Cluster) -> None:
    cluster.client.create(service("web", type="LoadBalancer"))
    cluster.wait_until(lambda: bool(get(cluster, "web").status.loadBalancer.ingress))
    (node,) = cluster.client.list(api.Node)
    address = next(a.address for a in node.status.addresses if a.type == "InternalIP")
    (ingress,) = get(cluster, "web").status.loadBalancer.ingress
    assert (ingress.ip, ingress.ipMode) == (address, "VIP")
    cluster.wait_until(lambda: "EnsuredLoadBalancer" in reasons(cluster))
    cluster.client.create(service("late", type="LoadBalancer"))
    cluster.wait_until(lambda: "SyncLoadBalancerFailed" in reasons(cluster))
    assert get(cluster, "late").status.loadBalancer.ingress == []
    cluster.client.patch(api.Service, "web", "default", {"spec": {"type": "ClusterIP"}})
    cluster.wait_until(lambda: get(cluster, "web").status.loadBalancer.ingress == [])
    cluster.wait_until(lambda: get(cluster, "web").metadata.finalizers == [])
    cluster.wait_until(lambda: bool(get(cluster, "late").status.loadBalancer.ingress))
    cluster.client.delete(api.Service, "late", "default")
    cluster.wait_until(lambda: not exists(cluster, api.Service, "late", "default"))


def test_an_address_that_somebody_deletes_is_taken_again_and_one_that_leaked_goes(cluster: Cluster) -> None:
    cluster.client.create(service("web"))
    address = get(cluster, "web").spec.clusterIP
    cluster.settle()
    cluster.client.delete(api.IPAddress, address)
    cluster.wait_until(lambda: exists(cluster, api.IPAddress, address))
    cluster.wait_until(lambda: "ClusterIPNotAllocated" in reasons(cluster))
    labels = {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io"}
    leaked = api.IPAddress(
        metadata=api.ObjectMeta(name="10.96.77.77", labels=labels),
        spec=api.IPAddressSpec(
            parentRef=api.ParentReference(resource="services", namespace="default", name="gone")
        ),
    )
    cluster.client.create(leaked)
    cluster.settle()
    assert exists(cluster, api.IPAddress, "10.96.77.77")  # its Service might just not be seen yet
    cluster.advance(61)
    cluster.wait_until(lambda: not exists(cluster, api.IPAddress, "10.96.77.77"))
    assert exists(cluster, api.IPAddress, address)


def test_a_further_range_can_be_used_and_stays_as_long_as_it_is(cluster: Cluster) -> None:
    first = cluster.client.get(api.ServiceCIDR, "kubernetes")
    assert first.spec.cidrs == ["10.96.0.0/16"]
    wanted = service("web", clusterIP="10.200.0.5")
    with pytest.raises(ApiError, match=r"The range of valid IPs is 10\.96\.0\.0/16"):
        cluster.client.create(wanted)
    cluster.client.create(
        api.ServiceCIDR(
            metadata=api.ObjectMeta(name="more"), spec=api.ServiceCIDRSpec(cidrs=["10.200.0.0/24"])
        )
    )

    def more() -> Any:
        return cluster.client.get(api.ServiceCIDR, "more")

    cluster.wait_until(lambda: [c.status for c in more().status.conditions] == ["True"])
    assert more().metadata.finalizers == ["networking.k8s.io/service-cidr-finalizer"]
    cluster.client.create(wanted)
    cluster.client.delete(api.ServiceCIDR, "more")
    cluster.wait_until(lambda: [c.status for c in more().status.conditions] == ["False"])
    cluster.advance(60)
    assert "There are still IPAddresses" in more().status.conditions[0].message
    cluster.client.delete(api.Service, "web", "default")
    cluster.wait_until(lambda: not exists(cluster, api.ServiceCIDR, "more"))


@pytest.mark.conformance("Services should be able to change the type from ExternalName to NodePort")
@pytest.mark.conformance("Services should be able to change the type from NodePort to ExternalName")
def test_a_service_changes_its_type_and_gives_back_what_it_no_longer_needs(cluster: Cluster) -> None:
    cluster.client.create(service("web", type="NodePort"))
    before = get(cluster, "web").spec
    name = {"spec": {"type": "ExternalName", "externalName": "example.com"}}
    cluster.client.patch(api.Service, "web", "default", {"spec": {**name["spec"], "ports": None}})
    assert get(cluster, "web").spec.clusterIP in (None, "")
    assert not exists(cluster, api.IPAddress, before.clusterIP)
    taken = service("other", type="NodePort")
    taken.spec.clusterIP = before.clusterIP
    taken.spec.ports[0].nodePort = before.ports[0].nodePort
    cluster.client.create(taken)
    back = {"spec": {"type": "NodePort", "externalName": None, "ports": [{"port": 80, "protocol": "TCP"}]}}
    cluster.client.patch(api.Service, "web", "default", back)
    after = get(cluster, "web").spec
    assert after.clusterIP not in (None, "", before.clusterIP)
    assert after.ports[0].nodePort not in (None, before.ports[0].nodePort)
