"""What an update may change of a pod: through the main resource, its status, its debuggers and its sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from sampan.kinds.core.addresses import is_dual_stack, validate_ip
from sampan.kinds.core.allocated_validation import validate_allocated_resources
from sampan.kinds.core.apparmor import APP_ARMOR
from sampan.kinds.core.differences import difference
from sampan.kinds.core.pod_validation import MIRROR
from sampan.kinds.core.qos import qos_class
from sampan.kinds.core.scheduling_validation import (
    validate_node_affinity_additions,
    validate_node_selector_additions,
    validate_only_added_tolerations,
)
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_SPEC: Final = Path("spec")
_STATUS: Final = Path("status")
_WHOLE: Final = Path("")
_INT32_MAX: Final = 2**31 - 1
_UPDATABLE: Final = (
    "`spec.containers[*].image`",
    "`spec.initContainers[*].image`",
    "`spec.activeDeadlineSeconds`",
    "`spec.tolerations` (only additions to existing tolerations)",
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
)
_RESIZABLE: Final = ("cpu", "memory")
_SYSTEM_CONDITIONS: Final = frozenset({"PodScheduled", "Ready", "Initialized"})
_ONE_PER_FAMILY: Final = "may specify no more than one IP for each IP family"


def validate_pod_update(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    """Images, the deadline, further tolerations and fewer gates: nothing else of a spec changes."""
    errors = _validate_annotation_change(pod, old)
    for name in ("containers", "initContainers"):
        if len(getattr(pod.spec, name)) != len(getattr(old.spec, name)):
            detail = "pod updates may not add or remove containers"
            return [*errors, field.forbidden(_SPEC[name], detail)]
    wrong_deadline = _validate_deadline_change(pod.spec.activeDeadlineSeconds, old.spec.activeDeadlineSeconds)
    errors += wrong_deadline
    if wrong_deadline and pod.spec.activeDeadlineSeconds is not None:
        return errors
    path = _SPEC["tolerations"]
    errors += validate_only_added_tolerations(pod.spec.tolerations, old.spec.tolerations, path)
    errors += _validate_gates_change(pod.spec.schedulingGates, old.spec.schedulingGates)
    if pod.spec == old.spec:
        return errors
    return errors + _validate_spec_change(pod.spec, old.spec)


def _validate_spec_change(new: api.PodSpec, old: api.PodSpec) -> list[FieldError]:
    errors: list[FieldError] = []
    same = msgspec.structs.replace(
        new,
        containers=_with_images(new.containers, old.containers),
        initContainers=_with_images(new.initContainers, old.initContainers),
        activeDeadlineSeconds=old.activeDeadlineSeconds,
        schedulingGates=old.schedulingGates,
        tolerations=old.tolerations,
    )
    if (old.terminationGracePeriodSeconds or 0) < 0 and new.terminationGracePeriodSeconds == 1:
        same.terminationGracePeriodSeconds = old.terminationGracePeriodSeconds
    if old.schedulingGates:
        path = _SPEC["nodeSelector"]
        errors += validate_node_selector_additions(new.nodeSelector, old.nodeSelector, path)
        same.nodeSelector = old.nodeSelector
        errors += _allow_node_affinity(same, old)
    changes = difference(old, same)
    if changes:
        detail = f"pod updates may not change fields other than {','.join(_UPDATABLE)}\n{changes}"
        errors.append(field.forbidden(_SPEC, detail))
    return errors


def _with_images(new: Sequence[api.Container], old: Sequence[api.Container]) -> list[api.Container]:
    return [msgspec.structs.replace(n, image=o.image) for n, o in zip(new, old, strict=True)]


def _allow_node_affinity(same: api.PodSpec, old: api.PodSpec) -> list[FieldError]:
    before = old.affinity.nodeAffinity if old.affinity is not None else None
    now = same.affinity.nodeAffinity if same.affinity is not None else None
    if before == now:
        return []
    errors = validate_node_affinity_additions(now, before, _SPEC["affinity"]["nodeAffinity"])
    restored = msgspec.structs.replace(same.affinity or api.Affinity(), nodeAffinity=before)
    same.affinity = None if old.affinity is None and restored == api.Affinity() else restored
    return errors


def _validate_deadline_change(new_s: int | None, old_s: int | None) -> list[FieldError]:
    path = _SPEC["activeDeadlineSeconds"]
    if new_s is None:
        if old_s is None:
            return []
        return [field.invalid(path, None, "must not update from a positive integer to nil value")]
    messages = names.in_range(new_s, 0, _INT32_MAX)
    if not messages and old_s is not None and old_s < new_s:
        messages = ["must be less than or equal to previous value"]
    return [field.invalid(path, new_s, message) for message in messages]


def _validate_gates_change(
    new: Sequence[api.PodSchedulingGate], old: Sequence[api.PodSchedulingGate]
) -> list[FieldError]:
    known = {gate.name for gate in old}
    return [
        field.forbidden(
            _SPEC["schedulingGates"].index(position)["name"],
            f"only deletion is allowed, but found new scheduling gate '{gate.name}'",
        )
        for position, gate in {gate.name: (at, gate) for at, gate in enumerate(new)}.values()
        if gate.name not in known
    ]


def _validate_annotation_change(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    now, was = pod.metadata.annotations, old.metadata.annotations
    if now == was:
        return []
    path = Path("metadata.annotations")
    errors: list[FieldError] = []
    for key in [*was, *(key for key in now if key not in was)]:
        if now.get(key) == was.get(key):
            continue
        verb = "remove or update" if key in was else "add"
        if key.startswith(APP_ARMOR):
            errors.append(field.forbidden(path.key(key), f"may not {verb} AppArmor annotations"))
        if key == MIRROR:
            errors.append(field.forbidden(path.key(key), f"may not {verb} mirror pod annotation"))
    return errors


def validate_pod_status_update(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    """What ended stays ended where nothing restarts it, and addresses are addresses."""
    errors = _validate_annotation_change(pod, old)
    status, before = pod.status, old.status
    for position, condition in enumerate(status.conditions):
        if condition.type in _SYSTEM_CONDITIONS:
            continue
        here = _STATUS["conditions"].index(position)["Type"]
        errors += [field.invalid(here, condition.type, m) for m in names.qualified_name(condition.type)]
    if pod.spec.nodeName != old.spec.nodeName:
        errors.append(field.forbidden(_STATUS["nodeName"], "may not be changed directly"))
    nominated = status.nominatedNodeName
    if nominated and nominated != before.nominatedNodeName:
        messages = names.dns1123_subdomain(nominated)
        errors += [field.invalid(_STATUS["nominatedNodeName"], nominated, message) for message in messages]
    if status.qosClass and status.qosClass != before.qosClass:
        errors.append(field.invalid(_STATUS["qosClass"], status.qosClass, "field is immutable"))
    errors += _validate_transitions(pod, old)
    errors += _validate_addresses("podIPs", [address.ip for address in status.podIPs])
    hosts = [address.ip for address in status.hostIPs]
    if hosts and status.hostIP != hosts[0]:
        here = _STATUS["hostIPs"].index(0)["ip"]
        errors.append(field.invalid(here, hosts[0], "must be equal to `hostIP`"))
    errors += _validate_addresses("hostIPs", hosts)
    return errors + validate_allocated_resources(pod, _STATUS)


def prepare_status_update(pod: api.Pod, old: api.Pod) -> None:
    """A status that does not name the pod's class keeps it; owners are for the main resource."""
    pod.status.qosClass = pod.status.qosClass or old.status.qosClass
    pod.metadata.ownerReferences = old.metadata.ownerReferences


def prepare_ephemeral_containers_update(pod: api.Pod, old: api.Pod) -> None:
    """Nothing but the debuggers counts."""
    _keep_all_but_spec(pod, old)
    pod.spec = msgspec.structs.replace(old.spec, ephemeralContainers=pod.spec.ephemeralContainers)


def prepare_pod_resize(pod: api.Pod, old: api.Pod) -> None:
    """Nothing but the sizes of the containers there are counts."""
    _keep_all_but_spec(pod, old)
    spec = pod.spec
    if len(spec.containers) != len(old.spec.containers) or len(spec.initContainers) != len(
        old.spec.initContainers
    ):
        return  # which validation says
    pod.spec = msgspec.structs.replace(
        old.spec,
        containers=_resized(old.spec.containers, spec.containers),
        initContainers=_resized(old.spec.initContainers, spec.initContainers),
    )


def _keep_all_but_spec(pod: api.Pod, old: api.Pod) -> None:
    for name in ("labels", "annotations", "ownerReferences", "finalizers"):
        setattr(pod.metadata, name, getattr(old.metadata, name))
    pod.status = old.status


def _resized(old: Sequence[api.Container], new: Sequence[api.Container]) -> list[api.Container]:
    wanted = {container.name: container for container in new}
    return [
        msgspec.structs.replace(
            was, resources=wanted[was.name].resources, resizePolicy=wanted[was.name].resizePolicy
        )
        if was.name in wanted
        else was
        for was in old
    ]


def _validate_transitions(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    policy = old.spec.restartPolicy or ""
    sidecars = {c.name for c in old.spec.initContainers if c.restartPolicy == "Always"}
    own = {c.name: c for c in (*old.spec.containers, *old.spec.initContainers) if c.restartPolicy is not None}
    errors: list[FieldError] = []
    for name, rule in (
        ("containerStatuses", policy),
        ("initContainerStatuses", policy),
        ("ephemeralContainerStatuses", "Never"),
    ):
        now = {s.name: s for s in getattr(pod.status, name)}
        for position, was in enumerate(getattr(old.status, name)):
            ended = was.state.terminated if was.state is not None else None
            if ended is None or was.name not in now or was.name in sidecars:
                continue
            effective = own[was.name].restartPolicy if was.name in own else rule
            ruled = was.name in own and bool(own[was.name].restartPolicyRules)
            if effective == "Always" or ruled or (effective == "OnFailure" and ended.exitCode != 0):
                continue
            state = now[was.name].state
            if state is None or state.terminated is None:
                here = _STATUS[name].index(position)["state"]
                detail = "may not be transitioned to non-terminated state"
                errors.append(field.forbidden(here, detail))
    return errors


def _validate_addresses(name: str, addresses: list[str]) -> list[FieldError]:
    path = _STATUS[name]
    errors: list[FieldError] = []
    for position, address in enumerate(addresses):
        errors += validate_ip(address, path.index(position))
    if len(addresses) < 2:
        return errors
    shown = [{"ip": address} for address in addresses]
    if len(addresses) > 2 or not is_dual_stack(addresses):
        errors.append(field.invalid(path, shown, _ONE_PER_FAMILY))
    for position, address in enumerate(addresses):
        if address in addresses[:position]:
            errors.append(field.duplicate(path.index(position), shown[position]))
    return errors


def validate_ephemeral_containers_update(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    """pods/ephemeralcontainers adds; it neither changes nor removes. The verbs keep the rest of the spec."""
    if MIRROR in old.metadata.annotations:
        return [field.forbidden(_WHOLE, "static pods do not support ephemeral containers")]
    path = _SPEC["ephemeralContainers"]
    now = {container.name: container for container in pod.spec.ephemeralContainers}
    errors: list[FieldError] = []
    for was in old.spec.ephemeralContainers:
        if was.name not in now:
            detail = f'existing ephemeral containers "{was.name}" may not be removed\n'
            errors.append(field.forbidden(path, detail))
        elif now[was.name] != was:
            changes = difference(was, now[was.name])
            detail = f'existing ephemeral containers "{was.name}" may not be changed\n{changes}'
            errors.append(field.forbidden(path, detail))
    return errors


def validate_pod_resize(pod: api.Pod, old: api.Pod) -> list[FieldError]:
    """pods/resize changes the cpu and memory of running containers, and not the pod's class."""
    if MIRROR in old.metadata.annotations:
        return [field.forbidden(_WHOLE, "static pods cannot be resized")]
    if old.spec.os is not None and old.spec.os.name == "windows":
        return [field.forbidden(_WHOLE, "windows pods cannot be resized")]
    errors: list[FieldError] = []
    if old.status.qosClass and old.status.qosClass != qos_class(pod.spec):
        detail = "Pod QOS Class may not change as a result of resizing"
        errors.append(field.invalid(_SPEC, pod.status.qosClass, detail))
    for name in ("containers", "initContainers"):
        new_list, old_list = getattr(pod.spec, name), getattr(old.spec, name)
        if len(new_list) != len(old_list):
            return [*errors, field.forbidden(_SPEC[name], "pod updates may not add or remove containers")]
        for position, (now, was) in enumerate(zip(new_list, old_list, strict=True)):
            errors += _validate_resized(name, now, was, _SPEC[name].index(position)["resources"])
    return errors


def _validate_resized(name: str, now: api.Container, was: api.Container, path: Path) -> list[FieldError]:
    if name == "initContainers" and was.restartPolicy != "Always":
        if now == was:
            return []
        return [field.forbidden(_SPEC, "resources for non-sidecar init containers are immutable")]
    errors: list[FieldError] = []
    for side in ("requests", "limits"):
        if getattr(was.resources, side).keys() - getattr(now.resources, side).keys():
            errors.append(field.forbidden(path[side], f"resource {side} cannot be removed"))
    restored = msgspec.structs.replace(now, resources=_with_sizes(now.resources, was.resources))
    if restored != was:
        of_sidecars = " for sidecar containers" if name == "initContainers" else ""
        errors.append(field.forbidden(_SPEC, f"only cpu and memory resources{of_sidecars} are mutable"))
    return errors


def _with_sizes(now: api.ResourceRequirements, was: api.ResourceRequirements) -> api.ResourceRequirements:
    sides: dict[str, Any] = {}
    for side in ("requests", "limits"):
        amounts = {k: v for k, v in getattr(now, side).items() if k not in _RESIZABLE}
        old = getattr(was, side)
        sides[side] = {**amounts, **{k: old[k] for k in _RESIZABLE if k in old}}
    return msgspec.structs.replace(now, **sides)
