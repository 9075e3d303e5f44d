"""Job: defaults, generated selector and labels, columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sampan.kinds.core.pod_warnings import workload_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.batch import job_spec, job_status, job_update
from sampan.kinds.groups.batch.job_spec import CONTROLLER_UID, INDEXED, JOB_NAME, LEGACY_PREFIX
from sampan.kinds.groups.cells import column, container_columns, is_true, label_selector
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import AGE, NAME, Column, Kind, human_duration
from sampan.machinery import field, names
from sampan.machinery.field import FieldError
from sampan.schema import api

_BACKOFF_LIMIT_MAX: Final = 2**31 - 1
# In the order in which a finished Job can carry several.
_STATES: Final = ("Complete", "Failed")
_PASSING_STATES: Final = ("Suspended", "FailureTarget", "SuccessCriteriaMet")


def default(obj: Any) -> None:
    """What pkg/apis/batch/v1 SetDefaults_Job fills; labels of the template become the Job's own."""
    default_spec(obj.spec)
    if not obj.metadata.labels:
        obj.metadata.labels = dict(obj.spec.template.metadata.labels)


def default_spec(spec: Any) -> None:
    """The defaults of a JobSpec."""
    workloads.default_template(spec.template)
    if spec.completions is None and spec.parallelism is None:
        spec.completions = 1
    spec.parallelism = 1 if spec.parallelism is None else spec.parallelism
    if spec.backoffLimit is None:
        # A limit for each index takes the place of the common one.
        spec.backoffLimit = 6 if spec.backoffLimitPerIndex is None else _BACKOFF_LIMIT_MAX
    spec.completionMode = "NonIndexed" if spec.completionMode is None else spec.completionMode
    spec.suspend = False if spec.suspend is None else spec.suspend
    spec.manualSelector = False if spec.manualSelector is None else spec.manualSelector
    if spec.podReplacementPolicy is None:
        spec.podReplacementPolicy = "TerminatingOrFailed" if spec.podFailurePolicy is None else "Failed"
    for rule in spec.podFailurePolicy.rules if spec.podFailurePolicy is not None else ():
        for pattern in rule.onPodConditions:
            pattern.status = pattern.status or "True"


def prepare_create(obj: Any) -> None:
    """Generate the selector and labels, unless the user chose them; needs metadata.uid and name.

    The labels go on the template before the selector asks for them, so that no two Jobs share pods.
    """
    checks.clear_status(obj)
    if obj.spec.manualSelector:
        return
    meta, template = obj.metadata, obj.spec.template.metadata
    defaulted = meta.labels == template.labels
    labels = template.labels = dict(template.labels)
    uid = meta.uid or ""
    # Names given by the user stay, and validation refuses those that do not fit.
    for key, value in ((CONTROLLER_UID, uid), (JOB_NAME, meta.name or "")):
        labels.setdefault(key.removeprefix(LEGACY_PREFIX), value)
        labels.setdefault(key, value)
    if defaulted:
        meta.labels = dict(labels)
    selector = obj.spec.selector = obj.spec.selector or api.LabelSelector()
    selector.matchLabels.setdefault(CONTROLLER_UID, uid)


def validate(obj: Any) -> list[FieldError]:
    """Every error of a Job: ValidateJob."""
    errors = job_spec.generated_selector_errors(obj)
    errors += job_spec.validate(obj.spec, SPEC)
    if obj.spec.completionMode == INDEXED and (obj.spec.completions or 0) > 0:
        last = f"{obj.metadata.name}-{obj.spec.completions - 1}"
        if names.dns1123_label(last):
            detail = f"will not able to create pod with invalid DNS label: {last}"
            errors.append(field.invalid(METADATA["name"], obj.metadata.name, detail))
    return errors


def _state(obj: Any) -> str:
    conditions = obj.status.conditions
    for state in _STATES:
        if is_true(conditions, state):
            return state
    if obj.metadata.deletionTimestamp is not None:
        return "Terminating"
    return next((state for state in _PASSING_STATES if is_true(conditions, state)), "Running")


def _completions(obj: Any) -> str:
    succeeded = obj.status.succeeded or 0
    if obj.spec.completions is not None:
        return f"{succeeded}/{obj.spec.completions}"
    parallelism = obj.spec.parallelism or 0
    return f"{succeeded}/1 of {parallelism}" if parallelism > 1 else f"{succeeded}/1"


def _duration(obj: Any, now: datetime) -> str:
    if obj.status.startTime is None:
        return ""
    end = obj.status.completionTime or now
    return human_duration((end - obj.status.startTime).total_seconds())


KIND: Final = Kind(
    api_version="batch/v1",
    kind="Job",
    plural="jobs",
    categories=("all",),
    status=True,
    generation=True,
    default=default,
    warnings=workload_warnings,
    validate=validate,
    validate_update=job_update.validate_update,
    validate_status_update=job_status.validate_status_update,
    prepare_create=prepare_create,
    name_errors=names.dns1123_subdomain,
    field_selectors={"status.successful": lambda job: str(job.status.succeeded or 0)},
    columns=(
        NAME,
        column("Status", _state, description="Status of the job."),
        column("Completions", _completions, description="Pods that succeeded, of those that must."),
        Column("Duration", _duration, description="Time required to complete the job."),
        AGE,
        *container_columns(lambda job: job.spec.template.spec),
        column("Selector", lambda job: label_selector(job.spec.selector), wide=True),
    ),
)
