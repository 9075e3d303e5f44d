"""The checks of the restricted level: good practice for pods that nobody vouches for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.apiserver.core.admission.podsecurity.baseline import (
    Check,
    Finding,
    Version,
    containers,
    is_user_namespaced,
    named,
    quoted,
    security,
    setters,
)

_VOLUMES: Final = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


def _but_on_windows(check: Check) -> Check:
    def checked(metadata: Any, spec: Any) -> Finding | None:
        is_windows = spec.os is not None and spec.os.name == "windows"
        return None if is_windows else check(metadata, spec)

    return checked


def _but_in_user_namespaces(check: Check) -> Check:
    def checked(metadata: Any, spec: Any) -> Finding | None:
        return None if is_user_namespaced(spec) else check(metadata, spec)

    return checked


def privilege_escalation(_metadata: Any, spec: Any) -> Finding | None:
    bad = [
        c.name
        for c in containers(spec)
        if (s := security(c)) is None or s.allowPrivilegeEscalation is not False
    ]
    if not bad:
        return None
    detail = f"{named(bad)} must set securityContext.allowPrivilegeEscalation=false"
    return Finding("allowPrivilegeEscalation != false", detail)


def capabilities(_metadata: Any, spec: Any) -> Finding | None:
    keeping, adding, added = [], [], set()
    for container in containers(spec):
        context = security(container)
        own = context.capabilities if context is not None else None
        if own is None or "ALL" not in own.drop:
            keeping.append(container.name)
        wrong = {name for name in own.add if name != "NET_BIND_SERVICE"} if own is not None else set()
        if wrong:
            adding.append(container.name)
            added |= wrong
    said = [f'{named(keeping)} must set securityContext.capabilities.drop=["ALL"]'] if keeping else []
    if adding:
        what = quoted(sorted(added))
        said.append(f"{named(adding)} must not include {what} in securityContext.capabilities.add")
    return Finding("unrestricted capabilities", "; ".join(said)) if said else None


def volumes(_metadata: Any, spec: Any) -> Finding | None:
    bad, types = [], set()
    for volume in spec.volumes:
        kinds = [
            name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None
        ]
        if not kinds or kinds[0] not in _VOLUMES:
            bad.append(volume.name)
            types.add(kinds[0] if kinds else "unknown")
    if not bad:
        return None
    who = f"{'volume' if len(bad) == 1 else 'volumes'} {quoted(bad)}"
    verb = "uses" if len(bad) == 1 else "use"
    plural = "s" if len(types) > 1 else ""
    return Finding(
        "restricted volume types", f"{who} {verb} restricted volume type{plural} {quoted(sorted(types))}"
    )


def _own_or_pods(
    spec: Any, field: Callable[[Any], Any], is_good: Callable[[Any], bool]
) -> tuple[bool, list[str], list[str]]:
    """Whether the pod says something bad, which containers do, and which say nothing while the pod says
    nothing good."""
    context = spec.securityContext
    value = field(context) if context is not None else None
    pod_is_good = value is not None and is_good(value)
    bad, silent = [], []
    for container in containers(spec):
        own = security(container)
        said = field(own) if own is not None else None
        if said is None:
            if not pod_is_good:
                silent.append(container.name)
        elif not is_good(said):
            bad.append(container.name)
    return value is not None and not pod_is_good, bad, silent


def non_root(_metadata: Any, spec: Any) -> Finding | None:
    pod_is_bad, bad, silent = _own_or_pods(spec, lambda c: c.runAsNonRoot, bool)
    who, reason = setters(pod_is_bad, bad), "runAsNonRoot != true"
    if who:
        return Finding(reason, f"{who} must not set securityContext.runAsNonRoot=false")
    if silent:
        return Finding(reason, f"pod or {named(silent)} must set securityContext.runAsNonRoot=true")
    return None


def user(_metadata: Any, spec: Any) -> Finding | None:
    pod_is_bad, bad, _silent = _own_or_pods(spec, lambda c: c.runAsUser, lambda uid: uid != 0)
    who = setters(pod_is_bad, bad)
    return Finding("runAsUser=0", f"{who} must not set runAsUser=0") if who else None


def seccomp(_metadata: Any, spec: Any) -> Finding | None:
    values: set[str] = set()

    def is_good(type: str) -> bool:
        good = type in ("RuntimeDefault", "Localhost")
        if not good:
            values.add(type)
        return good

    def type_of(context: Any) -> Any:
        return context.seccompProfile.type if context.seccompProfile is not None else None

    pod_is_bad, bad, silent = _own_or_pods(spec, type_of, is_good)
    who, reason = setters(pod_is_bad, bad), "seccompProfile"
    if who:
        named_values = quoted(sorted(values))
        return Finding(reason, f"{who} must not set securityContext.seccompProfile.type to {named_values}")
    if silent:
        wanted = 'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost"'
        return Finding(reason, f"pod or {named(silent)} must set {wanted}")
    return None


# Each check's id, the ids of the baseline's that it makes needless, and its forms by version.
CHECKS: Final[tuple[tuple[str, tuple[str, ...], tuple[tuple[Version, Check], ...]], ...]] = (
    (
        "allowPrivilegeEscalation",
        (),
        (((1, 8), privilege_escalation), ((1, 25), _but_on_windows(privilege_escalation))),
    ),
    (
        "capabilities_restricted",
        ("capabilities_baseline",),
        (((1, 22), capabilities), ((1, 25), _but_on_windows(capabilities))),
    ),
    ("restrictedVolumes", ("hostPathVolumes",), (((1, 0), volumes),)),
    ("runAsNonRoot", (), (((1, 0), non_root), ((1, 35), _but_in_user_namespaces(non_root)))),
    ("runAsUser", (), (((1, 23), user), ((1, 35), _but_in_user_namespaces(user)))),
    (
        "seccompProfile_restricted",
        ("seccompProfile_baseline",),
        (((1, 19), seccomp), ((1, 25), _but_on_windows(seccomp))),
    ),
)
