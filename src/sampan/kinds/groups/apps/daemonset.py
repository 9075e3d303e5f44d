"""DaemonSet."""

from __future__ import annotations

import re
from typing import Any, Final

from sampan.kinds.core.cells import labels_text
from sampan.kinds.core.pod_warnings import template_warnings
from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.cells import column, container_columns, label_selector
from sampan.kinds.groups.checks import SPEC, STATUS
from sampan.kinds.kind import AGE, NAME, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api
from sampan.schema.semantic import same

_TEMPLATE_GENERATION: Final = "deprecated.daemonset.template.generation"
_is_whole: Final = re.compile(r"[+-]?[0-9]{1,4096}").fullmatch
_COUNTS: Final = (
    "currentNumberScheduled",
    "numberMisscheduled",
    "desiredNumberScheduled",
    "numberReady",
    "observedGeneration",
    "updatedNumberScheduled",
    "numberAvailable",
    "numberUnavailable",
    "collisionCount",
)


def default(obj: Any) -> None:
    """What SetDefaults_DaemonSet fills: one pod at a time is replaced."""
    spec = obj.spec
    workloads.default_template(spec.template)
    workloads.leave_out_zeros(spec, "minReadySeconds")
    spec.revisionHistoryLimit = 10 if spec.revisionHistoryLimit is None else spec.revisionHistoryLimit
    strategy = spec.updateStrategy = spec.updateStrategy or api.DaemonSetUpdateStrategy()
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        rolling = strategy.rollingUpdate = strategy.rollingUpdate or api.RollingUpdateDaemonSet()
        rolling.maxUnavailable = 1 if rolling.maxUnavailable is None else rolling.maxUnavailable
        rolling.maxSurge = 0 if rolling.maxSurge is None else rolling.maxSurge


def validate(obj: Any) -> list[FieldError]:
    """Every error of the spec: ValidateDaemonSetSpec."""
    spec, path = obj.spec, SPEC["template"]
    errors = meta.validate_label_selector(spec.selector, SPEC["selector"])
    errors += workloads.mismatch_errors(spec.selector, spec.template, path)
    if spec.selector is not None and not spec.selector.matchLabels and not spec.selector.matchExpressions:
        detail = "empty selector is invalid for daemonset"
        errors.append(field.invalid(SPEC["selector"], spec.selector, detail))
    errors += workloads.template_errors(spec.template, path)
    errors += workloads.running_forever_errors(spec.template, path, "DaemonSet")
    errors += checks.non_negative(spec.minReadySeconds, SPEC["minReadySeconds"])
    errors += _strategy_errors(spec.updateStrategy, SPEC["updateStrategy"])
    return errors + checks.non_negative(spec.revisionHistoryLimit, SPEC["revisionHistoryLimit"])


def _strategy_errors(strategy: Any, path: Path) -> list[FieldError]:
    if strategy.type == "OnDelete":
        return []
    if strategy.type != "RollingUpdate":
        shown = workloads.strategy_shown(strategy, "maxUnavailable", "maxSurge")
        return [field.not_supported(path, shown, ("RollingUpdate", "OnDelete"))]
    if strategy.rollingUpdate is None:
        return [field.required(path["rollingUpdate"])]
    rolling, path = strategy.rollingUpdate, path["rollingUpdate"]
    errors: list[FieldError] = []
    for name in ("maxUnavailable", "maxSurge"):
        errors += checks.int_or_percent(getattr(rolling, name), path[name])
        errors += checks.at_most_100_percent(getattr(rolling, name), path[name])
    unavailable, surge = checks.amount(rolling.maxUnavailable), checks.amount(rolling.maxSurge)
    if unavailable and surge:
        detail = "may not be set when maxUnavailable is non-zero"
        errors.append(field.invalid(path["maxSurge"], rolling.maxSurge, detail))
    elif not unavailable and not surge:
        errors.append(field.required(path["maxUnavailable"], "cannot be 0 when maxSurge is 0"))
    return errors


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """The selector is for life."""
    return checks.immutable_printed(new.spec.selector, old.spec.selector, SPEC["selector"])


def validate_status_update(new: Any, old: Any) -> list[FieldError]:
    """No count is negative, and collisionCount only grows."""
    errors = checks.non_negatives(new.status, STATUS, *_COUNTS)
    return errors + workloads.collision_errors(new.status, old.status)


def unreadable(obj: Any) -> str:
    """The annotation is read as the number that it was, whatever becomes of it."""
    text = obj.metadata.annotations.get(_TEMPLATE_GENERATION)
    if text is None:
        return ""
    if not _is_whole(text):
        return f"strconv.ParseInt: parsing {field.quoted(text)}: invalid syntax"
    out_of_range = not -(1 << 63) <= int(text) < 1 << 63
    return f"strconv.ParseInt: parsing {field.quoted(text)}: value out of range" if out_of_range else ""


def prepare_create(obj: Any) -> None:
    """No status yet, and the first template."""
    checks.clear_status(obj)
    obj.metadata.annotations[_TEMPLATE_GENERATION] = "1"


def prepare_update(new: Any, old: Any) -> None:
    """Count the templates, in the annotation that a field of old versions became."""
    default(new)  # what a client leaves out is no change
    was = old.metadata.annotations.get(_TEMPLATE_GENERATION, "")
    count = int(was) if was.isdecimal() else 1
    if not same(new.spec.template, old.spec.template):
        count += 1
    new.metadata.annotations[_TEMPLATE_GENERATION] = str(count)


def warnings(obj: Any, old: Any) -> list[str]:
    """Of the template."""
    before = None if old is None else old.spec.template
    return template_warnings(obj.spec.template, "spec.template", before)


KIND: Final = Kind(
    api_version="apps/v1",
    kind="DaemonSet",
    plural="daemonsets",
    change_first=True,
    short=("ds",),
    categories=("all",),
    status=True,
    generation=True,
    default=default,
    unreadable=unreadable,
    warnings=warnings,
    validate=validate,
    validate_update=validate_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Desired", lambda ds: ds.status.desiredNumberScheduled, type="integer"),
        column("Current", lambda ds: ds.status.currentNumberScheduled, type="integer"),
        column("Ready", lambda ds: ds.status.numberReady, type="integer"),
        column("Up-to-date", lambda ds: ds.status.updatedNumberScheduled or 0, type="integer"),
        column("Available", lambda ds: ds.status.numberAvailable or 0, type="integer"),
        column("Node Selector", lambda ds: labels_text(ds.spec.template.spec.nodeSelector)),
        AGE,
        *container_columns(lambda ds: ds.spec.template.spec),
        column("Selector", lambda ds: label_selector(ds.spec.selector), wide=True),
    ),
)
