"""The kinds of authentication.k8s.io/v1 and authorization.k8s.io/v1: questions that are never stored."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import CLUSTER, NAMESPACED, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

_AUTHENTICATION: Final = "authentication.k8s.io/v1"
_AUTHORIZATION: Final = "authorization.k8s.io/v1"
_CREATE: Final = ("create",)
# What the server itself sets, and so does not mind.
_SYSTEM: Final = frozenset(
    {"creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "managedFields", "uid"}
)


def validate_access_review(obj: Any) -> list[FieldError]:
    """A review asks of one user or group: ValidateSubjectAccessReview."""
    return _subject_errors(obj) + _metadata_errors(obj, "must be empty")


def validate_local_access_review(obj: Any) -> list[FieldError]:
    """A review within a namespace asks of that namespace's resources."""
    errors = _subject_errors(obj) + _metadata_errors(obj, "must be empty except for namespace", "namespace")
    attributes, namespace = obj.spec.resourceAttributes, obj.metadata.namespace or ""
    if attributes is not None and (attributes.namespace or "") != namespace:
        path = SPEC["resourceAttributes"]["namespace"]
        errors.append(field.invalid(path, attributes.namespace or "", "must match metadata.namespace"))
    if obj.spec.nonResourceAttributes is not None:
        detail = "disallowed on this kind of request"
        value = _shown(obj.spec)
        errors.append(field.invalid(SPEC["nonResourceAttributes"], value, detail))
    return errors


def validate_self_access_review(obj: Any) -> list[FieldError]:
    """A review asks of a resource or of a path, and has no metadata."""
    errors = _question_errors(obj.spec) + _attributes_errors(obj.spec.resourceAttributes)
    return errors + _metadata_errors(obj, "must be empty")


def _subject_errors(obj: Any) -> list[FieldError]:
    errors = _question_errors(obj.spec)
    if not obj.spec.user and not obj.spec.groups:
        detail = "at least one of user or group must be specified"
        errors.append(field.invalid(SPEC["user"], obj.spec.user or "", detail))
    return errors + _attributes_errors(obj.spec.resourceAttributes)


def _question_errors(spec: Any) -> list[FieldError]:
    if (spec.resourceAttributes is None) != (spec.nonResourceAttributes is None):
        return []
    detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    return [field.invalid(SPEC, _shown(spec), detail)]


def _shown(spec: Any) -> dict[str, Any] | None:
    path = spec.nonResourceAttributes
    return None if path is None else checks.printed(path, ("Path", "Verb"))


def _metadata_errors(obj: Any, detail: str, *allowed: str) -> list[FieldError]:
    given = [name for name in obj.metadata.__struct_fields__ if getattr(obj.metadata, name)]
    if not set(given) - {*allowed} - _SYSTEM:
        return []
    return [field.invalid(METADATA, obj.metadata, detail)]


def _attributes_errors(attributes: Any | None) -> list[FieldError]:
    if attributes is None:
        return []
    errors: list[FieldError] = []
    for name in ("fieldSelector", "labelSelector"):
        if (selector := getattr(attributes, name)) is not None:
            errors += _selector_errors(selector, name, SPEC["resourceAttributes"][name])
    return errors


def _selector_errors(selector: Any, name: str, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    raw, requirements = selector.rawSelector, selector.requirements
    if raw and requirements:
        detail = "may not specified at the same time as requirements"
        errors.append(field.invalid(path["rawSelector"], raw, detail))
    if not raw and not requirements:
        detail = f"when {path} is specified, requirements or rawSelector is required"
        errors.append(field.required(path["requirements"], detail))
    for position, requirement in enumerate(requirements):
        errors += _requirement_errors(requirement, name, path["requirements"][position])
    return errors


def _requirement_errors(requirement: Any, name: str, path: Path) -> list[FieldError]:
    """What of a requirement is wrong; operators that are not known may be newer ones."""
    operator, values, key = requirement.operator, requirement.values, requirement.key
    errors: list[FieldError] = []
    if name == "fieldSelector" and not key:
        errors.append(field.required(path["key"], "must be specified"))
    if operator in ("In", "NotIn") and not values:
        detail = "must be specified when `operator` is 'In' or 'NotIn'"
        errors.append(field.required(path["values"], detail))
    elif operator in ("Exists", "DoesNotExist") and values:
        detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        errors.append(field.forbidden(path["values"], detail))
    if name == "labelSelector":
        errors += checks.named(key, names.qualified_name(key), path["key"])
        for position, value in enumerate(values):
            errors += checks.named(value, names.label_value(value), path["values"][position])
    return errors


TOKEN_REVIEW: Final = Kind(
    api_version=_AUTHENTICATION,
    kind="TokenReview",
    plural="tokenreviews",
    namespaced=CLUSTER,
    verbs=_CREATE,
    virtual=True,
)
SELF_SUBJECT_REVIEW: Final = Kind(
    api_version=_AUTHENTICATION,
    kind="SelfSubjectReview",
    plural="selfsubjectreviews",
    namespaced=CLUSTER,
    verbs=_CREATE,
    virtual=True,
)
LOCAL_SUBJECT_ACCESS_REVIEW: Final = Kind(
    api_version=_AUTHORIZATION,
    kind="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    namespaced=NAMESPACED,
    verbs=_CREATE,
    validate=validate_local_access_review,
    virtual=True,
)
SELF_SUBJECT_ACCESS_REVIEW: Final = Kind(
    api_version=_AUTHORIZATION,
    kind="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    namespaced=CLUSTER,
    verbs=_CREATE,
    validate=validate_self_access_review,
    virtual=True,
)
SELF_SUBJECT_RULES_REVIEW: Final = Kind(
    api_version=_AUTHORIZATION,
    kind="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    namespaced=CLUSTER,
    verbs=_CREATE,
    virtual=True,
)
SUBJECT_ACCESS_REVIEW: Final = Kind(
    api_version=_AUTHORIZATION,
    kind="SubjectAccessReview",
    plural="subjectaccessreviews",
    namespaced=CLUSTER,
    verbs=_CREATE,
    validate=validate_access_review,
    virtual=True,
)

KINDS: Final[tuple[Kind, ...]] = (
    SELF_SUBJECT_REVIEW,
    TOKEN_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
    SUBJECT_ACCESS_REVIEW,
)
