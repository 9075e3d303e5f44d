from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import (
    CONFIG_MAPS,
    DEPLOYMENTS,
    PODS,
    SERVICES,
    Api,
    config_map,
    deployment,
    pod,
    served,
)

QUOTAS = "/api/v1/namespaces/default/resourcequotas"


async def _quota(api: Api, name: str = "quota", **spec: Any) -> None:
    await api.account()
    (await api.post(QUOTAS, {"metadata": {"name": name}, "spec": spec})).ok(201)


async def _used(api: Api, name: str = "quota") -> dict[str, str]:
    used: dict[str, str] = (await api.get(f"{QUOTAS}/{name}")).ok()["status"].get("used", {})
    return used


def _pod(name: str, cpu: str = "1", memory: str = "1Gi", **spec: Any) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": memory}
    resources = {"requests": amounts, "limits": amounts}
    return pod(name, containers=[{"name": "main", "image": "busybox", "resources": resources}], **spec)


@pytest.mark.conformance("ResourceQuota should create a ResourceQuota and capture the life of a pod.")
@served
async def test_a_pods_life_is_counted(api: Api) -> None:
    await _quota(api, hard={"pods": "2", "requests.cpu": "2", "limits.memory": "3Gi", "count/pods": "5"})
    (await api.post(PODS, _pod("a", node="n"))).ok(201)
    whole = {"pods": "1", "requests.cpu": "1", "limits.memory": "1Gi", "count/pods": "1"}
    assert await _used(api) == whole
    message = (await api.post(PODS, _pod("b", cpu="1500m"))).refused(403, "Forbidden")
    assert message == (
        'pods "b" is forbidden: exceeded quota: quota, requested: requests.cpu=1500m, used: requests.cpu=1, '
        "limited: requests.cpu=2"
    )
    assert await _used(api) == whole
    # One that has ended gives back all but its place in the store.
    (await api.patch(f"{PODS}/a/status", {"status": {"phase": "Succeeded"}})).ok()
    assert await _used(api) == {"pods": "0", "requests.cpu": "0", "limits.memory": "0", "count/pods": "1"}
    (await api.delete(f"{PODS}/a", gracePeriodSeconds="0")).ok()
    assert (await _used(api))["count/pods"] == "0"


@served
async def test_a_pod_says_what_it_wants_of_what_is_counted(api: Api) -> None:
    await _quota(api, hard={"requests.cpu": "2", "limits.memory": "1Gi"})
    message = (await api.post(PODS, pod())).refused(403, "Forbidden")
    assert message == (
        'pods "web" is forbidden: failed quota: quota: must specify limits.memory for: main; '
        "requests.cpu for: main"
    )


@pytest.mark.conformance("ResourceQuota should create a ResourceQuota and capture the life of a configMap.")
@pytest.mark.conformance(
    "ResourceQuota should create a ResourceQuota and capture the life of a replication controller."
)
@pytest.mark.conformance("ResourceQuota should create a ResourceQuota and capture the life of a secret.")
@pytest.mark.conformance("ResourceQuota should create a ResourceQuota and capture the life of a service.")
@pytest.mark.parametrize(
    ("path", "body", "names"),
    [
        (CONFIG_MAPS, config_map("a"), ("configmaps", "count/configmaps")),
        ("/api/v1/namespaces/default/secrets", {"metadata": {"name": "a"}}, ("secrets",)),
        (DEPLOYMENTS, deployment("a"), ("count/deployments.apps",)),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            {
                "metadata": {"name": "a"},
                "spec": {"selector": {"a": "b"}, "template": {"metadata": {"labels": {"a": "b"}},
                         "spec": pod()["spec"]}},
            },
            ("replicationcontrollers",),
        ),
        (
            SERVICES,
            {"metadata": {"name": "a"}, "spec": {"ports": [{"port": 80}], "type": "LoadBalancer"}},
            ("services.loadbalancers", "services.nodeports"),
        ),
        (
            "/api/v1/namespaces/default/persistentvolumeclaims",
            {
                "metadata": {"name": "a"},
                "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
                         "resources": {"requests": {"storage": "1"}}},
            },
            ("persistentvolumeclaims", "requests.storage",
             "gold.storageclass.storage.k8s.io/requests.storage",
             "gold.storageclass.storage.k8s.io/persistentvolumeclaims"),
        ),
    ],
)  # fmt: skip
@served
async def test_objects_are_counted_and_given_back(
    api: Api, path: str, body: Any, names: tuple[str, ...]
) -> None:
    await _quota(api, hard=dict.fromkeys(names, "1"))
    (await api.post(path, body)).ok(201)
    assert await _used(api) == dict.fromkeys(names, "1")
    second = {**body, "metadata": {**body["metadata"], "name": "b"}}
    assert "exceeded quota: quota" in (await api.post(path, second)).refused(403, "Forbidden")
    assert (await api.post(path, second, dryRun="All")).code == 403
    # What protects claims is taken off by a controller, which does not run here.
    (await api.patch(f"{path}/a", {"metadata": {"finalizers": None}})).ok()
    (await api.delete(f"{path}/a", propagationPolicy="Background")).ok()
    assert await _used(api) == dict.fromkeys(names, "0")


@pytest.mark.conformance("ResourceQuota should verify ResourceQuota with best effort scope.")
@pytest.mark.conformance("ResourceQuota should verify ResourceQuota with terminating scopes.")
@pytest.mark.parametrize(
    ("spec", "inside", "outside"),
    [
        ({"scopes": ["BestEffort"]}, pod("in"), _pod("out")),
        ({"scopes": ["NotBestEffort"]}, _pod("in"), pod("out")),
        ({"scopes": ["Terminating"]}, _pod("in", activeDeadlineSeconds=60), _pod("out")),
        ({"scopes": ["NotTerminating"]}, _pod("in"), _pod("out", activeDeadlineSeconds=60)),
        (
            {
                "scopeSelector": {
                    "matchExpressions": [
                        {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
                    ]
                }
            },
            _pod("in", priorityClassName="system-node-critical"),
            _pod("out"),
        ),
    ],
)
@served
async def test_scopes_choose_pods(api: Api, spec: Any, inside: Any, outside: Any) -> None:
    await _quota(api, hard={"pods": "1"}, **spec)
    (await api.post(PODS, outside)).ok(201)
    assert await _used(api) == {}
    (await api.post(PODS, inside)).ok(201)
    assert await _used(api) == {"pods": "1"}
    second = {**inside, "metadata": {"name": "more"}}
    (await api.post(PODS, second)).refused(403, "Forbidden")


@served
async def test_what_was_there_before_the_quota_counts(api: Api) -> None:
    await api.account()
    for name in ("a", "b"):
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    await _quota(api, hard={"configmaps": "3"})
    (await api.post(CONFIG_MAPS, config_map("c"))).ok(201)
    assert await _used(api) == {"configmaps": "3"}
    (await api.post(CONFIG_MAPS, config_map("d"))).refused(403, "Forbidden")


@served
async def test_of_many_who_come_at_once_as_many_get_in_as_there_is_room(api: Api) -> None:
    await _quota(api, hard={"configmaps": "7", "count/configmaps": "9"})
    await _quota(api, "second", hard={"configmaps": "8"})
    answers = await asyncio.gather(*(api.post(CONFIG_MAPS, config_map(f"c{n}")) for n in range(40)))
    assert sorted(answer.code for answer in answers) == [201] * 7 + [403] * 33
    assert await _used(api) == {"configmaps": "7", "count/configmaps": "7"}
    assert await _used(api, "second") == {"configmaps": "7"}
    mixed = [api.delete(f"{CONFIG_MAPS}/{name}") for name in (await api.get(CONFIG_MAPS)).names]
    mixed += [api.post(CONFIG_MAPS, config_map(f"d{n}")) for n in range(20)]
    await asyncio.gather(*mixed)
    left = len((await api.get(CONFIG_MAPS)).names)
    assert left <= 7
    assert (await _used(api))["configmaps"] == str(left)


@served
async def test_growing_claims_and_services_are_charged_for_the_difference(api: Api) -> None:
    await _quota(api, hard={"services.nodeports": "2", "services": "9"})
    service = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "a", "port": 80}]}}
    (await api.post(SERVICES, service)).ok(201)
    # The API's own Service, kubernetes, counts too.
    assert await _used(api) == {"services.nodeports": "0", "services": "2"}
    (await api.patch(f"{SERVICES}/a", {"spec": {"type": "NodePort"}})).ok()
    assert await _used(api) == {"services.nodeports": "1", "services": "2"}
    ports = [{"name": name, "port": 80 + n} for n, name in enumerate("abc")]
    (await api.patch(f"{SERVICES}/a", {"spec": {"ports": ports}})).refused(403, "Forbidden")
    (await api.patch(f"{SERVICES}/a", {"spec": {"type": "ClusterIP"}})).ok()
    assert await _used(api) == {"services.nodeports": "0", "services": "2"}


@served
async def test_devices_are_counted_by_their_class(api: Api) -> None:
    devices = "gpu.deviceclass.resource.k8s.io/devices"
    implicit = "requests.deviceclass.resource.kubernetes.io/gpu"
    await _quota(api, hard={devices: "40", implicit: "2", "count/resourceclaims.resource.k8s.io": "9"})
    claims = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"

    def claim(name: str, *requests: dict[str, Any]) -> dict[str, Any]:
        named = [{"name": f"r{number}", **each} for number, each in enumerate(requests)]
        return {"metadata": {"name": name}, "spec": {"devices": {"requests": named}}}

    two = {"deviceClassName": "gpu", "count": 2}
    three = {"deviceClassName": "gpu", "count": 3}
    other = {"deviceClassName": "nic", "count": 7}
    # Of alternatives the most of each class; of all that match, what a claim can hold.
    alternatives = [{"name": "a", **two}, {"name": "b", **three}, {"name": "c", **other}]
    (await api.post(claims, claim("some", {"exactly": two}, {"firstAvailable": alternatives}))).ok(201)
    assert (await _used(api))[devices] == "5"
    every = {"deviceClassName": "gpu", "allocationMode": "All"}
    (await api.post(claims, claim("every", {"exactly": every}))).ok(201)
    assert (await _used(api))[devices] == "37"
    refused = (await api.post(claims, claim("more", {"exactly": two}, {"exactly": two}))).refused(
        403, "Forbidden"
    )
    assert refused == (
        'resourceclaims.resource.k8s.io "more" is forbidden: exceeded quota: quota, requested: '
        f"{devices}=4, used: {devices}=37, limited: {devices}=40"
    )
    resources = {"limits": {"deviceclass.resource.kubernetes.io/gpu": "2"}}
    asking = pod("asks", containers=[{"name": "main", "image": "busybox", "resources": resources}])
    (await api.post(PODS, asking)).ok(201)
    assert (await _used(api))[implicit] == "2"
    (await api.delete(f"{claims}/every")).ok()
    assert (await _used(api))[devices] == "5"


@served
async def test_claims_count_for_every_attributes_class_that_they_are_between(api: Api) -> None:
    for name in ("gold", "silver"):
        chosen = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": [name]}
        scopes = {"matchExpressions": [chosen]}
        await _quota(api, name, hard={"persistentvolumeclaims": "1"}, scopeSelector=scopes)

    async def used() -> tuple[str | None, str | None]:
        gold, silver = await _used(api, "gold"), await _used(api, "silver")
        return gold.get("persistentvolumeclaims"), silver.get("persistentvolumeclaims")

    claims = "/api/v1/namespaces/default/persistentvolumeclaims"
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeAttributesClassName": "gold",
        "volumeName": "v",
    }
    (await api.post(claims, {"metadata": {"name": "mine"}, "spec": spec})).ok(201)
    status = {"status": {"phase": "Bound", "currentVolumeAttributesClassName": "gold"}}
    (await api.patch(f"{claims}/mine/status", status)).ok()
    assert (await used())[0] == "1"
    (await api.patch(f"{claims}/mine", {"spec": {"volumeAttributesClassName": "silver"}})).ok()
    assert await used() == ("1", "1")
    status = {"status": {"currentVolumeAttributesClassName": "silver"}}
    (await api.patch(f"{claims}/mine/status", status)).ok()
    assert await used() == ("0", "1")
