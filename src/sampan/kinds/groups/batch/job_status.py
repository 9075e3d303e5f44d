"""What a Job's status may say: validateJobStatus and ValidateJobStatusUpdate."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.batch.job_spec import INDEXED
from sampan.kinds.groups.cells import is_true
from sampan.kinds.groups.checks import STATUS
from sampan.machinery import field
from sampan.machinery.field import FieldError

_CONDITIONS: Final = STATUS["conditions"]
_TERMINAL: Final = ("Failed", "Complete", "FailureTarget", "SuccessCriteriaMet")
# A condition of the first type cannot stand beside one of the second.
_EXCLUSIVE: Final = (
    ("Complete", "Failed", "cannot set Complete=True and Failed=true conditions"),
    ("Complete", "FailureTarget", "cannot set Complete=True and FailureTarget=true conditions"),
    ("SuccessCriteriaMet", "Failed", "cannot set SuccessCriteriaMet=True and Failed=true conditions"),
    (
        "SuccessCriteriaMet",
        "FailureTarget",
        "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions",
    ),
)
# A condition of the first type needs one of the second.
_NEEDED: Final = (
    (
        "Failed",
        "FailureTarget",
        "cannot set Failed=True condition without the FailureTarget=true condition",
    ),
    (
        "Complete",
        "SuccessCriteriaMet",
        "cannot set Complete=True condition without the SuccessCriteriaMet=true condition",
    ),
)


def validate_status_update(new: Any, old: Any) -> list[FieldError]:
    """Conditions, counts and times must tell one story, and finished Jobs stay finished."""
    status = new.status
    errors = checks.non_negatives(status, STATUS, "active", "succeeded", "failed", "ready", "terminating")
    errors += _condition_errors(status)
    errors += _time_errors(status)
    errors += _finished_errors(status)
    errors += _index_errors(new)
    if status.ready is not None and status.ready > (status.active or 0):
        detail = "cannot set more ready pods than active"
        errors.append(field.invalid(STATUS["ready"], status.ready, detail))
    return errors + _transition_errors(new, old)


def _condition_errors(status: Any) -> list[FieldError]:
    has = {type for type in _TERMINAL if is_true(status.conditions, type)}
    details = [detail for one, other, detail in _EXCLUSIVE if one in has and other in has]
    details += [detail for one, other, detail in _NEEDED if one in has and other not in has]
    return [field.invalid(_CONDITIONS, "", detail) for detail in details]


def _time_errors(status: Any) -> list[FieldError]:
    path, done = STATUS["completionTime"], status.completionTime
    complete = is_true(status.conditions, "Complete")
    if done is None:
        detail = "completionTime is required for Complete jobs"
        return [field.required(path, detail)] if complete else []
    errors: list[FieldError] = []
    if not complete:
        detail = "cannot set completionTime when there is no Complete=True condition"
        errors.append(field.invalid(path, done, detail))
    if status.startTime is not None and done < status.startTime:
        errors.append(field.invalid(path, done, "must be equal to or after `startTime`"))
    return errors


def _finished_errors(status: Any) -> list[FieldError]:
    if not (is_true(status.conditions, "Complete") or is_true(status.conditions, "Failed")):
        return []
    errors: list[FieldError] = []
    if (status.active or 0) > 0:
        detail = "active>0 is invalid for finished job"
        errors.append(field.invalid(STATUS["active"], status.active, detail))
    if status.startTime is None:
        errors.append(field.required(STATUS["startTime"], "startTime is required for finished job"))
    uncounted = status.uncountedTerminatedPods
    if uncounted is not None and (uncounted.failed or uncounted.succeeded):
        detail = "must be empty for finished job"
        errors.append(field.invalid(STATUS["uncountedTerminatedPods"], uncounted, detail))
    if (status.terminating or 0) > 0:
        detail = "terminating>0 is invalid for finished job"
        errors.append(field.invalid(STATUS["terminating"], status.terminating, detail))
    return errors


def _index_errors(obj: Any) -> list[FieldError]:
    status, errors = obj.status, []
    if status.completedIndexes and obj.spec.completionMode != INDEXED:
        detail = "cannot set non-empty completedIndexes when non-indexed completion mode"
        errors.append(field.invalid(STATUS["completedIndexes"], status.completedIndexes, detail))
    if status.failedIndexes is not None and obj.spec.backoffLimitPerIndex is None:
        detail = "cannot set non-null failedIndexes when backoffLimitPerIndex is null"
        errors.append(field.invalid(STATUS["failedIndexes"], status.failedIndexes, detail))
    return errors


def _transition_errors(new: Any, old: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    for type in _TERMINAL:
        if is_true(old.status.conditions, type) and not is_true(new.status.conditions, type):
            terminal = "" if type == "SuccessCriteriaMet" else "terminal "
            errors.append(
                field.invalid(_CONDITIONS, "", f"cannot disable the {terminal}{type}=True condition")
            )
    for name in ("failed", "succeeded"):
        count, before = getattr(new.status, name) or 0, getattr(old.status, name) or 0
        # An indexed Job that shrinks forgets the indexes it no longer has.
        if count < before and not (name == "succeeded" and new.spec.completionMode == INDEXED):
            errors.append(field.invalid(STATUS[name], count, f"cannot decrease the {name} counter"))
    done, before = new.status.completionTime, old.status.completionTime
    if done is not None and before is not None:
        errors += checks.immutable(done, before, STATUS["completionTime"])
    started = old.status.startTime
    if started is not None and started != new.status.startTime and not new.spec.suspend:
        detail = "startTime cannot be removed for unsuspended job"
        errors.append(field.required(STATUS["startTime"], detail))
    return errors
