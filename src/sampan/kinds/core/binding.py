"""Binding: ties a pod to a node; posted, never stored."""

from __future__ import annotations

from typing import Final

from sampan.kinds.kind import Kind
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_TARGET: Final = Path("target")


def validate_binding(binding: api.Binding) -> list[FieldError]:
    """The target is a node with a name."""
    target = binding.target or api.ObjectReference()
    errors: list[FieldError] = []
    if target.kind not in (None, "", "Node"):
        errors.append(field.not_supported(_TARGET["kind"], target.kind, ("Node", "<empty>")))
    if not target.name:
        errors.append(field.required(_TARGET["name"]))
    return errors


KIND: Final = Kind(
    api_version="v1",
    kind="Binding",
    plural="bindings",
    verbs=("create",),
    virtual=True,
    validate=validate_binding,
)
