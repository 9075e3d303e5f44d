from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core.pod_update import (
    validate_ephemeral_containers_update,
    validate_pod_resize,
    validate_pod_status_update,
)
from tests.unit.kinds.core.objects import container, pod, update_errors

UPDATABLE = (
    "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
    "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
    "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
    "previously negative)\n"
)
TOLERATION = {"key": "k", "operator": "Exists", "effect": "NoExecute"}
GATED = {"schedulingGates": [{"name": "a"}, {"name": "b"}]}


def node_affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": list(expressions)}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


HAS_X = {"key": "x", "operator": "Exists"}
HAS_Y = {"key": "y", "operator": "Exists"}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({}, {}),
        ({}, {"containers": [container(image="example.com/app:2")]}),
        ({}, {"activeDeadlineSeconds": 5}),
        ({"activeDeadlineSeconds": 5}, {"activeDeadlineSeconds": 4}),
        ({"tolerations": [TOLERATION]}, {"tolerations": [{"operator": "Exists"}, TOLERATION]}),
        ({"tolerations": [TOLERATION]}, {"tolerations": [{**TOLERATION, "tolerationSeconds": 3}]}),
        ({"terminationGracePeriodSeconds": -1}, {"terminationGracePeriodSeconds": 1}),
        (GATED, {"schedulingGates": [{"name": "b"}]}),
        (GATED, {**GATED, "nodeSelector": {"disk": "ssd"}}),
        ({**GATED, **node_affinity(HAS_X)}, {**GATED, **node_affinity(HAS_X, HAS_Y)}),
        (GATED, {**GATED, **node_affinity(HAS_X)}),
        # What one client leaves out another writes as empty.
        ({}, {"hostNetwork": False, "nodeName": "", "containers": [container(stdin=False, workingDir="")]}),
    ],
)
def test_what_may_change(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert update_errors("Pod", pod(new), pod(old)) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"nodeSelector": {"a": "b"}}, [f'{UPDATABLE}+ nodeSelector: {{"a": "b"}}']),
        (
            {},
            {"containers": [container(command=["x"])], "restartPolicy": "Never"},
            [
                f'{UPDATABLE}+ containers[0].command: ["x"]\n'
                '- restartPolicy: "Always"\n+ restartPolicy: "Never"'
            ],
        ),
        (
            {},
            {"containers": [container(), container(name="b")]},
            ["spec.containers: Forbidden: pod updates may not add or remove containers"],
        ),
        (
            {"activeDeadlineSeconds": 4},
            {"activeDeadlineSeconds": 5},
            ["spec.activeDeadlineSeconds: Invalid value: 5: must be less than or equal to previous value"],
        ),
        (
            {"tolerations": [TOLERATION]},
            {"tolerations": []},
            [
                "spec.tolerations: Forbidden: "
                "existing toleration can not be modified except its tolerationSeconds"
            ],
        ),
        (
            GATED,
            {"schedulingGates": [{"name": "a"}, {"name": "c"}]},
            [
                "spec.schedulingGates[1].name: Forbidden: "
                "only deletion is allowed, but found new scheduling gate 'c'"
            ],
        ),
        (
            {**GATED, "nodeSelector": {"disk": "ssd"}},
            {**GATED, "nodeSelector": {"disk": "hdd"}},
            [
                'spec.nodeSelector: Invalid value: {"disk":"hdd"}: '
                "only additions to spec.nodeSelector are allowed (no mutations or deletions)"
            ],
        ),
        (
            {**GATED, **node_affinity(HAS_X)},
            {**GATED, **node_affinity(HAS_Y)},
            [
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution."
                'nodeSelectorTerms[0]: Invalid value: {"MatchExpressions":[{"Key":"y",'
                '"Operator":"Exists","Values":null}],"MatchFields":null}: '
                "only additions are allowed (no mutations or deletions)"
            ],
        ),
        (
            {},
            {"terminationGracePeriodSeconds": 1},
            [f"{UPDATABLE}- terminationGracePeriodSeconds: 30\n+ terminationGracePeriodSeconds: 1"],
        ),
    ],
)
def test_what_may_not_change(old: dict[str, Any], new: dict[str, Any], expected: list[str]) -> None:
    assert update_errors("Pod", pod(new), pod(old)) == expected


def test_the_deadline_is_not_taken_away() -> None:
    found = update_errors("Pod", pod({}), pod({"activeDeadlineSeconds": 4}))
    assert len(found) == 1
    assert found[0].endswith("must not update from a positive integer to nil value")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({}, {"note": "x"}, []),
        (
            {},
            {"kubernetes.io/config.mirror": "x"},
            [
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: "
                "may not add mirror pod annotation"
            ],
        ),
        (
            {"kubernetes.io/config.mirror": "x"},
            {},
            [
                "metadata.annotations[kubernetes.io/config.mirror]: Forbidden: "
                "may not remove or update mirror pod annotation"
            ],
        ),
    ],
)
def test_annotations(old: dict[str, str], new: dict[str, str], expected: list[str]) -> None:
    spec = {"nodeName": "n"}
    before = pod(spec, metadata={"name": "x", "annotations": old})
    after = pod(spec, metadata={"name": "x", "annotations": new})
    assert update_errors("Pod", after, before) == expected


def status(exit_code: int | None, **fields: Any) -> dict[str, Any]:
    state = {"running": {}} if exit_code is None else {"terminated": {"exitCode": exit_code}}
    return {"containerStatuses": [{"name": "main", "image": "", "imageID": "", "state": state}], **fields}


@pytest.mark.parametrize(
    ("policy", "exit_code", "allowed"),
    [
        ("Always", 1, True),
        ("OnFailure", 1, True),
        ("OnFailure", 0, False),
        ("Never", 0, False),
        ("Never", 1, False),
    ],
)
def test_what_ended_stays_ended(policy: str, exit_code: int, allowed: bool) -> None:
    spec = {"restartPolicy": policy}
    old, new = pod(spec, status=status(exit_code)), pod(spec, status=status(None))
    expected = (
        []
        if allowed
        else ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    )
    assert [str(error) for error in validate_pod_status_update(new, old)] == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}, []),
        (
            {"podIPs": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}]},
            [
                'status.podIPs: Invalid value: [{"ip":"10.0.0.1"},{"ip":"10.0.0.2"}]: '
                "may specify no more than one IP for each IP family"
            ],
        ),
        (
            {"hostIP": "10.0.0.1", "hostIPs": [{"ip": "10.0.0.2"}]},
            ['status.hostIPs[0].ip: Invalid value: "10.0.0.2": must be equal to `hostIP`'],
        ),
        ({"qosClass": "Burstable"}, ['status.qosClass: Invalid value: "Burstable": field is immutable']),
    ],
)
def test_status(fields: dict[str, Any], expected: list[str]) -> None:
    found = validate_pod_status_update(pod(status=fields), pod())
    assert [str(error) for error in found] == expected


def test_debuggers_are_only_added() -> None:
    def debugged(*names: str, image: str = "a:1") -> Any:
        return pod({"ephemeralContainers": [container(name=name, image=image) for name in names]})

    assert validate_ephemeral_containers_update(debugged("a", "b"), debugged("a")) == []
    removed = validate_ephemeral_containers_update(debugged("b"), debugged("a"))
    assert [str(error) for error in removed] == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "a" may not be removed\n'
    ]
    changed = validate_ephemeral_containers_update(debugged("a", image="a:2"), debugged("a"))
    assert [str(error) for error in changed] == [
        'spec.ephemeralContainers: Forbidden: existing ephemeral containers "a" may not be changed\n'
        '- image: "a:1"\n+ image: "a:2"'
    ]


def sized(requests: dict[str, str], qos: str = "Burstable", **fields: Any) -> Any:
    spec = {"containers": [container(resources={"requests": requests}, **fields)]}
    return pod(spec, status={"qosClass": qos})


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (sized({"cpu": "2"}), []),
        (sized({"cpu": "2", "memory": "1Gi"}), []),
        (
            sized({"memory": "1Gi"}),
            ["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
        ),
        (
            sized({"cpu": "1", "ephemeral-storage": "1Gi"}),
            ["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
        (
            sized({"cpu": "1"}, image="example.com/app:2"),
            ["spec: Forbidden: only cpu and memory resources are mutable"],
        ),
    ],
)
def test_resize(new: Any, expected: list[str]) -> None:
    assert [str(error) for error in validate_pod_resize(new, sized({"cpu": "1"}))] == expected


def test_a_resize_does_not_change_the_class() -> None:
    old = pod(status={"qosClass": "BestEffort"})
    found = [str(error) for error in validate_pod_resize(sized({"cpu": "1"}), old)]
    assert found == ['spec: Invalid value: "Burstable": Pod QOS Class may not change as a result of resizing']
