"""AppArmor profiles of containers in annotations, as they were named before there was a field for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sampan.kinds.core.security_validation import all_containers
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path, quoted
from sampan.schema import api

APP_ARMOR: Final = "container.apparmor.security.beta.kubernetes.io/"
_LOCALHOST: Final = "localhost/"
_PROFILE_MAX_BYTES: Final = 4095
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


def copied(pod: api.Pod) -> list[str]:
    """What is said of annotations that `copy_annotations` is about to copy, or cannot."""
    if not pod.metadata.annotations or _is_windows(pod.spec):
        return []
    whole = pod.spec.securityContext.appArmorProfile if pod.spec.securityContext is not None else None
    return [
        f'metadata.annotations[{key}]: deprecated since v1.30; use the "appArmorProfile" field instead'
        for key, _, profile in _lonely(pod)
        if profile is None or profile != whole
    ]


def copy_annotations(pod: api.Pod) -> None:
    """Give containers the profile that an annotation names, unless that is the whole pod's."""
    if not pod.metadata.annotations or _is_windows(pod.spec):
        return
    whole = pod.spec.securityContext.appArmorProfile if pod.spec.securityContext is not None else None
    for _, container, profile in _lonely(pod):
        if profile is not None and profile != whole:
            container.securityContext = container.securityContext or api.SecurityContext()
            container.securityContext.appArmorProfile = profile


def _lonely(pod: api.Pod) -> Iterator[tuple[str, Any, api.AppArmorProfile | None]]:
    """The annotations of containers without a profile in the field: key, container, profile if it is one."""
    for container, _ in all_containers(pod.spec, Path("spec")):
        key, context = APP_ARMOR + container.name, container.securityContext
        given = pod.metadata.annotations.get(key)
        if given is not None and (context is None or context.appArmorProfile is None):
            yield key, container, _profile(given)


def _profile(annotation: str) -> api.AppArmorProfile | None:
    for type, name in _PROFILES.items():
        if annotation == name:
            return api.AppArmorProfile(type=type)
    local = annotation.removeprefix(_LOCALHOST)
    # As the field: no longer than a path, and none with blanks around it.
    if local == annotation or not local or local != local.strip() or len(local) > _PROFILE_MAX_BYTES:
        return None
    return api.AppArmorProfile(type="Localhost", localhostProfile=local)


def _is_windows(spec: api.PodSpec) -> bool:
    return spec.os is not None and spec.os.name == "windows"


def contradictions(annotations: Mapping[str, str], spec: api.PodSpec, path: Path) -> list[FieldError]:
    """Where something new has both for a container, they say the same."""
    if _is_windows(spec):
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
