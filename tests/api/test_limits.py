from __future__ import annotations

import asyncio

from tests.api.server import CONFIG_MAPS, Api, config_map, served, user

FLOW = "/apis/flowcontrol.apiserver.k8s.io/v1"
SCHEMA_UID, LEVEL_UID = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"
JANE = user("jane")


async def _let_in(api: Api, name: str) -> None:
    binding = {
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    (await api.post(path, binding)).ok(201)


async def _uid(api: Api, plural: str, name: str) -> str:
    uid: str = (await api.get(f"{FLOW}/{plural}/{name}")).ok()["metadata"]["uid"]
    return uid


async def _narrow(api: Api, response: dict[str, object]) -> None:
    """A level of its own for jane, with next to no seats, and nothing to borrow."""
    limited = {"nominalConcurrencyShares": 0, "borrowingLimitPercent": 0, "limitResponse": response}
    level = {"metadata": {"name": "narrow"}, "spec": {"type": "Limited", "limited": limited}}
    (await api.post(f"{FLOW}/prioritylevelconfigurations", level)).ok(201)
    every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}
    rules = [{"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [every]}]
    spec = {"priorityLevelConfiguration": {"name": "narrow"}, "matchingPrecedence": 50, "rules": rules}
    (await api.post(f"{FLOW}/flowschemas", {"metadata": {"name": "jane"}, "spec": spec})).ok(201)


@served
async def test_answers_name_their_schema_and_level(api: Api) -> None:
    await _let_in(api, "jane")
    mine = await api.get(CONFIG_MAPS, user=JANE)
    assert mine.headers[SCHEMA_UID] == await _uid(api, "flowschemas", "global-default")
    assert mine.headers[LEVEL_UID] == await _uid(api, "prioritylevelconfigurations", "global-default")
    refused = await api.get("/api/v1/nodes", user=JANE)
    refused.refused(403, "Forbidden")
    assert refused.headers[SCHEMA_UID] == mine.headers[SCHEMA_UID]
    admin = await api.get(CONFIG_MAPS)
    assert admin.headers[LEVEL_UID] == await _uid(api, "prioritylevelconfigurations", "exempt")
    health = await api.get("/readyz", user=None)
    assert health.headers[SCHEMA_UID] == await _uid(api, "flowschemas", "probes")


@served
async def test_a_level_without_seats_refuses_and_says_when_to_come_back(api: Api) -> None:
    await _let_in(api, "jane")
    await _narrow(api, {"type": "Reject"})
    answer = await api.get(CONFIG_MAPS, user=JANE)
    answer.refused(429, "TooManyRequests")
    assert answer.headers["Retry-After"] == "1"
    assert answer.headers[SCHEMA_UID] == await _uid(api, "flowschemas", "jane")
    (await api.get(CONFIG_MAPS)).ok()  # administrators are exempt
    (await api.delete(f"{FLOW}/flowschemas/jane")).ok()
    (await api.get(CONFIG_MAPS, user=JANE)).ok()


@served
async def test_requests_wait_for_their_turn_and_then_run(api: Api) -> None:
    await _let_in(api, "jane")
    await _narrow(api, {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 2}})
    (await api.get("/version")).ok()
    level = api.server.flow.levels["narrow"]
    level.queues.resize(1, 0.0)
    writes = [api.post(CONFIG_MAPS, config_map(name), user=JANE) for name in "abcd"]
    answers = await asyncio.gather(*writes)
    assert [answer.code for answer in answers] == [201, 201, 201, 429]
    assert (level.queues.running, level.queues.waiting) == (0, 0)
    assert level.rejected == {"queue-full": 1}


@served
async def test_who_waits_too_long_is_refused(api: Api) -> None:
    await _let_in(api, "jane")
    await _narrow(api, {"type": "Queue", "queuing": {"queues": 1, "handSize": 1, "queueLengthLimit": 9}})
    waiting = asyncio.ensure_future(api.get(CONFIG_MAPS, user=JANE))
    await api.clock.advance(14)
    assert not waiting.done()
    await api.clock.advance(2)
    (await waiting).refused(429, "TooManyRequests")
    level = api.server.flow.levels["narrow"]
    assert (level.queues.waiting, level.rejected) == (0, {"time-out": 1})


@served
async def test_default_objects_are_kept(api: Api) -> None:
    names = (await api.get(f"{FLOW}/flowschemas")).names
    assert len(names) == 11
    assert len((await api.get(f"{FLOW}/prioritylevelconfigurations")).names) == 8
    for plural in ("flowschemas", "prioritylevelconfigurations"):
        (await api.delete(f"{FLOW}/{plural}/catch-all")).ok()
    (await api.patch(f"{FLOW}/flowschemas/probes", {"spec": {"matchingPrecedence": 77}})).ok()
    held = {"metadata": {"annotations": {"apf.kubernetes.io/autoupdate-spec": "false"}}}
    changed = held | {"spec": {"matchingPrecedence": 9000}}
    (await api.patch(f"{FLOW}/flowschemas/global-default", changed)).ok()
    await api.clock.advance(1)
    assert (await api.get(f"{FLOW}/flowschemas/catch-all")).ok()["spec"]["matchingPrecedence"] == 10_000
    (await api.get(f"{FLOW}/prioritylevelconfigurations/catch-all")).ok()
    assert (await api.get(f"{FLOW}/flowschemas/probes")).ok()["spec"]["matchingPrecedence"] == 2
    kept = (await api.get(f"{FLOW}/flowschemas/global-default")).ok()
    assert kept["spec"]["matchingPrecedence"] == 9000


@served
async def test_a_schema_that_leads_nowhere_says_so_and_is_passed_over(api: Api) -> None:
    await _let_in(api, "jane")
    await _narrow(api, {"type": "Reject"})
    (await api.delete(f"{FLOW}/prioritylevelconfigurations/narrow")).ok()
    (await api.get(CONFIG_MAPS, user=JANE)).ok()
    await api.clock.advance(1)
    [condition] = (await api.get(f"{FLOW}/flowschemas/jane")).ok()["status"]["conditions"]
    assert (condition["type"], condition["status"], condition["reason"]) == ("Dangling", "True", "NotFound")
