"""Errors for values outside of a fixed choice, where Kubernetes lists the choice in an order of its own."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sampan.machinery import field
from sampan.machinery.field import FieldError, Path


def unsupported(path: Path, value: str, supported: Sequence[str]) -> FieldError:
    """As `field.not_supported`, but with the supported values in the order given."""
    listed = ", ".join(json.dumps(choice) for choice in supported)
    return FieldError(field.NOT_SUPPORTED, str(path), value, f"supported values: {listed}")


def validate_choice(value: str | None, supported: Sequence[str], path: Path) -> list[FieldError]:
    """A required value, one of `supported`."""
    if value in supported:
        return []
    return [unsupported(path, value, supported)] if value else [field.required(path)]
