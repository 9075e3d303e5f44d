"""The lines of the conformance list about ResourceQuotas, with the controller at work."""

from __future__ import annotations

import pytest

from sampan.machinery.quantity import Quantity
from sampan.schema import api
from sampan.testing.cluster import Cluster


def _quota(cluster: Cluster, name: str = "quota") -> api.ResourceQuota:
    return cluster.client.get(api.ResourceQuota, name, "default")


def _amounts(amounts: object) -> dict[str, str]:
    assert isinstance(amounts, dict)
    return {name: str(amount) for name, amount in amounts.items()}


@pytest.mark.conformance(
    "ResourceQuota should create a ResourceQuota and ensure its status is promptly calculated."
)
def test_the_status_is_promptly_calculated_and_put_right() -> None:
    with Cluster(nodes=0) as cluster:
        client = cluster.client
        for name in ("a", "b"):
            client.create(api.ConfigMap(metadata=api.ObjectMeta(name=name, namespace="default")))
        spec = api.ResourceQuotaSpec(
            hard={"configmaps": Quantity("10"), "count/deployments.apps": Quantity("1")}
        )
        metadata = api.ObjectMeta(name="quota", namespace="default")
        client.create(api.ResourceQuota(metadata=metadata, spec=spec))
        # kube-root-ca.crt is the third.
        wanted = {"configmaps": "3", "count/deployments.apps": "0"}
        cluster.wait_until(lambda: _amounts(_quota(cluster).status.used) == wanted)
        assert _quota(cluster).status.hard == spec.hard
        # Another's count is put right.
        changed = _quota(cluster)
        changed.status.hard = {"configmaps": Quantity("1")}
        client.update_status(changed)
        cluster.wait_until(lambda: _quota(cluster).status.hard == spec.hard)
        # A changed quota is counted anew.
        changed = _quota(cluster)
        changed.spec.hard = {"configmaps": Quantity("4"), "count/serviceaccounts": Quantity("3")}
        client.update(changed)
        wanted = {"configmaps": "3", "count/serviceaccounts": "1"}
        cluster.wait_until(lambda: _amounts(_quota(cluster).status.used) == wanted)


def test_claims_are_counted_anew_when_a_class_begins_to_serve_a_resource() -> None:
    with Cluster(nodes=0) as cluster:
        client = cluster.client
        exactly = api.ExactDeviceRequest(deviceClassName="big", count=2)
        request = api.DeviceRequest(name="r", exactly=exactly)
        client.create(
            api.ResourceClaim(
                metadata=api.ObjectMeta(name="mine", namespace="default"),
                spec=api.ResourceClaimSpec(devices=api.DeviceClaim(requests=[request])),
            )
        )
        spec = api.ResourceQuotaSpec(hard={"requests.example.com/gpu": Quantity("4")})
        metadata = api.ObjectMeta(name="quota", namespace="default")
        client.create(api.ResourceQuota(metadata=metadata, spec=spec))
        cluster.wait_until(lambda: _amounts(_quota(cluster).status.used) == {"requests.example.com/gpu": "0"})
        serving = api.DeviceClassSpec(extendedResourceName="example.com/gpu")
        client.create(api.DeviceClass(metadata=api.ObjectMeta(name="big"), spec=serving))
        cluster.wait_until(
            lambda: _amounts(_quota(cluster).status.used) == {"requests.example.com/gpu": "2"}, advance=False
        )
