from __future__ import annotations

import sys

import pytest

from sampan.controllers.catalog import Settings, controllers
from sampan.controllers.flags import with_flags


@pytest.mark.parametrize(
    ("given", "field", "value"),
    [
        ("endpoint-updates-batch-period=1m30s", "endpoints_batch_s", 90.0),
        ("--endpointslice-updates-batch-period=500ms", "endpointslice_batch_s", 0.5),
        ("mirroring-endpointslice-updates-batch-period=2s", "mirroring_batch_s", 2.0),
        ("node-monitor-grace-period=20s", "node_monitor_grace_s", 20.0),
        ("terminated-pod-gc-threshold=7", "finished_pods_most", 7),
        ("terminated-pod-gc-threshold=0", "finished_pods_most", sys.maxsize),
    ],
)
def test_what_a_flag_sets(given: str, field: str, value: float) -> None:
    changed = with_flags(Settings(), [given])
    assert getattr(changed, field) == value
    same = [name for name in Settings.__struct_fields__ if name not in (field, "load_balancers")]
    assert all(getattr(changed, name) == getattr(Settings(), name) for name in same)


def test_a_batch_period_is_the_delay_of_its_controller() -> None:
    given = ["endpoint-updates-batch-period=1s", "endpointslice-updates-batch-period=2s"]
    made = {one.name: one for one in controllers(with_flags(Settings(), given))}
    assert {max(watch.delay_s for watch in made[name].watches) for name in ("endpoint", "endpointslice")} == {
        1,
        2,
    }


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("leader-elect=true", "there is no flag 'leader-elect'; there are endpoint-updates-batch-period, "),
        ("node-monitor-grace-period=soon", "cannot be 'soon': write a duration, such as 500ms or 1m30s"),
        ("node-monitor-grace-period=-1s", "cannot be '-1s': it may not be negative"),
        ("terminated-pod-gc-threshold=few", "cannot be 'few': write a whole number"),
        ("terminated-pod-gc-threshold", "cannot be '': write a whole number"),
    ],
)
def test_what_is_no_flag_says_so(given: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        with_flags(Settings(), [given])
