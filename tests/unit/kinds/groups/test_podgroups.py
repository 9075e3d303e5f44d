"""PodGroups and Workloads: what is valid, what may change, and how they are switched on."""

from __future__ import annotations

from typing import Any

import pytest

from sampan.base.errors import SampanError
from sampan.kinds.core.pod_validation import validate_pod_spec
from sampan.kinds.groups import switched_on
from sampan.kinds.groups.podgroups import POD_GROUP, WORKLOAD
from sampan.machinery.field import Path
from sampan.schema import api, codec

GANG = {"gang": {"minCount": 3}}
NEW = (1, 37)
NONE = "must specify one of: `basic`, `gang`"
POLICIES = 'supported values: "PreemptLowerPriority", "Never"'


def group(**spec: Any) -> Any:
    made = codec.from_builtins({"metadata": {"name": "g"}, "spec": spec}, POD_GROUP.type)
    POD_GROUP.default(made)
    return made


def workload(*templates: dict[str, Any], **spec: Any) -> Any:
    given = {"podGroupTemplates": list(templates), **spec}
    return codec.from_builtins({"metadata": {"name": "w"}, "spec": given}, WORKLOAD.type)


def errors(found: Any) -> list[str]:
    return [str(error) for error in found]


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        ({"schedulingPolicy": GANG}, []),
        ({"schedulingPolicy": {"basic": {}}}, []),
        ({"schedulingPolicy": {}}, ['spec.schedulingPolicy: Invalid value: "": ' + NONE]),
        (
            {"schedulingPolicy": {"basic": {}, **GANG}},
            [
                'spec.schedulingPolicy: Invalid value: "{`basic`, `gang`}": '
                "exactly one of `basic`, `gang` is required, but multiple fields are set"
            ],
        ),
        ({"schedulingPolicy": {"gang": {}}}, ["spec.schedulingPolicy.gang.minCount: Required value"]),
        (
            {"schedulingPolicy": {"gang": {"minCount": -1}}},
            ["spec.schedulingPolicy.gang.minCount: Invalid value: -1: must be greater than or equal to 1"],
        ),
        (
            {"schedulingPolicy": GANG, "preemptionPolicy": "Always"},
            ['spec.preemptionPolicy: Unsupported value: "Always": ' + POLICIES],
        ),
        (
            {"schedulingPolicy": GANG, "workloadRef": {"workloadName": "w"}},
            ["spec.workloadRef.templateName: Required value"],
        ),
        (
            {"schedulingPolicy": GANG, "schedulingConstraints": {"topology": [{"key": "a"}, {"key": "b"}]}},
            ["spec.schedulingConstraints.topology: Too many: 2: must have at most 1 items"],
        ),
    ],
)  # fmt: skip
def test_groups(spec: dict[str, Any], wrong: list[str]) -> None:
    assert errors(POD_GROUP.validate(group(**spec))) == wrong


def test_pods_of_a_group_are_disrupted_one_by_one_where_nothing_is_said() -> None:
    assert codec.to_builtins(group(schedulingPolicy=GANG).spec)["disruptionMode"] == {"single": {}}
    whole = group(schedulingPolicy=GANG, disruptionMode={"all": {}})
    assert codec.to_builtins(whole.spec)["disruptionMode"] == {"all": {}}


def test_only_the_least_count_of_a_group_may_change() -> None:
    old = group(schedulingPolicy=GANG)
    more = group(schedulingPolicy={"gang": {"minCount": 5}})
    assert POD_GROUP.validate_update(more, old) == []
    basic = group(schedulingPolicy={"basic": {}})
    (error,) = errors(POD_GROUP.validate_update(basic, old))
    assert error.startswith("spec.schedulingPolicy: Invalid value") and error.endswith("field is immutable")
    whole = group(schedulingPolicy=GANG, disruptionMode={"all": {}})
    (error,) = errors(POD_GROUP.validate_update(whole, old))
    assert error.startswith("spec.disruptionMode: Invalid value")


def test_workloads() -> None:
    workers = {"name": "workers", "schedulingPolicy": GANG}
    assert WORKLOAD.validate(workload(workers)) == []
    assert errors(WORKLOAD.validate(workload())) == [
        "spec.podGroupTemplates: Required value: must have at least one item"
    ]
    (error,) = errors(WORKLOAD.validate(workload(workers, workers)))
    assert error.startswith("spec.podGroupTemplates[1]: Duplicate value")
    many = [{"name": f"t{n}", "schedulingPolicy": GANG} for n in range(9)]
    assert errors(WORKLOAD.validate(workload(*many))) == [
        "spec.podGroupTemplates: Too many: 9: must have at most 8 items"
    ]
    less = {"name": "workers", "schedulingPolicy": {"gang": {"minCount": 1}}}
    assert WORKLOAD.validate_update(workload(less), workload(workers)) == []
    assert errors(WORKLOAD.validate_update(workload(workers, many[0]), workload(workers))) == [
        "spec.podGroupTemplates: Forbidden: templates may not be added or removed"
    ]


def test_a_pod_names_its_group() -> None:
    def of(scheduling_group: dict[str, Any]) -> list[str]:
        spec = {"containers": [{"name": "c", "image": "i"}], "schedulingGroup": scheduling_group}
        made = codec.from_builtins({"spec": spec}, api.Pod)
        found = errors(validate_pod_spec(made.spec, Path("spec")))
        return [e for e in found if "schedulingGroup" in e]

    assert of({"podGroupName": "g"}) == []
    assert of({}) == ['spec.schedulingGroup: Invalid value: "": must specify one of: `podGroupName`']
    (error,) = of({"podGroupName": "No Name"})
    assert error.startswith("spec.schedulingGroup.podGroupName: Invalid value")


@pytest.mark.parametrize(
    ("settings", "served"),
    [
        ((), []),
        (("scheduling.k8s.io/v1beta1=true",), [()]),
        (("scheduling.k8s.io/v1beta1",), [()]),
        (("api/beta=true",), [()]),
        (("api/all=true",), [("scheduling.k8s.io/v1alpha3",)]),
        (("api/all=true", "scheduling.k8s.io/v1beta1=false", "scheduling.k8s.io/v1alpha3=false"), []),
        (("scheduling.k8s.io/v1beta1=false",), []),
    ],
)
def test_switching(settings: tuple[str, ...], served: list[tuple[str, ...]]) -> None:
    kinds = switched_on(settings, NEW)
    assert [k.also_served for k in kinds] == served * 2
    assert [k.kind for k in kinds] == (["PodGroup", "Workload"] if served else [])


@pytest.mark.parametrize(
    ("setting", "version", "told"),
    [
        ("batch/v3=true", NEW, "names nothing that can be switched"),
        ("scheduling.k8s.io/v1beta1=yes", NEW, "has to end in =true or =false"),
        ("scheduling.k8s.io/v1beta1=true", (1, 36), "needs Kubernetes 1.37"),
        ("scheduling.k8s.io/v1alpha3=true", NEW, "switch both on"),
    ],
)
def test_what_cannot_be_switched(setting: str, version: tuple[int, ...], told: str) -> None:
    with pytest.raises(SampanError, match=told):
        switched_on((setting,), version)


def test_older_versions_have_nothing_to_switch() -> None:
    assert switched_on(("api/all=true",), (1, 36)) == ()
