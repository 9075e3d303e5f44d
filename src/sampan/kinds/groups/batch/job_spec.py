"""Validation of a JobSpec: pkg/apis/batch/validation."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks, workloads
from sampan.kinds.groups.batch import policies
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.machinery import field, meta
from sampan.machinery.field import FieldError, Path

INDEXED: Final = "Indexed"
LEGACY_PREFIX: Final = "batch.kubernetes.io/"
CONTROLLER_UID: Final = f"{LEGACY_PREFIX}controller-uid"
JOB_NAME: Final = f"{LEGACY_PREFIX}job-name"
_MODES: Final = ("NonIndexed", INDEXED)
_MANAGED_BY_MAX_BYTES: Final = 63
_PARALLELISM_MAX: Final = 100_000
_FAILED_INDEXES_MAX: Final = 100_000
_MANY_COMPLETIONS: Final = 100_000
_MANY_COMPLETIONS_PARALLELISM_MAX: Final = 10_000
_MANY_COMPLETIONS_FAILED_INDEXES_MAX: Final = 10_000
_COUNTS: Final = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)


def validate(spec: Any, path: Path) -> list[FieldError]:
    """Every error of a Job's spec, with its selector."""
    errors = validate_without_selector(spec, path)
    if spec.selector is None:
        errors.append(field.required(path["selector"]))
    else:
        errors += meta.validate_label_selector(spec.selector, path["selector"])
    return errors + workloads.mismatch_errors(spec.selector, spec.template, path["template"])


def validate_without_selector(spec: Any, path: Path) -> list[FieldError]:
    """Every error of a spec whose selector is still to be generated."""
    errors = checks.non_negatives(spec, path, *_COUNTS)
    if spec.maxFailedIndexes is not None and spec.backoffLimitPerIndex is None:
        errors.append(field.required(path["backoffLimitPerIndex"], "when maxFailedIndexes is specified"))
    if spec.managedBy is not None:
        errors += checks.domain_prefixed_path(spec.managedBy, path["managedBy"])
        if len(spec.managedBy.encode()) > _MANAGED_BY_MAX_BYTES:
            errors.append(field.too_long(path["managedBy"], _MANAGED_BY_MAX_BYTES))
    errors += _completion_mode_errors(spec, path)
    if spec.podFailurePolicy is not None:
        errors += policies.failure_policy_errors(spec, path["podFailurePolicy"])
    if spec.successPolicy is not None:
        if spec.completionMode == INDEXED:
            errors += policies.success_policy_errors(spec, path["successPolicy"])
        else:
            detail = "requires indexed completion mode"
            errors.append(field.invalid(path["successPolicy"], spec.successPolicy, detail))
    # podReplacementPolicy must wait for failed pods where a policy judges how they failed.
    replacements = ("Failed",) if spec.podFailurePolicy is not None else ("Failed", "TerminatingOrFailed")
    errors += checks.one_of(spec.podReplacementPolicy, replacements, path["podReplacementPolicy"])
    errors += workloads.template_errors(spec.template, path["template"])
    return errors + _restart_policy_errors(spec, path["template"]["spec"]["restartPolicy"])


def _completion_mode_errors(spec: Any, path: Path) -> list[FieldError]:
    errors = checks.one_of(spec.completionMode, _MODES, path["completionMode"])
    if spec.completionMode == INDEXED:
        return errors + _indexed_errors(spec, path)
    if spec.completionMode in (None, "NonIndexed"):
        for name in ("backoffLimitPerIndex", "maxFailedIndexes"):
            value = getattr(spec, name)
            if value is not None:
                errors.append(field.invalid(path[name], value, "requires indexed completion mode"))
    return errors


def _indexed_errors(spec: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    failed = spec.maxFailedIndexes
    if spec.completions is None:
        errors.append(field.required(path["completions"], f"when completion mode is {INDEXED}"))
    if (spec.parallelism or 0) > _PARALLELISM_MAX:
        detail = f"must be less than or equal to {_PARALLELISM_MAX} when completion mode is {INDEXED}"
        errors.append(field.invalid(path["parallelism"], spec.parallelism, detail))
    if spec.completions is not None and failed is not None and failed > spec.completions:
        detail = "must be less than or equal to completions"
        errors.append(field.invalid(path["maxFailedIndexes"], failed, detail))
    if (failed or 0) > _FAILED_INDEXES_MAX:
        detail = f"must be less than or equal to {_FAILED_INDEXES_MAX}"
        errors.append(field.invalid(path["maxFailedIndexes"], failed, detail))
    if (spec.completions or 0) > _MANY_COMPLETIONS and spec.backoffLimitPerIndex is not None:
        errors += _many_completions_errors(spec, path)
    return errors


def _many_completions_errors(spec: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.maxFailedIndexes is None:
        detail = f"must be specified when completions is above {_MANY_COMPLETIONS}"
        errors.append(field.required(path["maxFailedIndexes"], detail))
    for name, limit in (
        ("parallelism", _MANY_COMPLETIONS_PARALLELISM_MAX),
        ("maxFailedIndexes", _MANY_COMPLETIONS_FAILED_INDEXES_MAX),
    ):
        value = getattr(spec, name)
        if (value or 0) > limit:
            detail = (
                f"must be less than or equal to {limit} when completions are above {_MANY_COMPLETIONS} "
                "and used with backoff limit per index"
            )
            errors.append(field.invalid(path[name], value, detail))
    return errors


def _restart_policy_errors(spec: Any, path: Path) -> list[FieldError]:
    policy = spec.template.spec.restartPolicy or ""
    if policy in ("", "Always"):
        return [field.required(path, 'valid values: "OnFailure", "Never"')]
    if policy not in ("OnFailure", "Never"):
        return [field.not_supported(path, policy, ("OnFailure", "Never"))]
    if spec.podFailurePolicy is not None and policy != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        return [field.invalid(path, policy, detail)]
    return []


def generated_selector_errors(obj: Any) -> list[FieldError]:
    """A generated selector must be the one that was generated: validateGeneratedSelector."""
    if obj.spec.manualSelector or obj.spec.selector is None:
        return []
    uid, name = obj.metadata.uid or "", obj.metadata.name or ""
    errors = [] if uid else [field.required(METADATA["uid"])]
    expected = {
        CONTROLLER_UID.removeprefix(LEGACY_PREFIX): uid,
        JOB_NAME.removeprefix(LEGACY_PREFIX): name,
        CONTROLLER_UID: uid,
        JOB_NAME: name,
    }
    labels = obj.spec.template.metadata.labels
    path = SPEC["template"]["metadata"]["labels"]
    for key, value in expected.items():
        if key not in labels:
            errors.append(field.required(path.key(key), f"must be '{value}'"))
        elif labels[key] != value:
            errors.append(field.invalid(path.key(key), labels, f"must be '{value}'"))
    if workloads.selects(obj.spec.selector, expected) is False:
        detail = "`selector` not auto-generated"
        errors.append(field.invalid(SPEC["selector"], obj.spec.selector, detail))
    return errors
