"""Fields that Kubernetes 1.37 has behind feature gates that are off: they are dropped without a word."""

from __future__ import annotations

from typing import Any

from tests.api.server import DEPLOYMENTS, Api, deployment, served

PODS = "/api/v1/namespaces/default/pods"


def pod() -> dict[str, Any]:
    probe = {"httpGet": {"port": 80, "protocol": "HTTP1"}}
    mount = {"name": "e", "mountPath": "/e", "bindMountOptions": ["nodev"]}
    key = {"key": "k", "path": "k", "user": 1}
    file = {"path": "f", "fieldRef": {"fieldPath": "metadata.name"}, "user": 1}
    return {
        "metadata": {"name": "p"},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "image": "i",
                    "volumeMounts": [mount],
                    "livenessProbe": probe,
                    "readinessProbe": {"grpc": {"port": 1, "mode": "TLS"}},
                    "lifecycle": {"preStop": probe},
                }
            ],
            "volumes": [
                {"name": "e", "emptyDir": {"mode": 0o700}},
                {"name": "m", "configMap": {"name": "m", "defaultUser": 1, "items": [key]}},
                {"name": "s", "secret": {"secretName": "s", "defaultUser": 1, "items": [key]}},
                {"name": "d", "downwardAPI": {"defaultUser": 1, "items": [file]}},
                {
                    "name": "t",
                    "projected": {
                        "defaultUser": 1,
                        "sources": [
                            {"configMap": {"name": "m", "items": [key]}},
                            {"serviceAccountToken": {"path": "t", "user": 1}},
                        ],
                    },
                },
            ],
            "schedulingGroup": {"podGroupName": "g"},
        },
    }


def names_in(value: Any) -> set[str]:
    """Every name of a field anywhere in a document."""
    if isinstance(value, dict):
        return set(value).union(*map(names_in, value.values()))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


@served
async def test_gated_fields_of_pods_are_dropped(api: Api) -> None:
    await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    made = (await api.post(PODS, pod())).ok(201)
    gated = {"bindMountOptions", "protocol", "defaultUser", "user", "schedulingGroup"}
    assert not gated & names_in(made["spec"])
    assert made["spec"]["volumes"][0]["emptyDir"] == {}
    assert "mode" not in made["spec"]["containers"][0]["readinessProbe"]["grpc"]


@served
async def test_templates_have_no_groups_where_none_are_served(api: Api) -> None:
    asked = deployment()
    asked["spec"]["template"]["spec"]["schedulingGroup"] = {}
    made = (await api.post(DEPLOYMENTS, asked)).ok(201)
    assert "schedulingGroup" not in made["spec"]["template"]["spec"]
    made["spec"]["template"]["spec"]["schedulingGroup"] = {"podGroupName": "g"}
    updated = (await api.put(f"{DEPLOYMENTS}/{made['metadata']['name']}", made)).ok()
    assert "schedulingGroup" not in updated["spec"]["template"]["spec"]
    assert updated["metadata"]["generation"] == 1


@served
async def test_managers_that_cannot_be_read_are_forgotten_in_new_objects(api: Api) -> None:
    asked = deployment()
    asked["metadata"]["managedFields"] = [{"manager": "a", "operation": "X"}]
    (await api.post(DEPLOYMENTS, asked)).ok(201)


@served
async def test_gated_fields_of_slices_are_dropped(api: Api) -> None:
    device = {"name": "d", "attributes": {"a": {"string": "b", "strings": ["x"], "ints": [1]}}}
    spec = {
        "driver": "a.example.com",
        "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
        "nodeName": "n",
        "devices": [device],
        "skipNodeOperations": ["*"],
        "partitionTypeAttribute": "x",
    }
    path = "/apis/resource.k8s.io/v1/resourceslices"
    made = (await api.post(path, {"metadata": {"name": "s"}, "spec": spec})).ok(201)
    assert made["spec"]["devices"][0]["attributes"] == {"a": {"string": "b"}}
    assert not {"skipNodeOperations", "partitionTypeAttribute"} & made["spec"].keys()
