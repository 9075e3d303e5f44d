"""What makes the containers of a pod valid, be they regular, init or ephemeral."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Final

import msgspec

from sampan.kinds.core.choices import validate_choice
from sampan.kinds.core.environment_validation import validate_env, validate_env_from
from sampan.kinds.core.mount_validation import validate_devices, validate_mounts
from sampan.kinds.core.probe_validation import validate_lifecycle, validate_probe
from sampan.kinds.core.resources import validate_container_resources
from sampan.kinds.core.security_validation import validate_container_security
from sampan.kinds.core.service_validation import PROTOCOLS
from sampan.kinds.core.volume_validation import PULL_POLICIES, validate_pull_policy
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

if TYPE_CHECKING:
    AnyContainer = api.Container | api.EphemeralContainer

_MESSAGE_POLICIES: Final = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES: Final = frozenset({"Always", "OnFailure", "Never"})
_RESIZED: Final = ("cpu", "memory")
_RESIZE_POLICIES: Final = ("NotRequired", "RestartContainer")
_RULE_ACTIONS: Final = frozenset({"Restart", "RestartAllContainers"})
_RULE_OPERATORS: Final = frozenset({"In", "NotIn"})
_RULES_MAX: Final = 20
_RULE_VALUES_MAX: Final = 255
_PROBES: Final = ("livenessProbe", "readinessProbe", "startupProbe")
_NOT_FOR_EPHEMERAL: Final = (
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "lifecycle",
    *_PROBES,
)
_FORBIDDEN_EPHEMERAL: Final = "cannot be set for an Ephemeral Container"
_ONLY_SIDECARS: Final = "may not be set for init containers without restartPolicy=Always"
_PADDED: Final = "must not have leading or trailing whitespace"


class Surroundings(msgspec.Struct, frozen=True):
    """What the containers of one pod have in common."""

    spec: api.PodSpec
    volumes: Mapping[str, api.Volume]
    claims: Collection[str]
    # Templates may hold images that a pod may not.
    is_pod: bool


def validate_containers(around: Surroundings, path: Path) -> list[FieldError]:
    """Every error of the containers of a spec."""
    spec = around.spec
    if not spec.containers:
        errors = [field.required(path["containers"])]
    else:
        errors = _validate_regular(around, path["containers"])
    if spec.initContainers:
        errors += _validate_init(around, path["initContainers"])
    if spec.ephemeralContainers:
        errors += _validate_ephemeral(around, path["ephemeralContainers"])
    return errors


def _validate_regular(around: Surroundings, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, container in enumerate(around.spec.containers):
        here = path.index(position)
        errors += _validate_common(container, around, here)
        if container.name in seen:
            errors.append(field.duplicate(here["name"], container.name))
        seen.add(container.name)
        errors += _validate_running(container, around, here)
        if container.restartPolicy is not None or container.restartPolicyRules:
            errors += _validate_restart_policy(container, here)
    return errors + _validate_host_ports(around.spec.containers, path)


def _validate_init(around: Surroundings, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen = {container.name for container in around.spec.containers}
    for position, container in enumerate(around.spec.initContainers):
        here = path.index(position)
        errors += _validate_common(container, around, here)
        if container.restartPolicy is not None or container.restartPolicyRules:
            errors += _validate_restart_policy(container, here)
        if container.name in seen:
            errors.append(field.duplicate(here["name"], container.name))
        elif container.name:
            seen.add(container.name)
        errors += _validate_host_ports([container], path)
        if container.restartPolicy == "Always":
            errors += _validate_running(container, around, here)
        else:
            given = [name for name in ("lifecycle", *_PROBES) if getattr(container, name) is not None]
            errors += [field.forbidden(here[name], _ONLY_SIDECARS) for name in given]
    return errors


def _validate_ephemeral(around: Surroundings, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    others = {c.name for c in (*around.spec.containers, *around.spec.initContainers)}
    seen = set(others)
    for position, container in enumerate(around.spec.ephemeralContainers):
        here = path.index(position)
        errors += _validate_common(container, around, here, always_as_pod=True)
        if container.name in seen:
            errors.append(field.duplicate(here["name"], container.name))
        seen.add(container.name)
        target = container.targetContainerName
        if target and target not in others:
            errors.append(field.not_found(here["targetContainerName"], target))
        for name in _NOT_FOR_EPHEMERAL:
            value = getattr(container, name)
            if value not in (None, []) and value != api.ResourceRequirements():
                errors.append(field.forbidden(here[name], _FORBIDDEN_EPHEMERAL))
        for at, mount in enumerate(container.volumeMounts):
            for name in ("subPath", "subPathExpr"):
                if getattr(mount, name):
                    below = here["volumeMounts"].index(at)[name]
                    errors.append(field.forbidden(below, _FORBIDDEN_EPHEMERAL))
    return errors


def _validate_common(
    container: AnyContainer, around: Surroundings, path: Path, always_as_pod: bool = False
) -> list[FieldError]:
    errors: list[FieldError] = []
    name, image = container.name, container.image
    if not name:
        errors.append(field.required(path["name"]))
    else:
        errors += [field.invalid(path["name"], name, message) for message in names.dns1123_label(name)]
    if not image:
        errors.append(field.required(path["image"]))
    elif (around.is_pod or always_as_pod) and image.strip() != image:
        errors.append(field.invalid(path["image"], image, _PADDED))
    if container.terminationMessagePolicy not in _MESSAGE_POLICIES:
        here = path["terminationMessagePolicy"]
        errors += validate_choice(container.terminationMessagePolicy, _MESSAGE_POLICIES, here)
    if container.ports:
        errors += _validate_ports(container.ports, path["ports"])
    if container.env:
        errors += validate_env(container.env, around.volumes, path["env"])
    if container.envFrom:
        errors += validate_env_from(container.envFrom, path["envFrom"])
    if container.volumeMounts:
        errors += validate_mounts(container, around.volumes, path["volumeMounts"])
    if container.volumeDevices:
        errors += validate_devices(container, around.volumes, path["volumeDevices"])
    if container.imagePullPolicy not in PULL_POLICIES:
        errors += validate_pull_policy(container.imagePullPolicy, path["imagePullPolicy"])
    errors += validate_container_resources(container.resources, around.claims, path["resources"])
    if container.resizePolicy:
        errors += _validate_resize_policy(
            container.resizePolicy, around.spec.restartPolicy, path["resizePolicy"]
        )
    if container.securityContext is not None:
        host_users = around.spec.hostUsers is not False
        errors += validate_container_security(container.securityContext, host_users, path["securityContext"])
    return errors


def _validate_running(container: api.Container, around: Surroundings, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if container.lifecycle is not None:
        grace_period_s = around.spec.terminationGracePeriodSeconds
        os = around.spec.os.name if around.spec.os is not None else None
        errors += validate_lifecycle(container.lifecycle, grace_period_s, os, path["lifecycle"])
    if container.livenessProbe is not None:
        errors += validate_probe("livenessProbe", container.livenessProbe, path["livenessProbe"])
    if container.readinessProbe is not None:
        errors += validate_probe("readinessProbe", container.readinessProbe, path["readinessProbe"])
    if container.startupProbe is not None:
        errors += validate_probe("startupProbe", container.startupProbe, path["startupProbe"])
    return errors


def _validate_ports(ports: Iterable[api.ContainerPort], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, port in enumerate(ports):
        here = path.index(position)
        if port.name:
            messages = names.port_name(port.name)
            errors += [field.invalid(here["name"], port.name, message) for message in messages]
            if not messages and port.name in seen:
                errors.append(field.duplicate(here["name"], port.name))
            seen.add(port.name)
        if not port.containerPort:
            errors.append(field.required(here["containerPort"]))
        elif not 0 < port.containerPort < 65536:
            messages = names.port_number(port.containerPort)
            errors += [field.invalid(here["containerPort"], port.containerPort, m) for m in messages]
        if port.hostPort:
            messages = names.port_number(port.hostPort)
            errors += [field.invalid(here["hostPort"], port.hostPort, message) for message in messages]
        if port.protocol not in PROTOCOLS:
            errors += validate_choice(port.protocol, PROTOCOLS, here["protocol"])
    return errors


def _validate_host_ports(containers: Iterable[api.Container], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, container in enumerate(containers):
        for at, port in enumerate(container.ports):
            if not port.hostPort:
                continue
            key = f"{port.protocol}/{port.hostIP or ''}/{port.hostPort}"
            if key in seen:
                here = path.index(position)["ports"].index(at)["hostPort"]
                errors.append(field.duplicate(here, key))
            seen.add(key)
    return errors


def _validate_resize_policy(
    policies: Iterable[api.ContainerResizePolicy], restart_policy: str | None, path: Path
) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, policy in enumerate(policies):
        if policy.resourceName in seen:
            errors.append(field.duplicate(path.index(position), policy.resourceName))
        seen.add(policy.resourceName)
        if policy.resourceName not in _RESIZED:
            errors += validate_choice(policy.resourceName, _RESIZED, path)
        if policy.restartPolicy not in _RESIZE_POLICIES:
            errors += validate_choice(policy.restartPolicy, _RESIZE_POLICIES, path)
        if restart_policy == "Never" and policy.restartPolicy != "NotRequired":
            detail = "must be 'NotRequired' when pod `restartPolicy` is 'Never'"
            errors.append(field.invalid(path, policy.restartPolicy, detail))
    return errors


def _validate_restart_policy(container: api.Container, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    policy, rules = container.restartPolicy, container.restartPolicyRules
    if policy is None:
        detail = "must specify restartPolicy when restart rules are used"
        errors.append(field.required(path["restartPolicy"], detail))
    elif policy not in _RESTART_POLICIES:
        errors.append(field.not_supported(path["restartPolicy"], policy, _RESTART_POLICIES))
    path = path["restartPolicyRules"]
    if len(rules) > _RULES_MAX:
        errors.append(field.too_many(path, len(rules), _RULES_MAX))
    for position, rule in enumerate(rules):
        here = path.index(position)
        if rule.action not in _RULE_ACTIONS:
            errors.append(field.not_supported(here["action"], rule.action, _RULE_ACTIONS))
        codes, here = rule.exitCodes, here["exitCodes"]
        if codes is None:
            errors.append(field.required(here, "must be specified"))
            continue
        if codes.operator not in _RULE_OPERATORS:
            errors.append(field.not_supported(here["operator"], codes.operator, _RULE_OPERATORS))
        if len(codes.values) > _RULE_VALUES_MAX:
            errors.append(field.too_many(here["values"], len(codes.values), _RULE_VALUES_MAX))
    return errors
