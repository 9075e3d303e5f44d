from __future__ import annotations

import asyncio

import pytest

from sampan.apiserver.core.inflight import InFlight
from sampan.apiserver.core.paths import Target, parse
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.users import ADMIN
from tests.api.server import CONFIG_MAPS, PODS, Api, config_map, served, user


def _target(method: str, path: str, watch: bool = False) -> Target:
    target = parse(method, path, watch)
    assert target is not None
    return target


def test_one_too_many_is_refused_and_told_when_to_come_back() -> None:
    limits, jane = InFlight(modifying=1, reading=1), user("jane")
    write, read = _target("POST", CONFIG_MAPS), _target("GET", CONFIG_MAPS)
    entered = limits.enter(jane, write)
    with pytest.raises(StatusError) as refused:
        limits.enter(jane, write)
    limits.leave(limits.enter(jane, read))  # readers have a limit of their own
    answer = refused.value.response()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    limits.leave(entered)
    limits.leave(limits.enter(jane, write))  # there is room again


def test_administrators_and_what_runs_long_are_not_counted() -> None:
    limits, jane = InFlight(0, 0), user("jane")
    for who, target in (
        (ADMIN, _target("POST", CONFIG_MAPS)),
        (jane, _target("GET", CONFIG_MAPS, watch=True)),
        (jane, _target("GET", f"{PODS}/web/log")),
        (jane, _target("POST", f"{PODS}/web/exec")),
    ):
        limits.leave(limits.enter(who, target))


@served
async def test_requests_over_the_limit_get_429_and_room_comes_back_after_errors(api: Api) -> None:
    api.server._in_flight = InFlight(modifying=1, reading=1)
    jane = user("jane")
    binding = {
        "metadata": {"name": "jane"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "edit"},
        "subjects": [{"kind": "User", "name": "jane", "apiGroup": "rbac.authorization.k8s.io"}],
    }
    path = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings"
    (await api.post(path, binding)).ok(201)
    writes = [api.post(CONFIG_MAPS, config_map(name), user=jane) for name in "abc"]
    answers = await asyncio.gather(*writes)
    assert [answer.code for answer in answers] == [201, 429, 429]
    answers[1].refused(429, "TooManyRequests")
    assert answers[1].headers["Retry-After"] == "1"
    (await api.post(CONFIG_MAPS, config_map("a"), user=jane)).refused(409, "AlreadyExists")
    (await api.post(CONFIG_MAPS, config_map("b"), user=jane)).ok(201)
