from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import (
    DEPLOYMENTS,
    JSON_PATCH,
    MERGE,
    PODS,
    STRATEGIC,
    TABLE,
    Api,
    certificate_request,
    deployment,
    served,
    user,
)

BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
SCALE = f"{DEPLOYMENTS}/web/scale"

# -- scale -------------------------------------------------------------------------------------------


@served
async def test_a_scale_shows_and_sets_replicas(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment("web", replicas=2))).ok(201)
    scale = (await api.get(SCALE)).ok()
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 0, "selector": "app=web"})
    assert scale["metadata"]["uid"] == made["metadata"]["uid"]
    scale["spec"]["replicas"] = 5
    assert (await api.put(SCALE, scale)).ok()["spec"] == {"replicas": 5}
    scale["spec"]["replicas"] = 6
    (await api.put(SCALE, scale)).refused(409, "Conflict")  # it names the older revision
    found = (await api.get(f"{DEPLOYMENTS}/web")).ok()
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (5, 2)


@served
async def test_a_scale_in_other_forms(api: Api) -> None:
    await api.post(DEPLOYMENTS, deployment(replicas=3))
    for answer in (
        await api.get(f"{DEPLOYMENTS}/web/scale", accept=TABLE),
        await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 3}}, accept=TABLE),
    ):
        table = answer.ok()
        assert [(c["name"], c["type"]) for c in table["columnDefinitions"]] == [
            ("Name", "string"),
            ("Desired", "integer"),
            ("Available", "integer"),
            ("Age", "string"),
        ]
        assert table["rows"][0]["cells"] == ["web", 3, 0, "0s"]
    shown = await api.get(f"{DEPLOYMENTS}/web/scale", accept="application/yaml")
    assert b"\nkind: Scale\n" in b"\n" + shown.body
    assert (await api.get(f"{DEPLOYMENTS}/web/scale", accept="text/html")).code == 406


@pytest.mark.parametrize(
    ("patch", "media"),
    [
        ({"spec": {"replicas": 7}}, MERGE),
        ({"spec": {"replicas": 7}}, STRATEGIC),
        ([{"op": "replace", "path": "/spec/replicas", "value": 7}], JSON_PATCH),
    ],
)
@served
async def test_a_scale_can_be_patched(api: Api, patch: Any, media: str) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    assert (await api.patch(SCALE, patch, media)).ok()["spec"] == {"replicas": 7}
    assert (await api.get(f"{DEPLOYMENTS}/web")).ok()["spec"]["replicas"] == 7


@served
async def test_scales_that_cannot_be(api: Api) -> None:
    (await api.get(SCALE)).refused(404, "NotFound")
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    message = (await api.patch(SCALE, {"spec": {"replicas": -1}})).refused(422, "Invalid")
    assert "spec.replicas: Invalid value: -1" in message
    (await api.patch(SCALE, {"spec": {"replicas": "many"}})).refused(400, "BadRequest")
    (await api.put(SCALE, b"[]")).refused(400, "BadRequest")
    (await api.delete(SCALE)).refused(405, "MethodNotAllowed")
    (await api.get(f"{PODS}/web/scale")).refused(404, "NotFound")


# -- binding -----------------------------------------------------------------------------------------


def _binding(node: str = "n1", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", **metadata}, "target": {"kind": "Node", "name": node}}


@served
async def test_a_binding_places_a_pod_once(api: Api) -> None:
    pod = await api.pod()
    answer = (await api.post(f"{PODS}/web/binding", _binding(annotations={"by": "me"}))).ok(201)
    assert answer["status"] == "Success"
    placed = (await api.get(f"{PODS}/web")).ok()
    assert placed["spec"]["nodeName"] == "n1"
    assert placed["metadata"]["annotations"]["by"] == "me"
    (condition,) = placed["status"]["conditions"]
    assert (condition["type"], condition["status"]) == ("PodScheduled", "True")
    assert placed["metadata"]["generation"] == pod["metadata"]["generation"]
    message = (await api.post(f"{PODS}/web/binding", _binding("n2"))).refused(409, "Conflict")
    assert 'pod web is already assigned to node "n1"' in message


@served
async def test_of_many_schedulers_one_wins(api: Api) -> None:
    await api.pod()
    bindings = [api.post(f"{PODS}/web/binding", _binding(f"n{number}")) for number in range(10)]
    codes = sorted(answer.code for answer in await asyncio.gather(*bindings))
    assert codes == [201] + [409] * 9


@served
async def test_bindings_that_cannot_be(api: Api) -> None:
    (await api.post(f"{PODS}/web/binding", _binding())).refused(404, "NotFound")
    await api.pod()
    (await api.post(f"{PODS}/web/binding", {"metadata": {"name": "web"}})).refused(400, "BadRequest")
    answer = await api.post(f"{PODS}/web/binding", _binding(uid="another"))
    assert "Precondition failed" in answer.refused(409, "Conflict")
    await api.pod("gated", schedulingGates=[{"name": "example.com/wait"}])
    answer = await api.post(f"{PODS}/gated/binding", _binding() | {"metadata": {"name": "gated"}})
    assert "non-empty .spec.schedulingGates" in answer.refused(409, "Conflict")


# -- eviction ----------------------------------------------------------------------------------------


async def _budget(api: Api, allowed: int, name: str = "budget", **selector: str) -> None:
    labels = selector or {"app": "web"}
    spec = {"minAvailable": 1, "selector": {"matchLabels": labels}}
    (await api.post(BUDGETS, {"metadata": {"name": name}, "spec": spec})).ok(201)
    status = {
        "disruptionsAllowed": allowed,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
        "observedGeneration": 1,
    }
    (await api.patch(f"{BUDGETS}/{name}/status", {"status": status})).ok()


def _eviction(name: str = "web", **options: Any) -> dict[str, Any]:
    return {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": name},
        "deleteOptions": options,
    }


async def _healthy(api: Api, name: str = "web", *, ready: bool = True) -> None:
    await api.pod(name, node="n1", labels={"app": "web"})
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    (
        await api.patch(f"{PODS}/{name}/status", {"status": {"phase": "Running", "conditions": conditions}})
    ).ok()


@served
async def test_without_a_budget_an_eviction_is_a_delete(api: Api) -> None:
    await api.pod(node="n1")
    answer = await api.post(f"{PODS}/web/eviction", _eviction(gracePeriodSeconds=4))
    assert answer.ok(201)["status"] == "Success"
    assert (await api.get(f"{PODS}/web")).ok()["metadata"]["deletionGracePeriodSeconds"] == 4
    (await api.post(f"{PODS}/none/eviction", _eviction("none"))).refused(404, "NotFound")


@served
async def test_a_budget_is_spent_and_then_refuses(api: Api) -> None:
    for name in ("a", "b"):
        await _healthy(api, name)
    await _budget(api, allowed=1)
    (await api.post(f"{PODS}/a/eviction", _eviction("a"))).ok(201)
    status = (await api.get(f"{BUDGETS}/budget")).ok()["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["a"])
    (condition,) = (
        c
        for c in (await api.get(f"{PODS}/a")).ok()["status"]["conditions"]
        if c["type"] == "DisruptionTarget"
    )
    assert (condition["reason"], condition["message"]) == (
        "EvictionByEvictionAPI",
        "Eviction API: evicting",
    )
    answer = await api.post(f"{PODS}/b/eviction", _eviction("b"))
    message = answer.refused(429, "TooManyRequests")
    assert message == "Cannot evict pod as it would violate the pod's disruption budget."
    (cause,) = answer.json["details"]["causes"]
    assert cause["reason"] == "DisruptionBudget"
    assert cause["message"] == "The disruption budget budget needs 1 healthy pods and has 1 currently"
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/b")).ok()["metadata"]


@served
async def test_a_dry_run_spends_nothing(api: Api) -> None:
    await _healthy(api)
    await _budget(api, allowed=1)
    (await api.post(f"{PODS}/web/eviction", _eviction(), dryRun="All")).ok(201)
    assert (await api.get(f"{BUDGETS}/budget")).ok()["status"]["disruptionsAllowed"] == 1
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/web")).ok()["metadata"]


@served
async def test_a_dry_run_named_in_the_options_deletes_nothing(api: Api) -> None:
    await api.pod(node="n1", labels={"app": "web"})
    (await api.post(f"{PODS}/web/eviction", _eviction(dryRun=["All"]))).ok(201)
    assert "deletionTimestamp" not in (await api.get(f"{PODS}/web")).ok()["metadata"]


@served
async def test_a_budget_that_has_not_been_counted_yet_asks_to_wait(api: Api) -> None:
    await _healthy(api)
    await _budget(api, allowed=1)
    (await api.patch(f"{BUDGETS}/budget", {"spec": {"minAvailable": 2}})).ok()
    answer = await api.post(f"{PODS}/web/eviction", _eviction())
    answer.refused(429, "TooManyRequests")
    assert answer.headers["Retry-After"] == "10"
    assert "still being processed" in answer.json["details"]["causes"][0]["message"]


@served
async def test_pods_that_have_ended_cost_nothing_and_two_budgets_are_too_many(api: Api) -> None:
    await api.pod("ended", node="n1", labels={"app": "web"})
    await _healthy(api, "held")
    (await api.patch(f"{PODS}/ended/status", {"status": {"phase": "Failed"}})).ok()
    await _budget(api, allowed=0)
    (await api.post(f"{PODS}/ended/eviction", _eviction("ended"))).ok(201)
    await _budget(api, allowed=1, name="second")
    answer = await api.post(f"{PODS}/held/eviction", _eviction("held"))
    assert "more than one PodDisruptionBudget" in answer.message
    assert answer.code == 500


# -- ephemeral containers and resize -----------------------------------------------------------------


@served
async def test_a_patch_of_the_status_leaves_the_spec_whether_it_names_it_or_not(api: Api) -> None:
    made = await api.pod(node="n1")
    for phase, more in (("Running", {}), ("Pending", {"spec": {"nodeName": "n2", "containers": []}})):
        patch = {"status": {"phase": phase}, **more}
        for media in (STRATEGIC, "application/merge-patch+json"):
            shown = (await api.patch(f"{PODS}/web/status", patch, media)).ok()
            assert shown["status"]["phase"] == phase
            assert shown["spec"] == made["spec"]
            assert shown["metadata"]["uid"] == made["metadata"]["uid"]


@pytest.mark.conformance("Ephemeral Containers should update the ephemeral containers in an existing pod")
@served
async def test_debuggers_are_added_and_nothing_else(api: Api) -> None:
    made = await api.pod(node="n1")
    debugger = {"name": "debug", "image": "busybox"}
    made["spec"]["ephemeralContainers"] = [debugger]
    made["spec"]["containers"][0]["image"] = "other"
    made["metadata"]["labels"] = {"x": "y"}
    made["status"] = {}
    shown = (await api.put(f"{PODS}/web/ephemeralcontainers", made)).ok()
    assert shown["spec"]["ephemeralContainers"][0]["name"] == "debug"
    assert shown["spec"]["ephemeralContainers"][0]["terminationMessagePolicy"] == "File"
    assert shown["spec"]["containers"][0]["image"] == "busybox"
    assert "labels" not in shown["metadata"]
    assert shown["status"]["phase"] == "Pending"
    assert shown["metadata"]["generation"] == 2
    second = {"spec": {"ephemeralContainers": [{"name": "more", "image": "busybox"}]}}
    shown = (await api.patch(f"{PODS}/web/ephemeralcontainers", second, STRATEGIC)).ok()
    assert {c["name"] for c in shown["spec"]["ephemeralContainers"]} == {"debug", "more"}
    shown["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "changed"}]
    message = (await api.put(f"{PODS}/web/ephemeralcontainers", shown)).refused(422, "Invalid")
    assert "may not be changed" in message
    assert "may not be removed" in message
    # The main resource does not add any.
    patch = {"spec": {"ephemeralContainers": [{"name": "late", "image": "busybox"}]}}
    (await api.patch(f"{PODS}/web", patch, STRATEGIC)).refused(422, "Invalid")


@served
async def test_resize_changes_sizes_and_nothing_else(api: Api) -> None:
    sized = {"name": "main", "image": "busybox", "resources": {"requests": {"cpu": "100m"}}}
    made = await api.pod(node="n1", containers=[sized])
    made["spec"]["containers"][0] |= {"image": "other", "resources": {"requests": {"cpu": "200m"}}}
    shown = (await api.put(f"{PODS}/web/resize", made)).ok()
    container = shown["spec"]["containers"][0]
    assert (container["image"], container["resources"]) == ("busybox", {"requests": {"cpu": "200m"}})
    assert shown["metadata"]["generation"] == 2
    patch = {"spec": {"containers": [{"name": "main", "resources": {"requests": {"memory": "1Mi"}}}]}}
    (await api.patch(f"{PODS}/web/resize", patch, STRATEGIC)).ok()
    patch["spec"]["containers"][0]["resources"] = {"limits": {"example.com/gpu": "1"}}
    (await api.patch(f"{PODS}/web/resize", patch, STRATEGIC)).refused(422, "Invalid")
    # The main resource does not resize.
    patch["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "300m"}}
    (await api.patch(f"{PODS}/web", patch, STRATEGIC)).refused(422, "Invalid")


# -- approval of certificate requests ----------------------------------------------------------------


@served
async def test_approval_changes_conditions_and_the_requester_cannot_be_forged(api: Api) -> None:
    path = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    spec = {
        "request": certificate_request(),
        "signerName": "kubernetes.io/kube-apiserver-client",
        "usages": ["client auth"],
        "username": "system:admin",
        "groups": ["system:masters"],
    }
    jane = user("jane", "system:masters")
    made = (await api.post(path, {"metadata": {"name": "jane"}, "spec": spec}, user=jane)).ok(201)
    assert (made["spec"]["username"], made["spec"]["groups"][-1]) == ("jane", "system:authenticated")
    approved = {"type": "Approved", "status": "True", "reason": "Fine"}
    body = made | {"status": {"conditions": [approved], "certificate": "eHg="}}
    body["spec"] = made["spec"] | {"username": "other"}
    shown = (await api.put(f"{path}/jane/approval", body)).ok()
    assert [c["type"] for c in shown["status"]["conditions"]] == ["Approved"]
    assert "certificate" not in shown["status"]
    assert shown["spec"]["username"] == "jane"
    # A signer's status does not take the approval away.
    issued = shown | {"status": {"certificate": made["spec"]["request"]}}
    shown = (await api.put(f"{path}/jane/status", issued)).ok()
    assert [c["type"] for c in shown["status"]["conditions"]] == ["Approved"]
    denied = {"status": {"conditions": [approved, {"type": "Denied", "status": "True"}]}}
    (await api.patch(f"{path}/jane/approval", denied)).refused(422, "Invalid")


@served
async def test_subresources_that_are_not_there(api: Api) -> None:
    await api.pod()
    (await api.get(f"{PODS}/web/nothing")).refused(404, "NotFound")
    (await api.post(f"{PODS}/web/status", {})).refused(405, "MethodNotAllowed")
    (await api.get(f"{PODS}/web/binding")).refused(405, "MethodNotAllowed")
    assert (await api.get(f"{PODS}/web/log")).code == 204  # it has no node yet


@served
async def test_a_pod_can_be_bound_by_name(api: Api) -> None:
    await api.pod()
    (await api.post("/api/v1/namespaces/default/bindings", _binding())).ok(201)
    assert (await api.get(f"{PODS}/web")).ok()["spec"]["nodeName"] == "n1"
    (await api.get("/api/v1/namespaces/default/bindings/web")).refused(405, "MethodNotAllowed")


@served
async def test_pods_that_are_not_ready_go_by_the_policy_for_them(api: Api) -> None:
    await _healthy(api, "sick", ready=False)
    await _healthy(api, "ill", ready=False)
    await _budget(api, allowed=0)
    # The budget is healthy without the pod.
    (await api.post(f"{PODS}/sick/eviction", _eviction("sick"))).ok(201)
    short = {"status": {"currentHealthy": 0}}
    (await api.patch(f"{BUDGETS}/budget/status", short)).ok()
    (await api.post(f"{PODS}/ill/eviction", _eviction("ill"))).refused(429, "TooManyRequests")
    (await api.patch(f"{BUDGETS}/budget", {"spec": {"unhealthyPodEvictionPolicy": "AlwaysAllow"}})).ok()
    (await api.post(f"{PODS}/ill/eviction", _eviction("ill"))).ok(201)
    assert "disruptedPods" not in (await api.get(f"{BUDGETS}/budget")).ok()["status"]


@served
async def test_a_pod_that_has_not_begun_costs_nothing(api: Api) -> None:
    await api.pod(node="n1", labels={"app": "web"})
    await _budget(api, allowed=0)
    (await api.post(f"{PODS}/web/eviction", _eviction())).ok(201)
