"""Selectors of devices and tolerations of their taints, which several kinds hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_SELECTORS_MAX: Final = 32
_TOLERATIONS_MAX: Final = 16
_EXPRESSION_MAX_BYTES: Final = 10 * 1024


def selectors_errors(selectors: Sequence[Any], path: Path) -> list[FieldError]:
    """Every error of a list of device selectors; whether their CEL compiles is not decided here."""
    errors: list[FieldError] = []
    if len(selectors) > _SELECTORS_MAX:
        errors.append(field.too_many(path, len(selectors), _SELECTORS_MAX))
    for position, selector in enumerate(selectors):
        at = path[position]["cel"]
        if selector.cel is None:
            errors.append(field.required(at))
        elif not selector.cel.expression:
            errors.append(field.required(at["expression"]))
        elif len(selector.cel.expression.encode()) > _EXPRESSION_MAX_BYTES:
            errors.append(field.too_long(at["expression"], _EXPRESSION_MAX_BYTES))
    return errors


def tolerations_errors(tolerations: Sequence[Any], path: Path) -> list[FieldError]:
    """Every error of a request's tolerations."""
    errors: list[FieldError] = []
    if len(tolerations) > _TOLERATIONS_MAX:
        errors.append(field.too_many(path, len(tolerations), _TOLERATIONS_MAX))
    for position, toleration in enumerate(tolerations):
        errors += _toleration_errors(toleration, path[position])
    return errors


def _toleration_errors(toleration: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    operator = toleration.operator or ""
    if toleration.key:
        errors += checks.named(toleration.key, names.qualified_name(toleration.key), path["key"])
    if operator == "Exists":
        if toleration.value:
            detail = "must be empty for operator `Exists`"
            errors.append(field.invalid(path["value"], toleration.value, detail))
    elif operator == "Equal":
        value = toleration.value or ""
        errors += checks.named(value, names.label_value(value), path["value"])
        if not toleration.key:
            errors.append(field.required(path["key"], "must be set for operator `Equal`"))
    else:
        errors.append(field.not_supported(path["operator"], operator, ("Equal", "Exists")))
    return errors + checks.one_of(toleration.effect or None, EFFECTS, path["effect"])
