from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.api.server import CONFIG_MAPS, DEPLOYMENTS, MERGE, PODS, Api, config_map, deployment, served


async def _made(api: Api, **data: str) -> Any:
    return (await api.post(CONFIG_MAPS, config_map("a", **data))).ok(201)


@served
async def test_an_update_guarded_by_a_revision(api: Api) -> None:
    first = await _made(api, k="1")
    second = (await api.put(f"{CONFIG_MAPS}/a", first | {"data": {"k": "2"}})).ok()
    assert int(second["metadata"]["resourceVersion"]) > int(first["metadata"]["resourceVersion"])
    answer = await api.put(f"{CONFIG_MAPS}/a", first | {"data": {"k": "3"}})
    assert answer.refused(409, "Conflict") == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok()["data"] == {"k": "2"}


@served
async def test_an_update_without_a_revision_always_wins(api: Api) -> None:
    await _made(api, k="1")
    for value in ("2", "3"):
        assert (await api.put(f"{CONFIG_MAPS}/a", config_map("a", k=value))).ok()["data"] == {"k": value}


@served
async def test_an_update_that_changes_nothing_takes_no_revision(api: Api) -> None:
    first = await _made(api, k="1")
    again = (await api.put(f"{CONFIG_MAPS}/a", first)).ok()
    assert again["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]


@served
async def test_uids_tell_objects_of_one_name_apart(api: Api) -> None:
    first = await _made(api)
    body = config_map("a")
    body["metadata"]["uid"] = "another"
    message = (await api.put(f"{CONFIG_MAPS}/a", body)).refused(409, "Conflict")
    assert "Precondition failed: UID in precondition: another, UID in object meta: " in message
    assert first["metadata"]["uid"] in message


@served
async def test_an_update_of_nothing(api: Api) -> None:
    (await api.put(f"{CONFIG_MAPS}/none", config_map("none"))).refused(404, "NotFound")


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"name": "b"}, "the name of the object (b) does not match the name on the URL (a)"),
        ({"name": "a", "namespace": "other"}, "does not match the namespace sent on the request"),
    ],
)
@served
async def test_bodies_that_name_another_object(api: Api, metadata: dict[str, str], message: str) -> None:
    await _made(api)
    answer = await api.put(f"{CONFIG_MAPS}/a", {"metadata": metadata})
    assert message in answer.refused(400, "BadRequest")


@served
async def test_what_the_system_set_stays(api: Api) -> None:
    first = await _made(api, k="1")
    body = config_map("a", k="2")
    body["metadata"] |= {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 9, "uid": ""}
    second = (await api.put(f"{CONFIG_MAPS}/a", body)).ok()
    same = first["metadata"] | {"resourceVersion": second["metadata"]["resourceVersion"]}
    assert second["metadata"] == same


@served
async def test_immutable_fields(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    made["spec"]["selector"] = {"matchLabels": {"app": "web", "x": "y"}}
    made["spec"]["template"]["metadata"]["labels"]["x"] = "y"
    message = (await api.put(f"{DEPLOYMENTS}/web", made)).refused(422, "Invalid")
    assert 'Deployment.apps "web" is invalid: spec.selector: Invalid value' in message
    assert message.endswith("field is immutable")
    message = (await api.patch(f"{CONFIG_MAPS}/x", {}, MERGE)).refused(404, "NotFound")


@served
async def test_generation_counts_changes_of_what_is_wanted(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    steps = [
        ({"metadata": {"labels": {"a": "b"}}}, 1),
        ({"spec": {"replicas": 1}}, 1),
        ({"spec": {"replicas": 3}}, 2),
        ({"status": {"replicas": 3}}, 2),
        ({"spec": {"template": {"spec": {"hostNetwork": True}}}}, 3),
    ]
    assert made["metadata"]["generation"] == 1
    for patch, generation in steps:
        answer = await api.patch(f"{DEPLOYMENTS}/web", patch, MERGE)
        assert answer.ok()["metadata"]["generation"] == generation, patch


@served
async def test_status_is_apart(api: Api) -> None:
    made = (await api.post(DEPLOYMENTS, deployment())).ok(201)
    through_main = made | {"status": {"replicas": 5}}
    assert (await api.put(f"{DEPLOYMENTS}/web", through_main)).ok()["status"] == {}
    body = deployment("web", replicas=9) | {"status": {"replicas": 5, "observedGeneration": 1}}
    through_status = (await api.put(f"{DEPLOYMENTS}/web/status", body)).ok()
    assert through_status["status"] == {"replicas": 5, "observedGeneration": 1}
    assert through_status["spec"]["replicas"] == 1
    assert through_status["metadata"]["generation"] == 1
    assert (await api.get(f"{DEPLOYMENTS}/web/status")).ok() == through_status
    (await api.get(f"{CONFIG_MAPS}/a/status")).refused(404, "NotFound")


@served
async def test_a_pod_status_keeps_the_class_that_it_does_not_name(api: Api) -> None:
    made = await api.pod()
    assert made["status"]["qosClass"] == "BestEffort"
    body = made | {"status": {"phase": "Running"}}
    status = (await api.put(f"{PODS}/web/status", body)).ok()["status"]
    assert (status["phase"], status["qosClass"]) == ("Running", "BestEffort")
    body["status"]["qosClass"] = "Guaranteed"
    body["metadata"].pop("resourceVersion")
    message = (await api.put(f"{PODS}/web/status", body)).refused(422, "Invalid")
    assert "status.qosClass" in message


@served
async def test_of_many_writers_without_a_revision_none_is_lost(api: Api) -> None:
    await _made(api)
    patches = [{"data": {f"k{number}": "v"}} for number in range(60)]
    answers = await asyncio.gather(*(api.patch(f"{CONFIG_MAPS}/a", patch, MERGE) for patch in patches))
    assert {answer.code for answer in answers} == {200}
    assert len((await api.get(f"{CONFIG_MAPS}/a")).ok()["data"]) == 60


@served
async def test_of_many_writers_at_one_revision_one_wins(api: Api) -> None:
    made = await _made(api)
    bodies = [made | {"data": {"k": str(number)}} for number in range(20)]
    answers = await asyncio.gather(*(api.put(f"{CONFIG_MAPS}/a", body) for body in bodies))
    assert sorted(answer.code for answer in answers) == [200] + [409] * 19


@served
async def test_writers_that_wait_for_each_other_are_committed_together(api: Api) -> None:
    await _made(api)
    before = api.server.cache.revision
    patches = [{"data": {f"k{number}": "v"}} for number in range(20)]
    answers = await asyncio.gather(*(api.patch(f"{CONFIG_MAPS}/a", patch, MERGE) for patch in patches))
    assert api.server.cache.revision - before <= 3
    # What a client gets at a revision is what everybody gets at that revision.
    shown = {answer.ok()["metadata"]["resourceVersion"]: answer.json for answer in answers}
    assert all(answer.json == shown[answer.json["metadata"]["resourceVersion"]] for answer in answers)
    for number, answer in enumerate(answers):
        assert answer.json["data"][f"k{number}"] == "v"


@served
async def test_those_who_are_refused_do_not_hurt_those_beside_them(api: Api) -> None:
    made = await _made(api)
    stale = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {"stale": "x"}}
    writes = [
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"a": "1"}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"b": "1"}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", stale, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"b c": "1"}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"dry": "1"}}, MERGE, dryRun="All"),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"d": 5}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"e": "1"}}, MERGE),
    ]
    codes = [answer.code for answer in await asyncio.gather(*writes)]
    assert codes == [200, 200, 409, 422, 200, 422, 200]
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok()["data"] == {"a": "1", "b": "1", "e": "1"}


@served
async def test_an_object_that_goes_in_the_middle_is_gone_for_those_after(api: Api) -> None:
    body = config_map("a")
    body["metadata"]["finalizers"] = ["example.com/wait"]
    (await api.post(CONFIG_MAPS, body)).ok(201)
    (await api.delete(f"{CONFIG_MAPS}/a")).ok()
    writes = [
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"a": "1"}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"b": "1"}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"metadata": {"finalizers": None}}, MERGE),
        api.patch(f"{CONFIG_MAPS}/a", {"data": {"c": "1"}}, MERGE),
    ]
    assert [answer.code for answer in await asyncio.gather(*writes)] == [200, 200, 200, 404]
    (await api.get(f"{CONFIG_MAPS}/a")).refused(404, "NotFound")


@served
async def test_generation_counts_every_change_of_a_batch(api: Api) -> None:
    (await api.post(DEPLOYMENTS, deployment())).ok(201)
    patches = [{"spec": {"replicas": number}} for number in range(2, 12)]
    await asyncio.gather(*(api.patch(f"{DEPLOYMENTS}/web", patch, MERGE) for patch in patches))
    found = (await api.get(f"{DEPLOYMENTS}/web")).ok()
    assert (found["spec"]["replicas"], found["metadata"]["generation"]) == (11, 11)


@served
async def test_a_waiting_writer_that_is_cancelled_holds_nobody_up(api: Api) -> None:
    await _made(api)
    writes = [
        asyncio.ensure_future(api.patch(f"{CONFIG_MAPS}/a", {"data": {f"k{n}": "v"}}, MERGE))
        for n in range(6)
    ]
    await asyncio.sleep(0)
    for write in writes[1::2]:
        write.cancel()
    answers = await asyncio.gather(*writes, return_exceptions=True)
    kept = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.code for answer in kept] == [200] * 3
    assert {"k0", "k2", "k4"} <= (await api.get(f"{CONFIG_MAPS}/a")).ok()["data"].keys()
    assert not len(api.server._writer._turns)
    assert not api.server._writer._waiting


@served
async def test_a_dry_run_changes_nothing(api: Api) -> None:
    made = await _made(api, k="1")
    answer = await api.put(f"{CONFIG_MAPS}/a", config_map("a", k="2"), dryRun="All")
    assert answer.ok()["data"] == {"k": "2"}
    assert (await api.get(f"{CONFIG_MAPS}/a")).ok() == made


@served
async def test_secrets_that_may_not_change_are_not_told(api: Api) -> None:
    secrets = "/api/v1/namespaces/default/secrets"
    body = {"metadata": {"name": "s"}, "immutable": True, "stringData": {"password": "hunter2"}}
    made = (await api.post(secrets, body)).ok(201)
    assert made["data"] == {"password": "aHVudGVyMg=="}
    for data in ({"password": "bmV3"}, {"password": "%%% hunter3"}, {"a b": "aHVudGVyMg=="}):
        answer = await api.put(f"{secrets}/s", {"metadata": {"name": "s"}, "data": data})
        assert answer.code in (400, 422)
        for secret in ("hunter", "aHVudGVyMg", "bmV3"):
            assert secret not in answer.message
