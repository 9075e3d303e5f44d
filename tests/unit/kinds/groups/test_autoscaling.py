# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.groups.autoscaling import v1

from .objects import cells, data, errors, kind_of, made

V1 = kind_of("HorizontalPodAutoscaler", "v1")
V2 = kind_of("HorizontalPodAutoscaler", "v2")
TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}


def hpa(**spec: Any) -> dict[str, Any]:
    return {"spec": {"scaleTargetRef": TARGET, "maxReplicas": 5, **spec}}


def cpu(percent: int = 50) -> dict[str, Any]:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def test_without_a_word_the_cpu_is_kept_at_80_percent() -> None:
    spec = data(made(V2, hpa()))["spec"]
    assert (spec["minReplicas"], spec["metrics"]) == (1, [cpu(80)])
    assert "behavior" not in spec
    assert errors(V2, hpa()) == []


def test_a_behavior_is_filled_in_both_directions() -> None:
    spec = data(made(V2, hpa(behavior={"scaleDown": {"stabilizationWindowSeconds": 5}})))["spec"]
    percent = {"type": "Percent", "value": 100, "periodSeconds": 15}
    assert spec["behavior"] == {
        "scaleUp": {
            "stabilizationWindowSeconds": 0,
            "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}, percent],
        },
        "scaleDown": {"stabilizationWindowSeconds": 5, "selectPolicy": "Max", "policies": [percent]},
    }


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"minReplicas": 0, "maxReplicas": 0},
            [
                "spec.metrics: Forbidden: must specify at least one Object or External metric to support "
                "scaling to zero replicas",
                "spec.maxReplicas: Required value",
            ],
        ),
        (
            {"minReplicas": -1, "maxReplicas": -1},
            [
                "spec.minReplicas: Invalid value: -1: must be greater than or equal to 0",
                "spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
            ],
        ),
        (
            {"minReplicas": 6},
            ["spec.maxReplicas: Invalid value: 5: must be greater than or equal to `minReplicas`"],
        ),
        (
            {"scaleTargetRef": {"name": "a/b"}},
            [
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
                'spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group',
            ],
        ),
        (
            {"metrics": [{"type": "Guess"}, {"type": "Pods", "resource": cpu()["resource"]}]},
            [
                'spec.metrics[0].type: Unsupported value: "Guess": supported values: "ContainerResource", '
                '"External", "Object", "Pods", "Resource"',
                "spec.metrics[1].pods: Required value: must populate information for the given metric source",
                "spec.metrics[1].resource: Forbidden: must populate the given metric source only",
            ],
        ),
        (
            {"metrics": [{"type": "Resource", "resource": {"target": {"type": "Utilization"}}}]},
            [
                "spec.metrics[0].resource.name: Required value: must specify a resource name",
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target "
                "raw value or a target utilization",
            ],
        ),
        (
            {"metrics": [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "target": {"type": "Sum"}}}]},
            [
                'spec.metrics[0].pods.target.type: Invalid value: "Sum": must be either Utilization, Value, or '
                "AverageValue",
                "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target "
                "averageValue",
            ],
        ),
        (
            {
                "behavior": {
                    "scaleUp": {
                        "stabilizationWindowSeconds": 3601,
                        "selectPolicy": "Any",
                        "policies": [{"type": "Pods", "value": 0, "periodSeconds": 1801}],
                    }
                }
            },
            [
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or "
                "equal to 3600",
                'spec.behavior.scaleUp.selectPolicy: Unsupported value: "Any": supported values: "Disabled", '
                '"Max", "Min"',
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or "
                "equal to 1800",
            ],
        ),
    ],
)
def test_invalid_autoscalers(spec: dict[str, Any], expected: list[str]) -> None:
    assert errors(V2, hpa(**spec)) == expected


def pods(name: str, value: str) -> dict[str, Any]:
    target = {"type": "AverageValue", "averageValue": value}
    return {"type": "Pods", "pods": {"metric": {"name": name}, "target": target}}


@pytest.mark.parametrize(
    ("metrics", "current", "expected"),
    [
        ([cpu()], [], "cpu: <unknown>/50%"),
        (
            [cpu()],
            [{"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 12}}}],
            "cpu: 12%/50%",
        ),
        (
            [pods("rps", "1k")],
            [{"type": "Pods", "pods": {"metric": {"name": "rps"}, "current": {"averageValue": "900"}}}],
            "900/1k",
        ),
        (
            [
                {
                    "type": "External",
                    "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "30"}},
                }
            ],
            [{"type": "External", "external": {"metric": {"name": "q"}, "current": {"value": "7"}}}],
            "7/30",
        ),
        ([cpu(), pods("a", "1"), pods("b", "2")], [], "cpu: <unknown>/50%, <unknown>/1 + 1 more..."),
    ],
)
def test_targets_show_what_is_beside_what_is_asked(
    metrics: list[Any], current: list[Any], expected: str
) -> None:
    value = {**hpa(metrics=metrics), "status": {"currentMetrics": current, "currentReplicas": 2}}
    shown = cells(V2, value)
    assert shown == {
        "Name": "web",
        "Reference": "Deployment/web",
        "Targets": expected,
        "MinPods": "1",
        "MaxPods": 5,
        "Replicas": 2,
        "Age": "60m",
    }


def test_the_cpu_target_of_v1_becomes_a_metric() -> None:
    old = made(V1, hpa(targetCPUUtilizationPercentage=60))
    hub = v1.to_hub(old)
    V2.default(hub)
    assert data(hub)["apiVersion"] == "autoscaling/v2"
    assert data(hub)["spec"]["metrics"] == [cpu(60)]
    assert v1.from_hub(hub).spec.targetCPUUtilizationPercentage == 60
    assert V2.validate(hub) == []


def test_what_v1_has_no_field_for_stands_in_annotations() -> None:
    hub = made(V2, hpa(metrics=[cpu(), pods("rps", "1k")], behavior={}))
    old = v1.from_hub(hub)
    assert sorted(old.metadata.annotations) == [
        "autoscaling.alpha.kubernetes.io/behavior",
        "autoscaling.alpha.kubernetes.io/metrics",
    ]
    assert hub.metadata.annotations == {}
    assert data(v1.to_hub(old))["spec"] == data(hub)["spec"]


def test_annotations_that_cannot_be_read_are_dropped() -> None:
    annotations = {"autoscaling.alpha.kubernetes.io/metrics": "{", "kept": "yes"}
    hub = v1.to_hub(made(V1, {**hpa(), "metadata": {"annotations": annotations}}))
    assert hub.spec.metrics == []
    assert hub.metadata.annotations == {"kept": "yes"}


def test_v1_shows_and_checks_what_v2_does() -> None:
    shown = cells(V1, hpa(targetCPUUtilizationPercentage=60))
    assert list(shown) == [column.name for column in V2.columns]
    assert shown["Targets"] == "cpu: <unknown>/60%"
    assert errors(V1, hpa(maxReplicas=0))[-1] == "spec.maxReplicas: Required value"
