"""AppArmor profiles of containers in annotations, as they were named before there was a field for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.kinds.core.security_validation import all_containers
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path, quoted
from sampan.schema import api

APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST: Final = "localhost/"
_PROFILES: Final = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined"}


def annotation_errors(annotations: Mapping[str, str], spec: api.PodSpec, path: Path) -> list[FieldError]:
    """Each such annotation is of a container that there is, and names a profile."""
    errors: list[FieldError] = []
    containers = {container.name for container, _ in all_containers(spec, Path("spec"))}
    for key, profile in annotations.items():
        if not key.startswith(APP_ARMOR):
            continue
        container = key.removeprefix(APP_ARMOR)
        if container not in containers:
            errors.append(field.invalid(path.key(key), container, "container not found"))
        if profile not in ("", *_PROFILES.values()) and not profile.startswith(_LOCALHOST):
            detail = f"invalid AppArmor profile name: {quoted(profile)}"
            errors.append(field.invalid(path.key(key), profile, detail))
    return errors


def contradictions(annotations: Mapping[str, str], spec: api.PodSpec, path: Path) -> list[FieldError]:
    """Where something new has both for a container, they say the same."""
    if spec.os is not None and spec.os.name == "windows":
        return []
    errors: list[FieldError] = []
    whole = spec.securityContext.appArmorProfile if spec.securityContext is not None else None
    for container, here in all_containers(spec, path):
        given = annotations.get(APP_ARMOR + container.name)
        own = container.securityContext.appArmorProfile if container.securityContext is not None else None
        profile = own or whole
        if given is None or profile is None:
            continue
        at = here["securityContext"]["appArmorProfile"]
        wanted = _PROFILES.get(profile.type)
        local = profile.type == "Localhost"
        if (wanted is not None and given != wanted) or (local and not given.startswith(_LOCALHOST)):
            errors.append(field.forbidden(at["type"], "apparmor type in annotation and field must match"))
        elif local and given.removeprefix(_LOCALHOST) != profile.localhostProfile:
            detail = "apparmor profile in annotation and field must match"
            errors.append(field.forbidden(at["localhostProfile"], detail))
    return errors
