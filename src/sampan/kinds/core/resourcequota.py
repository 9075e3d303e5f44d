"""ResourceQuota: what all objects of a namespace together may ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Final

from sampan.kinds.core.pod_defaults import round_to_milli
from sampan.kinds.core.resources import is_quota_resource, quota_resource_name_errors, validate_amounts
from sampan.kinds.kind import AGE, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.quantity import Quantity
from sampan.schema import api

_SPEC: Final = Path("spec")
_STATUS: Final = Path("status")
_WITHOUT_VALUES: Final = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "CrossNamespacePodAffinity",
)
_SCOPES: Final = frozenset({*_WITHOUT_VALUES, "PriorityClass", "VolumeAttributesClass"})
_EXCLUSIVE: Final = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
# Which resources a scope can count.
_POD_COMPUTE: Final = frozenset(
    f"{side}{name}" for side in ("", "requests.", "limits.") for name in ("cpu", "memory")
)
_POD_RESOURCES: Final = _POD_COMPUTE | {"pods"}
_CLAIM_RESOURCES: Final = frozenset({"persistentvolumeclaims", "requests.storage"})
_EXISTS_WORDS: Final = (
    "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, ResourceQuotaScopeNotTerminating, "
    "ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or "
    "ResourceQuotaScopeCrossNamespacePodAffinity"
)
_ZERO: Final = Quantity("0")


def default_quota(quota: api.ResourceQuota) -> None:
    """Amounts are counted in thousandths at the finest."""
    for amounts in (quota.spec.hard, quota.status.hard, quota.status.used):
        round_to_milli(amounts)


def prepare_create(quota: api.ResourceQuota) -> None:
    """The controller counts first."""
    quota.status = api.ResourceQuotaStatus()


def validate_quota(quota: api.ResourceQuota) -> list[FieldError]:
    """Resources are known, and fit the scopes."""
    spec = quota.spec
    errors = validate_amounts(spec.hard, quota_resource_name_errors, _SPEC["hard"])
    if spec.scopes:
        errors += _validate_scopes(spec)
    if spec.scopeSelector is not None:
        errors += _validate_scope_selector(spec, spec.scopeSelector)
    return errors


def validate_quota_update(quota: api.ResourceQuota, old: api.ResourceQuota) -> list[FieldError]:
    """The scopes stay."""
    if set(quota.spec.scopes) == set(old.spec.scopes):
        return []
    return [field.invalid(_SPEC["scopes"], quota.spec.scopes or None, "field is immutable")]


def validate_status_update(quota: api.ResourceQuota, _old: api.ResourceQuota) -> list[FieldError]:
    """What is counted is named and measured as in the spec."""
    errors = validate_amounts(quota.status.hard, quota_resource_name_errors, _STATUS["hard"])
    return errors + validate_amounts(quota.status.used, quota_resource_name_errors, _STATUS["used"])


def scope_counts(scope: str, resource: str) -> bool:
    """Whether a quota of `scope` can count `resource`."""
    if scope == "BestEffort":
        return resource == "pods"
    if scope == "VolumeAttributesClass":
        return resource in _CLAIM_RESOURCES
    return resource in _POD_RESOURCES if scope in _SCOPES else True


def _validate_scopes(spec: api.ResourceQuotaSpec) -> list[FieldError]:
    path = _SPEC["scopes"]
    errors: list[FieldError] = []
    for scope in spec.scopes:
        if scope not in _SCOPES:
            errors.append(field.invalid(path, spec.scopes, "unsupported scope"))
        errors += _uncounted(scope, spec.hard, lambda m: field.invalid(path, spec.scopes, m))
    return errors + _conflicts(spec.scopes, lambda m: field.invalid(path, spec.scopes, m))


def _validate_scope_selector(spec: api.ResourceQuotaSpec, selector: api.ScopeSelector) -> list[FieldError]:
    path = _SPEC["scopeSelector"]["matchExpressions"]
    errors: list[FieldError] = []
    for term in selector.matchExpressions:
        if term.scopeName not in _SCOPES:
            errors.append(field.invalid(path["scopeName"], term.scopeName, "unsupported scope"))
        errors += _uncounted(term.scopeName, spec.hard, lambda m: field.invalid(path, selector, m))
        if term.scopeName in _WITHOUT_VALUES and term.operator != "Exists":
            errors.append(field.invalid(path["operator"], term.operator, _EXISTS_WORDS))
        if term.operator in ("In", "NotIn"):
            if not term.values:
                detail = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                errors.append(field.required(path["values"], detail))
        elif term.operator in ("Exists", "DoesNotExist"):
            if term.values:
                detail = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                errors.append(field.invalid(path["values"], term.values, detail))
        else:
            errors.append(field.invalid(path["operator"], term.operator, "not a valid selector operator"))
    scopes = [term.scopeName for term in selector.matchExpressions]
    return errors + _conflicts(scopes, lambda m: field.invalid(path, spec.scopes, m))


def _uncounted(scope: str, resources: Iterable[str], error: Callable[[str], FieldError]) -> list[FieldError]:
    wrong = [r for r in sorted(resources) if is_quota_resource(r) and not scope_counts(scope, r)]
    return [error("unsupported scope applied to resource") for _ in wrong]


def _conflicts(scopes: Iterable[str], error: Callable[[str], FieldError]) -> list[FieldError]:
    given = set(scopes)
    return [error("conflicting scopes") for pair in _EXCLUSIVE if given.issuperset(pair)]


def _usage(quota: api.ResourceQuota, of_limits: bool) -> str:
    used = quota.status.used
    return ", ".join(
        f"{name}: {used.get(name, _ZERO)}/{quota.status.hard[name]}"
        for name in sorted(quota.status.hard)
        if name.startswith("limits") == of_limits
    )


def _requests_cell(quota: api.ResourceQuota, _now: datetime) -> str:
    return _usage(quota, of_limits=False)


def _limits_cell(quota: api.ResourceQuota, _now: datetime) -> str:
    return _usage(quota, of_limits=True)


KIND: Final = Kind(
    api_version="v1",
    kind="ResourceQuota",
    plural="resourcequotas",
    short=("quota",),
    status=True,
    default=default_quota,
    validate=validate_quota,
    validate_update=validate_quota_update,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        Column("Request", _requests_cell, description="What is requested, of what may be."),
        Column("Limit", _limits_cell, description="What the limits come to, of what they may."),
        AGE,
    ),
)
