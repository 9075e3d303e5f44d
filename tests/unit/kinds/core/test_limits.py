"""LimitRange and ResourceQuota."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.core.resources import add, aggregate_container_requests
from sampan.machinery.quantity import Quantity
from tests.unit.kinds.core.objects import cells, container, data, errors, made, pod, update_errors


def limits(*items: dict[str, Any]) -> Any:
    meta = {"name": "l", "creationTimestamp": "2024-05-06T07:08:09Z"}
    return made("LimitRange", {"metadata": meta, "spec": {"limits": list(items)}})


def quota(hard: dict[str, str], status: dict[str, Any] | None = None, **spec: Any) -> Any:
    whole = {"metadata": {"name": "q"}, "spec": {"hard": hard, **spec}, "status": status or {}}
    return made("ResourceQuota", whole)


def test_limits_of_containers_fill_each_other_in() -> None:
    item = data(limits({"type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}}))["spec"][
        "limits"
    ][0]
    assert item["default"] == {"cpu": "2"}
    assert item["defaultRequest"] == {"cpu": "2", "memory": "1Mi"}


def test_limits_of_pods_do_not() -> None:
    item = data(limits({"type": "Pod", "max": {"cpu": "2"}}))["spec"]["limits"][0]
    assert item == {"type": "Pod", "max": {"cpu": "2"}}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ({"type": "Container", "max": {"cpu": "2"}, "min": {"cpu": "1"}}, []),
        (
            {"type": "Shelf"},
            ['spec.limits[0].type: Invalid value: "Shelf": must be a standard limit type or fully qualified'],
        ),
        (
            {"type": "Pod", "max": {"cpu": "1"}, "min": {"cpu": "2"}},
            ['spec.limits[0].min[cpu]: Invalid value: "2": min value 2 is greater than max value 1'],
        ),
        (
            {"type": "Pod", "default": {"cpu": "1"}},
            ["spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'"],
        ),
        (
            {"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}},
            [
                'spec.limits[0].defaultRequest[cpu]: Invalid value: "2": '
                "default request value 2 is greater than default limit value 1"
            ],
        ),
        (
            {"type": "Container", "max": {"pods": "1"}},
            [
                f'spec.limits[0].{name}[pods]: Invalid value: "pods": '
                "must be a standard resource for containers"
                for name in ("max", "default", "defaultRequest")
            ],
        ),
        (
            {"type": "PersistentVolumeClaim"},
            [
                "spec.limits[0].limits: Required value: "
                "either minimum or maximum storage value is required, but neither was provided"
            ],
        ),
        (
            {"type": "Pod", "maxLimitRequestRatio": {"cpu": "500m"}},
            ['spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "500m": ratio 500m is less than 1'],
        ),
        (
            {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}},
            [
                'spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "3": '
                "ratio 3 is greater than max/min = 2.000000"
            ],
        ),
    ],
)
def test_limit_ranges(item: dict[str, Any], expected: list[str]) -> None:
    assert errors("LimitRange", limits(item)) == expected


def test_a_type_is_limited_once() -> None:
    found = errors("LimitRange", limits({"type": "Pod"}, {"type": "Pod"}))
    assert found == ['spec.limits[1].type: Duplicate value: "Pod"']


def test_columns_of_limit_ranges() -> None:
    assert cells("LimitRange", limits()) == {"Name": "l", "Created At": "2024-05-06T07:08:09Z"}


@pytest.mark.parametrize(
    ("hard", "spec", "expected"),
    [
        ({"pods": "1", "requests.cpu": "2", "count/jobs.batch": "3", "hugepages-2Mi": "2Mi"}, {}, []),
        (
            {"cups": "1"},
            {},
            [
                'spec.hard[cups]: Invalid value: "cups": must be a standard resource type or fully qualified',
                'spec.hard[cups]: Invalid value: "cups": must be a standard resource for quota',
            ],
        ),
        ({"pods": "-1"}, {}, ['spec.hard[pods]: Invalid value: "-1": must be greater than or equal to 0']),
        ({"pods": "1500m"}, {}, ['spec.hard[pods]: Invalid value: "1500m": must be an integer']),
        ({"pods": "1"}, {"scopes": ["BestEffort"]}, []),
        (
            {"cpu": "1"},
            {"scopes": ["BestEffort"]},
            ['spec.scopes: Invalid value: ["BestEffort"]: unsupported scope applied to resource'],
        ),
        (
            {},
            {"scopes": ["Terminating", "NotTerminating"]},
            ['spec.scopes: Invalid value: ["Terminating","NotTerminating"]: conflicting scopes'],
        ),
        ({}, {"scopes": ["Mine"]}, ['spec.scopes: Invalid value: ["Mine"]: unsupported scope']),
        (
            {},
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            [
                "spec.scopeSelector.matchExpressions.values: Required value: "
                "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
            ],
        ),
    ],
)
def test_quotas(hard: dict[str, str], spec: dict[str, Any], expected: list[str]) -> None:
    assert errors("ResourceQuota", quota(hard, **spec)) == expected


def test_the_scopes_of_a_quota_stay() -> None:
    old, new = quota({}, scopes=["BestEffort"]), quota({}, scopes=["NotBestEffort"])
    assert update_errors("ResourceQuota", new, old) == [
        'spec.scopes: Invalid value: ["NotBestEffort"]: field is immutable'
    ]


def test_columns_of_quotas() -> None:
    status = {
        "hard": {"pods": "10", "limits.cpu": "4", "requests.cpu": "2"},
        "used": {"pods": "3", "limits.cpu": "1500m"},
    }
    shown = cells("ResourceQuota", quota({}, status))
    assert shown["Request"] == "pods: 3/10, requests.cpu: 0/2"
    assert shown["Limit"] == "limits.cpu: 1500m/4"


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("1", "500m", "1500m"),
        ("1Gi", "1Gi", "2Gi"),
        ("0", "1Gi", "1Gi"),
        ("1Ki", "1", "1025"),
        ("1Gi", "0", "1Gi"),
    ],
)
def test_sums(first: str, second: str, expected: str) -> None:
    assert add(Quantity(first), Quantity(second)).text == expected


def test_what_a_pod_requests() -> None:
    def asks(name: str, cpu: str, **fields: Any) -> dict[str, Any]:
        return container(name=name, resources={"requests": {"cpu": cpu}}, **fields)

    both = [asks("a", "1"), asks("b", "2")]
    init = [asks("s", "1", restartPolicy="Always"), asks("i", "5")]
    assert aggregate_container_requests(pod({"containers": both}).spec) == {"cpu": Quantity("3")}
    # The init container runs beside the sidecar that was started before it.
    total = aggregate_container_requests(pod({"containers": both, "initContainers": init}).spec)
    assert total == {"cpu": Quantity("6")}
    total = aggregate_container_requests(pod({"containers": both, "initContainers": init[::-1]}).spec)
    assert total == {"cpu": Quantity("5")}
