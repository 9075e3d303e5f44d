"""Mutating and validating admission webhooks, called over real TLS."""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

from sampan.apiserver.core.server import ApiServer
from sampan.base.ids import RandomIds
from sampan.schema import api as api_types
from sampan.store.backend import Delete
from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, PODS, Api, config_map, deployment, pod, run, user
from tests.api.test_customresources import settled
from tests.api.webhooks import Hooks, hooks, json_patch

BASE = "/apis/admissionregistration.k8s.io/v1"
MUTATING = f"{BASE}/mutatingwebhookconfigurations"
VALIDATING = f"{BASE}/validatingwebhookconfigurations"


def hooked(test: Callable[[Api, Hooks], Awaitable[None]]) -> Callable[[], None]:
    """Makes a test of an `async def` that takes an Api and a webhook server."""

    def whole() -> None:
        async def work(api: Api) -> None:
            async with hooks() as server:
                await test(api, server)

        asyncio.run(run(work))

    functools.update_wrapper(whole, test)
    del whole.__wrapped__  # type: ignore[attr-defined]
    return whole


def rule(
    resources: str = "configmaps",
    operations: str = "CREATE",
    group: str = "",
    version: str = "v1",
    **more: Any,
) -> dict[str, Any]:
    return {
        "operations": operations.split(","),
        "apiGroups": [group],
        "apiVersions": [version],
        "resources": resources.split(","),
        **more,
    }


def webhook(server: Hooks, path: str, *rules: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": f"{path.strip('/')}.example.com",
        "clientConfig": server.config(path),
        "rules": list(rules) or [rule()],
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
        **more,
    }


async def configure(api: Api, url: str, name: str, *webhooks: dict[str, Any]) -> Any:
    made = await api.post(url, {"metadata": {"name": name}, "webhooks": list(webhooks)})
    return made.ok(201)


def allow(_request: Any) -> dict[str, Any]:
    return {"allowed": True}


def deny(message: str = "no", **status: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _request: {"allowed": False, "status": {"message": message, **status}}


# -- validating ------------------------------------------------------------------------------------------


@pytest.mark.conformance("AdmissionWebhook should be able to deny pod and configmap creation")
@hooked
async def test_deny_pod_and_configmap_creation(api: Api, server: Hooks) -> None:
    def decide(request: dict[str, Any]) -> dict[str, Any]:
        if request["resource"]["resource"] == "pods":
            images = [container["image"] for container in request["object"]["spec"]["containers"]]
            bad = [image for image in images if "bad" in image]
            return {"allowed": not bad, "status": {"message": "the pod contains unwanted image", "code": 403}}
        if "webhook-e2e" in (request["object"].get("data") or {}):
            return {"allowed": False, "status": {"reason": "the configmap contains unwanted key"}}
        return {"allowed": True}

    server.review("/deny", decide)
    rules = [rule("pods,configmaps", "CREATE,UPDATE")]
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", *rules))
    await api.account()
    refused = await api.post(PODS, pod(containers=[{"name": "a", "image": "bad"}]))
    denied = 'admission webhook "deny.example.com" denied the request: '
    assert refused.refused(403, "") == denied + "the pod contains unwanted image"
    await api.pod("good")
    refused = await api.post(CONFIG_MAPS, config_map("x", **{"webhook-e2e": "disallow"}))
    assert refused.message == denied + "the configmap contains unwanted key"
    assert refused.code == 400
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)
    # Updates by PUT and by PATCH are seen just as well.
    refused = await api.put(f"{CONFIG_MAPS}/x", config_map("x", **{"webhook-e2e": "disallow"}))
    assert refused.code == 400
    refused = await api.patch(f"{CONFIG_MAPS}/x", {"data": {"webhook-e2e": "disallow"}})
    assert refused.code == 400
    assert (await api.get(f"{CONFIG_MAPS}/x")).ok().get("data") is None


@hooked
async def test_what_a_review_says(api: Api, server: Hooks) -> None:
    server.review("/see", allow)
    every = rule("*/*", "*", "*", "*")
    await configure(api, VALIDATING, "see", webhook(server, "/see", every))
    jane = user("jane", "system:masters")
    (await api.post(CONFIG_MAPS, config_map("x", a="1"), user=jane, fieldManager="me")).ok(201)
    seen = server.seen["/see"][-1]
    assert seen["kind"] == seen["requestKind"] == {"group": "", "version": "v1", "kind": "ConfigMap"}
    assert seen["resource"] == {"group": "", "version": "v1", "resource": "configmaps"}
    assert (seen["name"], seen["namespace"], seen["operation"]) == ("x", "default", "CREATE")
    assert seen["userInfo"]["username"] == "jane"
    assert seen["object"]["data"] == {"a": "1"}
    assert seen["object"]["kind"] == "ConfigMap"
    assert seen["oldObject"] is None
    assert seen["dryRun"] is False
    assert seen["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "fieldManager": "me"}
    (await api.patch(f"{CONFIG_MAPS}/x", {"data": {"b": "2"}}, dryRun="All")).ok()
    seen = server.seen["/see"][-1]
    assert seen["operation"] == "UPDATE"
    assert seen["options"]["kind"] == "PatchOptions"
    assert (seen["oldObject"]["data"], seen["object"]["data"]) == ({"a": "1"}, {"a": "1", "b": "2"})
    assert seen["dryRun"] is True
    (await api.delete(f"{CONFIG_MAPS}/x")).ok()
    seen = server.seen["/see"][-1]
    assert (seen["operation"], seen["object"]) == ("DELETE", None)
    assert seen["oldObject"]["metadata"]["name"] == "x"
    assert len({each["uid"] for each in server.seen["/see"]}) == 3
    # Cluster-scoped objects, statuses and collections.
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "new"}})).ok(201)
    seen = server.seen["/see"][-1]
    assert (seen["name"], seen["namespace"]) == ("new", "new")
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    (await api.patch(f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 1}})).ok()
    assert server.seen["/see"][-1]["subResource"] == "status"
    for name in ("a", "b"):
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    (await api.delete(CONFIG_MAPS)).ok()
    deleted = [each["name"] for each in server.seen["/see"] if each["operation"] == "DELETE"]
    assert sorted(deleted) == ["a", "b", "x"]


@hooked
async def test_deny_update_and_deletion(api: Api, server: Hooks) -> None:
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)
    server.review("/deny", deny("cannot do", code=403, reason="Forbidden"))
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", rule(operations="UPDATE,DELETE")))
    said = 'admission webhook "deny.example.com" denied the request: cannot do'
    assert (await api.patch(f"{CONFIG_MAPS}/x", {"data": {"a": "b"}})).refused(403, "Forbidden") == said
    assert (await api.delete(f"{CONFIG_MAPS}/x")).refused(403, "Forbidden") == said
    assert (await api.delete(CONFIG_MAPS)).refused(403, "Forbidden") == said
    (await api.get(f"{CONFIG_MAPS}/x")).ok()
    # The configuration takes effect, and loses it, at once.
    (await api.delete(f"{VALIDATING}/deny")).ok()
    (await api.delete(f"{CONFIG_MAPS}/x")).ok()


@hooked
async def test_warnings_and_no_explanation(api: Api, server: Hooks) -> None:
    server.review(
        "/warn", lambda _: {"allowed": True, "warnings": ["careful"], "auditAnnotations": {"a": "b"}}
    )
    await configure(api, VALIDATING, "warn", webhook(server, "/warn"))
    made = await api.post(CONFIG_MAPS, config_map("x"))
    assert made.code == 201
    assert made.headers["Warning"] == '299 - "careful"'
    server.review("/warn", lambda _: {"allowed": False})
    refused = await api.post(CONFIG_MAPS, config_map("y"))
    assert refused.message == 'admission webhook "warn.example.com" denied the request without explanation'


@pytest.mark.conformance("AdmissionWebhook should honor timeout")
@hooked
async def test_honor_timeout(api: Api, server: Hooks) -> None:
    async def hang(_: web.Request) -> web.Response:
        await server.over.wait()
        return web.Response()

    server.raw("/slow", hang)
    await configure(api, VALIDATING, "slow", webhook(server, "/slow", timeoutSeconds=1))
    said = (await api.post(CONFIG_MAPS, config_map("x"))).refused(500, "InternalError")
    url = server.url("/slow")
    assert said == (
        'Internal error occurred: failed calling webhook "slow.example.com": failed to call webhook: '
        f'Post "{url}?timeout=1s": context deadline exceeded'
    )
    webhooks = [webhook(server, "/slow", timeoutSeconds=1, failurePolicy="Ignore")]
    (await api.patch(f"{VALIDATING}/slow", {"webhooks": webhooks})).ok()
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)


@pytest.mark.conformance("AdmissionWebhook should unconditionally reject operations on fail closed webhook")
@hooked
async def test_reject_everything_on_fail_closed_webhook(api: Api, server: Hooks) -> None:
    service = {"namespace": "default", "name": "nobody", "path": "/configmaps", "port": 443}
    closed = webhook(server, "/closed", rule(operations="*"), clientConfig={"service": service})
    await configure(api, VALIDATING, "closed", closed)
    said = (await api.post(CONFIG_MAPS, config_map("x"))).refused(500, "InternalError")
    assert (
        'failed calling webhook "closed.example.com": failed to call webhook: service "nobody" not found'
        in said
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"uid": "another", "allowed": True}, "expected response.uid="),
        ({"allowed": True, "patchType": "JSONPatch", "patch": "AAAA"}, "which is not allowed"),
        (b"rubbish", "is no AdmissionReview"),
        (b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}', "webhook response was absent"),
        (
            b'{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1beta1"}',
            "expected webhook response of",
        ),
        (b"[" * 100_000, "is no AdmissionReview"),
    ],
)
def test_webhooks_that_lie(answer: Any, said: str) -> None:
    async def work(api: Api) -> None:
        async with hooks() as server:

            async def raw(_: web.Request) -> web.Response:
                return web.Response(body=answer)

            if isinstance(answer, bytes):
                server.raw("/lie", raw)
            else:
                server.review("/lie", lambda _: dict(answer))
            await configure(api, VALIDATING, "lie", webhook(server, "/lie"))
            message = (await api.post(CONFIG_MAPS, config_map("x"))).refused(500, "InternalError")
            assert message.startswith('Internal error occurred: failed calling webhook "lie.example.com": ')
            assert said in message

    asyncio.run(run(work))


@hooked
async def test_validating_webhooks_run_side_by_side(api: Api, server: Hooks) -> None:
    both = asyncio.Barrier(2)

    async def meet(_: Any) -> dict[str, Any]:
        await both.wait()
        return {"allowed": True}

    server.review("/one", meet)
    server.review("/two", meet)
    await configure(api, VALIDATING, "both", webhook(server, "/one"), webhook(server, "/two"))
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)


# -- which writes they see -------------------------------------------------------------------------------


@hooked
async def test_selectors(api: Api, server: Hooks) -> None:
    for name, labels in (("guarded", {"guard": "on"}), ("free", {})):
        (await api.post("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})).ok(201)
    server.review("/deny", deny())
    selectors = {
        "namespaceSelector": {"matchLabels": {"guard": "on"}},
        "objectSelector": {"matchExpressions": [{"key": "skip-me", "operator": "DoesNotExist"}]},
    }
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", **selectors))
    guarded, free = (f"/api/v1/namespaces/{name}/configmaps" for name in ("guarded", "free"))
    assert (await api.post(guarded, config_map("x"))).code == 400
    (await api.post(free, config_map("x"))).ok(201)
    skipped = config_map("x")
    skipped["metadata"]["labels"] = {"skip-me": "yes"}
    (await api.post(guarded, skipped)).ok(201)


@hooked
async def test_rules_name_groups_versions_scopes_and_subresources(api: Api, server: Hooks) -> None:
    server.review("/see", allow)
    rules = [
        rule("namespaces", "CREATE", scope="Namespaced"),
        rule("deployments/status", "UPDATE", "apps"),
        rule("deployments", "CREATE", "batch"),
        rule("configmaps", "CREATE", "", "v2"),
    ]
    await configure(api, VALIDATING, "see", webhook(server, "/see", *rules))
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "new"}})).ok(201)
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    (await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 2}})).ok()
    assert server.seen == {}
    (await api.patch(f"{DEPLOYMENTS}/web/status", {"status": {"replicas": 1}})).ok()
    assert [each["subResource"] for each in server.seen["/see"]] == ["status"]


HPA = {
    "metadata": {"name": "web"},
    "spec": {
        "maxReplicas": 3,
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
    },
}


@hooked
async def test_equivalent_versions_are_converted(api: Api, server: Hooks) -> None:
    server.review("/see", allow)
    server.review("/exact", allow)
    old = rule("horizontalpodautoscalers", "CREATE", "autoscaling", "v1")
    await configure(
        api,
        VALIDATING,
        "see",
        webhook(server, "/see", old),
        webhook(server, "/exact", old, matchPolicy="Exact"),
    )
    metric = {
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
    }
    body = {**HPA, "spec": {**HPA["spec"], "metrics": [metric]}}  # type: ignore[dict-item]
    (await api.post("/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", body)).ok(201)
    [seen] = server.seen["/see"]
    assert "/exact" not in server.seen
    assert seen["kind"] == {"group": "autoscaling", "version": "v1", "kind": "HorizontalPodAutoscaler"}
    assert seen["requestKind"]["version"] == "v2"
    assert seen["resource"]["version"] == "v1"
    assert seen["object"]["apiVersion"] == "autoscaling/v1"
    assert seen["object"]["spec"]["targetCPUUtilizationPercentage"] == 60


@hooked
async def test_match_conditions(api: Api, server: Hooks) -> None:
    server.review("/deny", deny())
    conditions = [
        {"name": "named", "expression": "object.metadata.name.startsWith('bad')"},
        {"name": "not-nodes", "expression": "!('system:nodes' in request.userInfo.groups)"},
        {
            "name": "may",
            "expression": "!authorizer.group('').resource('secrets').check('breakglass').allowed()",
        },
    ]
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", matchConditions=conditions))
    (await api.post(CONFIG_MAPS, config_map("good"))).ok(201)
    # The masters may do everything, breaking the glass too.
    (await api.post(CONFIG_MAPS, config_map("bad-1"))).ok(201)
    role = {"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create"]}]}
    rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces/default"
    (await api.post(f"{rbac}/roles", {"metadata": {"name": "maker"}, **role})).ok(201)
    binding = {
        "metadata": {"name": "maker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "maker"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    (await api.post(f"{rbac}/rolebindings", binding)).ok(201)
    assert (await api.post(CONFIG_MAPS, config_map("bad-2"), user=user("jane"))).code == 400
    # A condition without a value refuses where the policy is to fail, and is passed over otherwise.
    broken = [{"name": "broken", "expression": "object.spec.nope == 1"}]
    for policy, code in (("Fail", 403), ("Ignore", 201)):
        one = webhook(server, "/deny", matchConditions=broken, failurePolicy=policy)
        (await api.patch(f"{VALIDATING}/deny", {"webhooks": [one]})).ok()
        assert (await api.post(CONFIG_MAPS, config_map(f"x-{policy.lower()}"))).code == code


@pytest.mark.conformance(
    "AdmissionWebhook should reject mutating webhook configurations with invalid match conditions"
)
@pytest.mark.conformance(
    "AdmissionWebhook should reject validating webhook configurations with invalid match conditions"
)
@pytest.mark.parametrize("url", [MUTATING, VALIDATING])
def test_conditions_that_do_not_compile_are_refused(url: str) -> None:
    async def work(api: Api) -> None:
        async with hooks() as server:
            conditions = [
                {"name": "one", "expression": "... [] bad expression"},
                {"name": "two", "expression": "1 + 1"},
            ]
            body = {
                "metadata": {"name": "x"},
                "webhooks": [webhook(server, "/x", matchConditions=conditions)],
            }
            said = (await api.post(url, body)).refused(422, "Invalid")
            assert "webhooks[0].matchConditions[0].expression: Invalid value" in said
            assert "compilation failed" in said
            assert 'matchConditions[1].expression: Invalid value: "1 + 1": must evaluate to bool' in said
            body["webhooks"][0]["matchConditions"] = [{"name": "one", "expression": "object.a == 'b'"}]  # type: ignore[index]
            made = (await api.post(url, body)).ok(201)
            body["metadata"] = made["metadata"]
            body["webhooks"][0]["matchConditions"][0]["expression"] = "object.a =="  # type: ignore[index]
            assert "compilation failed" in (await api.put(f"{url}/x", body)).refused(422, "Invalid")

    asyncio.run(run(work))


@pytest.mark.conformance(
    "AdmissionWebhook should not be able to mutate or prevent deletion of webhook configuration objects"
)
@hooked
async def test_configurations_are_never_shown_to_webhooks(api: Api, server: Hooks) -> None:
    server.review("/deny", deny())
    server.review(
        "/change", lambda _: json_patch({"op": "add", "path": "/metadata/labels", "value": {"a": "b"}})
    )
    every = rule("*/*", "*", "*", "*")
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", every))
    await configure(api, MUTATING, "change", webhook(server, "/change", every))
    made = await configure(api, VALIDATING, "dummy", webhook(server, "/deny", rule()))
    assert "labels" not in made["metadata"]
    for url in (VALIDATING, MUTATING):
        (await api.delete(url)).ok()
    assert server.seen == {}


# -- mutating --------------------------------------------------------------------------------------------


def adds(path: str, value: Any) -> Callable[[Any], dict[str, Any]]:
    return lambda _request: json_patch({"op": "add", "path": path, "value": value})


@pytest.mark.conformance("AdmissionWebhook should mutate configmap")
@hooked
async def test_mutate_configmap_in_the_order_of_configurations(api: Api, server: Hooks) -> None:
    def second(request: dict[str, Any]) -> dict[str, Any]:
        assert "mutation-stage-1" in request["object"]["data"]
        return json_patch({"op": "add", "path": "/data/mutation-stage-2", "value": "yes"})

    server.review("/first", adds("/data/mutation-stage-1", "yes"))
    server.review("/second", second)
    await configure(api, MUTATING, "b", webhook(server, "/second"))
    await configure(api, MUTATING, "a", webhook(server, "/first"))
    made = (await api.post(CONFIG_MAPS, config_map("x", a="b"))).ok(201)
    assert made["data"] == {"a": "b", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}
    assert (await api.get(f"{CONFIG_MAPS}/x")).ok()["data"] == made["data"]


@pytest.mark.conformance("AdmissionWebhook should mutate pod and apply defaults after mutation")
@hooked
async def test_mutate_pod_and_apply_defaults_after_mutation(api: Api, server: Hooks) -> None:
    container = {"name": "added", "image": "busybox:1", "resources": {}}
    server.review("/add", adds("/spec/initContainers", [container]))
    await configure(api, MUTATING, "add", webhook(server, "/add", rule("pods")))
    [added] = (await api.pod())["spec"]["initContainers"]
    assert added["image"] == "busybox:1"
    assert added["terminationMessagePolicy"] == "File"
    assert added["imagePullPolicy"] == "IfNotPresent"
    # Built-in plugins look at what was added, too.
    assert added["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"


@hooked
async def test_what_a_mutation_may_not_do(api: Api, server: Hooks) -> None:
    server.review("/uid", adds("/metadata/uid", "mine"))
    await configure(api, MUTATING, "uid", webhook(server, "/uid", rule(operations="CREATE,UPDATE")))
    made = (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)
    assert made["metadata"]["uid"] != "mine"
    # What it makes is validated as if the client had sent it.
    server.review("/uid", adds("/data", {"not a key!": "x"}))
    assert (await api.patch(f"{CONFIG_MAPS}/x", {"data": {"a": "b"}})).code == 422
    for bad in (
        adds("/data", 5),
        adds("/nowhere/at/all", 1),
        lambda _: {"allowed": True, "patchType": "JSONPatch", "patch": "!!!"},
        lambda _: {"allowed": True, "patchType": "Other", "patch": "W10="},
        lambda _: json_patch({"op": "explode", "path": "/x"}),
    ):
        server.review("/uid", bad)  # type: ignore[arg-type]
        assert (await api.post(CONFIG_MAPS, config_map("y"))).refused(500, "InternalError")
    # The status is not the main resource's to change.
    server.review("/dep", adds("/status", {"replicas": 7}))
    await configure(
        api, MUTATING, "dep", webhook(server, "/dep", rule("deployments", "CREATE,UPDATE", "apps"))
    )
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    assert made.get("status", {}).get("replicas") is None
    made = (await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 2}})).ok()
    assert made.get("status", {}).get("replicas") is None


@hooked
async def test_reinvocation(api: Api, server: Hooks) -> None:
    def count(request: dict[str, Any]) -> dict[str, Any]:
        size = str(len(request["object"]["data"]))
        return json_patch({"op": "add", "path": "/data/size", "value": size})

    server.review("/count", count)
    server.review("/never", count)
    server.review("/grow", adds("/data/more", "yes"))
    await configure(
        api,
        MUTATING,
        "a",
        webhook(server, "/count", reinvocationPolicy="IfNeeded"),
        webhook(server, "/never"),
        webhook(server, "/grow"),
    )
    made = (await api.post(CONFIG_MAPS, config_map("x", a="b"))).ok(201)
    assert [len(server.seen[path]) for path in ("/count", "/never", "/grow")] == [2, 1, 1]
    assert made["data"] == {"a": "b", "size": "3", "more": "yes"}


@hooked
async def test_updates_at_once_are_each_seen(api: Api, server: Hooks) -> None:
    def mark(request: dict[str, Any]) -> dict[str, Any]:
        newest = max(request["object"]["data"])
        return json_patch({"op": "add", "path": f"/metadata/annotations/{newest}", "value": "seen"})

    await configure(api, MUTATING, "mark", webhook(server, "/mark", rule(operations="UPDATE")))
    server.review("/mark", mark)
    made = config_map("x", a="0")
    made["metadata"]["annotations"] = {"a": "seen"}
    (await api.post(CONFIG_MAPS, made)).ok(201)
    patches = [api.patch(f"{CONFIG_MAPS}/x", {"data": {f"k{n:02}": "v"}}) for n in range(20)]
    for answer in await asyncio.gather(*patches):
        answer.ok()
    after = (await api.get(f"{CONFIG_MAPS}/x")).ok()
    assert set(after["metadata"]["annotations"]) == set(after["data"])


@pytest.mark.conformance("AdmissionWebhook listing mutating webhooks should work")
@pytest.mark.conformance("AdmissionWebhook listing validating webhooks should work")
@pytest.mark.conformance("AdmissionWebhook patching/updating a mutating webhook should work")
@pytest.mark.conformance("AdmissionWebhook patching/updating a validating webhook should work")
@hooked
async def test_listing_and_patching_configurations(api: Api, server: Hooks) -> None:
    server.review("/deny", deny())
    server.review("/grow", adds("/data/more", "yes"))
    for url, path in ((VALIDATING, "/deny"), (MUTATING, "/grow")):
        body = {"metadata": {"labels": {"set": "mine"}}, "webhooks": [webhook(server, path)]}
        for name in ("one", "two"):
            body["metadata"] = {"name": name, "labels": {"set": "mine"}}
            (await api.post(url, body)).ok(201)
        assert (await api.get(url, labelSelector="set=mine")).names == ["one", "two"]
        (await api.patch(f"{url}/two", {"webhooks": []})).ok()
        one = (await api.get(f"{url}/one")).ok()
        one["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
        (await api.put(f"{url}/one", one)).ok()
    # No webhook has a rule for CREATE any more.
    made = (await api.post(CONFIG_MAPS, config_map("x", a="b"))).ok(201)
    assert made["data"] == {"a": "b"}
    patch = [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}]
    json_patch_type = "application/json-patch+json"
    (await api.patch(f"{MUTATING}/one", patch, media=json_patch_type)).ok()
    made = (await api.post(CONFIG_MAPS, config_map("y", a="b"))).ok(201)
    assert made["data"] == {"a": "b", "more": "yes"}
    (await api.patch(f"{VALIDATING}/one", patch, media=json_patch_type)).ok()
    assert (await api.post(CONFIG_MAPS, config_map("z", a="b"))).code == 400
    (await api.delete(VALIDATING, labelSelector="set=mine")).ok()
    (await api.post(CONFIG_MAPS, config_map("z", a="b"))).ok(201)


@pytest.mark.conformance("AdmissionWebhook should include webhook resources in discovery documents")
@hooked
async def test_discovery_has_the_webhooks(api: Api, server: Hooks) -> None:
    groups = (await api.get("/apis")).ok()["groups"]
    [group] = [each for each in groups if each["name"] == "admissionregistration.k8s.io"]
    assert "v1" in [each["version"] for each in group["versions"]]
    named = {each["name"] for each in (await api.get(BASE)).ok()["resources"]}
    assert {"mutatingwebhookconfigurations", "validatingwebhookconfigurations"} <= named


# -- subresources ----------------------------------------------------------------------------------------


@hooked
async def test_subresources_are_seen_as_what_they_are(api: Api, server: Hooks) -> None:
    await api.pod("free")
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    server.review("/see", allow)
    every = rule("*/*", "*", "*", "*")
    await configure(api, VALIDATING, "see", webhook(server, "/see", every))

    async def seen() -> list[tuple[str, str, str, str]]:
        requests, server.seen["/see"] = server.seen.get("/see", []), []
        return [
            (r["operation"], r["resource"]["resource"], r.get("subResource", ""), r["kind"]["kind"])
            for r in requests
        ]

    binding = {"metadata": {"name": "free"}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api.post(f"{PODS}/free/binding", binding)).code == 201
    assert await seen() == [("CREATE", "pods", "binding", "Binding")]
    (await api.put(f"{DEPLOYMENTS}/web/scale", {"metadata": {"name": "web"}, "spec": {"replicas": 3}})).ok()
    scaled = server.seen["/see"][-1]
    assert (scaled["object"]["spec"], scaled["oldObject"]["spec"]) == ({"replicas": 3}, {"replicas": 1})
    assert await seen() == [("UPDATE", "deployments", "scale", "Scale")]
    assert (await api.get(f"{DEPLOYMENTS}/web")).ok()["spec"]["replicas"] == 3
    assert (await api.post(f"{PODS}/free/eviction", {"metadata": {"name": "free"}})).code == 201
    assert await seen() == [("CREATE", "pods", "eviction", "Eviction")]
    token = "/api/v1/namespaces/default/serviceaccounts/default/token"
    (await api.post(token, {"spec": {"audiences": []}})).ok(201)
    assert await seen() == [("CREATE", "serviceaccounts", "token", "TokenRequest")]


@pytest.mark.conformance("AdmissionWebhook should be able to deny attaching pod")
@hooked
async def test_deny_attaching_pod(api: Api, server: Hooks) -> None:
    await api.pod("web", node="n1")

    def decide(request: dict[str, Any]) -> dict[str, Any]:
        assert request["kind"]["kind"] == "PodAttachOptions"
        assert request["object"]["stdin"] is True
        assert request["object"]["container"] == "main"
        return {"allowed": False, "status": {"message": "attaching to pod 'web' is not allowed"}}

    server.review("/attach", decide)
    await configure(api, VALIDATING, "attach", webhook(server, "/attach", rule("pods/attach", "CONNECT")))
    refused = await api.post(f"{PODS}/web/attach", None, stdin="true", container="main")
    assert "attaching to pod 'web' is not allowed" in refused.message
    # Other connections are not its business; this pod's node is not there.
    refused = await api.post(f"{PODS}/web/exec", None, command="ls")
    assert "not allowed" not in refused.message


@hooked
async def test_a_mutated_scale_is_what_happens(api: Api, server: Hooks) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    server.review("/scale", adds("/spec/replicas", 5))
    await configure(
        api, MUTATING, "scale", webhook(server, "/scale", rule("deployments/scale", "UPDATE", "apps"))
    )
    made = (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 2}})).ok()
    assert made["spec"]["replicas"] == 5
    assert (await api.get(f"{DEPLOYMENTS}/web")).ok()["spec"]["replicas"] == 5


@pytest.mark.conformance("AdmissionWebhook should deny crd creation")
@hooked
async def test_deny_crd_creation(api: Api, server: Hooks) -> None:
    server.review("/crd", deny("the crd contains unwanted label"))
    group = "apiextensions.k8s.io"
    one = webhook(
        server,
        "/crd",
        rule("customresourcedefinitions", "CREATE", group),
        objectSelector={"matchLabels": {"webhook-e2e-test": "webhook-disallow"}},
    )
    await configure(api, VALIDATING, "crd", one)
    crd = {
        "metadata": {"name": "widgets.example.com", "labels": {"webhook-e2e-test": "webhook-disallow"}},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": {"type": "object"}},
                }
            ],
        },
    }
    url = f"/apis/{group}/v1/customresourcedefinitions"
    assert "the crd contains unwanted label" in (await api.post(url, crd)).message
    crd["metadata"] = {"name": "widgets.example.com"}
    (await api.post(url, crd)).ok(201)


@hooked
async def test_no_webhook_keeps_a_server_from_starting(api: Api, server: Hooks) -> None:
    every = rule("*/*", "*", "*", "*")
    unreachable = {"url": "https://127.0.0.1:1/"}
    await configure(api, VALIDATING, "closed", webhook(server, "/closed", every, clientConfig=unreachable))
    # Something that every start creates where it is missing; the webhook would refuse it.
    role = "/registry/rbac.authorization.k8s.io/clusterroles/view"
    await api.store.commit([], [Delete(role)])
    again = ApiServer(api.store, api.clock, RandomIds(random.Random(8)), api.server.settings)
    await again.start()
    try:
        assert again.resources.of(api_types.ClusterRole).cache.get("", "view") is not None
        other = Api(again, api.clock, api.store)
        assert (await other.post(CONFIG_MAPS, config_map("x"))).code == 500
        (await other.delete(f"{VALIDATING}/closed")).ok()
        (await other.post(CONFIG_MAPS, config_map("x"))).ok(201)
    finally:
        await again.close()


# -- custom resources ------------------------------------------------------------------------------------

DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WIDGETS = "/apis/example.com/v1/namespaces/default/widgets"


async def widgets(api: Api, *, storage: str = "v1", preserve: bool = False) -> None:
    data: dict[str, Any] = {
        "type": "object",
        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
    }
    if preserve:
        data = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"data": data}}}
    versions = [
        {"name": name, "served": True, "storage": name == storage, "schema": schema} for name in ("v1", "v2")
    ]
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    spec = {"group": "example.com", "scope": "Namespaced", "names": names, "versions": versions}
    (await api.post(DEFINITIONS, {"metadata": {"name": "widgets.example.com"}, "spec": spec})).ok(201)
    await settled(api, "widgets.example.com")


def widget(name: str, version: str = "v1", **data: str) -> dict[str, Any]:
    return {
        "apiVersion": f"example.com/{version}",
        "kind": "Widget",
        "metadata": {"name": name},
        "data": data,
    }


@pytest.mark.conformance(
    "AdmissionWebhook should be able to deny custom resource creation, update and deletion"
)
@hooked
async def test_deny_custom_resource_creation_update_and_deletion(api: Api, server: Hooks) -> None:
    await widgets(api)

    def decide(request: dict[str, Any]) -> dict[str, Any]:
        shown = request["object"] or request["oldObject"]
        return {"allowed": shown["data"].get("a") != "disallow", "status": {"message": "unwanted data"}}

    every = rule("widgets", "CREATE,UPDATE,DELETE", "example.com", "*")
    server.review("/deny", decide)
    (await api.post(WIDGETS, widget("old", a="disallow"))).ok(201)
    await configure(api, VALIDATING, "deny", webhook(server, "/deny", every))
    assert "unwanted data" in (await api.post(WIDGETS, widget("x", a="disallow"))).message
    (await api.post(WIDGETS, widget("x", a="fine"))).ok(201)
    assert "unwanted data" in (await api.patch(f"{WIDGETS}/x", {"data": {"a": "disallow"}})).message
    assert "unwanted data" in (await api.delete(f"{WIDGETS}/old")).message
    (await api.patch(f"{WIDGETS}/old", {"data": {"a": "fine"}})).ok()
    (await api.delete(f"{WIDGETS}/old")).ok()


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource with pruning")
@hooked
async def test_mutate_custom_resource_with_pruning(api: Api, server: Hooks) -> None:
    await widgets(api)
    server.review("/known", adds("/data/b", "stage-1"))
    server.review("/unknown", adds("/data/c", "stage-2"))
    one = rule("widgets", "CREATE", "example.com", "v1")
    await configure(api, MUTATING, "m", webhook(server, "/known", one), webhook(server, "/unknown", one))
    made = (await api.post(WIDGETS, widget("x", a="start"))).ok(201)
    assert made["data"] == {"a": "start", "b": "stage-1"}
    assert (await api.get(f"{WIDGETS}/x")).ok()["data"] == made["data"]


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource")
@hooked
async def test_mutate_custom_resource_that_keeps_unknown_fields(api: Api, server: Hooks) -> None:
    await widgets(api, preserve=True)
    server.review("/more", adds("/data/more", {"deep": [1]}))
    await configure(
        api, MUTATING, "m", webhook(server, "/more", rule("widgets", "CREATE", "example.com", "v1"))
    )
    made = (await api.post(WIDGETS, widget("x", a="start"))).ok(201)
    assert made["data"] == {"a": "start", "more": {"deep": [1]}}


@pytest.mark.conformance("AdmissionWebhook should mutate custom resource with different stored version")
@hooked
async def test_mutate_custom_resource_with_different_stored_version(api: Api, server: Hooks) -> None:
    await widgets(api, storage="v1")
    server.review("/mark", adds("/data/b", "seen"))
    only = rule("widgets", "CREATE,UPDATE", "example.com", "v1")
    await configure(api, MUTATING, "m", webhook(server, "/mark", only))
    (await api.post(WIDGETS, widget("x", a="1"))).ok(201)
    definition = (await api.get(f"{DEFINITIONS}/widgets.example.com")).ok()
    for version in definition["spec"]["versions"]:
        version["storage"] = version["name"] == "v2"
    (await api.put(f"{DEFINITIONS}/widgets.example.com", definition)).ok()
    made = (await api.patch(f"{WIDGETS}/x", {"data": {"a": "2", "b": "none"}})).ok()
    assert made["data"] == {"a": "2", "b": "seen"}
    newer = WIDGETS.replace("/v1/", "/v2/")
    made = (await api.post(newer, widget("y", "v2", a="1"))).ok(201)
    assert made["data"] == {"a": "1", "b": "seen"}
    seen = server.seen["/mark"][-1]
    assert (seen["kind"]["version"], seen["requestKind"]["version"]) == ("v1", "v2")
    assert seen["object"]["apiVersion"] == "example.com/v1"


@hooked
async def test_custom_resources_are_parameters(api: Api, server: Hooks) -> None:
    await widgets(api)
    (await api.post(WIDGETS, widget("limit", a="2"))).ok(201)
    policies = f"{BASE}/validatingadmissionpolicies"
    spec = {
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Widget"},
        "matchConstraints": {"resourceRules": [rule()]},
        "validations": [{"expression": "object.data.size() <= int(params.data.a)"}],
    }
    (await api.post(policies, {"metadata": {"name": "p"}, "spec": spec})).ok(201)
    ref = {"name": "limit", "parameterNotFoundAction": "Deny"}
    bound = {"policyName": "p", "validationActions": ["Deny"], "paramRef": ref}
    (
        await api.post(
            f"{BASE}/validatingadmissionpolicybindings", {"metadata": {"name": "b"}, "spec": bound}
        )
    ).ok(201)
    (await api.post(CONFIG_MAPS, config_map("two", a="1", b="2"))).ok(201)
    assert (await api.post(CONFIG_MAPS, config_map("three", a="1", b="2", c="3"))).code == 422
