"""Updates as kube-apiserver 1.37.2 answers them: what counts as a change, and what is said of a wrong one."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, PODS, Api, config_map, deployment, pod, served

STATEFUL_SETS: Final = "/apis/apps/v1/namespaces/default/statefulsets"
APPS: Final = "/apis/apps/v1/namespaces/default"
NETWORKING: Final = "/apis/networking.k8s.io/v1"
STORAGE: Final = "/apis/storage.k8s.io/v1"
LEASES: Final = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
SERVICES: Final = "/api/v1/namespaces/default/services"
CLAIMS: Final = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
CIDRS: Final = "/apis/networking.k8s.io/v1/servicecidrs"


def stateful_set() -> dict[str, Any]:
    whole = deployment()
    spec = {"selector": whole["spec"]["selector"], "template": whole["spec"]["template"]}
    return {"metadata": {"name": "s"}, "spec": spec}


def service() -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}


def term(key: str) -> dict[str, Any]:
    return {"nodeSelectorTerms": [{"matchExpressions": [{"key": key, "operator": "Exists"}]}]}


def claim() -> dict[str, Any]:
    return {"metadata": {"name": "c"}, "spec": {}}


@served
async def test_what_is_written_out_is_no_change(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    name = made["metadata"]["name"]
    made["spec"]["template"]["metadata"]["generateName"] = ""
    made["spec"]["minReadySeconds"] = 0
    made["spec"]["template"]["spec"]["containers"][0]["args"] = []
    same = (await api.put(f"{DEPLOYMENTS}/{name}", made)).ok()
    assert same["metadata"]["generation"] == 1
    same["spec"]["template"]["spec"]["securityContext"] = {"runAsUser": 0}
    other = (await api.put(f"{DEPLOYMENTS}/{name}", same)).ok()
    assert other["metadata"]["generation"] == 2


@served
async def test_an_update_of_the_status_leaves_metadata_alone(api: Api) -> None:
    made = (await api.post(CIDRS, {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}})).ok(
        201
    )
    made["metadata"] |= {"labels": {"a": "b"}, "finalizers": ["a.b/c"]}
    updated = (await api.put(f"{CIDRS}/more/status", made)).ok()
    assert not {"labels", "finalizers"} & updated["metadata"].keys()


REFUSALS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]]] = {
    "each field of a StatefulSet": (
        STATEFUL_SETS,
        stateful_set(),
        {"serviceName": "a", "podManagementPolicy": "Parallel"},
        [
            'spec.serviceName: Invalid value: "a": field is immutable',
            'spec.podManagementPolicy: Invalid value: "Parallel": field is immutable',
        ],
    ),
    "addresses of Services that are none": (
        SERVICES,
        service(),
        {"clusterIP": "x"},
        [
            'spec.clusterIPs[0]: Invalid value: "x": must be a valid IP address, '
            "(e.g. 10.9.8.7 or 2001:db8::ffff)"
        ],
    ),
    "a selector, before what else is wrong": (
        f"{APPS}/daemonsets",
        {"metadata": {"name": "d"}, "spec": {k: deployment()["spec"][k] for k in ("selector", "template")}},
        {"selector": {"matchExpressions": [{"key": "b", "operator": "Exists"}], "matchLabels": {"a": "c"}}},
        [
            'spec.selector: Invalid value: {"matchLabels":{"a":"c"},'
            '"matchExpressions":[{"key":"b","operator":"Exists"}]}: field is immutable',
            'spec.template.metadata.labels: Invalid value: {"app":"web"}: '
            "`selector` does not match template `labels`",
        ],
    ),
    "a controller, before what else is wrong": (
        f"{NETWORKING}/ingressclasses",
        {"metadata": {"name": "i"}, "spec": {"controller": "a.b/c"}},
        {"controller": ""},
        ['spec.controller: Invalid value: "": field is immutable', "spec.controller: Required value"],
    ),
    "what holds an address, unseen": (
        f"{NETWORKING}/ipaddresses",
        {"metadata": {"name": "10.96.9.9"}, "spec": {"parentRef": {"resource": "services", "name": "a"}}},
        {"parentRef": {"resource": "services", "name": "b"}},
        ["spec.parentRef: Invalid value: null: field is immutable"],
    ),
    "each range of addresses": (
        CIDRS,
        {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}},
        {"cidrs": ["x"]},
        ['spec.cidrs[0]: Invalid value: "x": field is immutable'],
    ),
    "ranges that are left out": (
        CIDRS,
        {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}},
        {"cidrs": None},
        ["spec.cidrs: Invalid value: null: field is immutable"],
    ),
    "a range that is changed while one is added": (
        CIDRS,
        {"metadata": {"name": "more"}, "spec": {"cidrs": ["10.97.0.0/16"]}},
        {"cidrs": ["x", "fd00::/64"]},
        [
            'spec.cidrs[0]: Invalid value: "x": field is immutable',
            'spec.cidrs[0]: Invalid value: "x": must be a valid CIDR value, '
            "(e.g. 10.9.8.0/24 or 2001:db8::/64)",
        ],
    ),
    "drivers of a node, by Go's names": (
        f"{STORAGE}/csinodes",
        {"metadata": {"name": "n"}, "spec": {"drivers": [{"name": "d.e", "nodeID": "n"}]}},
        {"drivers": [{"name": "d.e", "nodeID": "m", "topologyKeys": ["a"]}]},
        [
            'spec.drivers: Invalid value: {"Name":"d.e","NodeID":"m","TopologyKeys":["a"],'
            '"Allocatable":null}: field is immutable'
        ],
    ),
    "templates of claims, by Go's names": (
        "/apis/resource.k8s.io/v1/namespaces/default/resourceclaimtemplates",
        {"metadata": {"name": "t"}, "spec": {"spec": {}}},
        {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "c"}}]}},
        },
        [
            'spec: Invalid value: {"labels":{"a":"b"},"Spec":{"Devices":{"Requests":[{"Name":"r","Exactly":'
            '{"DeviceClassName":"c","Selectors":null,"AllocationMode":"ExactCount","Count":1,'
            '"AdminAccess":null,"Tolerations":null,"Capacity":null,"DerivedAttributes":null},'
            '"FirstAvailable":null}],"Constraints":null,"Config":null}}}: field is immutable'
        ],
    ),
    "where a volume can be, by Go's names": (
        "/api/v1/persistentvolumes",
        {
            "metadata": {"name": "v"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "nfs": {"server": "s", "path": "/p"},
                "nodeAffinity": {"required": term("a")},
            },
        },
        {"nodeAffinity": {"required": term("b")}},
        [
            'nodeAffinity: Invalid value: {"Required":{"NodeSelectorTerms":[{"MatchExpressions":'
            '[{"Key":"b","Operator":"Exists","Values":null}],"MatchFields":null}]}}: '
            "field is immutable, except for updating from beta label to GA"
        ],
    ),
    "what a migration is of, by Go's names": (
        "/apis/storagemigration.k8s.io/v1/storageversionmigrations",
        {"metadata": {"name": "m"}, "spec": {"resource": {"group": "apps", "resource": "deployments"}}},
        {"resource": {"resource": "pods"}},
        ['spec: Invalid value: {"Resource":{"group":"","resource":"pods"}}: field is immutable'],
    ),
    "scopes that are left out": (
        "/api/v1/namespaces/default/resourcequotas",
        {"metadata": {"name": "q"}, "spec": {"scopes": ["BestEffort"], "hard": {"pods": "1"}}},
        {"scopes": None},
        ["spec.scopes: Invalid value: null: field is immutable"],
    ),
    "CronJobs without a pod": (
        "/apis/batch/v1/namespaces/default/cronjobs",
        {
            "metadata": {"name": "c"},
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": {"spec": {"template": {"spec": {**pod()["spec"], "restartPolicy": "Never"}}}},
            },
        },
        {"jobTemplate": None},
        [
            "spec.jobTemplate.spec.template.spec.containers: Required value",
            "spec.jobTemplate.spec.template.spec.restartPolicy: Required value: "
            'valid values: "OnFailure", "Never"',
        ],
    ),
    "claims, alone": (
        CLAIMS,
        claim(),
        {"devices": {"requests": [{}]}},
        ["spec: Invalid value: null: field is immutable"],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
@served
async def test_refusals(api: Api, name: str) -> None:
    place, body, changed, errors = REFUSALS[name]
    made = (await api.post(place, body)).ok(201)
    made["spec"] |= changed
    answer = await api.put(f"{place}/{made['metadata']['name']}", made)
    answer.refused(422, "Invalid")
    causes = answer.json["details"]["causes"]
    assert [f"{cause['field']}: {cause['message']}" for cause in causes] == errors


@served
async def test_finalizers_name_a_domain(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    made["metadata"]["finalizers"] = ["abc"]
    said = (await api.put(f"{DEPLOYMENTS}/{made['metadata']['name']}", made)).refused(422, "Invalid")
    assert 'metadata.finalizers[0]: Invalid value: "abc": name is neither a standard finalizer name' in said


SLICE: Final[dict[str, Any]] = {"metadata": {"name": "e"}, "addressType": "IPv4", "endpoints": []}
DAEMON: Final[dict[str, Any]] = {
    "metadata": {"name": "d"},
    "spec": {k: deployment()["spec"][k] for k in ("selector", "template")},
}
SLICES: Final = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
# Where, an object, a merge patch, and the generation that it leads to.
GENERATIONS: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], int]]] = {
    "annotations of Deployments": (
        DEPLOYMENTS,
        deployment(),
        {"metadata": {"annotations": {"a": "b"}}},
        2,
    ),
    "labels of Deployments": (DEPLOYMENTS, deployment(), {"metadata": {"labels": {"a": "b"}}}, 1),
    "annotations of DaemonSets": (
        f"{APPS}/daemonsets",
        DAEMON,
        {"metadata": {"annotations": {"a": "b"}}},
        1,
    ),
    "labels of EndpointSlices": (SLICES, SLICE, {"metadata": {"labels": {"a": "b"}}}, 2),
    "annotations of EndpointSlices": (SLICES, SLICE, {"metadata": {"annotations": {"a": "b"}}}, 1),
    "PriorityClasses": (
        "/apis/scheduling.k8s.io/v1/priorityclasses",
        {"metadata": {"name": "p"}, "value": 1},
        {"description": "d"},
        1,
    ),
}


@pytest.mark.parametrize("name", GENERATIONS)
@served
async def test_what_counts_as_another_generation(api: Api, name: str) -> None:
    place, body, patch, generation = GENERATIONS[name]
    made = (await api.post(place, body)).ok(201)
    assert made["metadata"]["generation"] == 1
    changed = (await api.patch(f"{place}/{made['metadata']['name']}", patch)).ok()
    assert changed["metadata"]["generation"] == generation


@served
async def test_a_default_that_is_left_out_makes_no_new_template(api: Api) -> None:
    made = (await api.post(f"{APPS}/daemonsets", DAEMON)).ok(201)
    del made["spec"]["template"]["spec"]["containers"][0]["terminationMessagePolicy"]
    same = (await api.put(f"{APPS}/daemonsets/d", made)).ok()
    assert same["metadata"]["annotations"]["deprecated.daemonset.template.generation"] == "1"
    assert same["metadata"]["generation"] == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "invalid syntax"),
        ("a", "invalid syntax"),
        ("1.0", "invalid syntax"),
        ("9223372036854775808", "value out of range"),
        ("-1", ""),
    ],
)
@served
async def test_the_annotation_of_a_daemon_set_is_read_as_a_number(api: Api, text: str, why: str) -> None:
    made = (await api.post(f"{APPS}/daemonsets", DAEMON)).ok(201)
    made["metadata"]["annotations"]["deprecated.daemonset.template.generation"] = text
    answer = await api.put(f"{APPS}/daemonsets/d", made)
    if not why:
        answer.ok()
        return
    assert answer.refused(400, "BadRequest") == (
        'DaemonSet in version "v1" cannot be handled as a DaemonSet: '
        f'strconv.ParseInt: parsing "{text}": {why}'
    )


@served
async def test_a_definition_may_gain_any_prefix(api: Api) -> None:
    place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    schema = {"openAPIV3Schema": {"type": "object"}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    names = {"plural": "foos", "kind": "Foo"}
    spec = {"group": "a.example.com", "scope": "Namespaced", "names": names, "versions": [version]}
    body: dict[str, Any] = {"metadata": {"name": "foos.a.example.com"}, "spec": spec}
    wrong = await api.post(place, {**body, "metadata": {**body["metadata"], "generateName": "x"}})
    assert "metadata.generateName: Invalid value" in wrong.refused(422, "Invalid")
    (await api.post(place, body)).ok(201)
    changed = await api.patch(f"{place}/foos.a.example.com", {"metadata": {"generateName": "A b"}})
    assert changed.ok()["metadata"]["generateName"] == "A b"


LEASE: Final[dict[str, Any]] = {"metadata": {"name": "l"}, "spec": {}}
NOT_EMPTY: Final = "name part must be non-empty"
NAME_PART: Final = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
NO_DOMAIN: Final = "name is neither a standard finalizer name nor is it fully qualified"
PREFIX: Final = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    r"'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
GRACE: Final = "metadata.deletionGracePeriodSeconds: Invalid value: 5: field is immutable"
# Where, an object, what its metadata becomes, and what is wrong with that.
METADATA: Final[dict[str, tuple[str, dict[str, Any], dict[str, Any], list[str]]]] = {
    "finalizers without a name": (
        LEASES,
        LEASE,
        {"finalizers": [""]},
        [f'metadata.finalizers: Invalid value: "": {said}' for said in (NOT_EMPTY, NAME_PART)],
    ),
    "finalizers without a name or a domain": (
        CONFIG_MAPS,
        config_map("c"),
        {"finalizers": ["x y"]},
        [
            f'metadata.finalizers: Invalid value: "x y": {NAME_PART}',
            f'metadata.finalizers[0]: Invalid value: "x y": {NO_DOMAIN}',
        ],
    ),
    "a prefix of which no name can be made": (
        CONFIG_MAPS,
        config_map("c"),
        {"generateName": "A b"},
        [f'metadata.generateName: Invalid value: "A b": {PREFIX}'],
    ),
    "the same where nobody looks": (DEPLOYMENTS, deployment(), {"generateName": "A b"}, []),
    "a prefix with a slash, where nobody else looks": (
        DEPLOYMENTS,
        deployment(),
        {"generateName": "a/b"},
        ["metadata.generateName: Invalid value: \"a/b\": may not contain '/'"],
    ),
    "labels before what cannot change": (
        CONFIG_MAPS,
        config_map("c"),
        {"labels": {"a b": ""}, "deletionGracePeriodSeconds": 5},
        [f'metadata.labels: Invalid value: "a b": {NAME_PART}', GRACE],
    ),
}


@pytest.mark.parametrize("name", METADATA)
@served
async def test_metadata(api: Api, name: str) -> None:
    place, body, changed, errors = METADATA[name]
    made = (await api.post(place, body)).ok(201)
    made["metadata"] |= changed
    answer = await api.put(f"{place}/{made['metadata']['name']}", made)
    if not errors:
        answer.ok()
        return
    answer.refused(422, "Invalid")
    causes = answer.json["details"]["causes"]
    assert [f"{cause['field']}: {cause['message']}" for cause in causes] == errors


@pytest.mark.parametrize("revision", [None, "", "0"])
@served
async def test_some_updates_must_name_a_revision(api: Api, revision: str | None) -> None:
    for place, body in ((LEASES, LEASE), (CONFIG_MAPS, config_map("c"))):
        made = (await api.post(place, body)).ok(201)
        made["metadata"]["resourceVersion"] = revision
        answer = await api.put(f"{place}/{made['metadata']['name']}", made)
        if place == CONFIG_MAPS:
            answer.ok()
            continue
        assert answer.refused(422, "Invalid") == (
            'leases.coordination.k8s.io "l" is invalid: '
            "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
        )
        assert answer.json["details"]["kind"] == "leases"
    patched = await api.patch(f"{LEASES}/l", {"spec": {"holderIdentity": "me"}})
    assert patched.ok()["spec"]["holderIdentity"] == "me"


@served
async def test_a_pod_keeps_the_priority_that_it_was_given(api: Api) -> None:
    made = await api.pod("p")
    spec = made["spec"]
    priority, policy = spec.pop("priority"), spec.pop("preemptionPolicy")
    same = (await api.put(f"{PODS}/p", made)).ok()
    assert (same["spec"]["priority"], same["spec"]["preemptionPolicy"]) == (priority, policy)
    spec["priority"] = priority + 1
    (await api.put(f"{PODS}/p", made)).refused(422, "Invalid")


@served
async def test_drivers_are_warned_of_new_tokens(api: Api) -> None:
    place = f"{STORAGE}/csidrivers"
    (await api.post(place, {"metadata": {"name": "d.e"}, "spec": {}})).ok(201)
    tokens = {"tokenRequests": [{"audience": "a"}]}
    warned = await api.patch(f"{place}/d.e", {"spec": tokens})
    assert "spec.serviceAccountTokenInSecrets is unset" in warned.headers["Warning"]
    again = await api.patch(f"{place}/d.e", {"metadata": {"labels": {"a": "b"}}})
    assert "Warning" not in again.headers
    safe = await api.patch(f"{place}/d.e", {"spec": {**tokens, "serviceAccountTokenInSecrets": True}})
    assert "Warning" not in safe.headers
