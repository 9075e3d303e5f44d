from __future__ import annotations

import pytest

from sampan.apiserver.core.inflight import InFlight
from sampan.apiserver.core.paths import Target, parse
from sampan.apiserver.core.status import StatusError
from sampan.apiserver.core.users import ADMIN
from tests.api.server import CONFIG_MAPS, PODS, user


def _target(method: str, path: str, watch: bool = False) -> Target:
    target = parse(method, path, watch)
    assert target is not None
    return target


def test_one_too_many_is_refused_and_told_when_to_come_back() -> None:
    limits, jane = InFlight(modifying=1, reading=1), user("jane")
    write, read = _target("POST", CONFIG_MAPS), _target("GET", CONFIG_MAPS)
    with limits.entered(jane, write):
        with pytest.raises(StatusError) as refused, limits.entered(jane, write):
            pass
        with limits.entered(jane, read):  # readers have a limit of their own
            pass
    answer = refused.value.response()
    assert (answer.status, answer.headers["Retry-After"]) == (429, "1")
    with limits.entered(jane, write):  # there is room again
        pass


def test_room_comes_back_after_an_error() -> None:
    limits, jane, read = InFlight(1, 1), user("jane"), _target("GET", CONFIG_MAPS)
    with pytest.raises(ZeroDivisionError), limits.entered(jane, read):
        raise ZeroDivisionError
    with limits.entered(jane, read):
        pass


def test_administrators_and_what_runs_long_are_not_counted() -> None:
    limits, jane = InFlight(0, 0), user("jane")
    for who, target in (
        (ADMIN, _target("POST", CONFIG_MAPS)),
        (jane, _target("GET", CONFIG_MAPS, watch=True)),
        (jane, _target("GET", f"{PODS}/web/log")),
        (jane, _target("POST", f"{PODS}/web/exec")),
    ):
        with limits.entered(who, target):
            pass
