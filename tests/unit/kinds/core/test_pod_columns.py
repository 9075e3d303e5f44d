from __future__ import annotations

from typing import Any

import pytest

from tests.unit.kinds.core.objects import ago, cells, container, pod


def status(name: str = "main", *, ready: bool = False, restarts: int = 0, **fields: Any) -> dict[str, Any]:
    base = {"name": name, "image": "", "imageID": "", "ready": ready, "restartCount": restarts}
    return {**base, **fields}


def running(name: str = "main", **fields: Any) -> dict[str, Any]:
    return status(name, ready=True, started=True, state={"running": {}}, **fields)


def waiting(reason: str, name: str = "main", **fields: Any) -> dict[str, Any]:
    return status(name, state={"waiting": {"reason": reason}}, **fields)


def ended(code: int, name: str = "main", reason: str = "", **fields: Any) -> dict[str, Any]:
    terminated = {"exitCode": code, **({"reason": reason} if reason else {}), **fields}
    return status(name, state={"terminated": terminated})


READY = [{"type": "Ready", "status": "True"}, {"type": "Initialized", "status": "True"}]
INIT = {"initContainers": [container(name="i0"), container(name="i1")]}
SIDECAR = {"initContainers": [container(name="side", restartPolicy="Always")]}
TWO = {"containers": [container(name="a"), container(name="b")]}

CASES: list[tuple[str, dict[str, Any], dict[str, Any], tuple[str, str, str]]] = [
    ("pending", {}, {"phase": "Pending"}, ("0/1", "Pending", "0")),
    (
        "creating",
        {},
        {"phase": "Pending", "containerStatuses": [waiting("ContainerCreating")]},
        ("0/1", "ContainerCreating", "0"),
    ),
    (
        "running",
        {},
        {"phase": "Running", "conditions": READY, "containerStatuses": [running()]},
        ("1/1", "Running", "0"),
    ),
    (
        "crashing",
        {},
        {
            "phase": "Running",
            "containerStatuses": [
                waiting(
                    "CrashLoopBackOff",
                    restarts=3,
                    lastState={"terminated": {"exitCode": 1, "finishedAt": ago(minutes=5)}},
                )
            ],
        },
        ("0/1", "CrashLoopBackOff", "3 (5m ago)"),
    ),
    (
        "completed",
        {},
        {"phase": "Succeeded", "containerStatuses": [ended(0, reason="Completed")]},
        ("0/1", "Completed", "0"),
    ),
    (
        "error",
        {},
        {"phase": "Failed", "containerStatuses": [ended(1, reason="Error")]},
        ("0/1", "Error", "0"),
    ),
    ("exit code", {}, {"phase": "Failed", "containerStatuses": [ended(3)]}, ("0/1", "ExitCode:3", "0")),
    (
        "signal",
        {},
        {"phase": "Failed", "containerStatuses": [ended(137, signal=9)]},
        ("0/1", "Signal:9", "0"),
    ),
    ("evicted", {}, {"phase": "Failed", "reason": "Evicted"}, ("0/1", "Evicted", "0")),
    (
        "one of two done, ready",
        TWO,
        {
            "phase": "Running",
            "conditions": READY,
            "containerStatuses": [ended(0, "a", reason="Completed"), running("b")],
        },
        ("1/2", "Running", "0"),
    ),
    (
        "one of two done, not ready",
        TWO,
        {"phase": "Running", "containerStatuses": [ended(0, "a", reason="Completed"), running("b")]},
        ("1/2", "NotReady", "0"),
    ),
    (
        "first init container",
        INIT,
        {"phase": "Pending", "initContainerStatuses": [waiting("PodInitializing", "i0"), waiting("x", "i1")]},
        ("0/1", "Init:0/2", "0"),
    ),
    (
        "second init container",
        INIT,
        {
            "phase": "Pending",
            "initContainerStatuses": [
                ended(0, "i0", reason="Completed"),
                status("i1", state={"running": {}}),
            ],
            "containerStatuses": [waiting("PodInitializing")],
        },
        ("0/1", "Init:1/2", "0"),
    ),
    (
        "init container crashes",
        INIT,
        {
            "phase": "Pending",
            "initContainerStatuses": [waiting("CrashLoopBackOff", "i0", restarts=2)],
            "containerStatuses": [waiting("PodInitializing")],
        },
        ("0/1", "Init:CrashLoopBackOff", "2"),
    ),
    (
        "init container failed",
        INIT,
        {"phase": "Failed", "initContainerStatuses": [ended(2, "i0")]},
        ("0/1", "Init:ExitCode:2", "0"),
    ),
    (
        "init container failed with a reason",
        INIT,
        {"phase": "Failed", "initContainerStatuses": [ended(1, "i0", reason="Error")]},
        ("0/1", "Init:Error", "0"),
    ),
    (
        "restarts of init containers count no more",
        INIT,
        {
            "phase": "Running",
            "conditions": READY,
            "initContainerStatuses": [
                status("i0", restarts=4, state={"terminated": {"exitCode": 0}}),
                ended(0, "i1"),
            ],
            "containerStatuses": [running()],
        },
        ("1/1", "Running", "0"),
    ),
    (
        "sidecar",
        SIDECAR,
        {
            "phase": "Running",
            "conditions": READY,
            "initContainerStatuses": [running("side", restarts=1)],
            "containerStatuses": [running(restarts=2)],
        },
        ("2/2", "Running", "3"),
    ),
    (
        "gated",
        {},
        {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
        },
        ("0/1", "SchedulingGated", "0"),
    ),
]


@pytest.mark.parametrize(("spec", "state", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_ready_status_restarts(
    spec: dict[str, Any], state: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    shown = cells("Pod", pod(spec, status=state))
    assert (shown["Ready"], shown["Status"], shown["Restarts"]) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"phase": "Running", "containerStatuses": [running()]}, "Terminating"),
        ({"phase": "Succeeded", "containerStatuses": [ended(0, reason="Completed")]}, "Completed"),
        ({"phase": "Running", "reason": "NodeLost"}, "Unknown"),
    ],
)
def test_deleted(state: dict[str, Any], expected: str) -> None:
    deleted = {"name": "web", "deletionTimestamp": ago(seconds=1)}
    assert cells("Pod", pod(metadata=deleted, status=state))["Status"] == expected


def test_wide() -> None:
    placed = pod(
        {"nodeName": "n1", "readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
        metadata={"name": "web", "creationTimestamp": ago(days=3)},
        status={
            "podIP": "10.0.0.7",
            "nominatedNodeName": "n2",
            "conditions": [{"type": "a", "status": "True"}, {"type": "b", "status": "False"}],
        },
    )
    shown = cells("Pod", placed)
    assert list(shown) == [
        "Name",
        "Ready",
        "Status",
        "Restarts",
        "Age",
        "IP",
        "Node",
        "Nominated Node",
        "Readiness Gates",
    ]
    assert (shown["Name"], shown["Age"]) == ("web", "3d")
    assert (shown["IP"], shown["Node"], shown["Nominated Node"]) == ("10.0.0.7", "n1", "n2")
    assert shown["Readiness Gates"] == "1/2"


def test_wide_of_a_pod_that_is_nowhere() -> None:
    shown = cells("Pod", pod())
    assert {shown[name] for name in ("IP", "Node", "Nominated Node", "Readiness Gates")} == {"<none>"}
    assert shown["Age"] == "<unknown>"
