"""DeviceClass, ResourceSlice and DeviceTaintRule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sampan.base.clock import kube_time
from sampan.kinds.core.cells import since
from sampan.kinds.core.resources import is_extended
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_AGE, column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.groups.resource.capacity import capacity_errors
from sampan.kinds.groups.resource.selectors import EFFECTS, expressions_errors, selectors_errors
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_API_VERSION: Final = "resource.k8s.io/v1"
_DEVICES_MAX: Final = 128
_CONFIGS_MAX: Final = 32
_POOL_NAME_MAX_BYTES: Final = 253
_DEVICE_PLACES: Final = ("nodeName", "nodeSelector", "allNodes")
_PLACES: Final = ("nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")


def validate_class(obj: Any) -> list[FieldError]:
    """Every error of a DeviceClass."""
    errors = selectors_errors(obj.spec.selectors, SPEC["selectors"])
    if len(obj.spec.config) > _CONFIGS_MAX:
        errors.append(field.too_many(SPEC["config"], len(obj.spec.config), _CONFIGS_MAX))
    for position, config in enumerate(obj.spec.config):
        path = SPEC["config"][position]["opaque"]
        if config.opaque is None:
            errors.append(field.required(path))
            continue
        errors += driver_name_errors(config.opaque.driver, path["driver"])
        if config.opaque.parameters is None:
            errors.append(field.required(path["parameters"]))
    served = obj.spec.extendedResourceName
    if served is not None and not is_extended(served):
        detail = "must be a valid extended resource name"
        errors.append(field.invalid(SPEC["extendedResourceName"], served, detail))
    return errors


def validate_class_create(obj: Any) -> list[FieldError]:
    """What is wrong with the expressions of a new DeviceClass."""
    return expressions_errors(obj.spec.selectors, SPEC["selectors"])


def validate_class_update(new: Any, old: Any) -> list[FieldError]:
    """The same where they are others than before."""
    return [] if new.spec.selectors == old.spec.selectors else validate_class_create(new)


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
    """Every error of a ResourceSlice: ValidateResourceSlice."""
    spec, pool = obj.spec, obj.spec.pool or api.ResourcePool()
    errors = _place_errors(spec)
    errors += driver_name_errors(spec.driver, SPEC["driver"])
    errors += _pool_name_errors(pool.name, SPEC["pool"]["name"])
    errors += checks.non_negative(pool.generation, SPEC["pool"]["generation"])
    if pool.resourceSliceCount <= 0:
        path = SPEC["pool"]["resourceSliceCount"]
        errors.append(field.invalid(path, pool.resourceSliceCount, "must be greater than zero"))
    if len(spec.devices) > _DEVICES_MAX:
        errors.append(field.too_many(SPEC["devices"], len(spec.devices), _DEVICES_MAX))
    each = bool(spec.perDeviceNodeSelection)
    return errors + _devices_errors(spec.devices, SPEC["devices"], each)


def _place_errors(spec: Any) -> list[FieldError]:
    errors: list[FieldError] = []
    if spec.nodeName:
        errors += checks.named(spec.nodeName, names.dns1123_subdomain(spec.nodeName), SPEC["nodeName"])
    elif spec.nodeName is not None:
        detail = "must be either unset or set to a non-empty string"
        errors.append(field.invalid(SPEC["nodeName"], "", detail))
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


def _device_place_errors(device: Any, each: bool, path: Path) -> list[FieldError]:
    """Where one device is: said of each by itself only where the slice says so."""
    if not each:
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
        for position, one in enumerate(conditions):
            errors += checks.named(one, names.qualified_name(one), path[name][position])
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


def _pool_name_errors(name: str, path: Path) -> list[FieldError]:
    if not name:
        return [field.required(path)]
    errors: list[FieldError] = []
    if len(name.encode()) > _POOL_NAME_MAX_BYTES:
        errors.append(field.too_long(path, _POOL_NAME_MAX_BYTES))
    for part in name.split("/"):
        errors += checks.named(part, names.dns1123_subdomain(part), path)
    return errors


def _devices_errors(devices: Sequence[Any], path: Path, each: bool) -> list[FieldError]:
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, device in enumerate(devices):
        at = path[position]
        errors += checks.required_name(device.name, names.dns1123_label, at["name"])
        if device.name in seen:
            errors.append(field.duplicate(at["name"], device.name))
        seen.add(device.name)
        for name, attribute in device.attributes.items():
            errors += _attribute_errors(attribute, at["attributes"].key(name))
        for name, capacity in device.capacity.items():
            shared = bool(device.allowMultipleAllocations)
            errors += capacity_errors(capacity, at["capacity"].key(name), shared=shared)
        for index, taint in enumerate(device.taints):
            errors += _taint_errors(taint, at["taints"][index])
        errors += _device_place_errors(device, each, at)
        errors += _binding_errors(device, at)
    return errors


def _attribute_errors(attribute: Any, path: Path) -> list[FieldError]:
    given = [
        name
        for name in attribute.__struct_fields__
        if getattr(attribute, name) is not None and getattr(attribute, name) != []
    ]
    if not given:
        return [field.required(path, "exactly one value must be specified")]
    if len(given) > 1:
        return [field.invalid(path, attribute, "exactly one value must be specified")]
    return []


def validate_slice_update(new: Any, old: Any) -> list[FieldError]:
    """A slice stays with its driver, its pool and its node."""
    errors = checks.immutables(new.spec, old.spec, SPEC, "driver", "nodeName")
    return errors + checks.immutable(new.spec.pool.name, old.spec.pool.name, SPEC["pool"]["name"])


def validate_taint_rule(obj: Any) -> list[FieldError]:
    """Every error of a DeviceTaintRule."""
    taint, selector = obj.spec.taint, obj.spec.deviceSelector
    errors: list[FieldError] = []
    if selector is not None:
        path = SPEC["deviceSelector"]
        if selector.driver is not None:
            errors += driver_name_errors(selector.driver, path["driver"])
        if selector.pool is not None:
            errors += _pool_name_errors(selector.pool, path["pool"])
        if selector.device is not None:
            errors += checks.required_name(selector.device, names.dns1123_label, path["device"])
    if taint is None:
        return [*errors, field.required(SPEC["taint"])]
    return errors + _taint_errors(taint, SPEC["taint"])


def _taint_errors(taint: Any, path: Path) -> list[FieldError]:
    errors = checks.required_name(taint.key, names.qualified_name, path["key"])
    if taint.value:
        errors += checks.named(taint.value, names.label_value(taint.value), path["value"])
    return errors + checks.required_one_of(taint.effect, EFFECTS, path["effect"])


def prepare_taint_rule(obj: Any) -> None:
    """A taint is added when its rule is made, unless the user says when."""
    checks.clear_status(obj)
    if obj.spec.taint is not None and obj.spec.taint.timeAdded is None:
        obj.spec.taint.timeAdded = obj.metadata.creationTimestamp


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


def stamp_rule_update(new: Any, old: Any, now: datetime) -> None:
    """A taint of another effect is another one, added now."""
    taint, before = new.spec.taint, old.spec.taint
    if taint is None or before is None:
        return
    if taint.timeAdded is None or (taint.effect != before.effect and taint.timeAdded == before.timeAdded):
        same = taint.timeAdded is None and taint.effect == before.effect
        taint.timeAdded = before.timeAdded if same else kube_time(now)


def _taint(name: str, obj: Any) -> str:
    return (getattr(obj.spec.taint, name) if obj.spec.taint is not None else None) or ""


def _time_added(obj: Any, now: datetime) -> str:
    added = obj.spec.taint.timeAdded if obj.spec.taint is not None else None
    return "" if added is None else since(added, now)


DEVICE_CLASS: Final = Kind(
    api_version=_API_VERSION,
    kind="DeviceClass",
    plural="deviceclasses",
    namespaced=CLUSTER,
    generation=True,
    validate=validate_class,
    validate_create=validate_class_create,
    validate_update=validate_class_update,
    name_errors=names.dns1123_subdomain,
    columns=NAME_AND_AGE,
)
TAINT_RULE: Final = Kind(
    api_version=_API_VERSION,
    kind="DeviceTaintRule",
    plural="devicetaintrules",
    namespaced=CLUSTER,
    status=True,
    status_keeps_metadata=True,
    generation=True,
    validate=validate_taint_rule,
    prepare_create=prepare_taint_rule,
    stamp_update=stamp_rule_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Key", lambda rule: _taint("key", rule)),
        column("Value", lambda rule: _taint("value", rule)),
        column("Effect", lambda rule: _taint("effect", rule)),
        Column("TimeAdded", _time_added),
        AGE,
    ),
)
SLICE: Final = Kind(
    api_version=_API_VERSION,
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
