"""ValidatingAdmissionPolicy and MutatingAdmissionPolicy; expressions.py looks at their CEL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.core.cells import UNSET
from sampan.kinds.groups import checks
from sampan.kinds.groups.admissionregistration import expressions, rules
from sampan.kinds.groups.admissionregistration.rules import API_VERSION
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_REASONS: Final = ("Forbidden", "Invalid", "RequestEntityTooLarge")
_PATCH_TYPES: Final = ("ApplyConfiguration", "JSONPatch")
_MEMBERS: Final = {"ApplyConfiguration": "applyConfiguration", "JSONPatch": "jsonPatch"}
_MESSAGE_MAX_CHARS: Final = 5 * 1024


def default(obj: Any) -> None:
    """A policy that cannot be evaluated refuses the request where nothing is said."""
    obj.spec.failurePolicy = "Fail" if obj.spec.failurePolicy is None else obj.spec.failurePolicy
    rules.default_match_resources(obj.spec.matchConstraints)


def validate_validating(obj: Any) -> list[FieldError]:
    """Every error of a ValidatingAdmissionPolicy."""
    spec, errors = obj.spec, _common_errors(obj.spec)
    if not spec.validations and not spec.auditAnnotations:
        detail = "validations or auditAnnotations must contain at least one item"
        errors.append(field.required(SPEC["validations"], detail))
        errors.append(field.required(SPEC["auditAnnotations"], detail))
    for position, validation in enumerate(spec.validations):
        errors += _validation_errors(validation, SPEC["validations"][position])
    seen: set[str] = set()
    for position, annotation in enumerate(spec.auditAnnotations):
        path = SPEC["auditAnnotations"][position]
        key = f"{obj.metadata.name}/{annotation.key}"
        if not annotation.key:
            errors.append(field.required(path["key"]))
        else:
            errors += checks.named(annotation.key, names.qualified_name(key), path["key"])
        if not annotation.valueExpression.strip():
            errors.append(field.required(path["valueExpression"], "valueExpression is not specified"))
        if annotation.key in seen:
            errors.append(field.duplicate(path["key"], annotation.key))
        seen.add(annotation.key)
    return errors + expressions.validating_errors(spec)


def _common_errors(spec: Any) -> list[FieldError]:
    errors = checks.one_of(spec.failurePolicy, rules.FAILURE_POLICIES, SPEC["failurePolicy"])
    if spec.paramKind is not None:
        errors += _param_kind_errors(spec.paramKind, SPEC["paramKind"])
    path = SPEC["matchConstraints"]
    if spec.matchConstraints is None:
        errors.append(field.required(path))
    else:
        errors += rules.match_resources_errors(spec.matchConstraints, path)
        if not spec.matchConstraints.resourceRules:
            errors.append(field.required(path["resourceRules"]))
    errors += _variables_errors(spec.variables, SPEC["variables"])
    return errors + rules.conditions_errors(spec.matchConditions, SPEC["matchConditions"])


def _param_kind_errors(kind: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not kind.apiVersion:
        errors.append(field.required(path["apiVersion"]))
    elif kind.apiVersion.count("/") > 1:
        detail = f"unexpected GroupVersion string: {kind.apiVersion}"
        errors.append(field.invalid(path["apiVersion"], kind.apiVersion, detail))
    else:
        group, _, version = kind.apiVersion.rpartition("/")
        if group:
            errors += checks.named(kind.apiVersion, names.dns1123_subdomain(group), path["apiVersion"])
        errors += checks.named(kind.apiVersion, names.dns1035_label(version), path["apiVersion"])
    if not kind.kind:
        errors.append(field.required(path["kind"]))
    else:
        messages = names.dns1035_label(kind.kind.lower())
        detail = "may have mixed case, but should otherwise match: "
        errors += [field.invalid(path["kind"], kind.kind, detail + message) for message in messages]
    return errors


def _variables_errors(variables: Sequence[Any], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for position, variable in enumerate(variables):
        at = path[position]
        if not variable.name:
            errors.append(field.required(at["name"], "name is not specified"))
        elif names.c_identifier(variable.name):
            errors.append(field.invalid(at["name"], variable.name, "name is not a valid CEL identifier"))
        if not variable.expression.strip():
            errors.append(field.required(at["expression"], "expression is not specified"))
    return errors


def _validation_errors(validation: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not validation.expression.strip():
        errors.append(field.required(path["expression"], "expression is not specified"))
    message = validation.message or ""
    if message and not message.strip():
        errors.append(field.invalid(path["message"], message, "message must be non-empty if specified"))
    elif "\n" in message.strip():
        errors.append(field.invalid(path["message"], message, "message must not contain line breaks"))
    elif "\n" in validation.expression.strip() and not message:
        detail = "message must be specified if expression contains line breaks"
        errors.append(field.required(path["message"], detail))
    if len(message) > _MESSAGE_MAX_CHARS:
        errors.append(field.too_long(path["message"], _MESSAGE_MAX_CHARS))
    return errors + checks.one_of(validation.reason, _REASONS, path["reason"])


def validate_mutating(obj: Any) -> list[FieldError]:
    """Every error of a MutatingAdmissionPolicy."""
    spec, errors = obj.spec, _common_errors(obj.spec)
    errors += rules.mutated_operations_errors(spec.matchConstraints, SPEC["matchConstraints"])
    path = SPEC["reinvocationPolicy"]
    errors += checks.required_one_of(spec.reinvocationPolicy, rules.REINVOCATION_POLICIES, path)
    if not spec.mutations:
        errors.append(field.required(SPEC["mutations"], "mutations must contain at least one item"))
    for position, mutation in enumerate(spec.mutations):
        errors += _mutation_errors(mutation, SPEC["mutations"][position])
    return errors + expressions.mutating_errors(spec)


def _mutation_errors(mutation: Any, path: Path) -> list[FieldError]:
    errors = checks.required_one_of(mutation.patchType, _PATCH_TYPES, path["patchType"])
    for type, member in _MEMBERS.items():
        value = getattr(mutation, member)
        if type == mutation.patchType:
            if value is None:
                errors.append(field.required(path[member], f"must be specified when patchType is {type}"))
            elif not (value.expression or "").strip():
                errors.append(field.required(path[member]["expression"], "expression is not specified"))
        elif value is not None:
            detail = f"must not be specified when patchType is {mutation.patchType}"
            errors.append(field.invalid(path[member], "{}", detail))
    return errors


def _param_kind(obj: Any) -> str:
    kind = obj.spec.paramKind
    return UNSET if kind is None else f"{kind.apiVersion}/{kind.kind}"


MUTATING: Final = Kind(
    api_version=API_VERSION,
    kind="MutatingAdmissionPolicy",
    plural="mutatingadmissionpolicies",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    generation=True,
    default=default,
    validate=validate_mutating,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Mutations", lambda policy: len(policy.spec.mutations), type="integer"),
        column("ParamKind", _param_kind),
        AGE,
    ),
)
VALIDATING: Final = Kind(
    api_version=API_VERSION,
    kind="ValidatingAdmissionPolicy",
    plural="validatingadmissionpolicies",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    generation=True,
    default=default,
    prepare_create=checks.clear_status,
    validate=validate_validating,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Validations", lambda policy: len(policy.spec.validations), type="integer"),
        column("ParamKind", _param_kind),
        AGE,
    ),
)
