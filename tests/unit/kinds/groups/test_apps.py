# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from sampan.schema import codec

from . import objects
from .objects import SELECTOR, cells, data, errors, kind_of, made, status_errors, template, update_errors

MISMATCH = "`selector` does not match template `labels`"
REPLICATED = ("Deployment", "ReplicaSet", "StatefulSet", "DaemonSet")


def whole(**spec: Any) -> dict[str, Any]:
    return {"spec": {"selector": SELECTOR, "template": template(), **spec}}


def test_a_deployment_rolls_a_quarter_at_a_time() -> None:
    spec = data(made("Deployment", whole()))["spec"]
    del spec["template"], spec["selector"]
    assert spec == {
        "replicas": 1,
        "revisionHistoryLimit": 10,
        "progressDeadlineSeconds": 600,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}},
    }


def test_what_a_deployment_says_stays() -> None:
    asked = {"replicas": 0, "revisionHistoryLimit": 0, "strategy": {"type": "Recreate"}}
    spec = data(made("Deployment", whole(**asked)))["spec"]
    assert {name: spec[name] for name in asked} == asked


def test_a_stateful_set_starts_in_order_and_keeps_its_claims() -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}
    spec = data(made("StatefulSet", whole(volumeClaimTemplates=[claim])))["spec"]
    assert spec["podManagementPolicy"] == "OrderedReady"
    assert spec["replicas"] == 1
    assert spec["revisionHistoryLimit"] == 10
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"partition": 0, "maxUnavailable": 1},
    }
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    made_claim = spec["volumeClaimTemplates"][0]
    assert (made_claim["apiVersion"], made_claim["kind"]) == ("v1", "PersistentVolumeClaim")
    assert made_claim["spec"]["volumeMode"] == "Filesystem"


def test_a_daemon_set_replaces_one_pod_at_a_time() -> None:
    spec = data(made("DaemonSet", whole()))["spec"]
    assert spec["revisionHistoryLimit"] == 10
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


@pytest.mark.parametrize("kind", REPLICATED)
def test_typical_sets_are_valid(kind: str) -> None:
    assert errors(kind, whole()) == []


@pytest.mark.parametrize("kind", REPLICATED)
def test_the_template_must_carry_the_labels_of_the_selector(kind: str) -> None:
    found = errors(kind, whole(selector={"matchLabels": {"app": "other"}}))
    assert found == [f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {MISMATCH}']


@pytest.mark.parametrize("kind", REPLICATED)
def test_pods_of_a_set_restart_always(kind: str) -> None:
    found = errors(kind, whole(template=template(restartPolicy="Never", activeDeadlineSeconds=5)))
    set_kind = "ReplicaSet" if kind == "Deployment" else kind
    assert found == [
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
        "spec.template.spec.activeDeadlineSeconds: Forbidden: "
        f"activeDeadlineSeconds in {set_kind} is not Supported",
    ]


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet"])
def test_a_selector_is_required_and_selects_something(kind: str) -> None:
    assert "spec.selector: Required value" in errors(kind, {"spec": {"template": template()}})
    found = errors(kind, whole(selector={}))
    named = "deployment" if kind == "ReplicaSet" else kind.lower()  # as kube-apiserver has it
    assert f"spec.selector: Invalid value: {{}}: empty selector is invalid for {named}" in found


def test_a_daemon_set_without_selector_matches_nothing() -> None:
    found = errors("DaemonSet", {"spec": {"template": template()}})
    assert found == [f'spec.template.metadata.labels: Invalid value: {{"app":"web"}}: {MISMATCH}']


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"replicas": -1},
            ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}},
            [
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: "
                "may not be 0 when `maxSurge` is 0"
            ],
        ),
        (
            {"strategy": {"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "two"}}},
            [
                'spec.strategy.rollingUpdate.maxSurge: Invalid value: "two": a valid percent string must be a '
                "numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is "
                "'[0-9]+%')",
                'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": '
                "must not be greater than 100%",
            ],
        ),
        (
            {"strategy": {"type": "Recreate", "rollingUpdate": {}}},
            [
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is "
                "'Recreate'"
            ],
        ),
        (
            {"strategy": {"type": "Sudden"}},
            [
                'spec.strategy: Unsupported value: {"Type":"Sudden","RollingUpdate":null}: supported values: "Recreate", '
                '"RollingUpdate"'
            ],
        ),
        (
            {"minReadySeconds": 600},
            ["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
        (
            {"minReadySeconds": -1, "revisionHistoryLimit": -2},
            [
                "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.revisionHistoryLimit: Invalid value: -2: must be greater than or equal to 0",
            ],
        ),
    ],
)
def test_invalid_deployments(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("Deployment", whole(**spec)) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"podManagementPolicy": "Chaos"},
            ["spec.podManagementPolicy: Invalid value: \"Chaos\": must be 'OrderedReady' or 'Parallel'"],
        ),
        (
            {"updateStrategy": {"type": "OnDelete", "rollingUpdate": {"partition": 1}}},
            [
                'spec.updateStrategy.rollingUpdate: Invalid value: {"partition":1}: only allowed for '
                "updateStrategy 'RollingUpdate'"
            ],
        ),
        (
            {"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": 0}}},
            [
                "spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: "
                "must be greater than or equal to 0",
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Invalid value: 0: cannot be 0",
            ],
        ),
        (
            {"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Burn"}},
            [
                'spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: "Burn": '
                'supported values: "Retain", "Delete"'
            ],
        ),
        (
            {"ordinals": {"start": -1}},
            ["spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0"],
        ),
    ],
)
def test_invalid_stateful_sets(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("StatefulSet", whole(**spec)) == expected


@pytest.mark.parametrize(
    ("rolling", "expected"),
    [
        (
            {"maxUnavailable": 1, "maxSurge": 1},
            [
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: "
                "may not be set when maxUnavailable is non-zero"
            ],
        ),
        (
            {"maxUnavailable": 0, "maxSurge": 0},
            [
                "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: "
                "cannot be 0 when maxSurge is 0"
            ],
        ),
        ({"maxUnavailable": 0, "maxSurge": "50%"}, []),
    ],
)
def test_a_daemon_set_rolls_one_way_or_the_other(rolling: dict[str, Any], expected: list[str]) -> None:
    assert errors("DaemonSet", whole(updateStrategy={"rollingUpdate": rolling})) == expected


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "DaemonSet"])
def test_the_selector_is_for_life(kind: str) -> None:
    other = {"matchLabels": {"app": "other"}}
    found = update_errors(kind, whole(selector=other), whole())
    assert found == ['spec.selector: Invalid value: {"matchLabels":{"app":"other"}}: field is immutable']
    assert update_errors(kind, whole(template=template(hostNetwork=True)), whole()) == []


def test_a_stateful_set_changes_only_a_few_fields() -> None:
    may = {"replicas": 3, "minReadySeconds": 5, "revisionHistoryLimit": 2, "ordinals": {"start": 1}}
    assert update_errors("StatefulSet", whole(**may), whole()) == []
    found = update_errors("StatefulSet", whole(serviceName="other"), whole())
    assert found == ['spec.serviceName: Invalid value: "other": field is immutable']


def test_counts_in_a_status_must_fit_together() -> None:
    status = {"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}
    assert status_errors("Deployment", {"status": status}, {}) == [
        "status.readyReplicas: Invalid value: 2: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than status.replicas",
        "status.availableReplicas: Invalid value: 3: cannot be greater than readyReplicas",
    ]
    taken = {"status": {"collisionCount": 2}}
    assert status_errors("Deployment", {"status": {"collisionCount": 1}}, taken) == [
        "status.collisionCount: Invalid value: 1: cannot be decremented"
    ]


def test_cells_of_a_deployment() -> None:
    status = {"replicas": 3, "readyReplicas": 2, "updatedReplicas": 1, "availableReplicas": 2}
    assert cells("Deployment", {**whole(replicas=3), "status": status}) == {
        "Name": "web",
        "Ready": "2/3",
        "Up-to-date": 1,
        "Available": 2,
        "Age": "60m",
        "Containers": "main",
        "Images": "example.com/app:1",
        "Selector": "app=web",
    }
    assert list(cells("Deployment", whole(), wide=False)) == [
        "Name",
        "Ready",
        "Up-to-date",
        "Available",
        "Age",
    ]


def test_cells_of_a_replica_set() -> None:
    expressions = [
        {"key": "tier", "operator": "In", "values": ["b", "a"]},
        {"key": "x", "operator": "Exists"},
    ]
    value = whole(selector={**SELECTOR, "matchExpressions": expressions})
    shown = cells("ReplicaSet", {**value, "status": {"replicas": 2, "readyReplicas": 1}})
    assert [shown[name] for name in ("Desired", "Current", "Ready")] == [1, 2, 1]
    assert shown["Selector"] == "app=web,tier in (a,b),x"


def test_cells_of_a_stateful_set_and_a_daemon_set() -> None:
    shown = cells("StatefulSet", {**whole(replicas=2), "status": {"replicas": 2, "readyReplicas": 1}})
    assert shown == {
        "Name": "web", "Ready": "1/2", "Age": "60m", "Containers": "main", "Images": "example.com/app:1"
    }  # fmt: skip
    status = {
        "desiredNumberScheduled": 5, "currentNumberScheduled": 4, "numberReady": 3,
        "updatedNumberScheduled": 2, "numberAvailable": 1, "numberMisscheduled": 0,
    }  # fmt: skip
    value = {**whole(template=template(nodeSelector={"disk": "ssd", "arch": "arm"})), "status": status}
    shown = cells("DaemonSet", value, wide=False)
    assert list(shown.values()) == ["web", 5, 4, 3, 2, 1, "arch=arm,disk=ssd", "60m"]


def test_a_controller_revision_names_its_controller() -> None:
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "uid": "1", "controller": True}
    value = {"metadata": {"ownerReferences": [owner]}, "data": {"a": 1}, "revision": 3}
    shown = cells("ControllerRevision", value)
    assert shown == {"Name": "web", "Controller": "statefulset.apps/db", "Revision": 3, "Age": "60m"}
    assert errors("ControllerRevision", {"revision": -1}) == [
        "data: Required value: data is mandatory",
        "revision: Invalid value: -1: must be greater than or equal to 0",
    ]
    changed = update_errors("ControllerRevision", {"data": {"a": 2}}, {"data": {"a": 1}})
    assert changed == ['data: Invalid value: {"a":2}: field is immutable']


@pytest.mark.parametrize("kind", ["Deployment", "ReplicaSet", "StatefulSet"])
def test_scale_reads_and_writes_replicas(kind: str) -> None:
    obj = made(kind, {**whole(replicas=3), "status": {"replicas": 2}})
    scale = kind_of(kind).scale
    assert scale is not None
    before = codec.copy(obj)
    scale.set_replicas(obj, 5)
    assert (scale.get_replicas(obj), scale.get_replicas(before)) == (5, 3)
    assert scale.status_replicas(obj) == 2
    assert scale.selector(obj) == "app=web"


@pytest.mark.parametrize(
    ("kind", "zeros"),
    [
        ("Deployment", {"minReadySeconds": 0, "paused": False}),
        ("ReplicaSet", {"minReadySeconds": 0}),
        ("DaemonSet", {"minReadySeconds": 0}),
        ("StatefulSet", {"minReadySeconds": 0, "serviceName": ""}),
    ],
)
def test_zeros_that_go_writers_send_are_no_change(kind: str, zeros: dict[str, Any]) -> None:
    bare, zeroed = made(kind, whole()), made(kind, whole())
    for name in zeros:
        setattr(bare.spec, name, None)
        setattr(zeroed.spec, name, zeros[name])
    for obj in (bare, zeroed):
        objects.kind_of(kind).default(obj)
    assert zeroed.spec == bare.spec


def test_a_stateful_set_of_before_without_a_service_name_may_be_written_again() -> None:
    old, new = made("StatefulSet", whole()), made("StatefulSet", whole())
    old.spec.serviceName, new.spec.serviceName = None, ""
    assert not objects.kind_of("StatefulSet").validate_update(new, old)
    new.spec.serviceName = "db"
    assert objects.kind_of("StatefulSet").validate_update(new, old)


def test_replica_sets_cannot_be_chosen_by_their_count() -> None:
    # As in apps/v1; ReplicationControllers can.
    assert "status.replicas" not in objects.kind_of("ReplicaSet").field_selectors
