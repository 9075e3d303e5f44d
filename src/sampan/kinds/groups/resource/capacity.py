"""What a capacity's requestPolicy may say."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups.checks import NEGATIVE
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.machinery.quantity import Quantity, quantity

_OPTIONS_MAX: Final = 10
_MOST: Final = 2**63 - 1


def capacity_errors(capacity: Any, path: Path, *, shared: bool) -> list[FieldError]:
    """Every error of one capacity of a device; only one that is `shared` may have a policy."""
    policy = capacity.requestPolicy
    if policy is None:
        return []
    path = path["requestPolicy"]
    if not shared:
        return [field.forbidden(path, "allowMultipleAllocations must be true")]
    if policy.validValues and policy.validRange is not None:
        detail = (
            'exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same '
        )
        return [field.forbidden(path, detail + "time")]
    total = capacity.value or quantity("0")
    for name in ("validValues", "validRange"):
        if getattr(policy, name) and policy.default is None:
            return [field.required(path["default"], f"required when {name} is defined")]
    if policy.validValues:
        return _values_errors(policy.default, total, policy.validValues, path["validValues"])
    if policy.validRange is not None:
        return _range_errors(policy.default, total, policy.validRange, path["validRange"])
    return []


def _values_errors(
    default: Quantity, total: Quantity, values: list[Quantity], path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    for position in range(1, len(values)):
        if values[position] < values[position - 1]:
            detail = "values must be sorted in ascending order"
            errors.append(field.invalid(path[position], str(values[position]), detail))
    if len(values) > _OPTIONS_MAX:
        return [*errors, field.too_many(path, len(values), _OPTIONS_MAX)]
    for position, value in enumerate(values):
        if total < value:
            detail = f"option is larger than capacity value: {total}"
            errors.append(field.invalid(path[position], str(value), detail))
        if value in values[:position]:
            errors.append(field.duplicate(path[position], str(value.whole())))
    if default not in values:
        detail = "default value is not valid according to the requestPolicy"
        errors.append(field.invalid(path, str(default), detail))
    return errors


def _range_errors(default: Quantity, total: Quantity, given: Any, path: Path) -> list[FieldError]:
    least, most, step = given.min, given.max, given.step
    if least is None:
        return [field.required(path["min"], "required when validRange is defined")]
    found: list[tuple[bool, str, Quantity, str]] = [
        (total < least, "min", least, f"min is larger than capacity value: {total}"),
        (default < least, "default", default, f"default is less than min: {least}"),
    ]
    if most is not None:
        found += [
            (most < least, "max", least, f"min is larger than max: {most}"),
            (total < most, "max", most, f"max is larger than capacity value: {total}"),
            (most < default, "default", default, f"default is more than max: {most}"),
        ]
    errors = [field.invalid(path[name], str(value), detail) for bad, name, value, detail in found if bad]
    return errors if step is None else errors + _step_errors(default, total, given, path)


def _step_errors(default: Quantity, total: Quantity, given: Any, path: Path) -> list[FieldError]:
    least, most, step = given.min, given.max, given.step
    if step.value <= 0:
        return [field.invalid(path["step"], str(step), "must be greater than zero")]
    errors: list[FieldError] = []
    first = quantity(f"{least.value + step.value:f}")
    if total < first:
        detail = f"one step {first} is larger than capacity value: {total}"
        errors.append(field.invalid(path["step"], str(step), detail))
    unfit: list[FieldError] = []
    for name, value in (("default", default), ("min", least), ("max", most), ("step", step)):
        if value is not None and value.value < 0:
            unfit.append(field.invalid(path[name], str(value), NEGATIVE))
        elif value is not None and value.value > _MOST:
            unfit.append(field.invalid(path[name], str(value), f"must not be larger than {_MOST}"))
    if unfit:
        return errors + unfit
    for value in (default, most):
        if value is not None and (value.value - least.value) % step.value:
            detail = f"value is not a multiple of a given step ({step}) from ({least})"
            errors.append(field.invalid(path["step"], str(value), detail))
    return errors
