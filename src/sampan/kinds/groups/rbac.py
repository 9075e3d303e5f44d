"""The kinds of rbac.authorization.k8s.io/v1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sampan.kinds.gonames import shown
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_CREATED_AT, column
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

GROUP: Final = "rbac.authorization.k8s.io"
_API_VERSION: Final = f"{GROUP}/v1"
_SERVICE_ACCOUNT: Final = "ServiceAccount"
_USERS: Final = ("User", "Group")
_SUBJECT_KINDS: Final = (_SERVICE_ACCOUNT, "User", "Group")


def default_binding(obj: Any) -> None:
    """Roles, users and groups belong to RBAC's own API group where nothing is said."""
    obj.roleRef = obj.roleRef or api.RoleRef()
    obj.roleRef.apiGroup = obj.roleRef.apiGroup or GROUP
    for subject in obj.subjects:
        if not subject.apiGroup and subject.kind in _USERS:
            subject.apiGroup = GROUP


def validate_role(obj: Any) -> list[FieldError]:
    """Every error of a Role."""
    return _rules_errors(obj.rules, namespaced=True)


def validate_cluster_role(obj: Any) -> list[FieldError]:
    """Every error of a ClusterRole."""
    errors = _rules_errors(obj.rules, namespaced=False)
    if obj.aggregationRule is None:
        return errors
    selectors, path = obj.aggregationRule.clusterRoleSelectors, Path("aggregationRule.clusterRoleSelectors")
    if not selectors:
        detail = "at least one clusterRoleSelector required if aggregationRule is non-nil"
        errors.append(field.required(path, detail))
    for position, selector in enumerate(selectors):
        wrong = meta.validate_label_selector(selector, path[position])
        errors += wrong
        if wrong:
            errors.append(field.invalid(path[position], None, "invalid label selector."))
    return errors


def _rules_errors(rules: Sequence[Any], *, namespaced: bool) -> list[FieldError]:
    return [
        error
        for position, rule in enumerate(rules)
        for error in _rule_errors(rule, Path("rules")[position], namespaced)
    ]


def _rule_errors(rule: Any, path: Path, namespaced: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    if not rule.verbs:
        errors.append(field.required(path["verbs"]))
    if rule.nonResourceURLs:
        at = path["nonResourceURLs"]
        if namespaced:
            detail = "namespaced rules cannot apply to non-resource URLs"
            errors.append(field.invalid(at, rule.nonResourceURLs, detail))
        if rule.apiGroups or rule.resources or rule.resourceNames:
            detail = "rules cannot apply to both regular resources and non-resource URLs"
            errors.append(field.invalid(at, rule.nonResourceURLs, detail))
        return errors
    if not rule.apiGroups:
        detail = "resource rules must supply at least one api group"
        errors.append(field.required(path["apiGroups"], detail))
    if not rule.resources:
        detail = "resource rules must supply at least one resource"
        errors.append(field.required(path["resources"], detail))
    return errors


def validate_role_binding(obj: Any) -> list[FieldError]:
    """Every error of a RoleBinding, which may name a Role or a ClusterRole."""
    return _binding_errors(obj, ("Role", "ClusterRole"), namespaced=True)


def validate_cluster_role_binding(obj: Any) -> list[FieldError]:
    """Every error of a ClusterRoleBinding."""
    return _binding_errors(obj, ("ClusterRole",), namespaced=False)


def _binding_errors(obj: Any, role_kinds: Sequence[str], *, namespaced: bool) -> list[FieldError]:
    ref, path = obj.roleRef or api.RoleRef(), Path("roleRef")
    errors = checks.one_of(ref.apiGroup or "", (GROUP,), path["apiGroup"])
    errors += checks.one_of(ref.kind or "", role_kinds, path["kind"])
    errors += checks.required_name(ref.name, names.path_segment_name, path["name"])
    for position, subject in enumerate(obj.subjects):
        errors += _subject_errors(subject, Path("subjects")[position], namespaced)
    return errors


def _subject_errors(subject: Any, path: Path, namespaced: bool) -> list[FieldError]:
    errors = [] if subject.name else [field.required(path["name"])]
    if subject.kind in _USERS:
        return errors + checks.one_of(subject.apiGroup or "", (GROUP,), path["apiGroup"])
    if subject.kind != _SERVICE_ACCOUNT:
        return [*errors, field.not_supported(path["kind"], subject.kind, _SUBJECT_KINDS)]
    if subject.name:
        errors += checks.named(subject.name, names.dns1123_subdomain(subject.name), path["name"])
    if subject.apiGroup:
        errors.append(field.not_supported(path["apiGroup"], subject.apiGroup, ("",)))
    if not namespaced and not subject.namespace:
        errors.append(field.required(path["namespace"]))
    return errors


def validate_binding_update(new: Any, old: Any) -> list[FieldError]:
    """A binding cannot be pointed at another role: who may edit its subjects may not raise its rights."""
    if new.roleRef == old.roleRef:
        return []
    return [field.invalid(Path("roleRef"), shown(new.roleRef), checks.IMMUTABLE)]


def _subjects(kind: str, obj: Any) -> str:
    chosen = [s for s in obj.subjects if s.kind == kind]
    if kind == _SERVICE_ACCOUNT:
        return ", ".join(f"{s.namespace}/{s.name}" if s.namespace else s.name for s in chosen)
    return ", ".join(s.name for s in chosen)


def _binding_columns(noun: str) -> tuple[Column, ...]:
    return (
        NAME,
        column("Role", lambda b: f"{b.roleRef.kind}/{b.roleRef.name}", description="The role that is given."),
        AGE,
        column("Users", lambda b: _subjects("User", b), description=f"Users in the {noun}", wide=True),
        column("Groups", lambda b: _subjects("Group", b), description=f"Groups in the {noun}", wide=True),
        column(
            "ServiceAccounts",
            lambda b: _subjects(_SERVICE_ACCOUNT, b),
            description=f"ServiceAccounts in the {noun}",
            wide=True,
        ),
    )


CLUSTER_ROLE_BINDING: Final = Kind(
    api_version=_API_VERSION,
    kind="ClusterRoleBinding",
    plural="clusterrolebindings",
    namespaced=CLUSTER,
    default=default_binding,
    validate=validate_cluster_role_binding,
    validate_update=validate_binding_update,
    name_errors=names.path_segment_name,
    columns=_binding_columns("clusterRoleBinding"),
)
CLUSTER_ROLE: Final = Kind(
    api_version=_API_VERSION,
    kind="ClusterRole",
    plural="clusterroles",
    namespaced=CLUSTER,
    validate=validate_cluster_role,
    name_errors=names.path_segment_name,
    columns=NAME_AND_CREATED_AT,
)
ROLE_BINDING: Final = Kind(
    api_version=_API_VERSION,
    kind="RoleBinding",
    plural="rolebindings",
    default=default_binding,
    validate=validate_role_binding,
    validate_update=validate_binding_update,
    name_errors=names.path_segment_name,
    columns=_binding_columns("roleBinding"),
)
ROLE: Final = Kind(
    api_version=_API_VERSION,
    kind="Role",
    plural="roles",
    validate=validate_role,
    name_errors=names.path_segment_name,
    columns=NAME_AND_CREATED_AT,
)

KINDS: Final[tuple[Kind, ...]] = (CLUSTER_ROLE_BINDING, CLUSTER_ROLE, ROLE_BINDING, ROLE)
