from __future__ import annotations

import pytest

from sampan.cluster.restarts import KEPT_DEATHS, MAX_DELAY_S, Death, PartState, after_death, reason


@pytest.mark.parametrize(
    ("ran_s", "delays_s"),
    [
        ([0, 0, 0, 0], [0.2, 0.4, 0.8, 1.6]),
        ([59.9] * 9, [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0]),
        ([0, 0, 60, 0], [0.2, 0.4, 0.2, 0.4]),  # who ran for a minute was well
        ([3600, 3600], [0.2, 0.2]),
    ],
)
def test_delays_grow_until_a_part_has_been_well(ran_s: list[float], delays_s: list[float]) -> None:
    state = PartState(name="apiserver", pid=7, state="running")
    found = [after_death(state, Death("2030", "exited with status 1", each)) for each in ran_s]
    assert found == pytest.approx(delays_s)
    assert (state.restarts, state.state, state.pid) == (len(ran_s), "waiting", 0)


def test_the_last_deaths_are_kept_and_the_delay_has_an_end() -> None:
    state = PartState(name="node-1")
    for number in range(50):
        after_death(state, Death(str(number), "exited", 0))
    assert [d.at for d in state.deaths] == [str(n) for n in range(50 - KEPT_DEATHS, 50)]
    assert state.delay_s == MAX_DELAY_S


@pytest.mark.parametrize(
    ("status", "line", "sentence"),
    [
        (1, "", "exited with status 1"),
        (0, "bye", "exited with status 0: bye"),
        (-9, "", "killed by SIGKILL"),
        (-11, "x", "killed by SIGSEGV: x"),
        (-200, "", "killed by signal 200"),
    ],
)
def test_reasons(status: int, line: str, sentence: str) -> None:
    assert reason(status, line) == sentence
