from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, MERGE, PODS, Api, config_map, deployment, served


@served
async def test_what_nothing_holds_goes_at_once(api: Api) -> None:
    made = (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    (await api.get(f"{CONFIG_MAPS}/a")).refused(404, "NotFound")
    (await api.delete(f"{CONFIG_MAPS}/a")).refused(404, "NotFound")


@served
async def test_a_dry_run_deletes_nothing(api: Api) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    (await api.delete(f"{CONFIG_MAPS}/a", dryRun="All")).ok()
    (await api.get(f"{CONFIG_MAPS}/a")).ok()


# -- grace -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "query", "grace_s"),
    [
        (None, {}, 30),
        ({"gracePeriodSeconds": 5}, {}, 5),
        (None, {"gracePeriodSeconds": "7"}, 7),
        ({"gracePeriodSeconds": -1}, {}, 1),
    ],
)
@served
async def test_a_running_pod_gets_its_grace(api: Api, body: Any, query: dict[str, str], grace_s: int) -> None:
    await api.pod(node="n1")
    shown = (await api.delete(f"{PODS}/web", body, **query)).ok()
    assert shown["kind"] == "Pod"
    metadata = (await api.get(f"{PODS}/web")).ok()["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == grace_s
    assert metadata["deletionTimestamp"] == f"2026-01-01T00:00:{grace_s:02}Z"
    assert metadata["generation"] == 2


@pytest.mark.parametrize(("spec_s", "asked_s", "grace_s"), [(0, 60, 60), (-5, None, 1), (40, None, 40)])
@served
async def test_who_deletes_may_ask_for_more_than_the_spec_says(
    api: Api, spec_s: int, asked_s: int | None, grace_s: int
) -> None:
    await api.pod(node="n1", terminationGracePeriodSeconds=spec_s)
    query = {} if asked_s is None else {"gracePeriodSeconds": str(asked_s)}
    (await api.delete(f"{PODS}/web", **query)).ok()
    assert (await api.get(f"{PODS}/web")).ok()["metadata"]["deletionGracePeriodSeconds"] == grace_s


@served
async def test_a_pod_that_waits_for_a_node_gets_no_grace(api: Api) -> None:
    await api.pod(terminationGracePeriodSeconds=30)
    (await api.delete(f"{PODS}/web", gracePeriodSeconds="60")).ok()
    (await api.get(f"{PODS}/web")).refused(404, "NotFound")


@served
async def test_grace_only_gets_shorter(api: Api) -> None:
    await api.pod(node="n1")
    for asked_s, grace_s in ((20, 20), (25, 20), (None, 20), (5, 5)):
        body = None if asked_s is None else {"gracePeriodSeconds": asked_s}
        shown = (await api.delete(f"{PODS}/web", body)).ok()
        assert shown["metadata"]["deletionGracePeriodSeconds"] == grace_s
    (await api.delete(f"{PODS}/web", {"gracePeriodSeconds": 0})).ok()
    (await api.get(f"{PODS}/web")).refused(404, "NotFound")


@served
async def test_pods_that_never_ran_or_have_ended_go_at_once(api: Api) -> None:
    await api.pod("waiting")
    await api.pod("ended", node="n1")
    (await api.patch(f"{PODS}/ended/status", {"status": {"phase": "Succeeded"}}, MERGE)).ok()
    for name in ("waiting", "ended"):
        (await api.delete(f"{PODS}/{name}")).ok()
        (await api.get(f"{PODS}/{name}")).refused(404, "NotFound")


# -- finalizers and propagation ----------------------------------------------------------------------


@served
async def test_finalizers_hold_an_object(api: Api) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    (await api.post(CONFIG_MAPS, body)).ok(201)
    shown = (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    assert shown["metadata"]["deletionTimestamp"] == "2026-01-01T00:00:00Z"
    await api.clock.advance(5)
    again = (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    assert again["metadata"] == shown["metadata"]
    answer = await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": ["example.com/more"]}})
    assert "Forbidden" in answer.refused(422, "Invalid")
    (await api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}})).ok()
    (await api.get(f"{CONFIG_MAPS}/a")).refused(404, "NotFound")


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        ({"propagationPolicy": "Foreground"}, ["foregroundDeletion"]),
        ({"propagationPolicy": "Orphan"}, ["orphan"]),
        ({"orphanDependents": True}, ["orphan"]),
    ],
)
@served
async def test_propagation_is_a_finalizer(api: Api, options: Any, finalizers: list[str]) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    shown = (await api.delete(f"{DEPLOYMENTS}/web", options)).ok()
    assert shown["metadata"]["finalizers"] == finalizers


@pytest.mark.parametrize("options", [None, {"propagationPolicy": "Background"}, {"orphanDependents": False}])
@served
async def test_in_the_background_nothing_waits(api: Api, options: Any) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    assert (await api.delete(f"{DEPLOYMENTS}/web", options)).ok()["kind"] == "Status"


@served
async def test_jobs_keep_their_pods_where_nobody_says_otherwise(api: Api) -> None:
    jobs = "/apis/batch/v1/namespaces/default/jobs"
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "b"}]}}
    body = {"metadata": {"name": "a"}, "spec": {"template": template}}
    (await api.post(jobs, body)).ok(201)
    answer = await api.delete(f"{jobs}/a")
    assert answer.ok()["metadata"]["finalizers"] == ["orphan"]
    assert "child pods are preserved by default" in answer.headers["Warning"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"propagationPolicy": "Sideways"}, 'supported values: "Foreground", "Background", "Orphan", "nil"'),
        ({"propagationPolicy": "Orphan", "orphanDependents": True}, "cannot be both set"),
        (b"{", "couldn't get version/kind"),
        ({"gracePeriodSeconds": "soon"}, "DeleteOptions.gracePeriodSeconds of type int64"),
    ],
)
@served
async def test_options_that_make_no_sense(api: Api, options: Any, message: str) -> None:
    (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    answer = await api.delete(f"{CONFIG_MAPS}/a", options)
    assert answer.code in (400, 422)
    assert message in answer.message
    (await api.get(f"{CONFIG_MAPS}/a")).ok()


# -- preconditions -----------------------------------------------------------------------------------


@served
async def test_preconditions(api: Api) -> None:
    made = (await api.post(CONFIG_MAPS, config_map("a"))).ok(201)
    metadata = made["metadata"]
    for wrong in ({"uid": "another"}, {"resourceVersion": "1"}):
        answer = await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": wrong})
        assert "in the precondition" in answer.refused(409, "Conflict")
    right = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
    (await api.delete(f"{CONFIG_MAPS}/a", {"preconditions": right})).ok()


# -- collections -------------------------------------------------------------------------------------


@served
async def test_a_selection_goes_and_the_rest_stays(api: Api) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        body = config_map(name)
        body["metadata"]["labels"] = {"app": app}
        (await api.post(CONFIG_MAPS, body)).ok(201)
    answer = await api.delete(CONFIG_MAPS, labelSelector="app=x")
    assert answer.ok()["kind"] == "ConfigMapList"
    assert answer.names == ["a", "c"]
    assert (await api.get(CONFIG_MAPS)).names == ["b"]
    assert (await api.delete(CONFIG_MAPS, fieldSelector="metadata.name=b", dryRun="All")).names == ["b"]
    assert (await api.get(CONFIG_MAPS)).names == ["b"]


@served
async def test_a_collection_of_pods_gets_its_grace(api: Api) -> None:
    await api.pod("a", node="n1")
    await api.pod("b")
    (await api.delete(PODS, {"gracePeriodSeconds": 3})).ok()
    (left,) = (await api.get(PODS)).ok()["items"]
    assert (left["metadata"]["name"], left["metadata"]["deletionGracePeriodSeconds"]) == ("a", 3)


@served
async def test_collections_that_cannot_be_deleted(api: Api) -> None:
    (await api.delete("/api/v1/configmaps")).refused(405, "MethodNotAllowed")
    (await api.delete("/api/v1/namespaces")).refused(405, "MethodNotAllowed")
    (await api.delete(CONFIG_MAPS, labelSelector="a in (")).refused(400, "BadRequest")


@served
async def test_two_collections_at_once_delete_everything_once(api: Api) -> None:
    for number in range(30):
        (await api.post(CONFIG_MAPS, config_map(f"a{number}"))).ok(201)
    before = api.server.cache.revision
    answers = await asyncio.gather(api.delete(CONFIG_MAPS), api.delete(CONFIG_MAPS))
    assert {answer.code for answer in answers} == {200}
    assert sum(len(answer.names) for answer in answers) == 30
    assert api.server.cache.revision == before + 30


# -- namespaces --------------------------------------------------------------------------------------


@served
async def test_a_namespace_goes_when_it_is_finalized(api: Api) -> None:
    made = (await api.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})).ok(201)
    assert made["spec"]["finalizers"] == ["kubernetes"]
    assert made["metadata"]["labels"] == {"kubernetes.io/metadata.name": "shop"}
    shown = (await api.delete("/api/v1/namespaces/shop")).ok()
    assert shown["status"]["phase"] == "Terminating"
    # Its spec is not for ordinary updates.
    shown["spec"] = {}
    assert (await api.put("/api/v1/namespaces/shop", shown)).ok()["spec"]["finalizers"] == ["kubernetes"]
    shown["metadata"].pop("resourceVersion")
    (await api.put("/api/v1/namespaces/shop/finalize", shown)).ok()
    (await api.get("/api/v1/namespaces/shop")).refused(404, "NotFound")


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
@served
async def test_namespaces_that_a_cluster_needs(api: Api, name: str) -> None:
    message = (await api.delete(f"/api/v1/namespaces/{name}")).refused(403, "Forbidden")
    assert message == f'namespaces "{name}" is forbidden: this namespace may not be deleted'
