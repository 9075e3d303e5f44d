"""Updates as kube-apiserver 1.37.2 answers them: what counts as a change, and what is said of a wrong one."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.api.server import DEPLOYMENTS, Api, deployment, served

STATEFUL_SETS: Final = "/apis/apps/v1/namespaces/default/statefulsets"
SERVICES: Final = "/api/v1/namespaces/default/services"
CLAIMS: Final = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims"
CIDRS: Final = "/apis/networking.k8s.io/v1/servicecidrs"


def stateful_set() -> dict[str, Any]:
    whole = deployment()
    spec = {"selector": whole["spec"]["selector"], "template": whole["spec"]["template"]}
    return {"metadata": {"name": "s"}, "spec": spec}


def service() -> dict[str, Any]:
    return {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}


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
