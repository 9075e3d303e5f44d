"""DeviceClass and DeviceTaintRule."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from sampan.base.clock import kube_time
from sampan.kinds.core.cells import since
from sampan.kinds.core.resources import is_extended
from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import NAME_AND_AGE, column
from sampan.kinds.groups.checks import SPEC
from sampan.kinds.groups.resource.common import each, opaque_errors
from sampan.kinds.groups.resource.selectors import expressions_errors, selectors_errors
from sampan.kinds.groups.resource.slices import pool_name_errors, taint_errors
from sampan.kinds.groups.storage.csi import driver_name_errors
from sampan.kinds.kind import AGE, CLUSTER, NAME, Column, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.schema import api

_API_VERSION: Final = "resource.k8s.io/v1"
_CONFIGS_MAX: Final = 32


def validate_class(obj: Any) -> list[FieldError]:
    """Every error of a DeviceClass."""
    late: list[FieldError] = []

    def config_errors(config: Any, path: Path) -> list[FieldError]:
        found, found_late = opaque_errors(config.opaque, path["opaque"])
        late.extend(found_late)
        return found

    errors = selectors_errors(obj.spec.selectors, SPEC["selectors"])
    errors += each(obj.spec.config, _CONFIGS_MAX, config_errors, SPEC["config"])
    served = obj.spec.extendedResourceName
    if served is not None and not is_extended(served):
        detail = "must be a valid extended resource name"
        late.append(field.invalid(SPEC["extendedResourceName"], served, detail))
    return errors + late


def validate_class_create(obj: Any) -> list[FieldError]:
    """What is wrong with the expressions of a new DeviceClass."""
    return expressions_errors(obj.spec.selectors, SPEC["selectors"])


def validate_class_update(new: Any, old: Any) -> list[FieldError]:
    """The same where they are others than before."""
    return [] if new.spec.selectors == old.spec.selectors else validate_class_create(new)


def validate_taint_rule(obj: Any) -> list[FieldError]:
    """Every error of a DeviceTaintRule."""
    taint, selector = obj.spec.taint, obj.spec.deviceSelector
    errors: list[FieldError] = []
    if selector is not None:
        path = SPEC["deviceSelector"]
        if selector.driver is not None:
            errors += driver_name_errors(selector.driver, path["driver"])
        if selector.pool is not None:
            errors += pool_name_errors(selector.pool, path["pool"])
        if selector.device is not None:
            errors += checks.named(selector.device, names.dns1123_label(selector.device), path["device"])
    late: list[FieldError] = []
    return errors + taint_errors(taint or api.DeviceTaint(), SPEC["taint"], late) + late


def prepare_taint_rule(obj: Any) -> None:
    """A taint is added when its rule is made, unless the user says when."""
    checks.clear_status(obj)
    if obj.spec.taint is not None and obj.spec.taint.timeAdded is None:
        obj.spec.taint.timeAdded = obj.metadata.creationTimestamp


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
