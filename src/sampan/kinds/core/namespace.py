"""Namespace: a scope for names."""

from __future__ import annotations

from typing import Final

from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

NAME_LABEL: Final = "kubernetes.io/metadata.name"
FINALIZER: Final = "kubernetes"

_FINALIZERS: Final = Path("spec.finalizers")
_STANDARD_FINALIZERS: Final = frozenset({FINALIZER, "orphan", "foregroundDeletion"})


def default_namespace(namespace: api.Namespace) -> None:
    """The name as a label, so that selectors can name a namespace; Active until it is deleted."""
    if namespace.metadata.name:
        namespace.metadata.labels[NAME_LABEL] = namespace.metadata.name
    namespace.status.phase = namespace.status.phase or "Active"


def prepare_create(namespace: api.Namespace) -> None:
    """The finalizer holds the namespace until its content is gone."""
    namespace.status = api.NamespaceStatus(phase="Active")
    if FINALIZER not in namespace.spec.finalizers:
        namespace.spec.finalizers.append(FINALIZER)
    default_namespace(namespace)  # the name may have been generated only now


def prepare_update(namespace: api.Namespace, old: api.Namespace) -> None:
    """Finalizers change through the finalize subresource only."""
    namespace.spec.finalizers = list(old.spec.finalizers)


def validate_namespace(namespace: api.Namespace) -> list[FieldError]:
    """Finalizers are standard or fully qualified."""
    errors: list[FieldError] = []
    for name in namespace.spec.finalizers:
        errors += [field.invalid(_FINALIZERS, name, message) for message in names.qualified_name(name)]
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            errors.append(field.invalid(_FINALIZERS, name, detail))
    return errors


def validate_status_update(namespace: api.Namespace, _old: api.Namespace) -> list[FieldError]:
    """The phase follows from deletionTimestamp."""
    deleted = namespace.metadata.deletionTimestamp is not None
    phase = namespace.status.phase or ""
    if phase == ("Terminating" if deleted else "Active"):
        return []
    detail = (
        "may only be 'Terminating' if `deletionTimestamp` is not empty"
        if deleted
        else "may only be 'Active' if `deletionTimestamp` is empty"
    )
    return [field.invalid(Path("status.Phase"), phase, detail)]


KIND: Final = Kind(
    api_version="v1",
    kind="Namespace",
    plural="namespaces",
    short=("ns",),
    namespaced=CLUSTER,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    status=True,
    default=default_namespace,
    validate=validate_namespace,
    validate_status_update=validate_status_update,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    name_errors=names.dns1123_label,
    field_selectors={"status.phase": lambda namespace: namespace.status.phase or ""},
    columns=(
        NAME,
        Column("Status", lambda ns, _now: ns.status.phase or "", description="The status of the namespace."),
        AGE,
    ),
    subresources=(("namespaces/finalize", "Namespace", ("update",)),),
)
