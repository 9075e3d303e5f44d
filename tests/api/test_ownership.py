"""Who manages which field of objects that were made before anybody applied to them, as kube-apiserver 1.37.2
tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from sampan.machinery.patch.apply import writers
from tests.api.server import CONFIG_MAPS, JSON_PATCH, PODS, STRATEGIC, Api, as_item, config_map, run, served

DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
NODE = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}}
POD = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
DEPLOYMENT: dict[str, Any] = {
    "metadata": {"name": "d"},
    "spec": {
        "replicas": 2,
        "selector": {"matchLabels": {"app": "x"}},
        "template": {
            "metadata": {"labels": {"app": "x"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        },
    },
}


def by(agent: str) -> dict[str, dict[str, str]]:
    return {"headers": {"user-agent": f"{agent}/v1.2.3 (linux/amd64)"}}


async def owners(api: Api, path: str) -> dict[tuple[str, str, str], Any]:
    """The field sets by manager, operation and subresource."""
    document = (await api.get(path, owners=True)).ok()
    return {
        (entry["manager"], entry["operation"], entry.get("subresource", "")): entry["fieldsV1"]
        for entry in document["metadata"].get("managedFields", ())
    }


async def conflicts(api: Api, path: str, config: dict[str, Any]) -> list[tuple[str, str]]:
    """What an apply of this configuration conflicts with: messages and fields."""
    answer = await api.apply(path, config, "applier")
    answer.refused(409, "Conflict")
    return [(cause["message"], cause["field"]) for cause in answer.json["details"]["causes"]]


def applied(**data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "data": data}


@served
async def test_whoever_creates_owns_what_there_is(api: Api) -> None:
    body = config_map("a", k="1")
    body["metadata"] |= {"labels": {"x": "y"}, "finalizers": ["a.b/c"]}
    (await api.post(CONFIG_MAPS, body, **by("kubectl"))).ok(201)
    document = (await api.get(f"{CONFIG_MAPS}/a", owners=True)).ok()
    assert document["metadata"]["managedFields"] == [
        {
            "manager": "kubectl",
            "operation": "Update",
            "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z",
            "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:data": {".": {}, "f:k": {}},
                "f:metadata": {
                    "f:finalizers": {".": {}, 'v:"a.b/c"': {}},
                    "f:labels": {".": {}, "f:x": {}},
                },
            },
        }
    ]


@served
async def test_lists_and_watches_carry_none_of_it(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"), **by("one"))).ok(201)
    assert b"managedFields" not in (await api.get(CONFIG_MAPS)).body
    stored = (await api.get(f"{CONFIG_MAPS}/a", owners=True)).ok()
    listed = (await api.get(CONFIG_MAPS)).ok()["items"][0]
    assert listed == as_item(stored) | {
        "metadata": {k: v for k, v in stored["metadata"].items() if k != "managedFields"}
    }


@served
async def test_an_apply_conflicts_with_who_created(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1", l="2"), **by("one"))).ok(201)
    path = f"{CONFIG_MAPS}/a"
    assert await conflicts(api, path, applied(k="9")) == [('conflict with "one" using v1', ".data.k")]
    (await api.apply(path, applied(k="1"), "applier")).ok()
    (await api.apply(path, applied(k="9"), "applier", force="true")).ok()
    assert await owners(api, path) == {
        ("one", "Update", ""): {"f:data": {".": {}, "f:l": {}}},
        ("applier", "Apply", ""): {"f:data": {"f:k": {}}},
    }


@served
async def test_a_named_field_manager_owns(api: Api) -> None:
    made = await api.post(CONFIG_MAPS, config_map("a", k="1"), fieldManager="kubectl-create", **by("kubectl"))
    made.ok(201)
    assert list(await owners(api, f"{CONFIG_MAPS}/a")) == [("kubectl-create", "Update", "")]


@served
async def test_the_second_who_writes_takes_what_it_changes(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1", l="2", m="3"), **by("one"))).ok(201)
    path = f"{CONFIG_MAPS}/a"
    (await api.patch(path, {"data": {"l": "22"}}, **by("two"))).ok()
    (await api.patch(path, {"data": {"n": "4"}}, **by("one"))).ok()
    document = (await api.get(path, owners=True)).ok()
    document["data"] = {"l": "22", "m": "33", "n": "4"}
    (await api.put(path, document, **by("three"))).ok()
    assert await owners(api, path) == {
        ("one", "Update", ""): {"f:data": {".": {}, "f:n": {}}},
        ("two", "Update", ""): {"f:data": {"f:l": {}}},
        ("three", "Update", ""): {"f:data": {"f:m": {}}},
    }
    assert await conflicts(api, path, applied(l="9", m="9", n="9")) == [
        ('conflict with "one" using v1', ".data.n"),
        ('conflict with "three" using v1', ".data.m"),
        ('conflict with "two" using v1', ".data.l"),
    ]


@served
async def test_what_was_read_with_its_owners_and_written_back_leaves_them(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"), **by("one"))).ok(201)
    path = f"{CONFIG_MAPS}/a"
    document = (await api.get(path, owners=True)).ok()
    document["data"]["k"] = "2"
    (await api.put(path, document, **by("one"))).ok()
    assert b"managedFields" not in (await api.get(CONFIG_MAPS)).body  # nothing had to be spelled out
    assert await owners(api, path) == {("one", "Update", ""): {"f:data": {".": {}, "f:k": {}}}}


@served
async def test_who_updates_by_itself_stays_the_only_one(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a", k="1"), **by("one"))).ok(201)
    (await api.patch(f"{CONFIG_MAPS}/a", {"data": {"l": "2"}}, **by("one"))).ok()
    assert await owners(api, f"{CONFIG_MAPS}/a") == {
        ("one", "Update", ""): {"f:data": {".": {}, "f:k": {}, "f:l": {}}}
    }


@served
async def test_the_status_is_of_who_writes_it(api: Api) -> None:
    await api.account()
    (await api.post(PODS, POD, **by("maker"))).ok(201)
    (await api.post(f"{PODS}/p/binding", NODE, **by("scheduler"))).ok(201)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    status = {"status": {"phase": "Running", "conditions": [ready]}}
    (await api.patch(f"{PODS}/p/status", status, STRATEGIC, **by("kubelet"))).ok()
    found = await owners(api, f"{PODS}/p")
    condition = {".": {}, "f:lastTransitionTime": {}, "f:status": {}, "f:type": {}}
    assert found[("kubelet", "Update", "status")] == {
        "f:status": {"f:conditions": {'k:{"type":"Ready"}': condition}, "f:phase": {}}
    }
    assert set(found) == {("maker", "Update", ""), ("kubelet", "Update", "status")}
    spec = found[("maker", "Update", "")]["f:spec"]
    # Not the node, which a binding set, nor what admission put in.
    assert set(spec) == {
        "f:containers",
        "f:dnsPolicy",
        "f:enableServiceLinks",
        "f:restartPolicy",
        "f:schedulerName",
        "f:securityContext",
        "f:terminationGracePeriodSeconds",
    }
    assert "f:volumeMounts" not in spec["f:containers"]['k:{"name":"c"}']


@served
async def test_two_who_write_the_status(api: Api) -> None:
    await api.account()
    (await api.post(PODS, POD, **by("maker"))).ok(201)
    for agent, name in (("kubelet", "Ready"), ("other", "x.io/Gate")):
        condition = {"type": name, "status": "True"}
        (
            await api.patch(
                f"{PODS}/p/status", {"status": {"conditions": [condition]}}, STRATEGIC, **by(agent)
            )
        ).ok()
    config = {
        "apiVersion": "v1",
        "kind": "Pod",
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}, {"type": "x.io/Gate", "status": "False"}]
        },
    }
    assert await conflicts(api, f"{PODS}/p/status", config) == [
        (
            'conflict with "kubelet" with subresource "status" using v1',
            '.status.conditions[type="Ready"].status',
        ),
        (
            'conflict with "other" with subresource "status" using v1',
            '.status.conditions[type="x.io/Gate"].status',
        ),
    ]


@served
async def test_scaling_takes_the_replicas(api: Api) -> None:
    path = f"{DEPLOYMENTS}/d"
    (await api.post(DEPLOYMENTS, DEPLOYMENT, **by("kubectl"))).ok(201)
    (await api.patch(f"{path}/scale", {"spec": {"replicas": 3}}, **by("hpa"))).ok()
    found = await owners(api, path)
    assert found[("hpa", "Update", "scale")] == {"f:spec": {"f:replicas": {}}}
    assert "f:replicas" not in found[("kubectl", "Update", "")]["f:spec"]
    config = {"apiVersion": "apps/v1", "kind": "Deployment", **DEPLOYMENT}
    assert await conflicts(api, path, config) == [
        ('conflict with "hpa" with subresource "scale" using apps/v1', ".spec.replicas")
    ]


@served
async def test_owners_can_be_handed_over(api: Api) -> None:
    """What Helm and kubectl do with objects that they made on their own side before."""
    path = f"{CONFIG_MAPS}/a"
    (await api.post(CONFIG_MAPS, config_map("a", k="1", l="2"), **by("helm"))).ok(201)
    document = (await api.get(path, owners=True)).ok()
    entries = document["metadata"]["managedFields"]
    entries[0]["operation"] = "Apply"
    revision = document["metadata"]["resourceVersion"]
    patch = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {"op": "replace", "path": "/metadata/resourceVersion", "value": revision},
    ]
    (await api.patch(path, patch, JSON_PATCH, **by("helm"))).ok()
    left = (await api.apply(path, applied(k="5"), "helm")).ok()
    assert left["data"] == {"k": "5"}  # what helm no longer names goes
    assert await owners(api, path) == {("helm", "Apply", ""): {"f:data": {"f:k": {}}}}


@served
async def test_owners_can_be_cleared(api: Api) -> None:
    path = f"{CONFIG_MAPS}/a"
    (await api.post(CONFIG_MAPS, config_map("a", k="1"), **by("one"))).ok(201)
    (await api.patch(path, {"metadata": {"managedFields": [{}]}}, **by("two"))).ok()
    assert await owners(api, path) == {}
    (await api.patch(path, {"data": {"k": "2"}}, **by("one"))).ok()
    assert await owners(api, path) == {}
    assert await conflicts(api, path, applied(k="9")) == [
        ('conflict with "before-first-apply" using v1', ".data.k")
    ]


@served
async def test_owners_that_come_with_a_new_object(api: Api) -> None:
    entry = {
        "manager": "m",
        "operation": "Update",
        "apiVersion": "v1",
        "time": "2020-01-01T00:00:00Z",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:k": {}}},
    }
    body = config_map("a", k="1")
    body["metadata"]["managedFields"] = [entry]
    (await api.post(CONFIG_MAPS, body, **by("one"))).ok(201)
    assert await owners(api, f"{CONFIG_MAPS}/a") == {("one", "Update", ""): {"f:data": {".": {}, "f:k": {}}}}
    body = config_map("b", k="1")
    body["metadata"]["managedFields"] = [{"manager": "m", "operation": "Bad"}]
    (await api.post(CONFIG_MAPS, body, **by("one"))).ok(201)
    assert list(await owners(api, f"{CONFIG_MAPS}/b")) == [("one", "Update", "")]


@served
async def test_an_eviction_and_a_deletion_own_nothing(api: Api) -> None:
    body = {**POD, "metadata": {"name": "p", "finalizers": ["a.b/c"]}}
    await api.account()
    (await api.post(PODS, body, **by("maker"))).ok(201)
    (await api.post(f"{PODS}/p/eviction", {"metadata": {"name": "p"}}, **by("kubectl"))).ok(201)
    found = await owners(api, f"{PODS}/p")
    assert list(found) == [("maker", "Update", "")]
    assert "f:deletionTimestamp" not in found[("maker", "Update", "")]["f:metadata"]


@pytest.mark.parametrize("agent", ['a"b', "a,b;c%d", "ä\\"])
def test_any_name_is_kept(agent: str) -> None:
    text = writers.updated(writers.created(agent, "v1", "s"), "k", "v1", "status", "2026-01-01T00:00:00Z")
    assert text is not None
    assert msgspec.json.encode(text) == b'"%b"' % text.encode()  # nothing in it that JSON would escape
    assert [(each.manager, each.lacks) for each in writers.parse(text)] == [(agent, "s"), ("k", "")]


def test_what_cannot_be_said_in_short() -> None:
    made = writers.created("one", "v1")
    assert writers.updated(made, "two", "v1", "", "t") is None
    assert writers.updated(made, "one", "v2", "", "t") is None
    assert writers.updated(made, "one", "v1", "scale", "t") is None


def scale(replicas: int, **metadata: str) -> dict[str, Any]:
    return {
        "apiVersion": "autoscaling/v1",
        "kind": "Scale",
        "metadata": {"name": "d", **metadata},
        "spec": {"replicas": replicas},
    }


_TEMPLATED = {"selector": {"app": "x"}, "template": DEPLOYMENT["spec"]["template"]}


@pytest.mark.parametrize(
    ("collection", "spec"),
    [
        (DEPLOYMENTS, DEPLOYMENT["spec"]),
        ("/apis/apps/v1/namespaces/default/replicasets", DEPLOYMENT["spec"]),
        ("/apis/apps/v1/namespaces/default/statefulsets", DEPLOYMENT["spec"]),
        ("/api/v1/namespaces/default/replicationcontrollers", {"replicas": 2, **_TEMPLATED}),
    ],
)
def test_a_scale_can_be_applied(collection: str, spec: dict[str, Any]) -> None:
    async def work(api: Api) -> None:
        path = f"{collection}/d"
        (await api.post(collection, {"metadata": {"name": "d"}, "spec": spec}, **by("one"))).ok(201)
        assert await conflicts(api, f"{path}/scale", scale(5)) == [
            ('conflict with "one" using autoscaling/v1', ".spec.replicas")
        ]
        same = (await api.apply(f"{path}/scale", scale(2), "applier")).ok()
        assert (same["kind"], same["spec"], "managedFields" in same["metadata"]) == (
            "Scale",
            {"replicas": 2},
            False,
        )
        found = await owners(api, path)
        assert "f:replicas" in found[("one", "Update", "")]["f:spec"]
        forced = await api.apply(f"{path}/scale", scale(6), "applier", force="true")
        assert forced.ok()["spec"] == {"replicas": 6}
        found = await owners(api, path)
        assert found[("applier", "Apply", "scale")] == {"f:spec": {"f:replicas": {}}}
        assert "f:replicas" not in found[("one", "Update", "")]["f:spec"]
        (await api.apply(f"{path}/scale", scale(7), "applier")).ok()
        refused = await api.apply(f"{path}/scale", scale(8), "other")
        assert refused.refused(409, "Conflict") == (
            'Apply failed with 1 conflict: conflict with "applier" with subresource "scale": .spec.replicas'
        )
        assert (await api.get(path)).ok()["spec"]["replicas"] == 7
        # Who no longer says how many leaves none, and owns nothing.
        left = (await api.apply(f"{path}/scale", {**scale(0), "spec": {}}, "applier")).ok()
        assert left["spec"] == {}
        assert ("applier", "Apply", "scale") not in await owners(api, path)

    asyncio.run(run(work))


@served
async def test_a_main_apply_conflicts_with_who_applied_a_scale(api: Api) -> None:
    path = f"{DEPLOYMENTS}/d"
    config = {"apiVersion": "apps/v1", "kind": "Deployment", **DEPLOYMENT}
    (await api.apply(path, config, "main")).ok(201)
    refused = await api.apply(f"{path}/scale", scale(3), "scaler")
    assert refused.refused(409, "Conflict") == (
        'Apply failed with 1 conflict: conflict with "main": .spec.replicas'
    )
    (await api.apply(f"{path}/scale", scale(3), "scaler", force="true")).ok()
    again = await api.apply(path, config, "main")
    assert again.refused(409, "Conflict") == (
        'Apply failed with 1 conflict: conflict with "scaler" with subresource "scale": .spec.replicas'
    )


@pytest.mark.parametrize(
    ("config", "query", "code", "reason", "message"),
    [
        (
            {"apiVersion": "apps/v1", "kind": "Deployment", "spec": {"replicas": 1}},
            {},
            400,
            "BadRequest",
            "invalid object type: apps/v1, Kind=Deployment",
        ),
        (
            scale(1, name="q"),
            {},
            400,
            "BadRequest",
            "the name of the object (q) does not match the name on the URL (d)",
        ),
        (
            scale(-1),
            {"force": "true"},
            422,
            "Invalid",
            'Scale.autoscaling "d" is invalid: spec.replicas: Invalid value: -1: must be greater than or '
            "equal to 0",
        ),
        (
            scale(3, resourceVersion="1"),
            {"force": "true"},
            409,
            "Conflict",
            'Operation cannot be fulfilled on deployments.apps "d": the object has been modified; please '
            "apply your changes to the latest version and try again",
        ),
    ],
)
def test_scales_that_cannot_be_applied(
    config: dict[str, Any], query: dict[str, str], code: int, reason: str, message: str
) -> None:
    async def work(api: Api) -> None:
        (await api.post(DEPLOYMENTS, DEPLOYMENT, **by("one"))).ok(201)
        answer = await api.apply(f"{DEPLOYMENTS}/d/scale", config, "applier", **query)
        assert answer.refused(code, reason) == message

    asyncio.run(run(work))
