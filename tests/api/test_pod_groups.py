"""PodGroups over the API: there only where a runtime-config asks for them."""

from __future__ import annotations

import pytest

from sampan.client.errors import ApiError
from sampan.schema import api, codec
from sampan.testing.cluster import Cluster

V1BETA1 = "scheduling.k8s.io/v1beta1"


def bare(**options: object) -> Cluster:
    return Cluster(nodes=0, controllers=False, scheduler=False, **options)  # type: ignore[arg-type]


def group(name: str, **spec: object) -> api.PodGroupV1beta1:
    given = {"schedulingPolicy": {"gang": {"minCount": 2}}, **spec}
    meta = {"name": name, "namespace": "default"}
    return codec.from_builtins({"metadata": meta, "spec": given}, api.PodGroupV1beta1)


def test_a_group_is_made_read_and_told_of() -> None:
    with bare(runtime_config=[f"{V1BETA1}=true"]) as cluster:
        cluster.client.create(
            codec.from_builtins({"metadata": {"name": "high"}, "value": 1000}, api.PriorityClass)
        )
        made = cluster.client.create(group("g", priorityClassName="high"))
        assert (made.apiVersion, made.spec.priority) == (V1BETA1, 1000)
        assert (made.spec.preemptionPolicy, made.metadata.generation) == ("PreemptLowerPriority", 1)
        assert [g.metadata.name for g in cluster.client.list(api.PodGroupV1beta1)] == ["g"]
        assert cluster.client.get(api.APIService, "v1beta1.scheduling.k8s.io").spec.version == "v1beta1"
        with pytest.raises(ApiError, match="must not be provided in pod group spec"):
            cluster.client.create(group("h", priority=5))
        changed = cluster.client.patch(
            api.PodGroupV1beta1, "g", "default", {"spec": {"schedulingPolicy": {"gang": {"minCount": 3}}}}
        )
        assert changed.spec.schedulingPolicy.gang.minCount == 3


def test_composite_groups_come_in_by_no_door() -> None:
    with bare(runtime_config=[f"{V1BETA1}=true"]) as cluster:
        client = cluster.client
        client.create(group("g", parentCompositePodGroupName="above"))
        parent = {"spec": {"parentCompositePodGroupName": "above"}}
        assert (
            client.patch(api.PodGroupV1beta1, "g", "default", parent).spec.parentCompositePodGroupName is None
        )

        gang = {"gang": {"minCount": 2}}
        composite = [{"name": "c", "schedulingPolicy": gang}]
        spec = {
            "podGroupTemplates": [{"name": "t", "schedulingPolicy": gang}],
            "compositePodGroupTemplates": composite,
        }
        meta = {"name": "w", "namespace": "default"}
        workload = codec.from_builtins({"metadata": meta, "spec": spec}, api.WorkloadV1beta1)
        assert client.create(workload).spec.compositePodGroupTemplates == []
        change = {"spec": {"compositePodGroupTemplates": composite}}
        changed = client.patch(api.WorkloadV1beta1, "w", "default", change)
        assert changed.spec.compositePodGroupTemplates == []


def test_no_group_is_served_where_nobody_asked_for_them() -> None:
    with bare() as cluster, pytest.raises(ApiError) as refused:
        cluster.client.create(group("g"))
    assert refused.value.code == 404
