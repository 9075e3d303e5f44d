from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, PODS, Api, config_map, deployment, pod, served

YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"


@served
async def test_the_server_fills_what_only_it_knows(api: Api) -> None:
    body = deployment()
    body["metadata"] |= {
        "uid": "mine",
        "creationTimestamp": "2001-01-01T00:00:00Z",
        "generation": 7,
        "selfLink": "/x",
        "deletionTimestamp": "2001-01-01T00:00:00Z",
        "deletionGracePeriodSeconds": 5,
    }
    body["status"] = {"replicas": 9}
    made = (await api.post(DEPLOYMENTS, body)).ok(201)
    metadata = made["metadata"]
    assert len(metadata["uid"]) == 36
    assert metadata["creationTimestamp"] == api.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (metadata["generation"], metadata["namespace"]) == (1, "default")
    assert not {"selfLink", "deletionTimestamp", "deletionGracePeriodSeconds"} & metadata.keys()
    assert made["status"] == {}
    assert made["spec"]["strategy"]["type"] == "RollingUpdate"


@served
async def test_generated_names(api: Api) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "job-"}
    names = [(await api.post(CONFIG_MAPS, body)).ok(201)["metadata"]["name"] for _ in range(3)]
    assert len(set(names)) == 3
    assert all(name.startswith("job-") and len(name) == 9 for name in names)


@served
async def test_a_generated_name_that_is_taken_is_drawn_again(api: Api) -> None:
    body = config_map("")
    body["metadata"] = {"generateName": "a-"}
    drawn = iter(["aaaaa", "aaaaa", "bbbbb"])
    api.server._writer._ids.suffix = lambda: next(drawn)  # type: ignore[method-assign, assignment, misc]
    first = (await api.post(CONFIG_MAPS, body)).ok(201)
    second = (await api.post(CONFIG_MAPS, body)).ok(201)
    assert [made["metadata"]["name"] for made in (first, second)] == ["a-aaaaa", "a-bbbbb"]


@served
async def test_names_that_are_taken(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = await api.post(CONFIG_MAPS, config_map("a"))
    assert answer.refused(409, "AlreadyExists") == 'configmaps "a" already exists'
    answer = await api.post(DEPLOYMENTS, deployment())
    answer = await api.post(DEPLOYMENTS, deployment())
    assert answer.refused(409, "AlreadyExists") == 'deployments.apps "web" already exists'
    assert answer.json["details"] == {"name": "web", "group": "apps", "kind": "deployments"}


@served
async def test_of_many_at_once_one_wins(api: Api) -> None:
    answers = await asyncio.gather(*(api.post(CONFIG_MAPS, config_map("a")) for _ in range(20)))
    assert sorted(answer.code for answer in answers) == [201] + [409] * 19


@pytest.mark.parametrize(
    ("change", "code", "reason", "message"),
    [
        ({"metadata": {}}, 422, "Invalid", "metadata.name: Required value: name or generateName is required"),
        ({"metadata": {"name": "A"}}, 422, "Invalid", 'metadata.name: Invalid value: "A"'),
        (
            {"metadata": {"name": "a", "namespace": "other"}},
            400,
            "BadRequest",
            "does not match the namespace",
        ),
        ({"metadata": {"name": "a", "resourceVersion": "5"}}, 400, "BadRequest", "should not be set"),
        ({"metadata": {"name": "a", "labels": {"-": "x"}}}, 422, "Invalid", "metadata.labels"),
        (
            {"kind": "Secret"},
            400,
            "BadRequest",
            "converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        ({"apiVersion": "v2"}, 400, "BadRequest", 'no kind "ConfigMap" is registered for version "v2"'),
        ({"data": {"k": 5}}, 400, "BadRequest", "ConfigMap.data of type string"),
        ({"data": ["k"]}, 400, "BadRequest", "cannot unmarshal array"),
        ({"data": {"a b": "c"}}, 422, "Invalid", "data[a b]"),
    ],
)
@served
async def test_what_cannot_be_created(
    api: Api, change: dict[str, Any], code: int, reason: str, message: str
) -> None:
    answer = await api.post(CONFIG_MAPS, config_map("a") | change)
    assert message in answer.refused(code, reason)


@served
async def test_type_meta_may_be_left_out(api: Api) -> None:
    made = (await api.post(CONFIG_MAPS, {"metadata": {"name": "a"}})).ok(201)
    assert (made["kind"], made["apiVersion"]) == ("ConfigMap", "v1")


@served
async def test_all_errors_come_at_once(api: Api) -> None:
    await api.account()
    body = pod("web", containers=[{"name": "A", "image": ""}], restartPolicy="Sometimes")
    answer = await api.post(PODS, body)
    answer.refused(422, "Invalid")
    details = answer.json["details"]
    assert (details["kind"], details["name"]) == ("Pod", "web")
    fields = {cause["field"] for cause in details["causes"]}
    assert {"spec.containers[0].name", "spec.containers[0].image", "spec.restartPolicy"} <= fields


@served
async def test_ephemeral_containers_come_later(api: Api) -> None:
    await api.account()
    body = pod("web", ephemeralContainers=[{"name": "debug", "image": "busybox"}])
    message = (await api.post(PODS, body)).refused(422, "Invalid")
    assert "spec.ephemeralContainers: Forbidden: cannot be set on create" in message


# -- field validation --------------------------------------------------------------------------------


WRONG = b'{"metadata":{"name":"a"},"data":{"k":"v","k":"w"},"colour":"red"}'


@served
async def test_strict_validation_refuses_unknown_and_duplicate_fields(api: Api) -> None:
    answer = await api.post(CONFIG_MAPS, WRONG, fieldValidation="Strict")
    message = answer.refused(400, "BadRequest")
    assert 'strict decoding error: unknown field "colour", duplicate field "data.k"' in message
    (await api.get(f"{CONFIG_MAPS}/a")).refused(404, "NotFound")


@served
async def test_warnings_come_in_headers(api: Api) -> None:
    for query in ({"fieldValidation": "Warn"}, {}):
        answer = await api.post(CONFIG_MAPS, WRONG, dryRun="All", **query)
        assert answer.ok(201)["data"] == {"k": "w"}
        assert answer.headers["Warning"] == (
            '299 - "unknown field \\"colour\\"", 299 - "duplicate field \\"data.k\\""'
        )


@served
async def test_ignored_fields_are_dropped_without_a_word(api: Api) -> None:
    answer = await api.post(CONFIG_MAPS, WRONG, fieldValidation="Ignore")
    assert "colour" not in answer.ok(201)
    assert "Warning" not in answer.headers


@pytest.mark.parametrize("query", [{"fieldValidation": "Loose"}, {"dryRun": "Some"}])
@served
async def test_words_that_parameters_do_not_have(api: Api, query: dict[str, str]) -> None:
    message = (await api.post(CONFIG_MAPS, config_map("a"), **query)).refused(422, "Invalid")
    assert "Unsupported value" in message


# -- dry run, forms of bodies ------------------------------------------------------------------------


@served
async def test_a_dry_run_leaves_nothing(api: Api) -> None:
    before = api.server.cache.revision
    made = (await api.post(DEPLOYMENTS, deployment(), dryRun="All")).ok(201)
    assert made["metadata"]["uid"]
    assert "resourceVersion" not in made["metadata"] or not made["metadata"]["resourceVersion"]
    assert api.server.cache.revision == before
    (await api.get(f"{DEPLOYMENTS}/web")).refused(404, "NotFound")
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    (await api.post(CONFIG_MAPS, config_map("a"), dryRun="All")).refused(409, "AlreadyExists")
    (await api.post(CONFIG_MAPS, {"metadata": {"name": "A"}}, dryRun="All")).refused(422, "Invalid")


@served
async def test_yaml(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: 'yes'\n"
    assert (await api.post(CONFIG_MAPS, body, media=YAML)).ok(201)["data"] == {"k": "yes"}
    message = (await api.post(CONFIG_MAPS, b"a: [", media=YAML)).refused(400, "BadRequest")
    assert message.startswith("the object provided is unrecognized")


def _field(number: int, value: bytes) -> bytes:
    return bytes([number << 3 | 2, len(value)]) + value


_CONFIG_MAP_ENVELOPE = _field(1, _field(1, b"v1") + _field(2, b"ConfigMap")) + _field(2, _field(2, b"k"))


@served
async def test_protobuf(api: Api) -> None:
    metadata = _field(1, b"packed") + _field(11, _field(1, b"app") + _field(2, b"web"))
    raw = _field(1, metadata) + _field(2, _field(1, b"k") + _field(2, b"v"))
    envelope = _field(1, _field(1, b"v1") + _field(2, b"ConfigMap")) + _field(2, raw)
    made = (await api.post(CONFIG_MAPS, b"k8s\0" + envelope, media=PROTOBUF)).ok(201)
    assert made["data"] == {"k": "v"}
    assert made["metadata"]["labels"] == {"app": "web"}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{}", "does not begin with the bytes of a Kubernetes protobuf object"),
        (b"k8s\0" + _CONFIG_MAP_ENVELOPE[:-1], "the body ends in the middle of a field"),
        (b"k8s\0" + _field(1, _field(1, b"example.com/v1") + _field(2, b"Thing")), "send JSON"),
    ],
)
@served
async def test_protobuf_that_cannot_be_read(api: Api, body: bytes, said: str) -> None:
    message = (await api.post(CONFIG_MAPS, body, media=PROTOBUF)).refused(415, "UnsupportedMediaType")
    assert message.startswith(
        "the body of the request was in an unknown format - accepted media types include: "
    )
    assert "application/json, application/yaml" in message
    assert said in message
    assert (await api.get(CONFIG_MAPS)).names == []


# -- namespaces --------------------------------------------------------------------------------------


@served
async def test_a_namespace_that_is_not_there(api: Api) -> None:
    answer = await api.post("/api/v1/namespaces/none/configmaps", config_map("a"))
    assert answer.refused(404, "NotFound") == 'namespaces "none" not found'


@served
async def test_a_namespace_that_is_going(api: Api) -> None:
    (await api.post("/api/v1/namespaces", {"metadata": {"name": "going"}})).ok(201)
    await api.account("going")
    (await api.delete("/api/v1/namespaces/going")).ok()
    answer = await api.post("/api/v1/namespaces/going/configmaps", config_map("a"))
    message = answer.refused(403, "Forbidden")
    assert "unable to create new content in namespace going because it is being terminated" in message
    assert answer.json["details"]["causes"][0]["reason"] == "NamespaceTerminating"


# -- what pods and nodes get on their way in ---------------------------------------------------------


@served
async def test_a_pod_gets_account_token_tolerations_and_priority(api: Api) -> None:
    spec = (await api.pod())["spec"]
    assert spec["serviceAccountName"] == "default"
    assert {t["key"] for t in spec["tolerations"]} == {
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    }
    assert (spec["priority"], spec["preemptionPolicy"]) == (0, "PreemptLowerPriority")
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-")
    mount = spec["containers"][0]["volumeMounts"][0]
    assert mount["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    # What admission adds gets its defaults as well.
    assert mount["recursiveReadOnly" if "recursiveReadOnly" in mount else "name"] == volume["name"]
    assert volume["projected"]["defaultMode"] == 420


@served
async def test_a_pod_needs_its_account_and_its_priority_class(api: Api) -> None:
    (await api.post(PODS, pod())).refused(403, "Forbidden")
    await api.account()
    answer = await api.post(PODS, pod(priorityClassName="none"))
    assert "no PriorityClass with name none was found" in answer.refused(403, "Forbidden")
    made = await api.pod("critical", priorityClassName="system-node-critical")
    assert made["spec"]["priority"] == 2_000_001_000


@served
async def test_a_new_node_is_tainted_until_it_is_ready(api: Api) -> None:
    taint = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}
    for name, taints in (("n1", []), ("n2", [taint]), ("n3", [{"key": "x", "effect": "NoExecute"}])):
        body = {"metadata": {"name": name}, "spec": {"taints": taints}}
        made = (await api.post("/api/v1/nodes", body)).ok(201)
        wanted = [*taints, taint] if taint not in taints else taints
        assert made["spec"]["taints"] == wanted


@served
async def test_keys_of_spread_constraints_become_part_of_the_selector(api: Api) -> None:
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    (await api.post("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})).ok(201)
    spread |= {"matchLabelKeys": ["hash"], "labelSelector": {"matchLabels": {"app": "a"}}}
    body = pod("p", topologySpreadConstraints=[spread])
    body["metadata"]["labels"] = {"app": "a", "hash": "1"}
    made = (await api.post(PODS, body)).ok(201)
    selector = made["spec"]["topologySpreadConstraints"][0]["labelSelector"]
    assert selector["matchExpressions"] == [{"key": "hash", "operator": "In", "values": ["1"]}]
    body["metadata"]["name"] = "q"
    spread["matchLabelKeys"] = ["app"]
    message = (await api.post(PODS, body)).refused(422, "Invalid")
    assert 'topologySpreadConstraints[0][0]: Invalid value: "app": exists in both' in message


@served
async def test_plugins_that_change_objects_speak_of_the_generatename(api: Api) -> None:
    """As kube-apiserver 1.37.2 answers: the name is made once they all have been."""
    body = pod("")
    body["metadata"] = {"generateName": "web-"}
    body["spec"]["serviceAccountName"] = "nobody"
    for _ in range(2):
        assert (await api.post(PODS, body)).refused(403, "Forbidden") == (
            'pods "web-" is forbidden: error looking up service account default/nobody: '
            'serviceaccount "nobody" not found'
        )
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "nobody"}}
    (await api.post("/api/v1/namespaces/default/serviceaccounts", account)).ok(201)
    body["spec"]["priorityClassName"] = "none"
    refused = (await api.post(PODS, body)).refused(403, "Forbidden")
    assert refused == 'pods "web-" is forbidden: no PriorityClass with name none was found'
    body["spec"].pop("priorityClassName")
    made = (await api.post(PODS, body)).ok(201)
    assert made["metadata"]["name"].startswith("web-")
    assert len(made["metadata"]["name"]) == 9
