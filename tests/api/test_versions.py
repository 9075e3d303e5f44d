"""Kinds that are served in two versions and stored in one."""

from __future__ import annotations

from typing import Any

import msgspec

from sampan.apiserver.core.resource import Resources
from sampan.kinds.groups import OPTIONAL
from sampan.schema import api as types
from sampan.store.memory import MemoryStore
from sampan.store.watchcache import WatchCache
from tests.api.server import MERGE, TABLE, Api, as_item, served

V1 = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers"
V2 = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers"
CORE = "/api/v1/namespaces/default/events"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"


def _autoscaler(**spec: Any) -> dict[str, Any]:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    return {
        "metadata": {"name": "web"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 5, **spec},
    }


@served
async def test_what_comes_in_as_one_version_goes_out_as_the_other(api: Api) -> None:
    made = (await api.post(V1, _autoscaler(targetCPUUtilizationPercentage=70))).ok(201)
    assert (made["apiVersion"], made["spec"]["targetCPUUtilizationPercentage"]) == ("autoscaling/v1", 70)
    assert made["spec"]["minReplicas"] == 1
    newer = (await api.get(f"{V2}/web")).ok()
    assert newer["apiVersion"] == "autoscaling/v2"
    assert newer["spec"]["metrics"] == [
        {
            "type": "Resource",
            "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
        }
    ]
    for name in ("uid", "resourceVersion"):
        assert newer["metadata"][name] == made["metadata"][name]
    assert (await api.get(f"{V1}/web")).ok() == made
    listed = (await api.get(V1)).ok()
    assert (listed["kind"], listed["apiVersion"]) == ("HorizontalPodAutoscalerList", "autoscaling/v1")
    assert listed["items"] == [as_item(made)]


@served
async def test_writes_in_either_version(api: Api) -> None:
    made = (await api.post(V2, _autoscaler())).ok(201)
    older = (await api.get(f"{V1}/web")).ok()
    older["spec"]["maxReplicas"] = 9
    assert (await api.put(f"{V1}/web", older)).ok()["spec"]["maxReplicas"] == 9
    (await api.put(f"{V2}/web", made)).refused(409, "Conflict")
    patched = (await api.patch(f"{V1}/web", {"spec": {"targetCPUUtilizationPercentage": 50}}, MERGE)).ok()
    assert patched["spec"]["targetCPUUtilizationPercentage"] == 50
    newer = (await api.get(f"{V2}/web")).ok()["spec"]
    assert newer["maxReplicas"] == 9
    assert newer["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    status = {"status": {"currentReplicas": 2, "desiredReplicas": 3}}
    shown = (await api.patch(f"{V1}/web/status", status, MERGE)).ok()
    assert shown["status"]["desiredReplicas"] == 3
    assert (await api.get(f"{V2}/web/status")).ok()["status"]["desiredReplicas"] == 3
    (await api.post(V1, _autoscaler())).refused(409, "AlreadyExists")
    (await api.delete(f"{V1}/web")).ok()
    (await api.get(f"{V2}/web")).refused(404, "NotFound")


@served
async def test_apply_in_the_older_version(api: Api) -> None:
    body = _autoscaler(targetCPUUtilizationPercentage=70)
    body |= {"apiVersion": "autoscaling/v1", "kind": "HorizontalPodAutoscaler"}
    made = (await api.apply(f"{V1}/web", body, "alice")).ok(201)
    assert made["metadata"]["managedFields"][0]["apiVersion"] == "autoscaling/v1"
    body["spec"]["targetCPUUtilizationPercentage"] = 60
    assert (await api.apply(f"{V1}/web", body, "alice")).ok()["spec"]["targetCPUUtilizationPercentage"] == 60
    (await api.apply(f"{V1}/web", body | {"apiVersion": "autoscaling/v2"}, "alice")).refused(
        400, "BadRequest"
    )


@served
async def test_errors_and_bad_values_in_the_older_version(api: Api) -> None:
    answer = await api.post(V1, _autoscaler(maxReplicas=0))
    assert "spec.maxReplicas" in answer.refused(422, "Invalid")
    answer = await api.post(V1, _autoscaler() | {"apiVersion": "autoscaling/v2"})
    answer.refused(400, "BadRequest")
    answer = await api.post(V1, _autoscaler(metrics=[]), fieldValidation="Strict")
    assert 'unknown field "spec.metrics"' in answer.refused(400, "BadRequest")


@served
async def test_watches_and_tables_in_the_older_version(api: Api) -> None:
    watch = await api.watch(V1)
    tables = await api.watch(V1, accept=TABLE)
    both = await api.watch(V2)
    (await api.post(V2, _autoscaler())).ok(201)
    event = await watch.next()
    assert (event["type"], event["object"]["apiVersion"]) == ("ADDED", "autoscaling/v1")
    assert (await tables.next())["object"]["rows"][0]["cells"][0] == "web"
    assert (await both.next())["object"]["apiVersion"] == "autoscaling/v2"
    (await api.delete(f"{V2}/web")).ok()
    event = await watch.next()
    assert (event["type"], event["object"]["apiVersion"]) == ("DELETED", "autoscaling/v1")
    table = (await api.get(V1, accept=TABLE)).ok()
    assert (table["kind"], table["rows"]) == ("Table", [])
    for each in (watch, tables, both):
        await each.close()


def _event(name: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "eventTime": "2026-01-01T00:00:00.000000Z",
        "reportingController": "example.com/tester",
        "reportingInstance": "tester-1",
        "action": "Testing",
        "reason": "Tested",
        "type": "Normal",
        "note": "all is well",
        "regarding": {"kind": "Pod", "namespace": "default", "name": name},
    }


@served
async def test_events_have_two_names_for_their_fields(api: Api) -> None:
    (await api.post(EVENTS, _event("a"))).ok(201)
    (await api.post(EVENTS, _event("b"))).ok(201)
    core = (await api.get(f"{CORE}/a")).ok()
    assert (core["apiVersion"], core["message"]) == ("v1", "all is well")
    assert core["involvedObject"]["name"] == "a"
    assert (await api.get(CORE, fieldSelector="involvedObject.name=a")).names == ["a"]
    assert (await api.get(EVENTS, fieldSelector="regarding.name=b")).names == ["b"]
    # One after the other on the same items: each version has its own names.
    assert (await api.get(CORE, fieldSelector="involvedObject.name=b")).names == ["b"]
    (await api.get(EVENTS, fieldSelector="involvedObject.name=a")).refused(400, "BadRequest")
    watch = await api.watch(EVENTS, allowWatchBookmarks="true")
    assert await watch.take(2) == [("ADDED", "a"), ("ADDED", "b")]
    await api.pod()
    await api.clock.advance(61)
    mark = await watch.next()
    assert (mark["type"], mark["object"]["apiVersion"]) == ("BOOKMARK", "events.k8s.io/v1")
    await watch.close()
    (await api.delete(EVENTS)).ok()
    assert (await api.get(CORE)).names == []


def test_a_kind_is_served_in_further_versions_of_its_shape() -> None:
    beta = next(k for k in OPTIONAL if (k.version, k.kind) == ("v1beta1", "LeaseCandidate"))
    kind = msgspec.structs.replace(beta, also_served=("coordination.k8s.io/v1alpha2",))
    resources = Resources((kind,), WatchCache(MemoryStore()))
    versions = [(r.kind.version, r.converts, r.hub.kind.version) for r in resources]
    assert versions == [("v1beta1", False, "v1beta1"), ("v1alpha2", True, "v1beta1")]
    assert [kind.version for kind in resources.kinds] == ["v1beta1", "v1alpha2"]
    hub, other = resources
    stored = hub.encode(hub.struct(metadata=types.ObjectMeta(name="a")))
    assert msgspec.json.decode(other.present(stored))["apiVersion"] == "coordination.k8s.io/v1alpha2"
    back = other.to_hub(other.decode_stored(stored))
    assert (type(back), back.apiVersion) == (hub.struct, "coordination.k8s.io/v1beta1")
