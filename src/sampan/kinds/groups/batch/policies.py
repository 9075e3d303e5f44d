"""Validation of a Job's podFailurePolicy and successPolicy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.batch.indexes import IndexesError, count_indexes
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_RULES_MAX: Final = 20
_EXIT_CODES_MAX: Final = 255
_CONDITIONS_MAX: Final = 20
_SUCCEEDED_INDEXES_MAX_BYTES: Final = 64 * 1024
_ACTIONS: Final = ("Count", "FailIndex", "FailJob", "Ignore")
_OPERATORS: Final = ("In", "NotIn")
_STATUSES: Final = ("False", "True", "Unknown")


def failure_policy_errors(spec: Any, path: Path) -> list[FieldError]:
    """Every error of spec.podFailurePolicy."""
    rules, path = spec.podFailurePolicy.rules, path["rules"]
    errors = [field.too_many(path, len(rules), _RULES_MAX)] if len(rules) > _RULES_MAX else []
    pod = spec.template.spec
    containers = frozenset(c.name for c in (*pod.containers, *pod.initContainers))
    for position, rule in enumerate(rules):
        errors += _rule_errors(spec, rule, path[position], containers)
    return errors


def _rule_errors(spec: Any, rule: Any, path: Path, containers: frozenset[str]) -> list[FieldError]:
    errors = _required_one_of(rule.action, _ACTIONS, path["action"])
    if rule.action == "FailIndex" and spec.backoffLimitPerIndex is None:
        detail = "requires the backoffLimitPerIndex to be set"
        errors.append(field.invalid(path["action"], rule.action, detail))
    if rule.onExitCodes is not None:
        errors += _exit_codes_errors(rule.onExitCodes, path["onExitCodes"], containers)
    if rule.onPodConditions:
        errors += _conditions_errors(rule.onPodConditions, path["onPodConditions"])
    if rule.onExitCodes is not None and rule.onPodConditions:
        detail = "specifying both OnExitCodes and OnPodConditions is not supported"
        errors.append(field.invalid(path, field.OMITTED, detail))
    if rule.onExitCodes is None and not rule.onPodConditions:
        detail = "specifying one of OnExitCodes and OnPodConditions is required"
        errors.append(field.invalid(path, field.OMITTED, detail))
    return errors


def _required_one_of(value: str, supported: Sequence[str], path: Path) -> list[FieldError]:
    if value:
        return checks.one_of(value, supported, path)
    shown = " ".join(f'"{text}"' for text in supported)
    return [field.required(path, f"valid values: [{shown}]")]


def _conditions_errors(patterns: Sequence[Any], path: Path) -> list[FieldError]:
    errors = [field.too_many(path, len(patterns), _CONDITIONS_MAX)] if len(patterns) > _CONDITIONS_MAX else []
    for position, pattern in enumerate(patterns):
        at = path[position]
        errors += checks.named(pattern.type, names.qualified_name(pattern.type), at["type"])
        errors += _required_one_of(pattern.status or "", _STATUSES, at["status"])
    return errors


def _exit_codes_errors(codes: Any, path: Path, containers: frozenset[str]) -> list[FieldError]:
    errors = _required_one_of(codes.operator, _OPERATORS, path["operator"])
    if codes.containerName is not None and codes.containerName not in containers:
        detail = "must be one of the container or initContainer names in the pod template"
        errors.append(field.invalid(path["containerName"], codes.containerName, detail))
    values, path = codes.values, path["values"]
    if not values:
        errors.append(field.invalid(path, values, "at least one value is required"))
    elif len(values) > _EXIT_CODES_MAX:
        errors.append(field.too_many(path, len(values), _EXIT_CODES_MAX))
    for position, value in enumerate(values):
        if codes.operator == "In" and value == 0:
            errors.append(field.invalid(path[position], value, "must not be 0 for the In operator"))
        if value in values[:position]:
            errors.append(field.duplicate(path[position], value))
    if values != sorted(values):
        errors.append(field.invalid(path, values, "must be ordered"))
    return errors


def success_policy_errors(spec: Any, path: Path) -> list[FieldError]:
    """Every error of spec.successPolicy."""
    rules, path = spec.successPolicy.rules, path["rules"]
    errors: list[FieldError] = []
    if not rules:
        detail = "at least one rules must be specified when the successPolicy is specified"
        errors.append(field.required(path, detail))
    if len(rules) > _RULES_MAX:
        errors.append(field.too_many(path, len(rules), _RULES_MAX))
    for position, rule in enumerate(rules):
        errors += _success_rule_errors(spec.completions or 0, rule, path[position])
    return errors


def _success_rule_errors(completions: int, rule: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if rule.succeededCount is None and rule.succeededIndexes is None:
        detail = "at least one of succeededCount or succeededIndexes must be specified"
        errors.append(field.required(path, detail))
    indexes = 0
    if rule.succeededIndexes is not None:
        at = path["succeededIndexes"]
        if len(rule.succeededIndexes) > _SUCCEEDED_INDEXES_MAX_BYTES:
            errors.append(field.too_long(at, _SUCCEEDED_INDEXES_MAX_BYTES))
        try:
            indexes = count_indexes(rule.succeededIndexes, completions)
        except IndexesError as error:
            detail = f"error parsing succeededIndexes: {error}"
            errors.append(field.invalid(at, rule.succeededIndexes, detail))
    count = rule.succeededCount
    if count is not None:
        at = path["succeededCount"]
        errors += checks.non_negative(count, at)
        if count > completions:
            detail = f"must be less than or equal to {completions} (the number of specified completions)"
            errors.append(field.invalid(at, count, detail))
        if rule.succeededIndexes is not None and count > indexes:
            detail = (
                f"must be less than or equal to {indexes} "
                "(the number of indexes in the specified succeededIndexes field)"
            )
            errors.append(field.invalid(at, count, detail))
    return errors
