"""Who may write what into the status of a ResourceClaim."""

from __future__ import annotations

from typing import Any

from sampan.apiserver.core.users import User
from tests.api.server import Api, served, user

CLAIMS = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
STATUS = f"{CLAIMS}/mine/status"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
DRIVER = "gpu.example.com"
ON_N1 = {
    "nodeSelectorTerms": [{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}]
}
RESULT = {"request": "one", "driver": DRIVER, "pool": "n1", "device": "gpu-0"}
ALLOCATION = {"devices": {"results": [RESULT]}, "nodeSelector": ON_N1}
REPORT = {"driver": DRIVER, "pool": "n1", "device": "gpu-0"}
SCHEDULER = user("system:kube-scheduler")


async def allow(api: Api, name: str, verbs: str, resources: str, resource_name: str = "") -> None:
    """Let the service account `name` of default do this everywhere."""
    rule: dict[str, Any] = {
        "apiGroups": ["resource.k8s.io"],
        "resources": resources.split(),
        "verbs": verbs.split(),
    }
    if resource_name:
        rule["resourceNames"] = [resource_name]
    metadata = {"generateName": f"{name}-"}
    role = (await api.post(f"{RBAC}/clusterroles", {"metadata": metadata, "rules": [rule]})).ok(201)
    subject = {"kind": "ServiceAccount", "name": name, "namespace": "default"}
    ref = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "ClusterRole",
        "name": role["metadata"]["name"],
    }
    binding = {"metadata": metadata, "roleRef": ref, "subjects": [subject]}
    (await api.post(f"{RBAC}/clusterrolebindings", binding)).ok(201)


def account(name: str, node: str = "") -> User:
    extra = {"authentication.kubernetes.io/node-name": (node,)} if node else {}
    return User(f"system:serviceaccount:default:{name}", ("system:authenticated",), extra=extra)


async def claimed(api: Api) -> None:
    device = {"name": "one", "exactly": {"deviceClassName": "gpu"}}
    body = {"metadata": {"name": "mine"}, "spec": {"devices": {"requests": [device]}}}
    (await api.post(CLAIMS, body)).ok(201)


@served
async def test_giving_devices_away_wants_a_right_of_its_own(api: Api) -> None:
    await claimed(api)
    await allow(api, "some", "get patch update", "resourceclaims resourceclaims/status")
    change = {"status": {"allocation": ALLOCATION}}
    said = (await api.patch(STATUS, change, user=account("some"))).refused(422, "Invalid")
    assert said == (
        'ResourceClaim.resource.k8s.io "mine" is invalid: status.allocation: Forbidden: changing '
        'status.allocation or status.reservedFor requires resource="resourceclaims/binding", verb="patch" '
        "permission: resourceclaims.resource.k8s.io is forbidden: User "
        '"system:serviceaccount:default:some" cannot patch resource "resourceclaims/binding" in API group '
        '"resource.k8s.io" at the cluster scope'
    )
    await allow(api, "some", "patch", "resourceclaims/binding")
    (await api.patch(STATUS, change, user=account("some"))).ok()


@served
async def test_drivers_report_of_devices_on_their_own_nodes(api: Api) -> None:
    await claimed(api)
    (await api.patch(STATUS, {"status": {"allocation": ALLOCATION}}, user=SCHEDULER)).ok()
    await allow(api, "driver", "get patch update", "resourceclaims resourceclaims/status")
    await allow(api, "driver", "associated-node:patch", "resourceclaims/driver", DRIVER)
    report = {"status": {"devices": [REPORT]}}
    said = (await api.patch(STATUS, report, user=account("driver", "n2"))).refused(422, "Invalid")
    assert 'verb="[arbitrary-node:patch]"' in said
    assert f'"{DRIVER}" is forbidden' in said
    assert 'cannot arbitrary-node:patch resource "resourceclaims/driver"' in said
    said = (await api.patch(STATUS, report, user=account("other", "n1"))).refused(403, "Forbidden")
    assert 'cannot patch resource "resourceclaims/status"' in said
    made = (await api.patch(STATUS, report, user=account("driver", "n1"))).ok()
    assert made["status"]["devices"][0]["device"] == "gpu-0"
    # The same report again is no change, whoever sends it.
    (await api.patch(STATUS, report, user=account("driver", "n2"))).ok()
    await allow(api, "driver", "arbitrary-node:patch", "resourceclaims/driver", DRIVER)
    (await api.patch(STATUS, {"status": {"devices": None}}, user=account("driver", "n2"))).ok()


@served
async def test_reports_go_with_their_devices(api: Api) -> None:
    await claimed(api)
    (await api.patch(STATUS, {"status": {"allocation": ALLOCATION, "devices": [REPORT]}})).ok()
    back = (await api.patch(STATUS, {"status": {"allocation": None}}, user=SCHEDULER)).ok()
    assert back["status"] == {}
