"""Whether the CEL of webhooks and policies compiles, and with which variables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from sampan.kinds.groups.checks import SPEC
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

if TYPE_CHECKING:
    from sampan.machinery import cel

WEBHOOK_VARIABLES: Final[Mapping[str, str]] = {
    "object": "dyn",
    "oldObject": "dyn",
    "request": "dyn",
    "authorizer": "kubernetes.authorization.Authorizer",
    "authorizer.requestResource": "kubernetes.authorization.ResourceCheck",
}
POLICY_VARIABLES: Final[Mapping[str, str]] = {**WEBHOOK_VARIABLES, "namespaceObject": "dyn"}
_BOOL: Final = ("bool", "dyn")
_STRING: Final = ("string", "dyn")
_TEXT_OR_NULL: Final = ("string", "null", "null_type", "dyn")
_MUST: Final = {
    _BOOL: "must evaluate to bool",
    _STRING: "must evaluate to string",
    _TEXT_OR_NULL: "must evaluate to one of: string, null_type",
}


def policy_variables(spec: Any) -> dict[str, str]:
    """The variables that a policy's expressions see, but `variables`."""
    params = {"params": "dyn"} if spec.paramKind is not None else {}
    return {**POLICY_VARIABLES, **params}


def conditions_errors(
    conditions: Sequence[Any], path: Path, variables: Mapping[str, str] = WEBHOOK_VARIABLES
) -> list[FieldError]:
    """What is wrong with the CEL of match conditions."""
    errors: list[FieldError] = []
    for position, condition in enumerate(conditions):
        errors += _errors(condition.expression, path[position]["expression"], variables, _BOOL)
    return errors


def webhooks_errors(webhooks: Sequence[Any]) -> list[FieldError]:
    """What is wrong with the CEL of a webhook configuration."""
    errors: list[FieldError] = []
    for position, webhook in enumerate(webhooks):
        if webhook.matchConditions:
            errors += conditions_errors(
                webhook.matchConditions, Path("webhooks")[position]["matchConditions"]
            )
    return errors


def policy_errors(spec: Any) -> list[FieldError]:
    """What is wrong with the CEL that both kinds of policies have."""
    errors: list[FieldError] = []
    known = policy_variables(spec)
    # Conditions cannot refer to variables.
    errors += conditions_errors(spec.matchConditions, SPEC["matchConditions"], known)
    declared: list[str] = []
    for position, variable in enumerate(spec.variables):
        path = SPEC["variables"][position]["expression"]
        errors += _errors(variable.expression, path, known, (), declared)
        declared.append(variable.name)
    return errors


def validating_errors(spec: Any) -> list[FieldError]:
    """What is wrong with the CEL of a ValidatingAdmissionPolicy."""
    errors, known = policy_errors(spec), policy_variables(spec)
    declared = [variable.name for variable in spec.variables]
    for position, validation in enumerate(spec.validations):
        path = SPEC["validations"][position]
        errors += _errors(validation.expression, path["expression"], known, _BOOL, declared)
        if validation.messageExpression:
            own = {name: kind for name, kind in known.items() if not name.startswith("authorizer")}
            at = path["messageExpression"]
            errors += _errors(validation.messageExpression, at, own, _STRING, declared)
    for position, annotation in enumerate(spec.auditAnnotations):
        path = SPEC["auditAnnotations"][position]["valueExpression"]
        errors += _errors(annotation.valueExpression, path, known, _TEXT_OR_NULL, declared)
    return errors


def mutating_errors(spec: Any) -> list[FieldError]:
    """What is wrong with the CEL of a MutatingAdmissionPolicy."""
    errors, known = policy_errors(spec), policy_variables(spec)
    declared = [variable.name for variable in spec.variables]
    for position, mutation in enumerate(spec.mutations):
        path = SPEC["mutations"][position]
        for member in ("applyConfiguration", "jsonPatch"):
            value = getattr(mutation, member)
            if value is not None:
                at = path[member]["expression"]
                errors += _errors(value.expression or "", at, known, (), declared, checked=False)
    return errors


def _errors(
    expression: str,
    path: Path,
    variables: Mapping[str, str],
    kinds: tuple[str, ...],
    declared: Sequence[str] | None = None,
    *,
    checked: bool = True,
) -> list[FieldError]:
    from sampan.machinery import cel

    if not expression.strip():
        return []  # said elsewhere
    known = dict(variables) if declared is None else {**variables, "variables": "dyn"}
    try:
        program = cel.compile(expression, known, checked=checked)
    except cel.CompileError as refused:
        return [field.invalid(path, expression, str(refused))]
    unknown = _unknown_variable(program, declared or ())
    if unknown:
        return [field.invalid(path, expression, f"compilation failed: {unknown}")]
    if kinds and program.result_type not in kinds:
        return [field.invalid(path, expression, _MUST[kinds])]
    return []


def _unknown_variable(program: cel.Program, declared: Sequence[str]) -> str:
    """cel-go's error for `variables.x` where there is no x before it; empty where all are there."""
    from sampan.machinery.cel import ast, fields

    for node in ast.walk(program.tree.root):
        if not isinstance(node, ast.Select) or not isinstance(node.operand, ast.Ident):
            continue
        if node.operand.name != "variables" or node.field in declared:
            continue
        at = program.tree.positions.get(node.id, 0)
        return fields.located(program.expression, at, f"undefined field '{node.field}'")
    return ""
