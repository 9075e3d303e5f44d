# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from .objects import cells, data, errors, made, update_errors

ROLE = {"kind": "Role", "name": "reader"}


def binding(*subjects: dict[str, Any], **ref: Any) -> dict[str, Any]:
    return {"roleRef": ref or ROLE, "subjects": list(subjects)}


def test_groups_of_the_api_are_filled() -> None:
    users = [{"kind": "User", "name": "a"}, {"kind": "ServiceAccount", "name": "b", "namespace": "c"}]
    value = data(made("RoleBinding", binding(*users)))
    assert value["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", **ROLE}
    assert value["subjects"] == [{"apiGroup": "rbac.authorization.k8s.io", **users[0]}, users[1]]
    assert errors("RoleBinding", binding(*users)) == []


@pytest.mark.parametrize(
    ("kind", "rule", "expected"),
    [
        (
            "Role",
            {},
            [
                "rules[0].verbs: Required value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (
            "Role",
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"]},
            [
                'rules[0].nonResourceURLs: Invalid value: ["/healthz"]: namespaced rules cannot apply to '
                "non-resource URLs"
            ],
        ),
        (
            "ClusterRole",
            {"verbs": ["get"], "nonResourceURLs": ["/healthz"], "resources": ["pods"]},
            [
                'rules[0].nonResourceURLs: Invalid value: ["/healthz"]: rules cannot apply to both regular '
                "resources and non-resource URLs"
            ],
        ),
        ("ClusterRole", {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, []),
    ],
)
def test_rules(kind: str, rule: dict[str, Any], expected: list[str]) -> None:
    assert errors(kind, {"rules": [rule]}) == expected


def test_an_aggregated_role_must_say_of_what() -> None:
    assert errors("ClusterRole", {"aggregationRule": {}}) == [
        "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if "
        "aggregationRule is non-nil"
    ]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        (
            "ClusterRoleBinding",
            binding(),
            ['roleRef.kind: Unsupported value: "Role": supported values: "ClusterRole"'],
        ),
        (
            "RoleBinding",
            binding(kind="Role", name="", apiGroup="x.io"),
            [
                'roleRef.apiGroup: Unsupported value: "x.io": supported values: "rbac.authorization.k8s.io"',
                "roleRef.name: Required value",
            ],
        ),
        (
            "ClusterRoleBinding",
            binding(
                {"kind": "ServiceAccount", "name": "b"},
                {"kind": "Robot", "name": "r"},
                {"kind": "User", "name": "", "apiGroup": "x"},
                kind="ClusterRole",
                name="x",
            ),
            [
                "subjects[0].namespace: Required value",
                'subjects[1].kind: Unsupported value: "Robot": supported values: "ServiceAccount", "User", '
                '"Group"',
                "subjects[2].name: Required value",
                'subjects[2].apiGroup: Unsupported value: "x": supported values: "rbac.authorization.k8s.io"',
            ],
        ),
    ],
)
def test_invalid_bindings(kind: str, value: dict[str, Any], expected: list[str]) -> None:
    assert errors(kind, value) == expected


@pytest.mark.parametrize("kind", ["RoleBinding", "ClusterRoleBinding"])
def test_a_binding_stays_with_its_role(kind: str) -> None:
    found = update_errors(
        kind, binding(kind="ClusterRole", name="admin"), binding(kind="ClusterRole", name="x")
    )
    assert found == [
        'roleRef: Invalid value: {"APIGroup":"rbac.authorization.k8s.io","Kind":"ClusterRole","Name":"admin"}: '
        "field is immutable"
    ]
    other = binding({"kind": "User", "name": "a"}, kind="ClusterRole", name="x")
    assert update_errors(kind, other, binding(kind="ClusterRole", name="x")) == []


def test_cells_of_roles_and_bindings() -> None:
    subjects = [
        {"kind": "User", "name": "a"},
        {"kind": "User", "name": "b"},
        {"kind": "Group", "name": "c"},
        {"kind": "ServiceAccount", "name": "d", "namespace": "e"},
    ]
    assert cells("RoleBinding", binding(*subjects)) == {
        "Name": "web",
        "Role": "Role/reader",
        "Age": "60m",
        "Users": "a, b",
        "Groups": "c",
        "ServiceAccounts": "e/d",
    }
    assert cells("ClusterRole", {}) == {"Name": "web", "Created At": "2030-01-02T11:00:00Z"}
