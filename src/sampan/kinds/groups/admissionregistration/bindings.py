"""ValidatingAdmissionPolicyBinding and MutatingAdmissionPolicyBinding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.core.cells import UNSET
from sampan.kinds.groups import checks
from sampan.kinds.groups.admissionregistration import rules
from sampan.kinds.groups.admissionregistration.rules import API_VERSION
from sampan.kinds.groups.cells import column, selector_text
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path

_ACTIONS: Final = ("Audit", "Deny", "Warn")
_NOT_FOUND_ACTIONS: Final = ("Deny", "Allow")


def default(obj: Any) -> None:
    """What a binding matches has the defaults of what a policy matches."""
    rules.default_match_resources(obj.spec.matchResources)


def validate_validating(obj: Any) -> list[FieldError]:
    """Every error of a ValidatingAdmissionPolicyBinding."""
    return _common_errors(obj.spec) + _actions_errors(obj.spec.validationActions, SPEC["validationActions"])


def validate_mutating(obj: Any) -> list[FieldError]:
    """Every error of a MutatingAdmissionPolicyBinding."""
    return _common_errors(obj.spec)


def _common_errors(spec: Any) -> list[FieldError]:
    errors = checks.required_name(spec.policyName, names.dns1123_subdomain, SPEC["policyName"])
    if spec.paramRef is not None:
        errors += _param_ref_errors(spec.paramRef, SPEC["paramRef"])
    if spec.matchResources is not None:
        errors += rules.match_resources_errors(spec.matchResources, SPEC["matchResources"])
    return errors


def _param_ref_errors(ref: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if ref.name:
        errors += checks.named(ref.name, names.path_segment_name(ref.name), path["name"])
        if ref.selector is not None:
            errors.append(field.forbidden(path["name"], "name and selector are mutually exclusive"))
    if ref.selector is not None:
        errors += meta.validate_label_selector(ref.selector, path["selector"])
        if ref.name:
            errors.append(field.forbidden(path["selector"], "name and selector are mutually exclusive"))
    if not ref.name and ref.selector is None:
        errors.append(field.required(path, "one of name or selector must be specified"))
    at = path["parameterNotFoundAction"]
    if not ref.parameterNotFoundAction:
        return [*errors, field.required(at)]
    return errors + checks.one_of(ref.parameterNotFoundAction, _NOT_FOUND_ACTIONS, at)


def _actions_errors(actions: Sequence[str], path: Path) -> list[FieldError]:
    if not actions:
        return [field.required(path)]
    errors: list[FieldError] = []
    for position, action in enumerate(actions):
        errors += checks.one_of(action, _ACTIONS, path[position])
        if action in actions[:position]:
            errors.append(field.duplicate(path[position], action))
    if {"Deny", "Warn"} <= set(actions):
        detail = (
            "must not contain both Deny and Warn (repeating the same validation failure information "
            "in the API response and headers serves no purpose)"
        )
        errors.append(field.invalid(path, list(actions), detail))
    return errors


def _param_ref(obj: Any) -> str:
    ref = obj.spec.paramRef
    if ref is None:
        return UNSET
    if ref.name:
        return f"{ref.namespace or '*'}/{ref.name}"
    return selector_text(ref.selector) if ref.selector is not None else UNSET


_COLUMNS: Final[tuple[Column, ...]] = (
    NAME,
    column("PolicyName", lambda binding: binding.spec.policyName or ""),
    column("ParamRef", _param_ref),
    AGE,
)
MUTATING: Final = Kind(
    api_version=API_VERSION,
    kind="MutatingAdmissionPolicyBinding",
    plural="mutatingadmissionpolicybindings",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    generation=True,
    default=default,
    validate=validate_mutating,
    name_errors=names.dns1123_subdomain,
    columns=_COLUMNS,
)
VALIDATING: Final = Kind(
    api_version=API_VERSION,
    kind="ValidatingAdmissionPolicyBinding",
    plural="validatingadmissionpolicybindings",
    categories=("api-extensions",),
    namespaced=CLUSTER,
    generation=True,
    default=default,
    validate=validate_validating,
    name_errors=names.dns1123_subdomain,
    columns=_COLUMNS,
)
