"""The roles that every cluster has, sums of roles, and reasons."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from sampan.apiserver.core import roles
from sampan.apiserver.core.server import ApiServer, Settings
from sampan.base.clock import SimulatedClock
from sampan.base.ids import RandomIds
from sampan.store.memory import MemoryStore
from tests.api.server import Api, served, token_keys, user

RBAC = "/apis/rbac.authorization.k8s.io/v1"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ACCOUNT = "system:serviceaccount:kube-system:"
GROUP = "rbac.authorization.k8s.io"
EVERYTHING = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}


def test_rules_have_their_lists_in_order_as_kube_apiserver_writes_them() -> None:
    (rule,) = roles.rules_of("core,apps: b a [z y] = watch get")
    assert (rule.apiGroups, rule.resources) == (["", "apps"], ["a", "b"])
    assert (rule.resourceNames, rule.verbs) == (["y", "z"], ["get", "watch"])


@served
async def test_every_default_role_is_bound_to_what_is_there(api: Api) -> None:
    names = set((await api.get(f"{RBAC}/clusterroles")).names)
    assert {f"system:controller:{name}" for name in roles.CONTROLLERS} <= names
    for binding in (await api.get(f"{RBAC}/clusterrolebindings")).ok()["items"]:
        assert binding["roleRef"]["name"] in names
    for namespace in ("kube-system", "kube-public"):
        local = (await api.get(f"{RBAC}/namespaces/{namespace}/roles")).names
        for binding in (await api.get(f"{RBAC}/namespaces/{namespace}/rolebindings")).ok()["items"]:
            assert binding["roleRef"]["name"] in local


@pytest.mark.parametrize(
    ("who", "asked", "allowed"),
    [
        (f"{ACCOUNT}job-controller", ("create", "", "pods"), True),
        (f"{ACCOUNT}job-controller", ("create", "", "secrets"), False),
        (
            f"{ACCOUNT}replicaset-controller",
            ("update", "apps", "replicasets/status"),
            True,
        ),
        (
            f"{ACCOUNT}resourcequota-controller",
            ("list", "any.example.com", "things"),
            True,
        ),
        ("system:kube-scheduler", ("create", "", "pods/binding"), True),
        ("system:kube-scheduler", ("get", "", "secrets"), False),
        ("system:kube-proxy", ("watch", "discovery.k8s.io", "endpointslices"), True),
        ("system:kube-proxy", ("get", "", "secrets"), False),
        ("system:kube-controller-manager", ("delete", "any.example.com", "things"), True),
    ],
)
@served
async def test_what_the_roles_allow(api: Api, who: str, asked: tuple[str, str, str], allowed: bool) -> None:
    verb, group, resource = asked
    plural, _, part = resource.partition("/")
    spec = {
        "user": who,
        "resourceAttributes": {"verb": verb, "group": group, "resource": plural, "subresource": part},
    }
    status = (await api.post(REVIEWS, {"spec": spec})).ok(201)["status"]
    assert status["allowed"] is allowed
    assert ("reason" in status) is allowed


@served
async def test_the_reason_names_binding_role_and_subject(api: Api) -> None:
    body = {
        "metadata": {"name": "readers"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "Group", "apiGroup": GROUP, "name": "staff"}],
    }
    (await api.post(f"{RBAC}/namespaces/default/rolebindings", body)).ok(201)
    attributes = {"namespace": "default", "verb": "list", "resource": "pods"}
    spec = {"user": "jane", "groups": ["staff"], "resourceAttributes": attributes}
    status = (await api.post(REVIEWS, {"spec": spec})).ok(201)["status"]
    assert status["reason"] == (
        'RBAC: allowed by RoleBinding "readers/default" of ClusterRole "view" to Group "staff"'
    )


@served
async def test_sums_need_all_rights(api: Api) -> None:
    (await api.post(f"{RBAC}/clusterroles", {"metadata": {"name": "roles"}, "rules": [
        {"apiGroups": [GROUP], "resources": ["clusterroles"], "verbs": ["create"]}]})).ok(201)  # fmt: skip
    binding = {
        "metadata": {"name": "roles"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "roles"},
        "subjects": [{"kind": "User", "apiGroup": GROUP, "name": "ann"}],
    }
    (await api.post(f"{RBAC}/clusterrolebindings", binding)).ok(201)
    body = {
        "metadata": {"name": "sum"},
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]},
    }
    (await api.post(f"{RBAC}/clusterroles", body, user=user("ann"))).refused(403, "Forbidden")
    (await api.post(f"{RBAC}/clusterroles", body)).ok(201)


def test_a_start_puts_back_what_is_missing_and_leaves_the_rest() -> None:
    async def main() -> None:
        store, clock = MemoryStore(), SimulatedClock()

        async def serve(work: Any) -> None:
            settings = Settings(keys=token_keys())
            server = ApiServer(store, clock, RandomIds(random.Random(7)), settings, chance=random.Random(7))
            await server.start()
            await work(Api(server, clock, store))
            await server.close()

        async def change(api: Api) -> None:
            (await api.patch(f"{RBAC}/clusterroles/system:kube-dns", {"rules": [EVERYTHING]})).ok()
            (await api.patch(f"{RBAC}/clusterroles/system:heapster", {"rules": []})).ok()
            mark = {"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}}
            (await api.patch(f"{RBAC}/clusterroles/system:monitoring", mark | {"rules": []})).ok()
            (await api.delete(f"{RBAC}/clusterroles/system:discovery")).ok()
            (await api.patch(f"{RBAC}/clusterrolebindings/system:basic-user", {"subjects": []})).ok()

        async def check(api: Api) -> None:
            async def rules(name: str) -> Any:
                return (await api.get(f"{RBAC}/clusterroles/{name}")).ok().get("rules") or []

            assert await rules("system:kube-dns") == [EVERYTHING]  # it lacks nothing
            assert await rules("system:heapster") != []
            assert await rules("system:monitoring") == []
            assert await rules("system:discovery") != []
            bound = (await api.get(f"{RBAC}/clusterrolebindings/system:basic-user")).ok()
            assert [subject["name"] for subject in bound["subjects"]] == ["system:authenticated"]

        await serve(change)
        await serve(check)
        await store.close()

    asyncio.run(main())
