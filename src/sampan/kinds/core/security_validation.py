"""What makes security contexts valid, of pods and of containers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

if TYPE_CHECKING:
    AnyContainer = api.Container | api.EphemeralContainer

_ID_MAX: Final = 2**31 - 1
_PROFILE_MAX_BYTES: Final = 4095
_SYSCTL_MAX: Final = 253
_SYSCTL_PATTERN: Final = "^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
_SYSCTL: Final = re.compile(_SYSCTL_PATTERN)
_HOST_IPC_SYSCTLS: Final = ("kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue.")
_PROFILES: Final = frozenset({"Localhost", "RuntimeDefault", "Unconfined"})
_PROC_MOUNTS: Final = frozenset({"Default", "Unmasked"})
_CHOICES: Final = {
    "fsGroupChangePolicy": frozenset({"OnRootMismatch", "Always"}),
    "supplementalGroupsPolicy": frozenset({"Merge", "Strict"}),
    "seLinuxChangePolicy": frozenset({"Recursive", "MountOption"}),
}
_IDS: Final = ("fsGroup", "runAsUser", "runAsGroup")
_LINUX_ONLY_POD: Final = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "fsGroup",
    "fsGroupChangePolicy",
    "sysctls",
    "runAsUser",
    "runAsGroup",
    "supplementalGroups",
    "supplementalGroupsPolicy",
    "seLinuxChangePolicy",
)
_LINUX_ONLY_CONTAINER: Final = (
    "appArmorProfile",
    "seLinuxOptions",
    "seccompProfile",
    "capabilities",
    "readOnlyRootFilesystem",
    "privileged",
    "allowPrivilegeEscalation",
    "procMount",
    "runAsUser",
    "runAsGroup",
)
_NOT_ON_WINDOWS: Final = "cannot be set for a windows pod"
_NOT_ON_LINUX: Final = "windows options cannot be set for a linux pod"


def validate_pod_security(spec: api.PodSpec, context: api.PodSecurityContext, path: Path) -> list[FieldError]:
    """spec.securityContext, and what of the spec has to go with it."""
    errors: list[FieldError] = []
    for name in _IDS:
        errors += _validate_id(getattr(context, name), path, name)
    for position, group in enumerate(context.supplementalGroups):
        if not 0 <= group <= _ID_MAX:
            here = path["supplementalGroups"].index(position)
            errors += [field.invalid(here, group, m) for m in names.in_range(group, 0, _ID_MAX)]
    if context.sysctls:
        errors += _validate_sysctls(spec, context.sysctls, path["sysctls"])
    for name, choices in _CHOICES.items():
        value = getattr(context, name)
        if value is not None and value not in choices:
            errors.append(field.not_supported(path[name], value, choices))
    return errors + _validate_profiles(context, path)


def validate_host_namespaces(spec: api.PodSpec, path: Path) -> list[FieldError]:
    """Which of the host's namespaces a pod may share at once."""
    errors: list[FieldError] = []
    if spec.shareProcessNamespace and spec.hostPID:
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(field.invalid(path["shareProcessNamespace"], True, detail))
    if spec.hostUsers is False:
        detail = "when `pod.Spec.HostUsers` is false"
        shared = (("hostNetwork", spec.hostNetwork), ("HostPID", spec.hostPID), ("HostIPC", spec.hostIPC))
        errors += [field.forbidden(path[name], detail) for name, is_set in shared if is_set]
    return errors


def validate_container_security(
    context: api.SecurityContext, host_users: bool, path: Path
) -> list[FieldError]:
    """A container's securityContext."""
    errors = _validate_id(context.runAsUser, path, "runAsUser")
    errors += _validate_id(context.runAsGroup, path, "runAsGroup")
    if context.procMount is not None:
        here = path["procMount"]
        if context.procMount not in _PROC_MOUNTS:
            errors.append(field.not_supported(here, context.procMount, _PROC_MOUNTS))
        if host_users and context.procMount == "Unmasked":
            detail = "`hostUsers` must be false to use `Unmasked`"
            errors.append(field.invalid(here, context.procMount, detail))
    if context.allowPrivilegeEscalation is False:
        if context.privileged:
            detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            errors.append(field.invalid(path, context, detail))
        if context.capabilities is not None and "CAP_SYS_ADMIN" in context.capabilities.add:
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(field.invalid(path, context, detail))
    return errors + _validate_profiles(context, path)


def validate_os(spec: api.PodSpec, path: Path) -> list[FieldError]:
    """What a pod of one operating system may not ask for."""
    if spec.os is None:
        return []
    here = path["os"]
    if not spec.os.name:
        return [field.required(here["name"])]
    if spec.os.name not in ("linux", "windows"):
        return [field.not_supported(here, spec.os.name, ("linux", "windows"))]
    if spec.os.name == "linux":
        return [
            field.forbidden(p["windowsOptions"], _NOT_ON_LINUX) for p in _with_windows_options(spec, path)
        ]
    errors = [
        field.forbidden(path[name], _NOT_ON_WINDOWS)
        for name in ("hostUsers", "hostPID", "hostIPC", "shareProcessNamespace")
        if getattr(spec, name) is not None
        and (name in ("hostUsers", "shareProcessNamespace") or getattr(spec, name))
    ]
    context = spec.securityContext
    if context is not None:
        errors += [
            field.forbidden(path["securityContext"][name], _NOT_ON_WINDOWS)
            for name in _LINUX_ONLY_POD
            if getattr(context, name) not in (None, [])
        ]
    for container, container_path in all_containers(spec, path):
        if container.securityContext is not None:
            errors += [
                field.forbidden(container_path["securityContext"][name], _NOT_ON_WINDOWS)
                for name in _LINUX_ONLY_CONTAINER
                if getattr(container.securityContext, name) is not None
            ]
    return errors


def all_containers(spec: api.PodSpec, path: Path) -> Iterator[tuple[AnyContainer, Path]]:
    """Init, regular and ephemeral containers with their paths."""
    for position, container in enumerate(spec.initContainers):
        yield container, path["initContainers"].index(position)
    for position, container in enumerate(spec.containers):
        yield container, path["containers"].index(position)
    for position, ephemeral in enumerate(spec.ephemeralContainers):
        yield ephemeral, path["ephemeralContainers"].index(position)


def validate_host_process(spec: api.PodSpec, path: Path) -> list[FieldError]:
    """Windows HostProcess containers: all of a pod's, or none, and on the host's network."""
    of_pod = _host_process(spec.securityContext)
    errors: list[FieldError] = []
    count = total = 0
    for container, container_path in all_containers(spec, path):
        total += 1
        mine = _host_process(container.securityContext)
        if of_pod is not None and mine is not None and of_pod != mine:
            detail = (
                f"pod hostProcess value must be identical if both are specified, was {str(of_pod).lower()}"
            )
            here = container_path["securityContext"]["windowsOptions"]["hostProcess"]
            errors.append(field.invalid(here, mine, detail))
        count += bool(of_pod if mine is None else mine)
    if not count:
        return errors
    if count != total:
        detail = (
            "If pod contains any hostProcess containers then all containers must be HostProcess containers"
        )
        errors.append(field.invalid(path, "", detail))
    if not spec.hostNetwork:
        detail = "hostNetwork must be true if pod contains any hostProcess containers"
        errors.append(field.invalid(path["hostNetwork"], False, detail))
    return errors


def _host_process(context: api.PodSecurityContext | api.SecurityContext | None) -> bool | None:
    if context is None or context.windowsOptions is None:
        return None
    return context.windowsOptions.hostProcess


def _with_windows_options(spec: api.PodSpec, path: Path) -> Iterator[Path]:
    if spec.securityContext is not None and spec.securityContext.windowsOptions is not None:
        yield path["securityContext"]
    for container, container_path in all_containers(spec, path):
        context = container.securityContext
        if context is not None and context.windowsOptions is not None:
            yield container_path["securityContext"]


def _validate_id(value: int | None, path: Path, name: str) -> list[FieldError]:
    if value is None or 0 <= value <= _ID_MAX:
        return []
    return [field.invalid(path[name], value, message) for message in names.in_range(value, 0, _ID_MAX)]


def _validate_profiles(context: api.PodSecurityContext | api.SecurityContext, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if context.seccompProfile is not None:
        errors += _validate_seccomp(context.seccompProfile, path["seccompProfile"])
    if context.windowsOptions is not None:
        errors += _validate_windows(context.windowsOptions, path["windowsOptions"])
    if context.appArmorProfile is not None:
        errors += _validate_app_armor(context.appArmorProfile, path["appArmorProfile"])
    return errors


def _validate_seccomp(profile: api.SeccompProfile, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if not profile.type:
        errors.append(field.required(path["type"], "type is required when seccompProfile is set"))
    elif profile.type not in _PROFILES:
        errors.append(field.not_supported(path["type"], profile.type, _PROFILES))
    here, local = path["localhostProfile"], profile.localhostProfile
    if profile.type != "Localhost":
        if local is not None:
            shown = {"Type": profile.type, "LocalhostProfile": local}
            errors.append(field.invalid(here, shown, "can only be set when seccomp type is Localhost"))
    elif local is None:
        errors.append(field.required(here, "must be set when seccomp type is Localhost"))
    elif local.startswith("/"):
        errors.append(field.invalid(here, local, "must be a relative path"))
    elif ".." in local.split("/"):
        errors.append(field.invalid(here, local, "must not contain '..'"))
    return errors


def _validate_app_armor(profile: api.AppArmorProfile, path: Path) -> list[FieldError]:
    here, local = path["localhostProfile"], profile.localhostProfile
    if not profile.type:
        return [field.required(path["type"], "type is required when appArmorProfile is set")]
    if profile.type not in _PROFILES:
        return [field.not_supported(path["type"], profile.type, _PROFILES)]
    if profile.type != "Localhost":
        detail = "can only be set when AppArmor type is Localhost"
        return [] if local is None else [field.invalid(here, local, detail)]
    if local is None or not local:
        return [field.required(here, "must be set when AppArmor type is Localhost")]
    if local.strip() != local:
        return [field.invalid(here, local, "must not be padded with whitespace")]
    return [field.too_long(here, _PROFILE_MAX_BYTES)] if len(local.encode()) > _PROFILE_MAX_BYTES else []


def _validate_windows(options: api.WindowsSecurityContextOptions, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    name = options.gmsaCredentialSpecName
    if name is not None:
        here = path["gmsaCredentialSpecName"]
        errors += [field.invalid(here, name, message) for message in names.dns1123_subdomain(name)]
    if options.gmsaCredentialSpec is not None and not options.gmsaCredentialSpec:
        detail = "gmsaCredentialSpec cannot be an empty string"
        errors.append(field.invalid(path["gmsaCredentialSpec"], "", detail))
    if options.runAsUserName is not None and not options.runAsUserName:
        detail = "runAsUserName cannot be an empty string"
        errors.append(field.invalid(path["runAsUserName"], "", detail))
    return errors


def _validate_sysctls(spec: api.PodSpec, sysctls: list[api.Sysctl], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, sysctl in enumerate(sysctls):
        here, name = path.index(position)["name"], sysctl.name
        if not name:
            errors.append(field.required(here))
        elif len(name) > _SYSCTL_MAX or not _SYSCTL.match(name):
            detail = f"must have at most {_SYSCTL_MAX} characters and match regex {_SYSCTL_PATTERN}"
            errors.append(field.invalid(here, name, detail))
        elif name in seen:
            errors.append(field.duplicate(here, name))
        seen.add(name)
        dotted = name.replace("/", ".")
        if spec.hostNetwork and dotted.startswith("net."):
            errors.append(field.invalid(here, name, "may not be specified when 'hostNetwork' is true"))
        if spec.hostIPC and dotted.startswith(_HOST_IPC_SYSCTLS):
            errors.append(field.invalid(here, name, "may not be specified when 'hostIPC' is true"))
    return errors
