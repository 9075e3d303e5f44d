"""Errors for values outside of a fixed choice, where Kubernetes lists the choice in an order of its own."""

from __future__ import annotations

from collections.abc import Sequence

from sampan.machinery import field
from sampan.machinery.field import FieldError, Path


def validate_choice(value: str | None, supported: Sequence[str], path: Path) -> list[FieldError]:
    """A required value, one of `supported`."""
    if value in supported:
        return []
    return [field.not_supported(path, value, supported)] if value else [field.required(path)]
