"""Seccomp profiles in annotations: they do nothing any more, and are refused where they are none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.kinds.core.volume_sources import validate_descending
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path

SECCOMP_POD: Final = "seccomp.security.alpha.kubernetes.io/pod"
SECCOMP_CONTAINER: Final = "container.seccomp.security.alpha.kubernetes.io/"
_LOCALHOST: Final = "localhost/"
_PROFILES: Final = frozenset({"runtime/default", "docker/default", "unconfined"})


def annotation_errors(annotations: Mapping[str, str], path: Path) -> list[FieldError]:
    """Each such annotation names a profile."""
    errors: list[FieldError] = []
    for key, profile in annotations.items():
        if (key != SECCOMP_POD and not key.startswith(SECCOMP_CONTAINER)) or profile in _PROFILES:
            continue
        if profile.startswith(_LOCALHOST):
            errors += validate_descending(profile.removeprefix(_LOCALHOST), path[key])
        else:
            errors.append(field.invalid(path[key], profile, "must be a valid seccomp profile"))
    return errors
