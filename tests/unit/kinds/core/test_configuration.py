"""ConfigMap, Secret, ServiceAccount, Namespace."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from sampan.kinds.core import namespace as namespaces
from sampan.kinds.core import serviceaccount
from tests.unit.kinds.core.objects import ago, cells, data, errors, made, update_errors


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


CONFIG_KEY = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"data": {"a.b_c-D": "x"}}, []),
        ({"data": {"a b": "x"}}, [f'data[a b]: Invalid value: "a b": {CONFIG_KEY}']),
        ({"data": {"..": "x"}}, ["data[..]: Invalid value: \"..\": must not be '..'"]),
        (
            {"binaryData": {"..a": b64("x")}},
            ["binaryData[..a]: Invalid value: \"..a\": must not start with '..'"],
        ),
        (
            {"data": {"k": "x"}, "binaryData": {"k": b64("x")}},
            ['data[k]: Invalid value: "k": duplicate of key present in binaryData'],
        ),
        ({"data": {"k": "x" * 1048576}}, []),
        ({"data": {"k": "x" * 1048577}}, [": Too long: may not be more than 1048576 bytes"]),
        ({"data": {"k": "é" * 600000}}, [": Too long: may not be more than 1048576 bytes"]),
    ],
)
def test_config_maps(config: dict[str, Any], expected: list[str]) -> None:
    assert errors("ConfigMap", made("ConfigMap", {"metadata": {"name": "c"}, **config})) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"data": {"a": "1"}}, {"data": {"a": "2"}}, []),
        ({"immutable": True}, {"immutable": True}, []),
        (
            {"immutable": True, "data": {"a": "1"}},
            {"data": {"a": "2"}, "binaryData": {"b": b64("x")}},
            [
                f"{name}: Forbidden: field is immutable when `immutable` is set"
                for name in ("immutable", "data", "binaryData")
            ],
        ),
    ],
)
def test_updates_of_config_maps(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert update_errors("ConfigMap", made("ConfigMap", new), made("ConfigMap", old)) == expected


def test_columns_of_config_maps() -> None:
    config = made("ConfigMap", {"metadata": {"name": "c"}, "data": {"a": ""}, "binaryData": {"b": ""}})
    assert cells("ConfigMap", config) == {"Name": "c", "Data": 2, "Age": "<unknown>"}


def test_string_data_becomes_data() -> None:
    secret = made("Secret", {"data": {"a": b64("old"), "b": b64("b")}, "stringData": {"a": "new"}})
    assert data(secret) == {
        "data": {"a": b64("new"), "b": b64("b")},
        "metadata": {},
        "type": "Opaque",
    }


@pytest.mark.parametrize(
    ("secret", "expected"),
    [
        ({"stringData": {"k": "v"}}, []),
        ({"stringData": {"a/b": "v"}}, [f'data[a/b]: Invalid value: "a/b": {CONFIG_KEY}']),
        ({"stringData": {"k": "x" * 1048577}}, ["data: Too long: may not be more than 1048576 bytes"]),
        ({"type": "example.com/mine"}, []),
        (
            {"type": "kubernetes.io/tls"},
            ["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            {"type": "kubernetes.io/tls", "stringData": {"tls.crt": "c"}},
            ["data[tls.key]: Required value"],
        ),
        (
            {"type": "kubernetes.io/basic-auth"},
            ["data[username]: Required value", "data[password]: Required value"],
        ),
        ({"type": "kubernetes.io/basic-auth", "stringData": {"password": ""}}, []),
        (
            {"type": "kubernetes.io/ssh-auth", "stringData": {"ssh-privatekey": ""}},
            ["data[ssh-privatekey]: Required value"],
        ),
        ({"type": "kubernetes.io/dockerconfigjson"}, ["data[.dockerconfigjson]: Required value"]),
        ({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}, []),
        (
            {"type": "kubernetes.io/dockercfg", "stringData": {".dockercfg": ""}},
            ['data[.dockercfg]: Invalid value: "<secret contents redacted>": unexpected end of JSON input'],
        ),
        (
            {"type": "kubernetes.io/service-account-token"},
            ["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
        ),
    ],
)
def test_secrets(secret: dict[str, Any], expected: list[str]) -> None:
    assert errors("Secret", made("Secret", secret)) == expected


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"stringData": {"a": "b"}}, []),
        ({}, {"type": "example.com/x"}, ['type: Invalid value: "example.com/x": field is immutable']),
        (
            {"immutable": True},
            {"immutable": True, "stringData": {"a": "b"}},
            ["data: Forbidden: field is immutable when `immutable` is set"],
        ),
        (
            {"immutable": True},
            {"immutable": False},
            ["immutable: Forbidden: field is immutable when `immutable` is set"],
        ),
    ],
)
def test_updates_of_secrets(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert update_errors("Secret", made("Secret", new), made("Secret", old)) == expected


def test_columns_of_secrets() -> None:
    shown = cells("Secret", made("Secret", {"metadata": {"name": "s"}, "stringData": {"a": "b"}}))
    assert (shown["Type"], shown["Data"]) == ("Opaque", 1)


def test_references_of_a_service_account_are_names() -> None:
    account = made("ServiceAccount", {"secrets": [{"name": "s", "namespace": "other", "kind": "Secret"}]})
    serviceaccount.prepare_create(account)
    assert data(account)["secrets"] == [{"name": "s"}]
    assert list(cells("ServiceAccount", account)) == ["Name", "Age"]


def test_a_new_namespace() -> None:
    fresh = made("Namespace", {"metadata": {"name": "team"}, "status": {"phase": "Terminating"}})
    namespaces.prepare_create(fresh)
    assert data(fresh) == {
        "metadata": {"name": "team", "labels": {"kubernetes.io/metadata.name": "team"}},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }


def test_the_name_label_cannot_lie() -> None:
    labels = {"kubernetes.io/metadata.name": "other"}
    fresh = made("Namespace", {"metadata": {"name": "team", "labels": labels}})
    assert fresh.metadata.labels == {"kubernetes.io/metadata.name": "team"}


def test_finalizers_of_a_namespace_change_only_through_finalize() -> None:
    old = made("Namespace", {"metadata": {"name": "team"}, "spec": {"finalizers": ["kubernetes"]}})
    new = made("Namespace", {"metadata": {"name": "team"}})
    namespaces.prepare_update(new, old)
    assert new.spec.finalizers == ["kubernetes"]


def test_finalizer_names() -> None:
    kept = made("Namespace", {"spec": {"finalizers": ["kubernetes", "example.com/mine", "mine"]}})
    assert errors("Namespace", kept) == [
        'spec.finalizers: Invalid value: "mine": '
        "name is neither a standard finalizer name nor is it fully qualified"
    ]


@pytest.mark.parametrize(
    ("deleted", "phase", "expected"),
    [
        (False, "Active", []),
        (True, "Terminating", []),
        (
            False,
            "Terminating",
            [
                'status.Phase: Invalid value: "Terminating": '
                "may only be 'Active' if `deletionTimestamp` is empty"
            ],
        ),
        (
            True,
            "Active",
            [
                'status.Phase: Invalid value: "Active": '
                "may only be 'Terminating' if `deletionTimestamp` is not empty"
            ],
        ),
    ],
)
def test_the_phase_follows_the_deletion(deleted: bool, phase: str, expected: list[str]) -> None:
    meta = {"name": "team", **({"deletionTimestamp": ago(seconds=1)} if deleted else {})}
    team = made("Namespace", {"metadata": meta, "status": {"phase": phase}})
    assert [str(error) for error in namespaces.validate_status_update(team, team)] == expected
    assert cells("Namespace", team)["Status"] == phase
