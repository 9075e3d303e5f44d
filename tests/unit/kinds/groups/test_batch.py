# ruff: noqa: E501 -- messages stand whole, as Kubernetes words them
from __future__ import annotations

from typing import Any

import pytest

from sampan.kinds.groups.batch import schedule
from sampan.kinds.groups.batch.indexes import IndexesError, count_indexes
from sampan.schema import codec

from .objects import ago, cells, data, kind_of, made, status_errors, template, update_errors

JOB = kind_of("Job")
UID = "9a1b"


def job(uid: str = UID, **spec: Any) -> Any:
    """A Job as the API server makes it: prepared, then defaulted."""
    whole = {"template": template(restartPolicy="Never"), **spec}
    obj = made(JOB, {"metadata": {"name": "work", "uid": uid}, "spec": whole}, default=False)
    JOB.prepare_create(obj)
    JOB.default(obj)
    return obj


def job_errors(**spec: Any) -> list[str]:
    return [str(error) for error in JOB.validate(job(**spec))]


def test_a_job_runs_one_pod_to_its_end() -> None:
    spec = data(job())["spec"]
    del spec["template"], spec["selector"]
    assert spec == {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "completionMode": "NonIndexed",
        "suspend": False,
        "manualSelector": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }


def test_a_work_queue_has_no_number_of_completions() -> None:
    spec = job(parallelism=4).spec
    assert (spec.parallelism, spec.completions) == (4, None)


def test_limits_for_each_index_lift_the_common_one() -> None:
    assert job(completionMode="Indexed", completions=2, backoffLimitPerIndex=1).spec.backoffLimit == 2**31 - 1


def test_a_failure_policy_waits_for_failed_pods() -> None:
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    spec = job(podFailurePolicy={"rules": rules}).spec
    assert spec.podReplacementPolicy == "Failed"
    assert spec.podFailurePolicy.rules[0].onPodConditions[0].status == "True"


def test_selector_and_labels_are_generated() -> None:
    obj = job()
    labels = {
        "app": "web",
        "batch.kubernetes.io/controller-uid": UID,
        "batch.kubernetes.io/job-name": "work",
        "controller-uid": UID,
        "job-name": "work",
    }
    assert obj.spec.selector.matchLabels == {"batch.kubernetes.io/controller-uid": UID}
    assert obj.spec.template.metadata.labels == labels
    assert obj.metadata.labels == labels
    assert JOB.validate(obj) == []


def test_a_selector_by_hand_is_left_alone() -> None:
    obj = job(manualSelector=True, selector={"matchLabels": {"app": "web"}})
    assert obj.spec.selector.matchLabels == {"app": "web"}
    assert obj.spec.template.metadata.labels == {"app": "web"}
    assert JOB.validate(obj) == []


def test_labels_that_claim_another_job_are_refused() -> None:
    odd = template(restartPolicy="Never")
    odd["metadata"]["labels"] = {"job-name": "other"}
    found = job_errors(template=odd)
    assert len(found) == 1
    assert found[0].startswith("spec.template.metadata.labels[job-name]: Invalid value: {")
    assert found[0].endswith("}: must be 'work'")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (
            {"template": template()},
            ['spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"'],
        ),
        (
            {"parallelism": -1, "backoffLimit": -1},
            [
                "spec.parallelism: Invalid value: -1: must be greater than or equal to 0",
                "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            {"completionMode": "Indexed", "parallelism": 100_001},
            [
                "spec.completions: Required value: when completion mode is Indexed",
                "spec.parallelism: Invalid value: 100001: must be less than or equal to 100000 when completion "
                "mode is Indexed",
            ],
        ),
        (
            {"completionMode": "Sorted"},
            ['spec.completionMode: Unsupported value: "Sorted": supported values: "NonIndexed", "Indexed"'],
        ),
        (
            {"backoffLimitPerIndex": 1},
            ["spec.backoffLimitPerIndex: Invalid value: 1: requires indexed completion mode"],
        ),
        (
            {"managedBy": "nobody"},
            [
                'spec.managedBy: Invalid value: "nobody": must be a domain-prefixed path '
                '(such as "acme.io/foo")'
            ],
        ),
        (
            {"podReplacementPolicy": "Never"},
            [
                'spec.podReplacementPolicy: Unsupported value: "Never": supported values: "Failed", '
                '"TerminatingOrFailed"'
            ],
        ),
        (
            {
                "podFailurePolicy": {
                    "rules": [
                        {
                            "action": "FailIndex",
                            "onExitCodes": {"operator": "In", "values": [3, 0, 3], "containerName": "x"},
                        },
                        {"action": ""},
                    ]
                }
            },
            [
                'spec.podFailurePolicy.rules[0].action: Invalid value: "FailIndex": requires the '
                "backoffLimitPerIndex to be set",
                'spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value: "x": must be one of '
                "the container or initContainer names in the pod template",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[1]: Invalid value: 0: must not be 0 for "
                "the In operator",
                "spec.podFailurePolicy.rules[0].onExitCodes.values[2]: Duplicate value: 3",
                "spec.podFailurePolicy.rules[0].onExitCodes.values: Invalid value: [3,0,3]: must be ordered",
                'spec.podFailurePolicy.rules[1].action: Required value: valid values: ["Count" "FailIndex" '
                '"FailJob" "Ignore"]',
                "spec.podFailurePolicy.rules[1]: Invalid value: specifying one of OnExitCodes and "
                "OnPodConditions is required",
            ],
        ),
        (
            {
                "completionMode": "Indexed",
                "completions": 3,
                "successPolicy": {"rules": [{"succeededIndexes": "0,2-4"}, {"succeededCount": 4}, {}]},
            },
            [
                'spec.successPolicy.rules[0].succeededIndexes: Invalid value: "0,2-4": error parsing '
                'succeededIndexes: too large index: "4"',
                "spec.successPolicy.rules[1].succeededCount: Invalid value: 4: must be less than or equal to 3 "
                "(the number of specified completions)",
                "spec.successPolicy.rules[2]: Required value: at least one of succeededCount or "
                "succeededIndexes must be specified",
            ],
        ),
    ],
)
def test_invalid_jobs(spec: dict[str, Any], expected: list[str]) -> None:
    assert job_errors(**spec) == expected


def test_an_indexed_job_must_leave_room_for_the_index() -> None:
    whole = {"template": template(restartPolicy="Never"), "completionMode": "Indexed", "completions": 11}
    obj = made(JOB, {"metadata": {"name": "w" * 61, "uid": UID}, "spec": whole}, default=False)
    JOB.prepare_create(obj)
    JOB.default(obj)
    name = "w" * 61
    assert [str(e) for e in JOB.validate(obj)] == [
        f'metadata.name: Invalid value: "{name}": will not able to create pod with invalid DNS label: {name}-10'
    ]


def changed(old: Any, **spec: Any) -> list[str]:
    value = data(old)
    new = codec.from_builtins({**value, "spec": {**value["spec"], **spec}}, JOB.type)
    return [str(error) for error in JOB.validate_update(new, old)]


def test_the_shape_of_the_work_is_for_life() -> None:
    old = job()
    assert changed(old, parallelism=4, suspend=True, backoffLimit=9, ttlSecondsAfterFinished=5) == []
    assert changed(old, completions=2) == ["spec.completions: Invalid value: 2: field is immutable"]
    assert changed(old, completionMode="Indexed")[-1] == (
        'spec.completionMode: Invalid value: "Indexed": field is immutable'
    )
    found = changed(old, template=template(restartPolicy="OnFailure"))
    assert len(found) == 1
    assert found[0].startswith("spec.template: Invalid value: {")
    assert found[0].endswith("field is immutable")


def test_an_indexed_job_is_elastic() -> None:
    old = job(completionMode="Indexed", completions=2, parallelism=2)
    assert changed(old, completions=3, parallelism=3) == []
    assert changed(old, completions=3) == [
        "spec.completions: Invalid value: 3: can only be modified in tandem with spec.parallelism"
    ]


def test_where_pods_may_run_changes_while_a_job_waits() -> None:
    waiting = job(suspend=True)
    new_template = data(waiting)["spec"]["template"]
    affinity: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": []}}
    }
    new_template["spec"] |= {"nodeSelector": {"zone": "a"}, "affinity": affinity}
    assert changed(waiting, template=new_template) == []
    assert len(changed(job(), template=new_template)) == 1
    new_template["spec"]["hostNetwork"] = True
    (found,) = changed(waiting, template=new_template)
    assert found.startswith("spec.template.spec: Invalid value: {")


@pytest.mark.parametrize(
    ("status", "changes"),
    [
        ({}, True),
        ({"startTime": ago(hours=1)}, False),
        ({"startTime": ago(hours=1), "conditions": [{"type": "Suspended", "status": "True"}]}, True),
        # Pods of the older template still run.
        ({"active": 1}, False),
    ],
)
def test_what_pods_ask_for_changes_while_a_suspended_job_has_none(status: Any, changes: bool) -> None:
    waiting = job(suspend=True)
    waiting = codec.from_builtins({**data(waiting), "status": status}, JOB.type)
    new_template = data(waiting)["spec"]["template"]
    new_template["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "2"}}
    new_template["spec"]["nodeSelector"] = {"zone": "a"}
    assert (changed(waiting, template=new_template) == []) is changes


def test_a_status_tells_one_story() -> None:
    def conditions(*types: str) -> dict[str, Any]:
        return {"conditions": [{"type": type, "status": "True"} for type in types]}

    found = status_errors(JOB, {"status": {**conditions("Complete", "Failed"), "active": 1}}, {})
    assert found == [
        'status.conditions: Invalid value: "": cannot set Complete=True and Failed=true conditions',
        'status.conditions: Invalid value: "": cannot set Failed=True condition without the '
        "FailureTarget=true condition",
        'status.conditions: Invalid value: "": cannot set Complete=True condition without the '
        "SuccessCriteriaMet=true condition",
        "status.completionTime: Required value: completionTime is required for Complete jobs",
        "status.active: Invalid value: 1: active>0 is invalid for finished job",
        "status.startTime: Required value: startTime is required for finished job",
    ]
    done = {**conditions("SuccessCriteriaMet", "Complete"), "startTime": ago(hours=2)}
    done |= {"completionTime": ago(hours=1), "succeeded": 1}
    assert status_errors(JOB, {"status": done}, {"status": conditions("SuccessCriteriaMet")}) == []
    assert status_errors(JOB, {"status": {"failed": 1}}, {"status": {"failed": 2}}) == [
        "status.failed: Invalid value: 1: cannot decrease the failed counter"
    ]


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        ({}, {"startTime": ago(minutes=5)}, ("Running", "0/1", "5m")),
        (
            {},
            {
                "startTime": ago(minutes=5),
                "completionTime": ago(minutes=4, seconds=50),
                "succeeded": 1,
                "conditions": [
                    {"type": "SuccessCriteriaMet", "status": "True"},
                    {"type": "Complete", "status": "True"},
                ],
            },
            ("Complete", "1/1", "10s"),
        ),
        (
            {"completions": None, "parallelism": 3},
            {"conditions": [{"type": "Failed", "status": "True"}]},
            ("Failed", "0/1 of 3", ""),
        ),
        (
            {"suspend": True},
            {"conditions": [{"type": "Suspended", "status": "True"}]},
            ("Suspended", "0/1", ""),
        ),
        ({}, {"conditions": [{"type": "FailureTarget", "status": "True"}]}, ("FailureTarget", "0/1", "")),
    ],
)
def test_cells_of_a_job(spec: dict[str, Any], status: dict[str, Any], expected: tuple[str, ...]) -> None:
    value = {"spec": {"template": template(restartPolicy="Never"), **spec}, "status": status}
    shown = cells(JOB, value)
    assert (shown["Status"], shown["Completions"], shown["Duration"]) == expected
    assert list(shown) == [
        "Name", "Status", "Completions", "Duration", "Age", "Containers", "Images", "Selector"
    ]  # fmt: skip
    assert shown["Selector"] == "<none>"


def test_a_job_that_is_being_deleted_says_so() -> None:
    value = {"metadata": {"deletionTimestamp": ago(seconds=1)}, "spec": {"template": template()}}
    assert cells(JOB, value)["Status"] == "Terminating"


def cron(schedule: str = "*/5 * * * *", **spec: Any) -> dict[str, Any]:
    work = {"spec": {"template": template(restartPolicy="OnFailure")}}
    return {"spec": {"schedule": schedule, "jobTemplate": work, **spec}}


def cron_errors(value: dict[str, Any]) -> list[str]:
    kind = kind_of("CronJob")
    return [str(error) for error in kind.validate(made(kind, value))]


def test_defaults_of_a_cron_job() -> None:
    spec = data(made("CronJob", cron()))["spec"]
    template = spec.pop("jobTemplate")["spec"]
    # Its pods have their defaults; what a Job has by default is filled in when one is made.
    assert set(template) == {"template"}
    assert template["template"]["spec"]["dnsPolicy"] == "ClusterFirst"
    assert spec == {
        "schedule": "*/5 * * * *",
        "concurrencyPolicy": "Allow",
        "suspend": False,
        "successfulJobsHistoryLimit": 3,
        "failedJobsHistoryLimit": 1,
    }
    assert cron_errors(cron()) == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (cron(""), ["spec.schedule: Required value"]),
        (
            cron("* * * *"),
            ['spec.schedule: Invalid value: "* * * *": expected exactly 5 fields, found 4: [* * * *]'],
        ),
        (
            cron("TZ=UTC 0 * * * *"),
            [
                'spec.schedule: Invalid value: "TZ=UTC 0 * * * *": cannot use TZ or CRON_TZ in schedule, '
                "use timeZone field instead"
            ],
        ),
        (
            cron(timeZone="Mars/Base"),
            ['spec.timeZone: Invalid value: "Mars/Base": unknown time zone Mars/Base'],
        ),
        (
            cron(timeZone=""),
            ['spec.timeZone: Invalid value: "": timeZone must be nil or non-empty string'],
        ),
        (cron(timeZone="Europe/Zurich"), []),
        (
            cron(concurrencyPolicy="Maybe"),
            [
                'spec.concurrencyPolicy: Unsupported value: "Maybe": supported values: "Allow", "Forbid", '
                '"Replace"'
            ],
        ),
        (
            cron(successfulJobsHistoryLimit=-1, startingDeadlineSeconds=-1),
            [
                "spec.startingDeadlineSeconds: Invalid value: -1: must be greater than or equal to 0",
                "spec.successfulJobsHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            {**cron(), "metadata": {"name": "c" * 53}},
            [f'metadata.name: Invalid value: "{"c" * 53}": must be no more than 52 characters'],
        ),
        (
            cron(
                jobTemplate={
                    "spec": {
                        "template": template(restartPolicy="Never"),
                        "selector": {},
                        "manualSelector": True,
                    }
                }
            ),
            [
                "spec.jobTemplate.spec.selector: Invalid value: {}: `selector` will be auto-generated",
                "spec.jobTemplate.spec.manualSelector: Unsupported value: true: supported values: "
                '"nil", "false"',
            ],
        ),
    ],
)
def test_invalid_cron_jobs(value: dict[str, Any], expected: list[str]) -> None:
    assert cron_errors(value) == expected


@pytest.mark.parametrize(
    "text",
    ["* * * * *", "0 0 1 1 *", "*/15 0-6,22 ? jan-mar MON-fri", "@daily", "@every 1h30m", "5-50/5 * * * 0"],
)
def test_schedules_that_can_be_read(text: str) -> None:
    schedule.check(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("9-5 * * * *", "beginning of range (9) beyond end of range (5): 9-5"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@sometimes", "unrecognized descriptor: @sometimes"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_schedules_that_cannot(text: str, expected: str) -> None:
    with pytest.raises(schedule.ScheduleError) as caught:
        schedule.check(text)
    assert str(caught.value) == expected


def test_cells_of_a_cron_job() -> None:
    status = {"active": [{"name": "a"}, {"name": "b"}], "lastScheduleTime": ago(minutes=3)}
    shown = cells("CronJob", {**cron(timeZone="Etc/UTC"), "status": status})
    assert list(shown.items())[:7] == [
        ("Name", "web"),
        ("Schedule", "*/5 * * * *"),
        ("Timezone", "Etc/UTC"),
        ("Suspend", "False"),
        ("Active", 2),
        ("Last Schedule", "3m"),
        ("Age", "60m"),
    ]
    quiet = cells("CronJob", cron(suspend=True))
    assert (quiet["Timezone"], quiet["Suspend"], quiet["Last Schedule"]) == ("<none>", "True", "<none>")


@pytest.mark.parametrize(("text", "count"), [("", 0), ("0", 1), ("0,2-4", 4), ("1-2,4,6-7", 5)])
def test_index_lists_are_counted(text: str, count: int) -> None:
    assert count_indexes(text, 10) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("3,2", "non-increasing order, previous: 3, current: 2"),
        ("4-4", "non-increasing order, previous: 4, current: 4"),
        ("x", 'cannot convert string to integer for index: "x"'),
        ("10", 'too large index: "10"'),
        (
            "1-2-3",
            'the fragment "1-2-3" violates the requirement that an index interval can have at most two parts '
            "separated by '-'",
        ),
    ],
)
def test_index_lists_that_cannot_be_read(text: str, expected: str) -> None:
    with pytest.raises(IndexesError) as caught:
        count_indexes(text, 10)
    assert str(caught.value) == expected


def test_jobs_can_be_chosen_by_their_success() -> None:
    obj = made(JOB, {"spec": {"template": template()}, "status": {"succeeded": 2}})
    assert JOB.field_selectors["status.successful"](obj) == "2"
    assert update_errors("CronJob", cron("@daily"), cron()) == []
