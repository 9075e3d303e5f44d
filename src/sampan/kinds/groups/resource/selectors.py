"""Selectors of devices and tolerations of their taints, which several kinds hold."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from sampan.kinds.groups import checks
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

if TYPE_CHECKING:
    from sampan.kinds.custom.sizes import Shape

EFFECTS: Final = ("NoExecute", "NoSchedule", "None")
_SELECTORS_MAX: Final = 32
_EXPRESSION_MAX_BYTES: Final = 10 * 1024
# CELSelectorExpressionMaxCost: of an expression on one device, estimated here, and counted when it is used.
MOST_COST: Final = 1_000_000
# The most attributes and capacities of a device, and the longest text of an attribute and of a driver's name.
_MOST_NAMES, _VALUE_MAX_BYTES, _DRIVER_MAX_BYTES = 32, 64, 63


def selectors_errors(selectors: Sequence[Any], path: Path) -> list[FieldError]:
    """Every error of a list of device selectors; their CEL is looked at by `expressions_errors`."""
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


def expressions_errors(selectors: Sequence[Any], path: Path) -> list[FieldError]:
    """What is wrong with the CEL of new selectors: it does not compile, or could cost too much on one device.

    For what is stored already nobody asks: it was good when it was written.
    """
    errors: list[FieldError] = []
    for position, selector in enumerate(selectors):
        expression = selector.cel.expression if selector.cel is not None else ""
        if expression and len(expression.encode()) <= _EXPRESSION_MAX_BYTES:
            errors += _expression_errors(expression, path[position]["cel"]["expression"])
    return errors


def _expression_errors(expression: str, path: Path) -> list[FieldError]:
    from sampan.kinds.custom.costs import cost_of  # late: few objects have expressions
    from sampan.machinery import cel

    try:
        program = cel.compile(expression, {"device": "dyn"})
    except cel.CompileError as problem:
        return [field.invalid(path, expression, str(problem))]
    if program.result_type not in ("bool", "dyn"):
        detail = f"must evaluate to bool or the unknown type, not {program.result_type}"
        return [field.invalid(path, expression, detail)]
    if cost_of(program.tree.root, {"device": _device_shape()}) > MOST_COST:
        return [field.forbidden(path, "too complex, exceeds cost limit")]
    return []


@lru_cache(maxsize=1)
def _device_shape() -> Shape:
    """How large what a selector sees of a device can be."""
    from sampan.kinds.custom.sizes import ANY, MAP, NUMBER, OBJECT, STRING, Shape

    def by_domain(value: Shape) -> Shape:
        return Shape(MAP, _MOST_NAMES, Shape(MAP, _MOST_NAMES, value))

    fields = {
        "driver": Shape(STRING, _DRIVER_MAX_BYTES),
        "attributes": by_domain(Shape(ANY, _VALUE_MAX_BYTES)),
        "capacity": by_domain(NUMBER),
        "allowMultipleAllocations": NUMBER,
    }
    return Shape(OBJECT, 0, None, fields)


def tolerations_errors(tolerations: Sequence[Any], path: Path, late: list[FieldError]) -> list[FieldError]:
    """Every error of a request's tolerations; what kube-apiserver tells last is added to `late`."""
    errors: list[FieldError] = []
    for position, toleration in enumerate(tolerations):
        errors += _toleration_errors(toleration, path[position], late)
    return errors


def _toleration_errors(toleration: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    errors: list[FieldError] = []
    operator, value = toleration.operator or "", toleration.value or ""
    if toleration.key:
        late += checks.named(toleration.key, names.qualified_name(toleration.key), path["key"])
    if operator == "Exists":
        if value:
            errors.append(field.invalid(path["value"], value, "must be empty for operator `Exists`"))
    elif operator == "Equal":
        errors += checks.named(value, names.label_value(value), path["value"])
    else:
        late += checks.required_one_of(operator, ("Equal", "Exists"), path["operator"])
    late += checks.one_of(toleration.effect or None, EFFECTS, path["effect"])
    return errors
