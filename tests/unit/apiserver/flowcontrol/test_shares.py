from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sampan.apiserver.core.flowcontrol.shares import Bounds, Demand, DemandMeter, Shares, bounds, divide

LEVELS = {
    "exempt": Shares(0, exempt=True),
    "low": Shares(100, 90),
    "high": Shares(40, 50, 25),
    "none": Shares(60, 0),
}


def test_nominal_seats_follow_the_shares() -> None:
    assert bounds(LEVELS, 1000) == {
        "exempt": Bounds(0, 0, 1000),
        "low": Bounds(500, 50, 1000),
        "high": Bounds(200, 100, 250),
        "none": Bounds(300, 300, 1000),
    }


def test_what_nobody_wants_is_nominal_and_what_is_wanted_is_lent() -> None:
    limits = bounds(LEVELS, 1000)
    idle = divide(LEVELS, limits, {}, 1000)
    assert sum(idle.values()) >= 990
    # One level wants all it can get: it has what the others lend, within its own borrowing limit.
    busy = divide(LEVELS, limits, {"low": Demand(2000, 2000)}, 1000)
    assert busy["none"] == 300
    assert busy["low"] == 600
    capped = divide(LEVELS, limits, {"high": Demand(2000, 2000)}, 1000)
    assert capped["high"] == 250


def test_exempt_requests_are_taken_off_what_is_left() -> None:
    limits = bounds(LEVELS, 1000)
    given = divide(LEVELS, limits, {"exempt": Demand(400, 400), "low": Demand(900, 900)}, 1000)
    assert given["exempt"] == 400
    assert given["low"] + given["high"] + given["none"] <= max(600, 500 + 100 + 300)


@given(
    st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 100), st.none() | st.integers(0, 200), st.booleans()),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.tuples(st.floats(0, 5000), st.floats(0, 5000)), min_size=6, max_size=6),
    st.integers(1, 5000),
)
def test_everybody_stays_within_bounds(
    given_levels: list[tuple[int, int, int | None, bool]], wants: list[tuple[float, float]], total: int
) -> None:
    levels = {str(i): Shares(*fields) for i, fields in enumerate(given_levels)}
    limits = bounds(levels, total)
    seats = divide(levels, limits, {str(i): Demand(*want) for i, want in enumerate(wants)}, total)
    for name, level in levels.items():
        if not level.exempt:
            assert limits[name].lowest <= seats[name] <= limits[name].highest


def test_the_meter_knows_peak_and_mean() -> None:
    meter = DemandMeter(0.0)
    meter.add(4, 0.0)
    meter.add(-4, 5.0)
    first = meter.period(Demand(), 10.0)
    assert first == Demand(4.0, 4.0)  # mean 2 and deviation 2
    second = meter.period(first, 20.0)
    assert second.high == 0.0
    assert 3.9 < second.smooth < 4.0
