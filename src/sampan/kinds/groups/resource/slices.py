"""ResourceSlice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sampan.base.clock import kube_time
from sampan.kinds.core.scheduling_validation import validate_node_selector
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.groups.resource.common import duplicates, each
from sampan.kinds.groups.resource.devicedata import data_errors
from sampan.kinds.groups.resource.selectors import EFFECTS
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_DEVICES_MAX: Final = 128
# With taints or counters a device takes more room.
_LARGER_DEVICES_MAX: Final = 64
_COUNTER_SETS_MAX: Final = 8
_COUNTERS_MAX: Final = 32
_CONSUMED_MAX: Final = 2
_CONDITIONS_MAX: Final = 4
_TAINTS_MAX: Final = 16
_POOL_NAME_MAX_BYTES: Final = 253
_DEVICE_PLACES: Final = ("nodeName", "nodeSelector", "allNodes")
_PLACES: Final = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


# Attributes with several values: alpha, and off.
_LISTS: Final = ("bools", "ints", "strings", "versions")


def default_slice(obj: Any) -> None:
    """The pool is embedded by value in Go, so it is always there; what is alpha and off is dropped."""
    spec = obj.spec
    spec.pool = spec.pool or api.ResourcePool()
    spec.partitionTypeAttribute = None
    if spec.skipNodeOperations:
        spec.skipNodeOperations = []
    for device in spec.devices:
        for attribute in device.attributes.values():
            for name in _LISTS:
                if getattr(attribute, name):
                    setattr(attribute, name, [])


def validate_slice(obj: Any) -> list[FieldError]:
    """Every error of a ResourceSlice: those of ValidateResourceSlice, then those of generated checks."""
    spec, pool = obj.spec, obj.spec.pool or api.ResourcePool()
    late: list[FieldError] = []
    errors = driver_name_errors(spec.driver, SPEC["driver"])
    errors += pool_name_errors(pool.name, SPEC["pool"]["name"])
    if pool.resourceSliceCount <= 0:
        path = SPEC["pool"]["resourceSliceCount"]
        errors.append(field.invalid(path, pool.resourceSliceCount, "must be greater than zero"))
    if pool.generation < 0:
        path = SPEC["pool"]["generation"]
        errors.append(field.invalid(path, pool.generation, "must be greater than or equal to zero"))
    errors += _place_errors(spec)
    if spec.sharedCounters and spec.devices:
        errors.append(field.invalid(SPEC, "", "only one of `sharedCounters` or `devices` is allowed"))
    larger = any(device.taints or device.consumesCounters for device in spec.devices)
    most = _LARGER_DEVICES_MAX if larger else _DEVICES_MAX
    chosen, path = bool(spec.perDeviceNodeSelection), SPEC["devices"]
    errors += each(spec.devices, most, lambda one, at: _device_errors(one, at, chosen, late), path)
    if len(spec.devices) <= most:
        errors += duplicates(spec.devices, lambda device: device.name, path)
    return errors + late + _counter_sets_errors(spec.sharedCounters, SPEC["sharedCounters"])


def _counter_sets_errors(sets: Sequence[Any], path: Path) -> list[FieldError]:
    if len(sets) > _COUNTER_SETS_MAX:
        return [field.too_many(path, len(sets), _COUNTER_SETS_MAX)]
    errors = duplicates(sets, lambda one: one.name, path, whole=True)
    for position, one in enumerate(sets):
        errors += _counters_errors("name", one.name, one.counters, path[position])
    return errors


def _consumed_errors(consumed: Sequence[Any], path: Path) -> list[FieldError]:
    if len(consumed) > _CONSUMED_MAX:
        return [field.too_many(path, len(consumed), _CONSUMED_MAX)]
    errors = duplicates(consumed, lambda one: one.counterSet, path, whole=True)
    for position, one in enumerate(consumed):
        errors += _counters_errors("counterSet", one.counterSet, one.counters, path[position])
    return errors


def _counters_errors(called: str, name: str, counters: Mapping[str, Any], path: Path) -> list[FieldError]:
    errors = checks.required_name(name, names.dns1123_label, path[called])
    if not counters:
        return [*errors, field.required(path["counters"])]
    if len(counters) > _COUNTERS_MAX:
        errors.append(field.too_many(path["counters"], len(counters), _COUNTERS_MAX))
    for key in counters:
        errors += checks.named(key, names.dns1123_label(key), path["counters"])
    return errors


def _place_errors(spec: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.nodeName:
        errors += checks.named(spec.nodeName, names.dns1123_subdomain(spec.nodeName), SPEC["nodeName"])
    elif spec.nodeName is not None:
        detail = "must be either unset or set to a non-empty string"
        errors.append(field.invalid(SPEC["nodeName"], "", detail))
    if spec.nodeSelector is not None:
        path, terms = SPEC["nodeSelector"], spec.nodeSelector.nodeSelectorTerms
        errors += validate_node_selector(spec.nodeSelector, path)
        if len(terms) != 1:
            detail = "must have exactly one node selector term"
            errors.append(field.invalid(path["nodeSelectorTerms"], terms or None, detail))
    for name in ("allNodes", "perDeviceNodeSelection"):
        if getattr(spec, name) is False:
            errors.append(field.invalid(SPEC[name], False, "must be either unset or set to true"))
    given = [name for name in _PLACES if getattr(spec, name)]
    detail = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
    if not given:
        errors.append(field.required(SPEC, detail))
    elif len(given) > 1:
        shown = ", ".join(f"`{name}`" for name in given)
        errors.append(field.invalid(SPEC, f"{{{shown}}}", detail + ", but multiple fields are set"))
    return errors


def _device_place_errors(device: Any, chosen: bool, path: Path) -> list[FieldError]:
    """Where one device is: said of each by itself only where the slice says so."""
    if not chosen:
        if all(getattr(device, name) is None for name in _DEVICE_PLACES):
            return []
        detail = (
            "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to "
            "true in the ResourceSlice spec"
        )
        return [field.invalid(path, None, detail)]
    errors: list[FieldError] = []
    if device.nodeName:
        errors += checks.named(device.nodeName, names.dns1123_subdomain(device.nodeName), path["nodeName"])
    elif device.nodeName is not None:
        errors.append(field.invalid(path["nodeName"], "", "must not be empty"))
    if device.nodeSelector is not None:
        errors += validate_node_selector(device.nodeSelector, path["nodeSelector"])
    if device.allNodes is False:
        errors.append(field.invalid(path["allNodes"], False, "must be either unset or set to true"))
    given = [name for name in _DEVICE_PLACES if getattr(device, name)]
    detail = (
        "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when "
        "`perDeviceNodeSelection` is set to true in the ResourceSlice spec"
    )
    if not given:
        errors.append(field.required(path, detail))
    elif len(given) > 1:
        shown = ", ".join(f"`{name}`" for name in given)
        errors.append(field.invalid(path, f"{{{shown}}}", detail))
    return errors


def _binding_errors(device: Any, path: Path) -> list[FieldError]:
    """Conditions that binding waits for, and those that say that it failed: both or none."""
    wanted, failed = device.bindingConditions, device.bindingFailureConditions
    errors: list[FieldError] = []
    for name, conditions in (("bindingConditions", wanted), ("bindingFailureConditions", failed)):
        errors += each(
            conditions,
            _CONDITIONS_MAX,
            lambda one, at: checks.named(one, names.qualified_name(one), at),
            path[name],
        )
    for name, conditions in (("bindingConditions", wanted), ("bindingFailureConditions", failed)):
        for position, one in enumerate(conditions):
            if one in conditions[:position]:
                errors.append(field.duplicate(path[name][position], one))
            if name == "bindingFailureConditions" and one in wanted:
                detail = "bindingFailureConditions must not overlap with bindingConditions"
                errors.append(field.invalid(path[name][position], one, detail))
    if failed and not wanted:
        detail = "bindingConditions are required to use bindingFailureConditions"
        errors.append(field.invalid(path["bindingConditions"], None, detail))
    if wanted and not failed:
        detail = "bindingFailureConditions are required to use bindingConditions"
        errors.append(field.invalid(path["bindingFailureConditions"], None, detail))
    return errors


def pool_name_errors(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [field.required(path)]
    errors: list[FieldError] = []
    if len(name.encode()) > _POOL_NAME_MAX_BYTES:
        errors.append(field.too_long(path, _POOL_NAME_MAX_BYTES))
    for part in name.split("/"):
        errors += checks.named(part, names.dns1123_subdomain(part), path)
    return errors


def _device_errors(device: Any, path: Path, chosen: bool, late: list[FieldError]) -> list[FieldError]:
    errors = checks.named(device.name, names.dns1123_label(device.name), path["name"])
    errors += data_errors(device, path, late)
    errors += each(device.taints, _TAINTS_MAX, lambda one, at: taint_errors(one, at, late), path["taints"])
    late += _consumed_errors(device.consumesCounters, path["consumesCounters"])
    errors += _device_place_errors(device, chosen, path)
    return errors + _binding_errors(device, path)


def taint_errors(taint: Any, path: Path, late: list[FieldError]) -> list[FieldError]:
    """Every error of a taint; what kube-apiserver tells last is added to `late`."""
    errors = checks.named(taint.key, names.qualified_name(taint.key), path["key"])
    if taint.value:
        errors += checks.named(taint.value, names.label_value(taint.value), path["value"])
    late += checks.required_one_of(taint.effect, EFFECTS, path["effect"])
    return errors


def validate_slice_update(new: Any, old: Any) -> list[FieldError]:
    """A slice stays with its driver, its pool and its node."""
    errors = checks.immutable(new.spec.pool.name, old.spec.pool.name, SPEC["pool"]["name"])
    return errors + checks.immutables(new.spec, old.spec, SPEC, "driver", "nodeName")


def stamp_slice(obj: Any) -> None:
    """Taints of a new slice were added when it was made."""
    _stamp(obj, {}, obj.metadata.creationTimestamp)


def stamp_slice_update(new: Any, old: Any, now: datetime) -> None:
    """A taint that was there keeps the time at which it was added; another one is added now."""
    known = {
        (device.name, taint.key, taint.value, taint.effect): taint.timeAdded
        for device in old.spec.devices
        for taint in device.taints
    }
    _stamp(new, known, kube_time(now))


def _stamp(obj: Any, known: Mapping[Any, Any], now: Any) -> None:
    for device in obj.spec.devices:
        for taint in device.taints:
            if taint.timeAdded is None:
                taint.timeAdded = known.get((device.name, taint.key, taint.value, taint.effect)) or now


SLICE: Final = Kind(
    api_version="resource.k8s.io/v1",
    kind="ResourceSlice",
    plural="resourceslices",
    namespaced=CLUSTER,
    generation=True,
    default=default_slice,
    prepare_create=stamp_slice,
    stamp_update=stamp_slice_update,
    validate=validate_slice,
    validate_update=validate_slice_update,
    name_errors=names.dns1123_subdomain,
    field_selectors={
        "spec.nodeName": lambda s: s.spec.nodeName or "",
        "spec.driver": lambda s: s.spec.driver,
    },
    columns=(
        NAME,
        column("Node", lambda s: s.spec.nodeName or ""),
        column("Driver", lambda s: s.spec.driver),
        column("Pool", lambda s: s.spec.pool.name if s.spec.pool is not None else ""),
        AGE,
    ),
)
