"""What clients do with a workload object from its creation to its end, for each kind of sig-apps."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sampan.testing import Cluster

NAMESPACE = "default"
SELECTOR = {"matchLabels": {"app": "web"}}
TEMPLATE = {
    "metadata": {"labels": {"app": "web"}},
    "spec": {"containers": [{"name": "c", "image": "web:1"}]},
}
ONCE = {"spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
STATUS_CONDITION = {"type": "StatusUpdate", "status": "True", "reason": "Test", "message": "set by a test"}

# kind -> (path of its group, plural, the fields beside its metadata, a patch)
KINDS: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    "ControllerRevision": (
        "/apis/apps/v1",
        "controllerrevisions",
        {"data": {"spec": {"a": 1}}, "revision": 1},
        {"revision": 2},
    ),
    "CronJob": (
        "/apis/batch/v1",
        "cronjobs",
        {"spec": {"schedule": "* */1 * * *", "jobTemplate": {"spec": {"template": ONCE}}}},
        {"spec": {"suspend": True}},
    ),
    "DaemonSet": (
        "/apis/apps/v1",
        "daemonsets",
        {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
        {"spec": {"minReadySeconds": 5}},
    ),
    "Deployment": (
        "/apis/apps/v1",
        "deployments",
        {"spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE}},
        {"spec": {"replicas": 2}},
    ),
    "Job": ("/apis/batch/v1", "jobs", {"spec": {"template": ONCE}}, {"spec": {"suspend": True}}),
    "PodDisruptionBudget": (
        "/apis/policy/v1",
        "poddisruptionbudgets",
        {"spec": {"selector": SELECTOR, "minAvailable": 1}},
        {"spec": {"minAvailable": "50%"}},
    ),
    "ReplicaSet": (
        "/apis/apps/v1",
        "replicasets",
        {"spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE}},
        {"spec": {"replicas": 3}},
    ),
    "ReplicationController": (
        "/api/v1",
        "replicationcontrollers",
        {"spec": {"replicas": 1, "selector": {"app": "web"}, "template": TEMPLATE}},
        {"spec": {"replicas": 3}},
    ),
    "StatefulSet": (
        "/apis/apps/v1",
        "statefulsets",
        {"spec": {"replicas": 1, "serviceName": "web", "selector": SELECTOR, "template": TEMPLATE}},
        {"spec": {"replicas": 2}},
    ),
}
WITH_STATUS = sorted(KINDS.keys() - {"ControllerRevision"})
# A CronJob's status has no conditions.
STATUS = {"CronJob": {"lastScheduleTime": "2030-01-01T00:00:00Z"}}

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Nothing but the API server: controllers would write the statuses that the tests write."""
    with Cluster(controllers=False, scheduler=False, nodes=0) as made:
        yield made


def asking(cluster: Cluster) -> Ask:
    def ask(
        method: str, path: str, body: Any = None, media: str = "application/json", status: int = 200
    ) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        url, _, query = path.partition("?")
        pairs = dict(pair.split("=", 1) for pair in query.split("&")) if query else None
        answer = cluster.call(cluster.async_client.transport.request(method, url, pairs, sent, media))
        assert answer.status == status, answer.body
        return json.loads(answer.body)

    return ask


def manifest(kind: str, name: str, **labels: str) -> dict[str, Any]:
    group, _, fields, _ = KINDS[kind]
    version = "v1" if group == "/api/v1" else group.removeprefix("/apis/")
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": labels}, **fields}


def holds(wanted: Any, found: Any) -> bool:
    """Whether every field of `wanted` is so in `found`."""
    if isinstance(wanted, dict):
        return isinstance(found, dict) and all(holds(v, found.get(k)) for k, v in wanted.items())
    if isinstance(wanted, list):
        return len(wanted) == len(found) and all(map(holds, wanted, found))
    return bool(wanted == found)


@pytest.mark.conformance("ControllerRevision should manage the lifecycle of a ControllerRevision")
@pytest.mark.conformance("CronJob should support CronJob API operations")
@pytest.mark.conformance("Daemon set should list and delete a collection of DaemonSets")
@pytest.mark.conformance("Deployment should run the lifecycle of a Deployment")
@pytest.mark.conformance(
    "DisruptionController Listing PodDisruptionBudgets for all namespaces should list and "
    "delete a collection of PodDisruptionBudgets"
)
@pytest.mark.conformance("Job should manage the lifecycle of a job")
@pytest.mark.conformance("ReplicaSet Replace and Patch tests")
@pytest.mark.conformance("ReplicationController should test the lifecycle of a ReplicationController")
@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality should list, patch and delete a collection of StatefulSets"
)
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_lifecycle(cluster: Cluster, kind: str) -> None:
    """Create, get, list here and everywhere, patch, replace, delete one, delete what labels choose."""
    ask = asking(cluster)
    group, plural, _, patch = KINDS[kind]
    path = f"{group}/namespaces/{NAMESPACE}/{plural}"
    made = ask("POST", path, manifest(kind, "one", of="lifecycle"), status=201)
    assert made["metadata"]["uid"]
    read = ask("GET", f"{path}/one")
    assert holds(manifest(kind, "one", of="lifecycle"), read)
    for listed in (path, f"{group}/{plural}"):
        found = ask("GET", f"{listed}?labelSelector=of=lifecycle")
        assert [item["metadata"]["name"] for item in found["items"]] == ["one"]
    patched = ask("PATCH", f"{path}/one", patch, media="application/merge-patch+json")
    assert holds(patch, patched)
    patched["metadata"]["labels"]["more"] = "yes"
    replaced = ask("PUT", f"{path}/one", patched)
    assert replaced["metadata"]["labels"] == {"of": "lifecycle", "more": "yes"}
    ask("PUT", f"{path}/one", {**patched, "metadata": {**read["metadata"]}}, status=409)
    ask("DELETE", f"{path}/one?propagationPolicy=Background")
    ask("GET", f"{path}/one", status=404)
    for name in ("a", "b", "c"):
        ask("POST", path, manifest(kind, name, of="many" if name != "c" else "one"), status=201)
    ask("DELETE", f"{path}?labelSelector=of=many&propagationPolicy=Background")
    left = ask("GET", path)
    assert [item["metadata"]["name"] for item in left["items"]] == ["c"]
    ask("DELETE", f"{path}?propagationPolicy=Background")


@pytest.mark.conformance("Daemon set should verify changes to a daemon set status")
@pytest.mark.conformance("Deployment should validate Deployment Status endpoints")
@pytest.mark.conformance("DisruptionController should update/patch PodDisruptionBudget status")
@pytest.mark.conformance("Job should apply changes to a job status")
@pytest.mark.conformance("ReplicaSet should validate Replicaset Status endpoints")
@pytest.mark.conformance(
    "StatefulSet Basic StatefulSet functionality should validate Statefulset Status endpoints"
)
@pytest.mark.parametrize("kind", WITH_STATUS)
def test_status(cluster: Cluster, kind: str) -> None:
    """Status is read, patched and replaced under its own path, and is all that this path changes."""
    ask = asking(cluster)
    group, plural, _, patch = KINDS[kind]
    path = f"{group}/namespaces/{NAMESPACE}/{plural}"
    made = ask("POST", path, manifest(kind, "held"), status=201)
    wanted = STATUS.get(kind, {"conditions": [STATUS_CONDITION]})
    change = {"status": wanted, "metadata": {"annotations": {"patched": "status"}}, **patch}
    patched = ask("PATCH", f"{path}/held/status", change, media="application/merge-patch+json")
    read = ask("GET", f"{path}/held/status")
    assert {field: read["status"][field] for field in wanted} == {f: patched["status"][f] for f in wanted}
    assert read["spec"] == made["spec"]
    assert read["metadata"]["generation"] == made["metadata"]["generation"]
    read["metadata"].setdefault("annotations", {})["replaced"] = "status"
    read["status"] = {}
    replaced = ask("PUT", f"{path}/held/status", read)
    assert not any(replaced.get("status", {}).get(field) for field in wanted)
    ignored = ask("PATCH", f"{path}/held", {"status": wanted}, media="application/merge-patch+json")
    assert not any(ignored.get("status", {}).get(field) for field in wanted)
    ask("DELETE", f"{path}/held?propagationPolicy=Background")
