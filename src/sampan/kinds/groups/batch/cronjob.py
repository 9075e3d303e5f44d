"""CronJob."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any, Final

from sampan.kinds.core.cells import NONE, UNSET, since
from sampan.kinds.core.pod_warnings import name_warnings, template_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.batch import job_spec, schedule
from sampan.kinds.groups.batch.schedule import ScheduleError
from sampan.kinds.groups.cells import column, container_columns, label_selector, printed
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

# A Job's name is the CronJob's with a dash and ten digits; a Job's name is a label value of its pods.
_NAME_MAX_BYTES: Final = 52
_CONCURRENCY: Final = ("Allow", "Forbid", "Replace")
_is_zone_part: Final = re.compile(r"[A-Za-z._0-9+][A-Za-z._0-9+-]{0,13}").fullmatch


def default(obj: Any) -> None:
    """What pkg/apis/batch/v1 SetDefaults_CronJob fills; a Job's own defaults come when a Job is made."""
    spec = obj.spec
    spec.jobTemplate = spec.jobTemplate or api.JobTemplateSpec()
    workloads.default_template(spec.jobTemplate.spec.template)
    spec.concurrencyPolicy = spec.concurrencyPolicy or "Allow"
    spec.suspend = False if spec.suspend is None else spec.suspend
    if spec.successfulJobsHistoryLimit is None:
        spec.successfulJobsHistoryLimit = 3
    spec.failedJobsHistoryLimit = 1 if spec.failedJobsHistoryLimit is None else spec.failedJobsHistoryLimit


def validate(obj: Any) -> list[FieldError]:
    """Every error of a CronJob on creation: ValidateCronJobCreate."""
    errors = _spec_errors(obj.spec)
    if obj.spec.schedule and "TZ" in obj.spec.schedule:
        detail = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        errors.append(field.invalid(SPEC["schedule"], obj.spec.schedule, detail))
    if len((obj.metadata.name or "").encode()) > _NAME_MAX_BYTES:
        detail = names.max_length_error(_NAME_MAX_BYTES)
        errors.append(field.invalid(METADATA["name"], obj.metadata.name, detail))
    return errors


def _spec_errors(spec: Any) -> list[FieldError]:
    errors = _schedule_errors(spec.schedule, SPEC["schedule"])
    errors += checks.non_negative(spec.startingDeadlineSeconds, SPEC["startingDeadlineSeconds"])
    errors += _time_zone_errors(spec.timeZone, SPEC["timeZone"])
    errors += checks.required_one_of(spec.concurrencyPolicy, _CONCURRENCY, SPEC["concurrencyPolicy"])
    errors += _template_errors(spec.jobTemplate.spec, SPEC["jobTemplate"]["spec"])
    return errors + checks.non_negatives(spec, SPEC, "successfulJobsHistoryLimit", "failedJobsHistoryLimit")


def _schedule_errors(text: str, path: Path) -> list[FieldError]:
    if not text:
        return [field.required(path)]
    try:
        schedule.check(text)
    except ScheduleError as error:
        return [field.invalid(path, text, str(error))]
    return []


def _time_zone_errors(zone: str | None, path: Path) -> list[FieldError]:
    if zone is None:
        return []
    if not zone:
        return [field.invalid(path, zone, "timeZone must be nil or non-empty string")]
    if any(part in (".", "..") or not _is_zone_part(part) for part in zone.split("/")):
        return [field.invalid(path, zone, f"unknown time zone {zone}")]
    errors: list[FieldError] = []
    if zone.lower() == "local":
        detail = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [field.invalid(path, zone, detail)]
    try:
        schedule.check_zone(zone)
    except ScheduleError as error:
        errors.append(field.invalid(path, zone, str(error)))
    return errors


def _template_errors(spec: Any, path: Path) -> list[FieldError]:
    errors = job_spec.validate_without_selector(spec, path)
    if spec.selector is not None:
        errors.append(field.invalid(path["selector"], spec.selector, "`selector` will be auto-generated"))
    if spec.manualSelector:
        errors.append(field.not_supported(path["manualSelector"], True, ("nil", "false")))
    return errors


def _last_schedule(obj: Any, now: datetime) -> str:
    last = obj.status.lastScheduleTime
    return NONE if last is None else since(last, now)


def _suspend(obj: Any) -> str:
    return UNSET if obj.spec.suspend is None else printed(obj.spec.suspend)


def warnings(obj: Any, old: Any) -> list[str]:
    """Of the name, the template, and a zone in the schedule."""
    said = [] if old is not None else name_warnings(obj)
    before = None if old is None else old.spec.jobTemplate.spec.template
    said += template_warnings(obj.spec.jobTemplate.spec.template, "spec.jobTemplate.spec.template", before)
    if "TZ" in obj.spec.schedule:
        said.append(
            "cannot use TZ or CRON_TZ in spec.spec.schedule, use timeZone instead, "
            "see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return said


KIND: Final = Kind(
    api_version="batch/v1",
    kind="CronJob",
    plural="cronjobs",
    short=("cj",),
    categories=("all",),
    status=True,
    generation=True,
    default=default,
    warnings=warnings,
    validate=validate,
    prepare_create=checks.clear_status,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Schedule", lambda cj: cj.spec.schedule),
        column("Timezone", lambda cj: cj.spec.timeZone or NONE),
        column("Suspend", _suspend, type="boolean"),
        column("Active", lambda cj: len(cj.status.active), type="integer"),
        Column("Last Schedule", _last_schedule),
        AGE,
        *container_columns(lambda cj: cj.spec.jobTemplate.spec.template.spec),
        column("Selector", lambda cj: label_selector(cj.spec.jobTemplate.spec.selector), wide=True),
    ),
)
