"""Pods of one body are as good as pods that were looked at one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sampan.base.ids import RandomIds
from tests.api.server import PODS, Api, pod, served, user

NAMESPACE = "/api/v1/namespaces/default"
# The second time a body comes its stamp is made: the third pod comes of it.
BEFORE = 3


def _body(**changes: Any) -> dict[str, Any]:
    body = pod("", labels={"app": "web"}, **changes)
    body["metadata"] = {"generateName": "web-", "labels": {"app": "web"}, "annotations": {"a": 'web- "é"'}}
    return body


async def _make(api: Api, body: dict[str, Any], **options: Any) -> Any:
    return (await api.post(PODS, body, **options)).ok(201)


async def _stamped(api: Api, body: dict[str, Any]) -> list[Any]:
    """Pods of this body, the last ones out of a stamp."""
    await api.account()
    return [await _make(api, body) for _ in range(BEFORE)]


def _without_its_own(made: dict[str, Any]) -> dict[str, Any]:
    """A pod without what is its own: name, uid, times, revision, and the name of its token's volume."""
    own = ("name", "uid", "creationTimestamp", "resourceVersion")
    volumes = [v | {"name": v["name"].replace(_token_volume(made), "token")} for v in made["spec"]["volumes"]]
    containers = [
        c | {"volumeMounts": [m | {"name": "token"} for m in c["volumeMounts"]]}
        for c in made["spec"]["containers"]
    ]
    return {
        **made,
        "metadata": {k: v for k, v in made["metadata"].items() if k not in own},
        "spec": {**made["spec"], "volumes": volumes, "containers": containers},
    }


def _token_volume(made: dict[str, Any]) -> str:
    return next(str(v["name"]) for v in made["spec"]["volumes"] if v["name"].startswith("kube-api-access-"))


@served
async def test_pods_of_a_node_are_stamped_for_as_long_as_its_zone_stays(api: Api) -> None:
    zone = "topology.kubernetes.io/zone"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {zone: "z1"}}}
    (await api.post("/api/v1/nodes", node)).ok(201)
    body = _body(nodeName="n1")
    made = await _stamped(api, body)
    made.append(await _make(api, body))
    assert _token_volume(made[1]) == _token_volume(made[2]) == _token_volume(made[3])
    (await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": {zone: "z2"}}})).ok()
    made += [await _make(api, body) for _ in range(BEFORE)]
    assert [each["metadata"]["labels"][zone] for each in made] == ["z1"] * 4 + ["z2"] * 3
    assert _token_volume(made[5]) == _token_volume(made[6]) != _token_volume(made[3])


@served
async def test_a_node_is_seen_however_its_name_is_written(api: Api) -> None:
    zone = "topology.kubernetes.io/zone"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1", "labels": {zone: "z1"}}}
    (await api.post("/api/v1/nodes", node)).ok(201)
    await api.account()
    body = json.dumps(_body(nodeName="n1")).replace('"nodeName"', '"node\\u004eame"').encode()
    made = [(await api.call("POST", PODS, body=body)).ok(201) for _ in range(BEFORE)]
    (await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": {zone: "z2"}}})).ok()
    made.append((await api.call("POST", PODS, body=body)).ok(201))
    assert [each["metadata"]["labels"][zone] for each in made] == ["z1", "z1", "z1", "z2"]


@served
async def test_a_stamped_pod_is_like_the_first(api: Api) -> None:
    first, second, third = await _stamped(api, _body())
    await api.clock.advance(90)
    fourth = await _make(api, _body())
    assert _without_its_own(third) == _without_its_own(first)
    assert _without_its_own(fourth) == _without_its_own(first)
    # That they came of one stamp shows in this name alone.
    assert _token_volume(first) != _token_volume(second) == _token_volume(third) == _token_volume(fourth)
    metadata = [each["metadata"] for each in (first, second, third, fourth)]
    for own in ("name", "uid", "resourceVersion"):
        assert len({each[own] for each in metadata}) == len(metadata)
    assert all(each["name"].startswith("web-") and len(each["name"]) == 9 for each in metadata)
    assert metadata[3]["creationTimestamp"] == api.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert metadata[3]["creationTimestamp"] != metadata[0]["creationTimestamp"]
    for made in (third, fourth):
        assert (await api.get(f"{PODS}/{made['metadata']['name']}")).ok() == made


CPU = {"cpu": "1"}
STRICT = {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}
CLASS = {"metadata": {"name": "first"}, "value": 7, "globalDefault": True}
RANGE = {"metadata": {"name": "cpu"}, "spec": {"limits": [{"type": "Container", "default": CPU}]}}
PULL = {"imagePullSecrets": [{"name": "registry"}]}


@pytest.mark.parametrize(
    ("method", "path", "change", "found"),
    [
        (
            "POST",
            f"{NAMESPACE}/limitranges",
            RANGE,
            lambda spec: spec["containers"][0]["resources"]["limits"] == CPU,
        ),
        ("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", CLASS, lambda spec: spec["priority"] == 7),
        ("PATCH", f"{NAMESPACE}/serviceaccounts/default", PULL, lambda spec: spec.items() >= PULL.items()),
    ],
    ids=["a limit range", "a default priority", "a pull secret"],
)
@served
async def test_what_admission_gives_is_given_from_the_next_pod_on(
    api: Api, method: str, path: str, change: Any, found: Any
) -> None:
    *_, last = await _stamped(api, _body())
    assert not last["spec"].get("imagePullSecrets")
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    assert (await api.call(method, path, change, media=media)).code in (200, 201)
    for _ in range(BEFORE):
        assert found((await _make(api, _body()))["spec"])


@pytest.mark.parametrize(
    ("method", "path", "change", "words"),
    [
        ("PATCH", NAMESPACE, STRICT, "violates PodSecurity"),
        ("DELETE", f"{NAMESPACE}/serviceaccounts/default", None, 'serviceaccount "default" not found'),
        ("DELETE", "/apis/node.k8s.io/v1/runtimeclasses/boxed", None, 'RuntimeClass "boxed" not found'),
        (
            "POST",
            f"{NAMESPACE}/resourcequotas",
            {"metadata": {"name": "few"}, "spec": {"hard": {"count/pods": str(BEFORE)}}},
            "exceeded quota: few",
        ),
    ],
    ids=["a security level", "no account", "no runtime class", "a quota"],
)
@served
async def test_what_admission_forbids_is_refused_from_the_next_pod_on(
    api: Api, method: str, path: str, change: Any, words: str
) -> None:
    runtime = {"metadata": {"name": "boxed"}, "handler": "boxed"}
    (await api.post("/apis/node.k8s.io/v1/runtimeclasses", runtime)).ok(201)
    body = _body(runtimeClassName="boxed")
    await _stamped(api, body)
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    assert (await api.call(method, path, change, media=media)).code in (200, 201)
    for _ in range(BEFORE):
        assert words in (await api.post(PODS, body)).refused(403, "Forbidden")


@served
async def test_a_namespace_that_goes_takes_no_more(api: Api) -> None:
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "brief"}})).ok(201)
    await api.account("brief")
    pods = "/api/v1/namespaces/brief/pods"
    for _ in range(BEFORE):
        (await api.post(pods, _body())).ok(201)
    (await api.delete("/api/v1/namespaces/brief")).ok()
    assert "is being terminated" in (await api.post(pods, _body())).refused(403, "Forbidden")


@served
async def test_a_policy_sees_every_pod(api: Api) -> None:
    await _stamped(api, _body())
    policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    policy = {
        "metadata": {"name": "none"},
        "spec": {
            "matchConstraints": {"resourceRules": [rule]},
            "validations": [{"expression": "false", "message": "no pods today"}],
        },
    }
    (await api.post(policies, policy)).ok(201)
    binding = {"metadata": {"name": "none"}, "spec": {"policyName": "none", "validationActions": ["Deny"]}}
    (await api.post(f"{policies.replace('policies', 'policybindings')}", binding)).ok(201)
    for _ in range(BEFORE):
        assert "no pods today" in (await api.post(PODS, _body())).message


@served
async def test_a_stamp_is_for_the_user_who_was_looked_at(api: Api) -> None:
    await _stamped(api, _body())
    node = user("system:node:n1", "system:nodes")
    assert "can only create mirror pods" in (await api.post(PODS, _body(), user=node)).message


@served
async def test_warnings_come_with_every_pod(api: Api) -> None:
    await api.account()
    body = _body(surprise=1)
    for _ in range(BEFORE + 1):
        assert "unknown field" in (await api.post(PODS, body)).headers["Warning"]
        refused = await api.post(PODS, body, fieldValidation="Strict")
        assert "unknown field" in refused.refused(400, "BadRequest")


@served
async def test_a_name_that_was_given_is_kept(api: Api) -> None:
    await api.account()
    body = _body()
    body["metadata"]["name"] = "mine"
    for _ in range(BEFORE + 1):
        assert (await _make(api, body))["metadata"]["name"] == "mine"
        (await api.delete(f"{PODS}/mine", gracePeriodSeconds="0")).ok()


@served
async def test_a_dry_run_stores_nothing(api: Api) -> None:
    await _stamped(api, _body())
    await _make(api, _body(), dryRun="All")
    assert len((await api.get(PODS)).names) == BEFORE


def test_a_taken_name_is_not_taken_again(monkeypatch: pytest.MonkeyPatch) -> None:
    endings = iter(["aaaaa", "aaaaa", "bbbbb", "aaaaa", "bbbbb", "ccccc", *["ccccc"] * 8])

    @served
    async def scenario(api: Api) -> None:
        body = _body(automountServiceAccountToken=False)
        await api.account()
        suffix = RandomIds.suffix
        monkeypatch.setattr(RandomIds, "suffix", lambda ids, n=5: next(endings) if n == 5 else suffix(ids, n))
        made = [(await _make(api, body))["metadata"]["name"] for _ in range(BEFORE)]
        assert made == ["web-aaaaa", "web-bbbbb", "web-ccccc"]
        (await api.post(PODS, body)).refused(409, "AlreadyExists")

    scenario()
