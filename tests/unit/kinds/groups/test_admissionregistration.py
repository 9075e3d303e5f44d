# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from .objects import cells, data, errors, made

RULE = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
MATCH = {"resourceRules": [RULE]}


def webhook(**fields: Any) -> dict[str, Any]:
    whole = {
        "name": "check.example.com",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "clientConfig": {"url": "https://check.example.com/pods"},
        "rules": [RULE],
    }
    return {"webhooks": [{**whole, **fields}]}


def test_a_webhook_refuses_what_it_cannot_judge() -> None:
    service = {"name": "a", "namespace": "b"}
    hook = data(made("MutatingWebhookConfiguration", webhook(clientConfig={"service": service})))["webhooks"][
        0
    ]
    assert hook["clientConfig"]["service"] == {**service, "port": 443}
    assert hook["rules"][0]["scope"] == "*"
    filled = ("failurePolicy", "matchPolicy", "namespaceSelector", "objectSelector", "reinvocationPolicy")
    assert [hook[name] for name in filled] == ["Fail", "Equivalent", {}, {}, "Never"]
    assert hook["timeoutSeconds"] == 10
    assert errors("ValidatingWebhookConfiguration", webhook()) == []
    for path in ("", "/", "/validate/"):
        asked = webhook(clientConfig={"service": {**service, "path": path}})
        assert errors("ValidatingWebhookConfiguration", asked) == []


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"name": "check"},
            [
                'webhooks[0].name: Invalid value: "check": should be a domain with at least three segments '
                "separated by dots"
            ],
        ),
        (
            {"sideEffects": "", "admissionReviewVersions": []},
            [
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            ],
        ),
        (
            {"timeoutSeconds": 31, "failurePolicy": "Maybe"},
            [
                'webhooks[0].failurePolicy: Unsupported value: "Maybe": supported values: "Fail", "Ignore"',
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 "
                "seconds",
            ],
        ),
        (
            {"clientConfig": {}},
            ["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            {"clientConfig": {"url": "http://x/?a"}},
            [
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; "
                "desired format: https://host[/path]",
                'webhooks[0].clientConfig.url: Invalid value: "a": query parameters are not permitted in the '
                "URL; desired format: https://host[/path]",
            ],
        ),
        (
            {
                "rules": [
                    {**RULE, "operations": ["*", "CREATE"], "resources": ["pods/*", "pods/log"], "scope": "x"}
                ]
            },
            [
                'webhooks[0].rules[0].operations: Invalid value: ["*","CREATE"]: if \'*\' is present, must '
                "not specify other values",
                "webhooks[0].rules[0].resources[1]: Invalid value: \"pods/log\": if 'pods/*' is present, must "
                "not specify pods/log",
                'webhooks[0].rules[0].scope: Unsupported value: "x": supported values: "*", "Cluster", '
                '"Namespaced"',
            ],
        ),
        (
            {"rules": [{}]},
            [
                f"webhooks[0].rules[0].{name}: Required value"
                for name in ("operations", "apiGroups", "apiVersions", "resources")
            ],
        ),
        (
            {"matchConditions": [{"name": "a", "expression": ""}, {"name": "a", "expression": "true"}]},
            [
                "webhooks[0].matchConditions[0].expression: Required value",
                'webhooks[0].matchConditions[1].name: Duplicate value: "a"',
            ],
        ),
    ],
)
def test_invalid_webhooks(fields: dict[str, Any], expected: list[str]) -> None:
    assert errors("ValidatingWebhookConfiguration", webhook(**fields)) == expected


def policy(**spec: Any) -> dict[str, Any]:
    return {"spec": {"matchConstraints": MATCH, "validations": [{"expression": "true"}], **spec}}


def test_a_policy_fails_closed() -> None:
    spec = data(made("ValidatingAdmissionPolicy", policy()))["spec"]
    assert spec["failurePolicy"] == "Fail"
    assert spec["matchConstraints"]["matchPolicy"] == "Equivalent"
    assert spec["matchConstraints"]["resourceRules"][0]["scope"] == "*"
    assert errors("ValidatingAdmissionPolicy", policy()) == []


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"validations": [], "matchConstraints": None},
            [
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one "
                "item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least "
                "one item",
            ],
        ),
        (
            {"validations": [{"expression": " ", "reason": "Because", "message": "a\nb"}]},
            [
                "spec.validations[0].expression: Required value: expression is not specified",
                'spec.validations[0].message: Invalid value: "a\\nb": message must not contain line breaks',
                'spec.validations[0].reason: Unsupported value: "Because": supported values: "Forbidden", '
                '"Invalid", "RequestEntityTooLarge"',
            ],
        ),
        (
            {"paramKind": {"apiVersion": "v1"}, "variables": [{"name": "a b", "expression": "1"}]},
            [
                "spec.paramKind.kind: Required value",
                'spec.variables[0].name: Invalid value: "a b": name is not a valid CEL identifier',
            ],
        ),
    ],
)
def test_invalid_policies(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("ValidatingAdmissionPolicy", policy(**spec)) == expected


def test_a_mutating_policy_says_how_it_changes_things() -> None:
    value = {"matchConstraints": MATCH, "reinvocationPolicy": "Never"}
    assert errors("MutatingAdmissionPolicy", {"spec": {"matchConstraints": MATCH}}) == [
        "spec.reinvocationPolicy: Required value",
        "spec.mutations: Required value: mutations must contain at least one item",
    ]
    mutation = {"patchType": "JSONPatch", "applyConfiguration": {"expression": "Object{}"}}
    assert errors("MutatingAdmissionPolicy", {"spec": {**value, "mutations": [mutation]}}) == [
        'spec.mutations[0].applyConfiguration: Invalid value: "{}": must not be specified when patchType is '
        "JSONPatch",
        "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
    ]


def test_a_binding_says_what_is_done() -> None:
    spec = {"policyName": "p", "validationActions": ["Deny", "Warn", "Deny"], "paramRef": {"name": "x"}}
    assert errors("ValidatingAdmissionPolicyBinding", {"spec": spec}) == [
        "spec.paramRef.parameterNotFoundAction: Required value",
        'spec.validationActions[2]: Duplicate value: "Deny"',
        'spec.validationActions: Invalid value: ["Deny","Warn","Deny"]: must not contain both Deny and Warn '
        "(repeating the same validation failure information in the API response and headers serves no purpose)",
    ]
    assert errors("ValidatingAdmissionPolicyBinding", {"spec": {}}) == [
        "spec.policyName: Required value",
        "spec.validationActions: Required value",
    ]


def test_cells() -> None:
    assert list(cells("MutatingWebhookConfiguration", webhook()).values()) == ["web", 1, "60m"]
    shown = cells("ValidatingAdmissionPolicy", policy(paramKind={"apiVersion": "v1", "kind": "ConfigMap"}))
    assert list(shown.values()) == ["web", 1, "v1/ConfigMap", "60m"]
    for ref, text in (({"name": "x"}, "*/x"), ({"name": "x", "namespace": "y"}, "y/x"), (None, "<unset>")):
        spec = {"policyName": "p", "paramRef": ref}
        shown = cells("ValidatingAdmissionPolicyBinding", {"spec": spec})
        assert list(shown.values()) == ["web", "p", text, "60m"]
