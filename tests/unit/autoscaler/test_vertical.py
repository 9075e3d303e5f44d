"""The vertical recommender's arithmetic: histograms that fade, targets, bounds, and resizes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.autoscaler.vertical.histogram import GROWTH, Histogram
from sampan.autoscaler.vertical.recommend import (
    CPU,
    MARGIN,
    MEMORY,
    Policy,
    Recommendation,
    Watched,
    recommend,
    to_resize,
)
from sampan.machinery.quantity import quantity

NOW = datetime(2030, 1, 1, tzinfo=UTC)
MIB = 1024 * 1024


@given(st.lists(st.floats(0.001, 900), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_a_quantile_is_right_to_a_bucket(values: list[float], share: float) -> None:
    histogram = Histogram(CPU)
    for value in values:
        histogram.add(value, 1.0, NOW)
    below = sorted(values)
    exact = next(v for n, v in enumerate(below, 1) if n >= share * len(below) - 1e-9)
    found = histogram.quantile(share)
    assert exact <= found * (1 + 1e-9)
    assert found <= max(exact * GROWTH + CPU.first * GROWTH, CPU.first) * (1 + 1e-9)


def test_what_was_yesterday_counts_half() -> None:
    histogram = Histogram(CPU)
    for _ in range(15):
        histogram.add(8.0, 1.0, NOW)
    for _ in range(10):
        histogram.add(1.0, 1.0, NOW + timedelta(days=1))
    # 15 samples weigh 7.5 beside 10: the median is of today.
    assert histogram.quantile(0.5) == pytest.approx(1.0, rel=0.06)
    assert histogram.quantile(0.9) == pytest.approx(8.0, rel=0.06)


def test_a_year_does_not_overflow() -> None:
    histogram = Histogram(MEMORY)
    for day in range(400):
        histogram.add(100 * MIB if day < 399 else 900 * MIB, 1.0, NOW + timedelta(days=day))
    assert histogram.quantile(0.4) == pytest.approx(100 * MIB, rel=0.06)
    assert len(histogram.weights) == 2


@given(st.lists(st.tuples(st.floats(0, 1e11), st.booleans()), max_size=30))
def test_what_is_taken_back_was_never_there(samples: list[tuple[float, bool]]) -> None:
    kept, whole = Histogram(MEMORY), Histogram(MEMORY)
    kept.add(5e7, 1.0, NOW)
    whole.add(5e7, 1.0, NOW)
    for number, (value, stays) in enumerate(samples):
        at = NOW + timedelta(minutes=number)
        whole.add(value, 1.0, at)
        if stays:
            kept.add(value, 1.0, at)
    for number, (value, stays) in enumerate(samples):
        if not stays:
            whole.subtract(value, NOW + timedelta(minutes=number))
    assert whole.quantile(0.9) == kept.quantile(0.9)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_nonsense_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        Histogram(CPU).add(value, 1.0, NOW)


def watched(hours: int, cores: float = 0.2, used_bytes: int = 300 * MIB) -> Watched:
    made = Watched()
    for minute in range(hours * 60):
        at = NOW + timedelta(minutes=minute)
        made.cpu_used("p0", cores, at)
        made.memory_used("p0", used_bytes, at)
    return made


def test_the_target_is_the_ninetieth_percentile_and_a_margin() -> None:
    advice = recommend(watched(48), 1, Policy())
    assert advice is not None
    without_margin = float(advice.target["cpu"].value) / MARGIN
    assert 0.2 <= without_margin <= 0.2 * GROWTH + CPU.first  # the upper end of the bucket
    assert advice.target["memory"].whole() == pytest.approx(345 * MIB, rel=0.06)
    assert advice.lower["cpu"] <= advice.target["cpu"] <= advice.upper["cpu"]


def test_bounds_come_closer_with_time() -> None:
    young, old = recommend(watched(1), 1, Policy()), recommend(watched(240), 1, Policy())
    assert young is not None and old is not None
    assert old.upper["cpu"] < young.upper["cpu"]
    assert young.lower["cpu"] <= old.lower["cpu"]


def test_a_peak_is_counted_once_a_day() -> None:
    made = Watched()
    for minute, used_bytes in enumerate((100 * MIB, 700 * MIB, 400 * MIB)):
        made.memory_used("p0", used_bytes, NOW + timedelta(minutes=minute))
    assert made.memory.quantile(0.01) == pytest.approx(700 * MIB, rel=0.06)
    made.memory_used("p0", 100 * MIB, NOW + timedelta(days=1, minutes=1))
    assert made.memory.quantile(0.01) == pytest.approx(100 * MIB, rel=0.06)
    made.forget_pods([])
    assert made.peaks == {}


def test_pods_that_are_looked_at_together_all_count_and_each_look_once() -> None:
    made = Watched()
    for pod, cores in (("p0", 0.1), ("p1", 4.0), ("p1", 4.0)):
        made.cpu_used(pod, cores, NOW)
    assert made.samples == 2
    assert made.cpu.quantile(1.0) == pytest.approx(4.0, rel=0.06)
    made.forget_pods(["p1"])
    assert set(made.looked) == {"p1"}


def test_who_ran_out_of_memory_gets_more() -> None:
    made = watched(1, used_bytes=500 * MIB)
    made.out_of_memory("p0", 512 * MIB, NOW + timedelta(hours=1))
    advice = recommend(made, 1, Policy())
    assert advice is not None
    assert advice.target["memory"].whole() > 612 * MIB


def test_policies_limit_and_switch_off() -> None:
    made = watched(24)
    policy = Policy(least={"cpu": quantity("1")}, most={"memory": quantity("256Mi")})
    advice = recommend(made, 1, policy)
    assert advice is not None
    assert (str(advice.target["cpu"]), str(advice.target["memory"])) == ("1", "256Mi")
    assert advice.uncapped["cpu"] < quantity("1")
    assert recommend(made, 1, Policy(off=True)) is None
    assert recommend(Watched(), 1, Policy()) is None
    only = recommend(made, 1, Policy(controlled=("memory",)))
    assert only is not None and set(only.target) == {"memory"}


ADVICE = Recommendation(
    target={"cpu": quantity("200m"), "memory": quantity("256Mi")},
    lower={"cpu": quantity("100m"), "memory": quantity("128Mi")},
    upper={"cpu": quantity("400m"), "memory": quantity("512Mi")},
    uncapped={},
)


def test_what_lies_within_the_bounds_stays() -> None:
    requests = {"cpu": quantity("300m"), "memory": quantity("200Mi")}
    assert to_resize(requests, {}, ADVICE) is None


def test_limits_keep_their_proportion() -> None:
    requests = {"cpu": quantity("50m"), "memory": quantity("200Mi")}
    limits = {"cpu": quantity("100m"), "memory": quantity("400Mi")}
    changed = to_resize(requests, limits, ADVICE)
    assert changed is not None
    assert {name: str(q) for name, q in changed["requests"].items()} == {"cpu": "200m", "memory": "256Mi"}
    assert changed["limits"]["cpu"] == quantity("400m")
    assert changed["limits"]["memory"] == quantity("512Mi")


def test_who_asks_for_nothing_is_given_the_target() -> None:
    changed = to_resize({}, {"cpu": quantity("100m")}, ADVICE)
    assert changed is not None
    assert changed["limits"]["cpu"] == quantity("200m")  # never under the request
