"""The kinds of authentication.k8s.io/v1 and authorization.k8s.io/v1: questions that are never stored."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups.checks import METADATA, SPEC
from sampan.kinds.kind import CLUSTER, NAMESPACED, Kind
from sampan.machinery import field
from sampan.machinery.field import FieldError

_AUTHENTICATION: Final = "authentication.k8s.io/v1"
_AUTHORIZATION: Final = "authorization.k8s.io/v1"
_CREATE: Final = ("create",)


def validate_access_review(obj: Any) -> list[FieldError]:
    """A review asks of one user or group: ValidateSubjectAccessReview."""
    errors = validate_self_access_review(obj)
    if not obj.spec.user and not obj.spec.groups:
        detail = "at least one of user or group must be specified"
        errors.append(field.invalid(SPEC["user"], obj.spec.user or "", detail))
    return errors


def validate_local_access_review(obj: Any) -> list[FieldError]:
    """A review within a namespace asks of that namespace's resources."""
    errors = validate_access_review(obj)
    attributes, namespace = obj.spec.resourceAttributes, obj.metadata.namespace or ""
    if attributes is not None and (attributes.namespace or "") != namespace:
        path = SPEC["resourceAttributes"]["namespace"]
        errors.append(field.invalid(path, attributes.namespace or "", "must match metadata.namespace"))
    if obj.spec.nonResourceAttributes is not None:
        detail = "disallowed on this kind of request"
        value = obj.spec.nonResourceAttributes
        errors.append(field.invalid(SPEC["nonResourceAttributes"], value, detail))
    return errors


def validate_self_access_review(obj: Any) -> list[FieldError]:
    """A review asks of a resource or of a path, and has no metadata."""
    resource, path = obj.spec.resourceAttributes, obj.spec.nonResourceAttributes
    errors: list[FieldError] = []
    if resource is not None and path is not None:
        detail = "cannot be specified in combination with resourceAttributes"
        errors.append(field.invalid(SPEC["nonResourceAttributes"], path, detail))
    if resource is None and path is None:
        detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
        errors.append(field.invalid(SPEC["resourceAttributes"], None, detail))
    if obj.metadata.name or obj.metadata.labels or obj.metadata.annotations:
        errors.append(field.invalid(METADATA, obj.metadata, "must be empty"))
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
