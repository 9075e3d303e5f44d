"""What an update may change of a Job: ValidateJobSpecUpdate."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.batch.job_spec import INDEXED
from sampan.kinds.groups.cells import is_true
from sampan.kinds.groups.checks import SPEC
from sampan.machinery import field
from sampan.machinery.field import FieldError
from sampan.schema import codec

_FIXED: Final = ("completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy")
_SCHEDULING: Final = ("nodeSelector", "tolerations", "schedulingGates")


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """The shape of the work is for life; where pods may run can change while a Job has not started."""
    errors = _completions_errors(new.spec, old.spec)
    errors += checks.immutable_printed(new.spec.selector, old.spec.selector, SPEC["selector"])
    errors += _template_errors(new, old)
    return errors + checks.immutables(new.spec, old.spec, SPEC, *_FIXED)


def _completions_errors(new: Any, old: Any) -> list[FieldError]:
    path = SPEC["completions"]
    if new.completionMode != INDEXED or new.completions is None or old.completions is None:
        return checks.immutable(new.completions, old.completions, path)
    # An indexed Job is elastic: its size changes while completions and parallelism stay equal.
    if new.completions == old.completions or new.completions == new.parallelism:
        return []
    detail = f"can only be modified in tandem with {SPEC['parallelism']}"
    return [field.invalid(path, new.completions, detail)]


def _template_errors(new: Any, old: Any) -> list[FieldError]:
    before, after = old.spec.template, new.spec.template
    if not _waits_for_a_queue(old):
        return checks.immutable(after, before, SPEC["template"])
    spec = codec.copy(before).spec
    _take_resources(spec.containers, after.spec.containers)
    _take_resources(spec.initContainers, after.spec.initContainers)
    for name in _SCHEDULING:
        setattr(spec, name, getattr(after.spec, name))
    _take_node_affinity(spec, after.spec)
    # Labels and annotations of the template are free, like what queues write into the rest.
    return checks.immutable(after.spec, spec, SPEC["template"]["spec"])


def _waits_for_a_queue(old: Any) -> bool:
    """Whether it is suspended, and has no pods that an older template made."""
    never_started = old.status.startTime is None
    idle = never_started or is_true(old.status.conditions, "Suspended")
    return bool(old.spec.suspend) and idle and not old.status.active


def _take_resources(before: list[Any], after: list[Any]) -> None:
    """Give the containers of `before` the resources of `after`: a queue may size what has not started."""
    if len(before) != len(after):
        return
    for old, new in zip(before, after, strict=True):
        if old.name == new.name:
            old.resources = new.resources


def _take_node_affinity(before: Any, after: Any) -> None:
    """Give `before` the node affinity of `after`; affinity to pods is not a scheduling directive."""
    if before.affinity is None and after.affinity is not None:
        before.affinity = type(after.affinity)()
    if before.affinity is None:
        return
    before.affinity.nodeAffinity = None if after.affinity is None else after.affinity.nodeAffinity
    if after.affinity is None and before.affinity == type(before.affinity)():
        before.affinity = None
