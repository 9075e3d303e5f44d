"""What a cluster has from its first moment, as kube-apiserver 1.37.2 makes it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.server import Api, served


async def _all(api: Api, path: str) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in (await api.get(path)).ok()["items"]}


@served
async def test_priorities_of_groups_and_versions(api: Api) -> None:
    services = await _all(api, "/apis/apiregistration.k8s.io/v1/apiservices")
    found = {
        name: (item["spec"]["groupPriorityMinimum"], item["spec"]["versionPriority"])
        for name, item in services.items()
    }
    expected = {
        "v1.": (18000, 1),
        "v1.admissionregistration.k8s.io": (16700, 15),
        "v1.apiextensions.k8s.io": (16700, 15),
        "v1.apps": (17800, 15),
        "v1.authentication.k8s.io": (17700, 15),
        "v1.authorization.k8s.io": (17600, 15),
        "v1.autoscaling": (17500, 15),
        "v1.batch": (17400, 15),
        "v1.certificates.k8s.io": (17300, 15),
        "v1.coordination.k8s.io": (16500, 15),
        "v1.discovery.k8s.io": (16200, 15),
        "v1.events.k8s.io": (17750, 15),
        "v1.flowcontrol.apiserver.k8s.io": (16100, 21),
        "v1.networking.k8s.io": (17200, 15),
        "v1.node.k8s.io": (16300, 15),
        "v1.policy": (17100, 15),
        "v1.rbac.authorization.k8s.io": (17000, 15),
        "v1.resource.k8s.io": (16200, 21),
        "v1.scheduling.k8s.io": (16600, 15),
        "v1.storage.k8s.io": (16800, 15),
        "v1.storagemigration.k8s.io": (15800, 15),
        "v2.autoscaling": (17500, 30),
    }
    assert {name: found.get(name) for name in expected} == expected


@served
async def test_flow_schemas(api: Api) -> None:
    assert set(await _all(api, "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas")) == {
        "catch-all",
        "exempt",
        "global-default",
        "kube-controller-manager",
        "kube-scheduler",
        "kube-system-service-accounts",
        "probes",
        "service-accounts",
        "system-leader-election",
        "system-node-high",
        "system-nodes",
    }


@served
async def test_priority_classes_are_not_marked(api: Api) -> None:
    classes = await _all(api, "/apis/scheduling.k8s.io/v1/priorityclasses")
    assert len({item["description"] for item in classes.values()}) == 2
    assert not any("globalDefault" in item for item in classes.values())


_ROLES = "/apis/rbac.authorization.k8s.io/v1"


@pytest.mark.parametrize(
    "name", ["kube-apiserver-serving-clustertrustbundle-publisher", "storage-version-migrator-controller"]
)
def test_roles_of_controllers(name: str) -> None:
    @served
    async def work(api: Api) -> None:
        full = f"system:controller:{name}"
        assert full in await _all(api, f"{_ROLES}/clusterroles")
        bound = (await _all(api, f"{_ROLES}/clusterrolebindings"))[full]
        assert bound["subjects"] == [{"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}]

    work()


@served
async def test_what_the_scheduler_may_do_with_leases(api: Api) -> None:
    role = (await api.get(f"{_ROLES}/clusterroles/system:kube-scheduler")).ok()
    rules = [rule for rule in role["rules"] if rule.get("apiGroups") == ["coordination.k8s.io"]]
    assert {
        (r["resources"][0], tuple(r.get("resourceNames", ())), tuple(sorted(r["verbs"]))) for r in rules
    } == {
        ("leases", (), ("create",)),
        ("leases", ("kube-scheduler",), ("get", "list", "update", "watch")),
        (
            "leasecandidates",
            (),
            ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"),
        ),
    }


@pytest.mark.parametrize(
    ("version", "resource", "stored"),
    [
        ("apiextensions.k8s.io/v1", "customresourcedefinitions", "jfWCUB31mvA="),
        ("certificates.k8s.io/v1", "clustertrustbundles", "v5yhuVertL4="),
        ("certificates.k8s.io/v1", "podcertificaterequests", "wYA9yXQH8fg="),
        ("resource.k8s.io/v1", "devicetaintrules", "i+85+TcIKpA="),
        ("storagemigration.k8s.io/v1", "storageversionmigrations", "pCjmmKOkLy4="),
    ],
)
def test_hashes_of_stored_versions(version: str, resource: str, stored: str) -> None:
    @served
    async def work(api: Api) -> None:
        listed = (await api.get(f"/apis/{version}")).ok()["resources"]
        assert {r["name"]: r.get("storageVersionHash") for r in listed}[resource] == stored

    work()


@served
async def test_openapi_tells_of_what_is_no_resource(api: Api) -> None:
    paths = (await api.get("/openapi/v3")).ok()["paths"]
    assert {
        ".well-known/openid-configuration",
        "api",
        "apis",
        "apis/apps",
        "apis/rbac.authorization.k8s.io",
        "openid/v1/jwks",
        "version",
    } <= set(paths)
    for root, where in paths.items():
        if root == "version" or (root.count("/") == 1 and root.startswith("apis/")):
            path, _, digest = where["serverRelativeURL"].partition("?hash=")
            document = (await api.get(path, hash=digest)).ok()
            (listed,) = document["paths"]
            assert listed == f"/{root}/"
    groups = (await api.get("/openapi/v3/apis/rbac.authorization.k8s.io")).ok()
    assert (
        groups["paths"]["/apis/rbac.authorization.k8s.io/"]["get"]["operationId"]
        == "getRbacAuthorizationAPIGroup"
    )
