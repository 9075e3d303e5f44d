"""Whatever happens in whatever order: never two instances of a container, and a deleted pod always goes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.node.messages import Observed, Probed, Tick
from sampan.node.model import ProbeKind
from tests.unit.node.bench import Bench
from tests.unit.node.fakes import container, make_pod

PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 1, "failureThreshold": 1}
SHAPES: list[dict[str, Any]] = [
    {},
    {"restartPolicy": "Never"},
    {"restartPolicy": "OnFailure"},
    {"containers": [container(), container("other", livenessProbe=PROBE, readinessProbe=PROBE)]},
    {"initContainers": [container("setup"), container("proxy", restartPolicy="Always", startupProbe=PROBE)]},
    {
        "restartPolicy": "Never",
        "initContainers": [container("one"), container("side", restartPolicy="Always"), container("two")],
    },
    {
        "containers": [
            container(
                lifecycle={
                    "postStart": {"exec": {"command": ["x"]}},
                    "preStop": {"exec": {"command": ["x"]}},
                }
            ),
            container("b"),
        ]
    },
    {"activeDeadlineSeconds": 30},
]
ACTIONS = st.tuples(
    st.sampled_from(
        [
            "carry_out",
            "carry_out",
            "carry_out",
            "fail",
            "exit",
            "look",
            "time",
            "tick",
            "kill_sandbox",
            "restart",
            "probe",
            "delete",
            "hurry",
            "update",
            "stale_look",
            "begin",
            "begin",
            "land",
        ]
    ),
    st.integers(0, 7),
)


def act(bench: Bench, action: str, number: int) -> None:
    match action:
        case "carry_out" if bench.pending:
            bench.carry_out(bench.pending[number % len(bench.pending)])
        case "begin" if bench.pending:
            bench.begin(bench.pending[number % len(bench.pending)])
        case "land" if bench.landing:
            bench.land(list(bench.landing.values())[number % len(bench.landing)][0])
        case "fail" if bench.pending:
            bench.fail(bench.pending[number % len(bench.pending)], "ErrImagePull")
        case "exit" if bench.running():
            bench.exit(bench.running()[number % len(bench.running())].id, number % 3)
        case "look":
            bench.pass_time(0.001)
            bench.look()
        case "time":
            bench.pass_time(float(number * number))
        case "tick":
            bench.send(Tick())
        case "kill_sandbox":
            bench.kill_sandbox()
        case "restart":
            bench.restart_agent()
        case "probe" if bench.running():
            one = bench.running()[number % len(bench.running())]
            for kind in ProbeKind:
                bench.send(Probed(one.name, one.id, kind, number % 2 == 0))
        case "delete" if bench.in_api:
            bench.mark_deleted()
        case "hurry" if bench.in_api:
            bench.mark_deleted(1)
        case "update" if bench.in_api:
            bench.see(bench.pod)
        case "stale_look":
            before = tuple(bench.sandboxes.values()), tuple(bench.containers.values())
            if bench.pending:
                as_of = bench.now
                bench.carry_out(bench.pending[number % len(bench.pending)])
                bench.send(Observed(*before, as_of))


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(ACTIONS, max_size=60), st.integers(0, 4))
def test_any_order_of_events(shape: dict[str, Any], actions: list[tuple[str, int]], together: int) -> None:
    bench = Bench(make_pod(**shape), together=together > 0)
    bench.look()
    for index, (action, number) in enumerate(actions, 1):
        act(bench, action, number)
        bench.check()
        if together and index % together == 0:
            bench.conclude()
    if bench.in_api:
        bench.mark_deleted()
    for _ in range(20):
        bench.drain()
        bench.pass_time(60)
        bench.look()
    assert not bench.in_api
    assert bench.forgotten
    assert not bench.containers and not bench.sandboxes


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SHAPES), st.lists(ACTIONS, max_size=50))
def test_a_step_with_nothing_new_orders_nothing(
    shape: dict[str, Any], actions: list[tuple[str, int]]
) -> None:
    bench = Bench(make_pod(**shape))
    bench.look()
    for action, number in actions:
        act(bench, action, number)
    bench.drain()
    bench.look()
    bench.drain()
    bench.orders.clear()
    bench.look()
    bench.send(Tick())
    assert [o for o in bench.orders if type(o).__name__ != "SetTimer"] == []


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(SHAPES))
def test_steps_taken_together_end_where_single_ones_do(shape: dict[str, Any]) -> None:
    one, many = Bench(make_pod(**shape)), Bench(make_pod(**shape), together=True)
    for bench in (one, many):
        bench.look()
        bench.drain()
    assert [len(bench.statuses) for bench in (one, many)][1] == 1
    assert one.status == many.status
    assert [n.reason for n in one.notes] == [n.reason for n in many.notes]
