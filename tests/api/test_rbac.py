from __future__ import annotations

from typing import Any

import pytest

from sampan.apiserver.core.users import User, service_account
from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, PODS, Api, config_map, deployment, served, user

RBAC = "/apis/rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"
REVIEWS = "/apis/authorization.k8s.io/v1"
SECRETS = "/api/v1/namespaces/default/secrets"


async def _bind(api: Api, role: str, name: str, *, kind: str = "User", namespace: str = "default") -> None:
    subject = {"kind": kind, "name": name}
    subject |= {"namespace": "default"} if kind == "ServiceAccount" else {"apiGroup": GROUP}
    body = {
        "metadata": {"name": f"{name}-{role}".replace(":", "-")},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": role},
        "subjects": [subject],
    }
    where = f"{RBAC}/namespaces/{namespace}/rolebindings" if namespace else f"{RBAC}/clusterrolebindings"
    (await api.post(where, body)).ok(201)


async def _role(api: Api, name: str, *rules: dict[str, Any]) -> None:
    (await api.post(f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": rules})).ok(201)


def _rule(resources: str, verbs: str, group: str = "", **more: Any) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **more}


@served
async def test_viewers_read_all_but_secrets_and_write_nothing(api: Api) -> None:
    await _bind(api, "view", "vera")
    vera = user("vera")
    await api.pod()
    for path in (PODS, f"{PODS}/web", f"{PODS}/web/status", CONFIG_MAPS, DEPLOYMENTS):
        (await api.get(path, user=vera)).ok()
    for path in (SECRETS, "/api/v1/pods", "/api/v1/nodes", f"{RBAC}/clusterroles"):
        (await api.get(path, user=vera)).refused(403, "Forbidden")
    (await api.post(CONFIG_MAPS, config_map("a"), user=vera)).refused(403, "Forbidden")
    (await api.delete(f"{PODS}/web", user=vera)).refused(403, "Forbidden")
    (await api.delete(PODS, user=vera)).refused(403, "Forbidden")
    (await api.post(f"{PODS}/web/eviction", {}, user=vera)).refused(403, "Forbidden")


@served
async def test_editors_write_in_their_namespace_and_not_the_rules(api: Api) -> None:
    await _bind(api, "edit", "ed")
    ed = user("ed")
    (await api.post(DEPLOYMENTS, deployment(), user=ed)).ok(201)
    (await api.get(SECRETS, user=ed)).ok()
    (await api.get(f"{RBAC}/namespaces/default/roles", user=ed)).refused(403, "Forbidden")
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "x"}}, user=ed)).refused(403, "Forbidden")


@served
async def test_rules_change_at_once(api: Api) -> None:
    (await api.get(CONFIG_MAPS, user=user("vera"))).refused(403, "Forbidden")
    await _bind(api, "view", "vera")
    (await api.get(CONFIG_MAPS, user=user("vera"))).ok()
    (await api.delete(f"{RBAC}/namespaces/default/rolebindings/vera-view")).ok()
    (await api.get(CONFIG_MAPS, user=user("vera"))).refused(403, "Forbidden")


@pytest.mark.parametrize(
    ("rule", "allowed", "refused"),
    [
        (
            _rule("configmaps", "get", resourceNames=["a"]),
            [f"{CONFIG_MAPS}/a"],
            [f"{CONFIG_MAPS}/b", CONFIG_MAPS],
        ),
        (_rule("*", "list"), [CONFIG_MAPS, PODS], [DEPLOYMENTS, f"{CONFIG_MAPS}/a"]),
        (_rule("deployments", "*", "apps"), [DEPLOYMENTS], [f"{DEPLOYMENTS}/web/status"]),
        (_rule("*/status", "get", "apps"), [f"{DEPLOYMENTS}/web/status"], [f"{DEPLOYMENTS}/web"]),
        (_rule("pods", "list", "*"), [PODS], [f"{PODS}/web"]),
    ],
)
@served
async def test_what_rules_cover(api: Api, rule: Any, allowed: list[str], refused: list[str]) -> None:
    for name in "ab":
        (await api.post(CONFIG_MAPS, config_map(name))).ok(201)
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    await api.pod()
    await _role(api, "custom", rule)
    await _bind(api, "custom", "una", namespace="")
    for path in allowed:
        (await api.get(path, user=user("una"))).ok()
    for path in refused:
        (await api.get(path, user=user("una"))).refused(403, "Forbidden")


@served
async def test_groups_and_service_accounts_are_subjects(api: Api) -> None:
    await _bind(api, "view", "readers", kind="Group")
    await _bind(api, "view", "robot", kind="ServiceAccount")
    (await api.get(CONFIG_MAPS, user=user("anybody", "readers"))).ok()
    (await api.get(CONFIG_MAPS, user=service_account("default", "robot"))).ok()
    (await api.get(CONFIG_MAPS, user=service_account("other", "robot"))).refused(403, "Forbidden")


@served
async def test_paths_that_are_no_resources(api: Api) -> None:
    (await api.get("/metrics", user=user("una"))).refused(403, "Forbidden")
    rule = {"nonResourceURLs": ["/metrics", "/debug/*"], "verbs": ["get"]}
    await _role(api, "prober", rule)
    await _bind(api, "prober", "una", namespace="")
    assert (await api.get("/metrics", user=user("una"))).code == 200
    assert (await api.get("/debug/x", user=user("una"))).code == 404
    (await api.post("/metrics", {}, user=user("una"))).refused(403, "Forbidden")
    (await api.get("/apis", user=user("una"))).ok()


# -- impersonation -----------------------------------------------------------------------------------


SELF = "/apis/authentication.k8s.io/v1/selfsubjectreviews"


async def _as(api: Api, who: User | None = None, **headers: str) -> Any:
    options = {} if who is None else {"user": who}
    named = {f"impersonate-{name.replace('_', '-')}": value for name, value in headers.items()}
    return await api.post(SELF, {}, headers=named, **options)


@served
async def test_administrators_may_be_anybody(api: Api) -> None:
    shown = (await _as(api, user="jane", group="dev,ops", uid="7")).ok(201)["status"]["userInfo"]
    assert shown["username"] == "jane"
    assert shown["groups"] == ["dev", "ops", "system:authenticated"]
    assert shown["uid"] == "7"
    shown = (await _as(api, user="system:serviceaccount:a:b")).ok(201)["status"]["userInfo"]
    assert shown["groups"][:2] == ["system:serviceaccounts", "system:serviceaccounts:a"]
    shown = (await _as(api, user="jane", extra_scopes="view")).ok(201)["status"]["userInfo"]
    assert shown["extra"] == {"scopes": ["view"]}


@served
async def test_what_is_impersonated_limits_what_may_be_done(api: Api) -> None:
    headers = {"impersonate-user": "jane"}
    message = (await api.get("/api/v1/nodes", headers=headers)).refused(403, "Forbidden")
    assert 'User "jane" cannot list resource "nodes"' in message


@served
async def test_impersonation_takes_permission_for_each_part(api: Api) -> None:
    message = (await _as(api, user("ann"), user="jane")).refused(403, "Forbidden")
    assert 'User "ann" cannot impersonate resource "users" in API group ""' in message
    await _role(api, "actor", _rule("users", "impersonate", resourceNames=["jane"]))
    await _bind(api, "actor", "ann", namespace="")
    (await _as(api, user("ann"), user="jane")).ok(201)
    (await _as(api, user("ann"), user="bob")).refused(403, "Forbidden")
    (await _as(api, user("ann"), user="jane", group="system:masters")).refused(403, "Forbidden")
    (await _as(api, user("ann"), user="jane", extra_scopes="all")).refused(403, "Forbidden")
    (await _as(api, user("ann"), user="jane", uid="1")).refused(403, "Forbidden")
    await _role(api, "robots", _rule("serviceaccounts", "impersonate"))
    await _bind(api, "robots", "ann")
    (await _as(api, user("ann"), user="system:serviceaccount:default:robot")).ok(201)
    (await _as(api, user("ann"), user="system:serviceaccount:other:robot")).refused(403, "Forbidden")


@served
async def test_groups_alone_are_nobody(api: Api) -> None:
    (await _as(api, group="dev")).refused(400, "BadRequest")


# -- reviews -----------------------------------------------------------------------------------------


def _attributes(verb: str, resource: str, **more: str) -> dict[str, Any]:
    return {"resourceAttributes": {"verb": verb, "resource": resource, "namespace": "default", **more}}


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        (_attributes("list", "configmaps"), True),
        (_attributes("get", "pods", subresource="log"), True),
        (_attributes("delete", "pods"), False),
        (_attributes("list", "secrets"), False),
        (_attributes("list", "deployments", group="apps"), True),
        (_attributes("list", "configmaps", namespace="other"), False),
        ({"nonResourceAttributes": {"verb": "get", "path": "/version"}}, True),
        ({"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}, False),
    ],
)
@served
async def test_can_i(api: Api, spec: Any, allowed: bool) -> None:
    await _bind(api, "view", "vera")
    review = await api.post(f"{REVIEWS}/selfsubjectaccessreviews", {"spec": spec}, user=user("vera"))
    assert review.ok(201)["status"]["allowed"] is allowed
    other = spec | {"user": "vera", "groups": ["system:authenticated"]}
    review = await api.post(f"{REVIEWS}/subjectaccessreviews", {"spec": other})
    assert review.ok(201)["status"]["allowed"] is allowed


@served
async def test_local_reviews_are_of_their_namespace(api: Api) -> None:
    await _bind(api, "view", "vera")
    path = f"{REVIEWS}/namespaces/default/localsubjectaccessreviews"
    spec = _attributes("list", "configmaps") | {"user": "vera"}
    body = {"metadata": {"namespace": "default"}, "spec": spec}
    assert (await api.post(path, body)).ok(201)["status"]["allowed"] is True
    spec["resourceAttributes"]["namespace"] = "other"
    message = (await api.post(path, body)).refused(422, "Invalid")
    assert message == (
        '.authorization.k8s.io "" is invalid: spec.resourceAttributes.namespace: Invalid value: "other": '
        "must match metadata.namespace"
    )
    body["metadata"] = {"namespace": "other"}
    (await api.post(path, body)).refused(400, "BadRequest")


@served
async def test_what_i_may_do(api: Api) -> None:
    await _bind(api, "view", "vera")
    body = {"spec": {"namespace": "default"}}
    review = await api.post(f"{REVIEWS}/selfsubjectrulesreviews", body, user=user("vera"))
    status = review.ok(201)["status"]
    rules = status["resourceRules"]
    assert any("configmaps" in rule["resources"] and "get" in rule["verbs"] for rule in rules)
    assert not any("secrets" in rule["resources"] for rule in rules)
    assert any("/version" in rule["nonResourceURLs"] for rule in status["nonResourceRules"])
    review = await api.post(f"{REVIEWS}/selfsubjectrulesreviews", body)
    assert {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in review.ok(201)["status"][
        "resourceRules"
    ]


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"user": "x"},
        {"resourceAttributes": {"verb": "get"}},
        {"user": "x", "resourceAttributes": {}, "nonResourceAttributes": {}},
    ],
)
@served
async def test_reviews_that_ask_nothing(api: Api, spec: Any) -> None:
    answer = await api.post(f"{REVIEWS}/subjectaccessreviews", {"spec": spec})
    assert answer.code in (400, 422)


# -- what a node's agent needs -----------------------------------------------------------------------


@served
async def test_a_node_may_do_its_work_and_no_more(api: Api) -> None:
    node = User("system:node:n1", ("system:nodes", "system:authenticated"))
    (await api.post("/api/v1/nodes", {"metadata": {"name": "n1"}}, user=node)).ok(201)
    (await api.patch("/api/v1/nodes/n1", {"metadata": {"labels": {"a": "b"}}}, user=node)).ok()
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    (await api.patch("/api/v1/nodes/n1/status", ready, user=node)).ok()
    made = await api.pod(node="n1")
    (await api.get("/api/v1/pods", user=node, fieldSelector="spec.nodeName=n1")).ok()
    (await api.patch(f"{PODS}/web/status", {"status": {"phase": "Running"}}, user=node)).ok()
    ref = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": made["metadata"]["uid"]}
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    (await api.post(path, {"spec": {"boundObjectRef": ref}}, user=node)).ok(201)
    leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
    lease = (await api.post(leases, {"metadata": {"name": "n1"}}, user=node)).ok(201)
    (await api.put(f"{leases}/n1", lease, user=node)).ok()
    event = {
        "metadata": {"name": "e"},
        "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
    }
    events = "/api/v1/namespaces/default/events"
    (await api.post(events, event, user=node)).ok(201)
    (await api.patch(f"{events}/e", {"count": 2}, user=node)).ok()
    (await api.get("/apis/node.k8s.io/v1/runtimeclasses", user=node)).ok()
    (await api.delete(f"{PODS}/web", {"gracePeriodSeconds": 0}, user=node)).ok()
    (await api.delete("/api/v1/nodes/n1", user=node)).refused(403, "Forbidden")
    (await api.patch(f"{SECRETS}/x", {}, user=node)).refused(403, "Forbidden")
    (await api.get(f"{RBAC}/clusterroles", user=node)).refused(403, "Forbidden")


@served
async def test_nobody_gives_away_what_he_does_not_have(api: Api) -> None:
    await _bind(api, "admin", "ada")
    ada, roles = user("ada"), f"{RBAC}/namespaces/default/roles"
    bindings = f"{RBAC}/namespaces/default/rolebindings"
    weak = {"metadata": {"name": "weak"}, "rules": [_rule("configmaps", "get list")]}
    (await api.post(roles, weak, user=ada)).ok(201)
    strong = {"metadata": {"name": "strong"}, "rules": [_rule("*", "*", "*")]}
    (await api.post(roles, strong, user=ada)).refused(403, "Forbidden")
    subject = {"kind": "User", "name": "ada", "apiGroup": GROUP}
    for name, kind, code in (("cluster-admin", "ClusterRole", 403), ("weak", "Role", 201)):
        body = {
            "metadata": {"name": f"own-{name}"},
            "roleRef": {"apiGroup": GROUP, "kind": kind, "name": name},
            "subjects": [subject],
        }
        assert (await api.post(bindings, body, user=ada)).code == code


@served
async def test_rights_in_a_namespace_do_not_reach_what_belongs_to_none(api: Api) -> None:
    await _bind(api, "cluster-admin", "nora")
    body = {
        "metadata": {"name": "mine"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "User", "name": "nora", "apiGroup": GROUP}],
    }
    through = f"{RBAC}/namespaces/default/clusterrolebindings"
    (await api.post(through, body, user=user("nora"))).refused(404, "NotFound")
    (await api.get("/api/v1/namespaces/default/nodes", user=user("nora"))).refused(404, "NotFound")


@served
async def test_readers_may_not_run_commands(api: Api) -> None:
    await _role(api, "reader", _rule("pods pods/exec", "get list watch"))
    await _bind(api, "reader", "rita")
    await api.pod()
    (await api.get(f"{PODS}/web/exec", user=user("rita"))).refused(403, "Forbidden")


@served
async def test_who_sees_into_a_namespace_sees_it(api: Api) -> None:
    await _bind(api, "view", "vic")
    (await api.get("/api/v1/namespaces/default", user=user("vic"))).ok()
    (await api.get("/api/v1/namespaces/kube-system", user=user("vic"))).refused(403, "Forbidden")
