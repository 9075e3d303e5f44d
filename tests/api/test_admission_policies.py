"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy with their bindings and parameters."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, JSON_PATCH, Api, config_map, deployment, served, user

BASE = "/apis/admissionregistration.k8s.io/v1"
POLICIES = f"{BASE}/validatingadmissionpolicies"
BINDINGS = f"{BASE}/validatingadmissionpolicybindings"
MUTATING = f"{BASE}/mutatingadmissionpolicies"
MUTATING_BINDINGS = f"{BASE}/mutatingadmissionpolicybindings"


def match(
    resources: str = "deployments", group: str = "apps", operations: str = "CREATE,UPDATE"
) -> dict[str, Any]:
    rule = {
        "operations": operations.split(","),
        "apiGroups": [group],
        "apiVersions": ["*"],
        "resources": resources.split(","),
    }
    return {"resourceRules": [rule]}


async def validating(api: Api, *expressions: Any, binding: Any = None, **spec: Any) -> None:
    """A policy `policy` with these validations, and a binding to it."""
    validations = [e if isinstance(e, dict) else {"expression": e} for e in expressions]
    whole = {"matchConstraints": match(), "validations": validations, **spec}
    (await api.post(POLICIES, {"metadata": {"name": "policy"}, "spec": whole})).ok(201)
    bound = {"policyName": "policy", "validationActions": ["Deny"], **(binding or {})}
    (await api.post(BINDINGS, {"metadata": {"name": "binding"}, "spec": bound})).ok(201)


DENIED = "ValidatingAdmissionPolicy 'policy' with binding 'binding' denied request: "


@pytest.mark.conformance("ValidatingAdmissionPolicy should validate against a Deployment")
@served
async def test_validate_against_a_deployment(api: Api) -> None:
    await validating(api, "object.spec.replicas > 1", "object.spec.replicas < 10")
    said = (await api.post(DEPLOYMENTS, deployment(replicas=1))).refused(422, "Invalid")
    assert said == f'deployments.apps "web" is forbidden: {DENIED}failed expression: object.spec.replicas > 1'
    (await api.post(DEPLOYMENTS, deployment(replicas=2))).ok(201)
    refused = await api.patch(f"{DEPLOYMENTS}/web", {"spec": {"replicas": 10}})
    assert refused.message.endswith("failed expression: object.spec.replicas < 10")
    assert refused.json["details"]["causes"] == [
        {"message": f"{DENIED}failed expression: object.spec.replicas < 10"}
    ]
    # Whoever scales is not updating a Deployment, as in Kubernetes.
    (await api.patch(f"{DEPLOYMENTS}/web/scale", {"spec": {"replicas": 20}})).ok()
    # What is removed has no say any more, at once.
    (await api.delete(f"{BINDINGS}/binding")).ok()
    (await api.post(DEPLOYMENTS, deployment("one"))).ok(201)


@served
async def test_whom_a_policy_refuses_hears_that_first(api: Api) -> None:
    await validating(api, "object.spec.replicas > 1")
    made = (await api.post(DEPLOYMENTS, deployment(replicas=2))).ok(201)
    again = {"metadata": {**made["metadata"], "name": "again"}, "spec": made["spec"]}
    said = (await api.post(DEPLOYMENTS, again)).refused(400, "BadRequest")
    assert said == "resourceVersion should not be set on objects to be created"
    again["spec"]["replicas"] = 1
    said = (await api.post(DEPLOYMENTS, again)).refused(422, "Invalid")
    assert said.endswith("failed expression: object.spec.replicas > 1")


@pytest.mark.conformance("ValidatingAdmissionPolicy should allow expressions to refer variables.")
@served
async def test_expressions_refer_to_variables(api: Api) -> None:
    variables = [
        {"name": "replicas", "expression": "object.spec.replicas"},
        {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
    ]
    await validating(api, "variables.replicas > 1", "variables.oddReplicas", variables=variables)
    refused = await api.post(DEPLOYMENTS, deployment(replicas=2))
    assert refused.message.endswith(f"{DENIED}failed expression: variables.oddReplicas")
    (await api.post(DEPLOYMENTS, deployment(replicas=3))).ok(201)


@pytest.mark.parametrize(
    ("validation", "code", "said"),
    [
        ({"expression": "false", "message": " too bad "}, 422, "too bad"),
        ({"expression": "false", "messageExpression": "'has ' + string(object.spec.replicas)"}, 422, "has 1"),
        ({"expression": "false", "messageExpression": "object.nope", "message": "plain"}, 422, "plain"),
        ({"expression": "false", "messageExpression": "'a\\nb'"}, 422, "failed expression: false"),
        ({"expression": "false", "reason": "Forbidden"}, 403, "failed expression: false"),
        ({"expression": "false", "reason": "RequestEntityTooLarge"}, 413, "failed expression: false"),
        (
            {"expression": "object.spec.nope > 1"},
            422,
            "expression 'object.spec.nope > 1' resulted in error: no such key: nope",
        ),
        ({"expression": "oldObject == null && request.operation == 'UPDATE'"}, 422, "failed expression: "),
        ({"expression": "request.userInfo.username == 'kubernetes-admin'"}, 201, ""),
        ({"expression": "namespaceObject.metadata.name == 'default'"}, 201, ""),
        ({"expression": "namespaceObject.status.phase == 'Active'"}, 201, ""),
        ({"expression": "has(object.metadata.namespace) && request.namespace == 'default'"}, 201, ""),
        ({"expression": "authorizer.requestResource.check('create').allowed()"}, 201, ""),
        ({"expression": "authorizer.serviceAccount('default', 'x').group('').resource('pods')"
                        ".namespace('default').check('list').allowed()"}, 422, "failed expression"),
    ],
)  # fmt: skip
def test_messages_and_variables(validation: dict[str, Any], code: int, said: str) -> None:
    @served
    async def test(api: Api) -> None:
        await validating(api, validation)
        answer = await api.post(DEPLOYMENTS, deployment())
        assert answer.code == code
        if code != 201:
            assert (DENIED + said) in answer.message
            assert answer.json["reason"] == validation.get("reason", "Invalid")

    test()


@served
async def test_actions_warn_and_audit(api: Api) -> None:
    validation = {"expression": "object.spec.replicas > 1", "message": "few"}
    await validating(api, validation, binding={"validationActions": ["Warn", "Audit"]})
    made = await api.post(DEPLOYMENTS, deployment())
    assert made.code == 201
    assert made.headers["Warning"] == (
        "299 - \"Validation failed for ValidatingAdmissionPolicy 'policy' with binding 'binding': few\""
    )


@served
async def test_failure_policy(api: Api) -> None:
    await validating(api, "object.spec.nope == 1", failurePolicy="Ignore")
    (await api.post(DEPLOYMENTS, deployment("one"))).ok(201)
    (await api.patch(f"{POLICIES}/policy", {"spec": {"failurePolicy": "Fail"}})).ok()
    assert (await api.post(DEPLOYMENTS, deployment("two"))).code == 422
    costly = "[0,1,2,3,4,5,6,7,8,9]"
    loops = f"{costly}.all(a, " * 7 + "true" + ")" * 7
    (await api.patch(f"{POLICIES}/policy", {"spec": {"validations": [{"expression": loops}]}})).ok()
    refused = await api.post(DEPLOYMENTS, deployment("two"))
    assert "cost limit exceeded" in refused.message


@served
async def test_match_conditions_selectors_and_exclusions(api: Api) -> None:
    conditions = [{"name": "not-bob", "expression": "request.userInfo.username != 'bob'"}]
    excluded = {**match()["resourceRules"][0], "resourceNames": ["excluded"]}
    constraints = {
        **match(),
        "objectSelector": {"matchLabels": {"watched": "yes"}},
        "excludeResourceRules": [excluded],
    }
    bound = {"matchResources": {"namespaceSelector": {"matchLabels": {"guard": "on"}}}}
    await validating(api, "false", matchConditions=conditions, matchConstraints=constraints, binding=bound)
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "guarded", "labels": {"guard": "on"}}})).ok(
        201
    )
    guarded = "/apis/apps/v1/namespaces/guarded/deployments"
    watched, plain, named = deployment("a"), deployment("b"), deployment("excluded")
    watched["metadata"]["labels"] = named["metadata"]["labels"] = {"watched": "yes"}
    assert (await api.post(guarded, watched)).code == 422
    (await api.post(guarded, plain)).ok(201)
    (await api.post(guarded, named)).ok(201)
    (await api.post(DEPLOYMENTS, watched)).ok(201)
    (await api.post(guarded, watched, user=user("bob", "system:masters"))).ok(201)


@pytest.mark.parametrize(
    ("ref", "code", "said"),
    [
        ({"name": "limits", "namespace": "default"}, 422, "failed expression"),
        ({"name": "limits"}, 422, "failed expression"),
        ({"selector": {"matchLabels": {"for": "web"}}}, 422, "failed expression"),
        ({"name": "nobody", "parameterNotFoundAction": "Allow"}, 201, ""),
        (
            {"name": "nobody"},
            422,
            "failed to configure binding: no params found for policy binding with `Deny` "
            "parameterNotFoundAction",
        ),
    ],
)
def test_parameters(ref: dict[str, Any], code: int, said: str) -> None:
    @served
    async def test(api: Api) -> None:
        limits = config_map("limits", max="2")
        limits["metadata"]["labels"] = {"for": "web"}
        (await api.post(CONFIG_MAPS, limits)).ok(201)
        await validating(
            api,
            "object.spec.replicas <= int(params.data.max)",
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            binding={"paramRef": {"parameterNotFoundAction": "Deny", **ref}},
        )
        answer = await api.post(DEPLOYMENTS, deployment(replicas=3))
        assert answer.code == code
        if said:
            assert said in answer.message
        if "failed expression" in said:
            (await api.patch(f"{CONFIG_MAPS}/limits", {"data": {"max": "3"}})).ok()
            (await api.post(DEPLOYMENTS, deployment(replicas=3))).ok(201)

    test()


@served
async def test_unknown_parameters(api: Api) -> None:
    await validating(
        api,
        "params.max > 1",
        paramKind={"apiVersion": "nobody.example.com/v1", "kind": "Limit"},
        binding={"paramRef": {"name": "x", "parameterNotFoundAction": "Deny"}},
    )
    refused = await api.post(DEPLOYMENTS, deployment())
    assert "failed to configure policy: failed to find resource referenced by paramKind: " in refused.message
    assert "'nobody.example.com/v1, Kind=Limit'" in refused.message


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        (
            {"validations": [{"expression": "object.spec.replicas >"}]},
            "spec.validations[0].expression",
            "compilation failed: ERROR: <input>:1:23: Syntax error",
        ),
        ({"validations": [{"expression": "1"}]}, "spec.validations[0].expression", "must evaluate to bool"),
        (
            {"validations": [{"expression": "nope == 1"}]},
            "spec.validations[0].expression",
            "undeclared reference to 'nope' (in container '')",
        ),
        (
            {"validations": [{"expression": "params.x == 1"}]},
            "spec.validations[0].expression",
            "undeclared reference to 'params'",
        ),
        (
            {"validations": [{"expression": "variables.nope == 1"}]},
            "spec.validations[0].expression",
            "ERROR: <input>:1:10: undefined field 'nope'\n | variables.nope == 1\n | .........^",
        ),
        (
            {"validations": [{"expression": "true", "messageExpression": "1"}]},
            "spec.validations[0].messageExpression",
            "must evaluate to string",
        ),
        (
            {"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]},
            "spec.variables[0].expression",
            "undefined field 'b'",
        ),
        (
            {"matchConditions": [{"name": "a", "expression": "variables.a"}]},
            "spec.matchConditions[0].expression",
            "undeclared reference to 'variables'",
        ),
        (
            {"auditAnnotations": [{"key": "a", "valueExpression": "1"}]},
            "spec.auditAnnotations[0].valueExpression",
            "must evaluate to one of: string, null_type",
        ),
    ],
)
def test_policies_that_do_not_compile(change: dict[str, Any], field: str, said: str) -> None:
    @served
    async def test(api: Api) -> None:
        spec = {"matchConstraints": match(), "validations": [{"expression": "true"}], **change}
        refused = await api.post(POLICIES, {"metadata": {"name": "bad"}, "spec": spec})
        refused.refused(422, "Invalid")
        assert [cause["field"] for cause in refused.json["details"]["causes"]] == [field]
        assert said in refused.json["details"]["causes"][0]["message"]

    test()


@served
async def test_policies_do_not_judge_policies(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("old"))).ok(201)
    await validating(api, "false", matchConstraints=match("*", "*", "*"))
    assert (await api.post(CONFIG_MAPS, config_map("x"))).code == 422
    assert (await api.delete(f"{CONFIG_MAPS}/old")).code == 422
    (await api.delete(f"{BINDINGS}/binding")).ok()
    (await api.delete(f"{POLICIES}/policy")).ok()
    (await api.post(CONFIG_MAPS, config_map("x"))).ok(201)


@pytest.mark.conformance("ValidatingAdmissionPolicy should support ValidatingAdmissionPolicy API operations")
@pytest.mark.conformance(
    "ValidatingAdmissionPolicy should support ValidatingAdmissionPolicyBinding API operations"
)
@pytest.mark.conformance("MutatingAdmissionPolicy should support MutatingAdmissionPolicy API operations")
@pytest.mark.conformance(
    "MutatingAdmissionPolicy should support MutatingAdmissionPolicyBinding API operations"
)
@pytest.mark.parametrize(
    ("url", "spec"),
    [
        (POLICIES, {"matchConstraints": match(), "validations": [{"expression": "true"}]}),
        (BINDINGS, {"policyName": "p", "validationActions": ["Deny"]}),
        (
            MUTATING,
            {
                "matchConstraints": match(),
                "reinvocationPolicy": "Never",
                "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": "[]"}}],
            },
        ),
        (MUTATING_BINDINGS, {"policyName": "p"}),
    ],
)
def test_operations_on_the_apis(url: str, spec: dict[str, Any]) -> None:
    @served
    async def test(api: Api) -> None:
        names = {each["name"] for each in (await api.get(BASE)).ok()["resources"]}
        assert url.rpartition("/")[2] in names
        for name in ("a", "b", "c"):
            body = {"metadata": {"name": name, "labels": {"set": "mine"}}, "spec": spec}
            (await api.post(url, body)).ok(201)
        assert (await api.get(f"{url}/a")).ok()["spec"][
            "policyName" if "policyName" in spec else "matchConstraints"
        ]
        while url == POLICIES and any(  # noqa: ASYNC110
            "observedGeneration" not in policy["status"] for policy in (await api.get(url)).ok()["items"]
        ):
            await asyncio.sleep(0)  # the types of each are checked once
        watch = await api.watch(url, labelSelector="set=mine")
        assert await watch.take(3) == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
        patched = (await api.patch(f"{url}/a", {"metadata": {"annotations": {"patched": "true"}}})).ok()
        patched["metadata"]["annotations"]["updated"] = "true"
        assert (await api.put(f"{url}/a", patched)).ok()["metadata"]["annotations"]["updated"] == "true"
        assert await watch.take(2) == [("MODIFIED", "a"), ("MODIFIED", "a")]
        await watch.close()
        (await api.delete(f"{url}/a")).ok()
        assert (await api.get(f"{url}/a")).code == 404
        (await api.delete(url, labelSelector="set=mine")).ok()
        assert (await api.get(url)).names == []
        if url == POLICIES:
            (await api.post(url, {"metadata": {"name": "a"}, "spec": spec})).ok(201)
            status = {"status": {"conditions": [condition("Ready")]}}
            (await api.patch(f"{url}/a/status", status)).ok()
            assert (await api.get(f"{url}/a/status")).ok()["status"]["conditions"][0]["type"] == "Ready"

    test()


def condition(name: str) -> dict[str, Any]:
    return {
        "type": name,
        "status": "True",
        "reason": "Test",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }


# -- mutating --------------------------------------------------------------------------------------------


async def mutating(api: Api, *expressions: str, binding: Any = None, **spec: Any) -> None:
    """A policy `policy` whose mutations are JSON patches (`[...]`) or apply configurations, and a binding."""
    mutations = [
        {"patchType": "JSONPatch", "jsonPatch": {"expression": e}}
        if e.startswith("[")
        else {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": e}}
        for e in expressions
    ]
    whole = {"matchConstraints": match(), "mutations": mutations, "reinvocationPolicy": "Never", **spec}
    (await api.post(MUTATING, {"metadata": {"name": "policy"}, "spec": whole})).ok(201)
    bound = {"policyName": "policy", **(binding or {})}
    (await api.post(MUTATING_BINDINGS, {"metadata": {"name": "binding"}, "spec": bound})).ok(201)


@pytest.mark.conformance("MutatingAdmissionPolicy should mutate a Deployment")
@served
async def test_mutate_a_deployment(api: Api) -> None:
    await mutating(api, "Object{spec: Object.spec{replicas: object.spec.replicas + 100}}")
    made = (await api.post(DEPLOYMENTS, deployment(replicas=2))).ok(201)
    assert made["spec"]["replicas"] == 102
    assert made["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"


@pytest.mark.conformance("MutatingAdmissionPolicy should mutate a Deployment with annotations")
@served
async def test_mutate_a_deployment_with_annotations(api: Api) -> None:
    key = "jsonpatch.escapeKey('example.com/mark')"
    await mutating(
        api,
        "[JSONPatch{op: 'add', path: '/metadata/annotations', value: {}}]",
        f"[JSONPatch{{op: 'add', path: '/metadata/annotations/' + {key}, value: 'a' + variables.more}}]",
        variables=[{"name": "more", "expression": "object.metadata.name"}],
    )
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    assert made["metadata"]["annotations"] == {"example.com/mark": "aweb"}


@served
async def test_apply_configurations_merge_lists_by_their_keys(api: Api) -> None:
    expression = """Object{
        spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{
            containers: object.spec.template.spec.containers.map(c, Object.spec.template.spec.containers.item{
                name: c.name, imagePullPolicy: 'Always'
            }),
            initContainers: [Object.spec.template.spec.initContainers.item{
                name: 'proxy', image: 'proxy:1', restartPolicy: 'Always',
                args: has(object.spec.paused) ? ['paused'] : []
            }]
        }}}
    }""".replace(".containers.item", ".containers").replace(".initContainers.item", ".initContainers")
    await mutating(
        api, expression.replace(", \n                args: has(object.spec.paused) ? ['paused'] : []", "")
    )
    refused = await api.post(DEPLOYMENTS, deployment())
    assert "may not mutate atomic arrays, maps or structs" in refused.message
    start = expression.index(",\n                args:")
    end = expression.index("\n            }]")
    merged = expression[:start] + expression[end:]
    mutations = [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": merged}}]
    (await api.patch(f"{MUTATING}/policy", {"spec": {"mutations": mutations}})).ok()
    spec = (await api.post(DEPLOYMENTS, deployment())).ok(201)["spec"]["template"]["spec"]
    assert (spec["containers"][0]["image"], spec["containers"][0]["imagePullPolicy"]) == ("web:1", "Always")
    assert spec["initContainers"][0]["terminationMessagePath"] == "/dev/termination-log"


@served
async def test_mutations_with_parameters_and_conditions(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("sizes", replicas="7"))).ok(201)
    await mutating(
        api,
        "Object{spec: Object.spec{replicas: int(params.data.replicas)}}",
        paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
        matchConditions=[{"name": "small", "expression": "object.spec.replicas < 5"}],
        binding={"paramRef": {"name": "sizes", "parameterNotFoundAction": "Deny"}},
    )
    assert (await api.post(DEPLOYMENTS, deployment("a", 2))).ok(201)["spec"]["replicas"] == 7
    assert (await api.post(DEPLOYMENTS, deployment("b", 6))).ok(201)["spec"]["replicas"] == 6


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("Object{spec: Object.spec{nope: 1}}", "nope"),
        ("Object{spec: Object.status{replicas: 1}}", 'unexpected type name "Object.status"'),
        ("object", "must evaluate to Object"),
        ("Object{spec: Object.spec{replicas: object.nope}}", "no such key: nope"),
        ("Object{spec: Object.spec{replicas: 'many'}}", "replicas"),
        ("[JSONPatch{op: 'test', path: '/spec/replicas', value: 5}]", "test"),
        ("[JSONPatch{op: 'add', path: '/a/b/c', value: 5}]", ""),
        ("[JSONPatch{nope: 'add'}]", "undefined field 'nope'"),
        ("[1]", "must evaluate to a list of JSONPatch"),
    ],
)
def test_mutations_that_fail(expression: str, said: str) -> None:
    @served
    async def test(api: Api) -> None:
        await mutating(api, expression)
        message = (await api.post(DEPLOYMENTS, deployment())).refused(422, "Invalid")
        assert "policy 'policy' with binding 'binding' denied request: " in message
        assert said in message
        (await api.patch(f"{MUTATING}/policy", {"spec": {"failurePolicy": "Ignore"}})).ok()
        made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
        assert made["spec"]["replicas"] == 1

    test()


@served
async def test_mutations_that_do_not_compile(api: Api) -> None:
    for expression, said in (
        ("Object{spec: nope}", "undeclared reference to 'nope'"),
        ("Object{", "Syntax error"),
    ):
        mutation = {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}
        spec = {"matchConstraints": match(), "reinvocationPolicy": "Never", "mutations": [mutation]}
        message = (await api.post(MUTATING, {"metadata": {"name": "x"}, "spec": spec})).refused(
            422, "Invalid"
        )
        assert "spec.mutations[0].applyConfiguration.expression: Invalid value" in message
        assert said in message


@served
async def test_mutations_come_before_validations(api: Api) -> None:
    await mutating(api, "[JSONPatch{op: 'replace', path: '/spec/replicas', value: 4}]")
    await validating(api, "object.spec.replicas == 4")
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    refused = await api.patch(
        f"{DEPLOYMENTS}/web", [{"op": "replace", "path": "/spec/replicas", "value": 9}], JSON_PATCH
    )
    assert refused.ok()["spec"]["replicas"] == 4
