"""What sig-node's and sig-storage's conformance tests ask of the API server alone."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import JSON_PATCH, STRATEGIC, Api, served

NAMESPACE = "/api/v1/namespaces/default"
PODS = f"{NAMESPACE}/pods"


@pytest.mark.conformance("ConfigMap should fail to create ConfigMap with empty key")
@pytest.mark.conformance("Secrets should fail to create secret due to empty secret key")
@pytest.mark.parametrize("kind", ["configmaps", "secrets"])
@served
async def test_an_empty_key_is_refused(api: Api, kind: str) -> None:
    answer = await api.post(f"{NAMESPACE}/{kind}", {"metadata": {"name": "empty"}, "data": {"": "YQ=="}})
    message = answer.refused(422, "Invalid")
    assert "data[]: Invalid value" in message
    assert "a valid config key must consist of alphanumeric characters" in message
    (await api.get(f"{NAMESPACE}/{kind}/empty")).refused(404, "NotFound")


@pytest.mark.conformance("ConfigMap should update ConfigMap successfully")
@served
async def test_a_config_map_is_updated(api: Api) -> None:
    path = f"{NAMESPACE}/configmaps"
    made = (await api.post(path, {"metadata": {"name": "m"}, "data": {"a": "1"}})).ok(201)
    made["data"] = {"b": "2"}
    updated = (await api.put(f"{path}/m", made)).ok()
    assert updated["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]
    assert (await api.get(f"{path}/m")).ok()["data"] == {"b": "2"}


def sized(name: str, requests: dict[str, str], limits: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "image": "busybox", "resources": {"requests": requests, "limits": limits}}


BOTH = {"cpu": "100m", "memory": "100Mi"}


@pytest.mark.conformance(
    "Pods Extended Pods Set QOS Class should be set on Pods with matching resource requests and limits "
    "for memory and cpu"
)
@pytest.mark.parametrize(
    ("containers", "quality"),
    [
        ([sized("a", BOTH, BOTH)], "Guaranteed"),
        ([sized("a", {}, BOTH)], "Guaranteed"),
        ([sized("a", BOTH, BOTH), sized("b", BOTH, {})], "Burstable"),
        ([sized("a", {"cpu": "50m", "memory": "100Mi"}, BOTH)], "Burstable"),
        ([sized("a", {}, {"cpu": "100m"})], "Burstable"),
        ([sized("a", {}, {})], "BestEffort"),
    ],
)
@served
async def test_the_class_of_a_pod_follows_from_its_resources(
    api: Api, containers: list[Any], quality: str
) -> None:
    made = await api.pod(containers=containers)
    assert made["status"]["qosClass"] == quality


@pytest.mark.conformance(
    "Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update"
)
@pytest.mark.conformance(
    "Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete"
)
@served
async def test_the_generation_of_a_pod_counts_what_changes_its_spec(api: Api) -> None:
    await api.account()
    body = {
        "metadata": {"name": "web", "generation": 100},
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "image": "busybox"}]},
    }
    made = (await api.post(PODS, body)).ok(201)
    assert made["metadata"]["generation"] == 1
    more = [{"op": "add", "path": "/spec/tolerations/-", "value": {"key": "k", "operator": "Exists"}}]
    kept, other = [{"key": "k", "operator": "Exists"}], {"key": "other", "operator": "Exists"}
    changes: list[tuple[str, Any, int]] = [
        (f"{PODS}/web", {"metadata": {"annotations": {"a": "b"}, "labels": {"c": "d"}}}, 1),
        (f"{PODS}/web/status", {"status": {"message": "told"}}, 1),
        (f"{PODS}/web", {"spec": {"activeDeadlineSeconds": 100}}, 2),
        (f"{PODS}/web", {"spec": {"containers": [{"name": "main", "image": "other"}]}}, 3),
        (f"{PODS}/web", more, 4),
        (f"{PODS}/web", {"metadata": {"generation": 50}}, 4),
        # Who replaces them all need not repeat those that every pod is given.
        (f"{PODS}/web", [{**more[0], "path": "/spec/tolerations", "value": [*kept, other]}], 5),
    ]
    for path, patch, generation in changes:
        media = JSON_PATCH if isinstance(patch, list) else STRATEGIC
        changed = (await api.patch(path, patch, media)).ok()
        assert changed["metadata"]["generation"] == generation, patch
    going = (await api.delete(f"{PODS}/web")).ok()
    assert going["metadata"]["deletionTimestamp"]
    assert going["metadata"]["generation"] == 6
    assert len(going["spec"]["tolerations"]) == 4


@pytest.mark.conformance("Sysctls should reject invalid sysctls")
@served
async def test_sysctls_that_are_no_names(api: Api) -> None:
    await api.account()
    names = ["foo-", "kernel.shmmax", "safe-and-unsafe", "bar..", "kernel/shmmax"]
    sysctls = [{"name": name, "value": "1"} for name in names]
    pod = {
        "metadata": {"name": "web"},
        "spec": {
            "securityContext": {"sysctls": sysctls},
            "containers": [{"name": "main", "image": "busybox"}],
        },
    }
    message = (await api.post(PODS, pod)).refused(422, "Invalid")
    for number, name in enumerate(names):
        said = f'spec.securityContext.sysctls[{number}].name: Invalid value: "{name}"'
        assert (said in message) is (name in ("foo-", "bar..")), message


@pytest.mark.conformance("CSIInlineVolumes should support CSIVolumeSource in Pod API")
@served
async def test_a_csi_volume_in_a_pod(api: Api) -> None:
    csi = {"driver": "inline.example.com", "readOnly": True, "volumeAttributes": {"a": "b"}}
    made = await api.pod("inline", volumes=[{"name": "v", "csi": csi}])
    assert next(v for v in made["spec"]["volumes"] if v["name"] == "v")["csi"] == csi
    assert (await api.get(PODS)).names == ["inline"]
    patched = (await api.patch(f"{PODS}/inline", {"metadata": {"labels": {"of": "inline"}}})).ok()
    assert patched["metadata"]["labels"] == {"of": "inline"}
    (await api.delete(PODS, labelSelector="of=inline")).ok()
    (await api.get(f"{PODS}/inline")).refused(404, "NotFound")


@pytest.mark.conformance("RuntimeClass should reject a Pod requesting a non-existent RuntimeClass")
@pytest.mark.conformance("RuntimeClass should reject a Pod requesting a deleted RuntimeClass")
@served
async def test_a_pod_needs_the_runtime_class_that_it_names(api: Api) -> None:
    await api.account()
    classes = "/apis/node.k8s.io/v1/runtimeclasses"

    def pod(name: str) -> dict[str, Any]:
        container = {"name": "main", "image": "busybox"}
        return {"metadata": {"name": name}, "spec": {"runtimeClassName": "own", "containers": [container]}}

    (await api.post(PODS, pod("never"))).refused(403, "Forbidden")
    (await api.post(classes, {"metadata": {"name": "own"}, "handler": "runc"})).ok(201)
    made = (await api.post(PODS, pod("now"))).ok(201)
    assert "overhead" not in made["spec"]
    (await api.delete(f"{classes}/own")).ok()
    message = (await api.post(PODS, pod("late"))).refused(403, "Forbidden")
    assert 'RuntimeClass "own" not found' in message
