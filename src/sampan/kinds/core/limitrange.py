"""LimitRange: what one pod, container or claim of a namespace may ask for, and what it gets unasked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sampan.kinds.core.cells import CREATED_AT
from sampan.kinds.core.pod_defaults import round_to_milli
from sampan.kinds.core.resources import (
    NameCheck,
    container_resource_name_errors,
    is_overcommit_allowed,
    resource_name_errors,
)
from sampan.kinds.kind import NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path
from sampan.machinery.quantity import Quantity
from sampan.schema import api

_LIMITS: Final = Path("spec.limits")
_STANDARD_TYPES: Final = frozenset({"Pod", "Container", "PersistentVolumeClaim"})
_LISTS: Final = ("max", "min", "default", "defaultRequest", "maxLimitRequestRatio")
# The rules between the lists: the smaller one, the larger one, which of them is reported, and the words.
_ORDER: Final = (
    ("min", "max", "min", "min", "min value {0} is greater than max value {1}"),
    (
        "min",
        "defaultRequest",
        "defaultRequest",
        "defaultRequest",
        "min value {0} is greater than default request value {1}",
    ),
    (
        "defaultRequest",
        "max",
        "defaultRequest",
        "defaultRequest",
        "default request value {0} is greater than max value {1}",
    ),
    (
        "defaultRequest",
        "default",
        "defaultRequest",
        "defaultRequest",
        "default request value {0} is greater than default limit value {1}",
    ),
    ("min", "default", "default", "min", "min value {0} is greater than default value {1}"),
    ("default", "max", "default", "max", "default value {0} is greater than max value {1}"),
)


def default_limit_range(limits: api.LimitRange) -> None:
    """For containers the default limit is the maximum, the default request that limit or the minimum."""
    for item in limits.spec.limits:
        for name in _LISTS:
            round_to_milli(getattr(item, name))
        if item.type != "Container":
            continue
        for name, amount in item.max.items():
            item.default.setdefault(name, amount)
        for name, amount in (*item.default.items(), *item.min.items()):
            item.defaultRequest.setdefault(name, amount)


def prepare_create(limits: api.LimitRange) -> None:
    """One without a name is called by its UID."""
    meta = limits.metadata
    meta.name = meta.name or meta.uid


def validate_limit_range(limits: api.LimitRange) -> list[FieldError]:
    """Types are known and unique; minimum, defaults and maximum are in order."""
    errors: list[FieldError] = []
    seen: set[str] = set()
    for position, item in enumerate(limits.spec.limits):
        path = _LIMITS.index(position)
        errors += _validate_type(item.type, path["type"])
        if item.type in seen:
            errors.append(field.duplicate(path["type"], item.type))
        seen.add(item.type)
        errors += _validate_item(item, path)
    return errors


def _validate_type(name: str, path: Path) -> list[FieldError]:
    messages = names.qualified_name(name)
    if not messages and "/" not in name and name not in _STANDARD_TYPES:
        messages = ["must be a standard limit type or fully qualified"]
    return [field.invalid(path, name, message) for message in messages]


def _validate_item(item: api.LimitRangeItem, path: Path) -> list[FieldError]:
    of_pods = item.type in ("Pod", "Container")
    check: NameCheck = container_resource_name_errors if of_pods else resource_name_errors
    lists: dict[str, Mapping[str, Quantity]] = {}
    errors: list[FieldError] = []
    for name in _LISTS:
        amounts: dict[str, Quantity] = getattr(item, name)
        if item.type == "Pod" and name.startswith("default"):
            if amounts:
                errors.append(field.forbidden(path[name], "may not be specified when `type` is 'Pod'"))
            continue
        for resource in amounts:
            errors += [field.invalid(path[name].key(resource), resource, m) for m in check(resource)]
        lists[name] = amounts
    if item.type == "PersistentVolumeClaim" and "storage" not in item.min and "storage" not in item.max:
        detail = "either minimum or maximum storage value is required, but neither was provided"
        errors.append(field.required(path["limits"], detail))
    for resource in sorted(set().union(*lists.values())):
        values = {name: amounts[resource] for name, amounts in lists.items() if resource in amounts}
        errors += _validate_order(resource, values, path)
    return errors


def _validate_order(resource: str, values: Mapping[str, Quantity], path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    for small, large, at, shown, words in _ORDER:
        if small in values and large in values and values[large] < values[small]:
            detail = words.format(values[small], values[large])
            errors.append(field.invalid(path[at].key(resource), values[shown].text, detail))
    errors += _validate_ratio(resource, values, path["maxLimitRequestRatio"].key(resource))
    default, request = values.get("default"), values.get("defaultRequest")
    if default is None or request is None or default == request or is_overcommit_allowed(resource):
        return errors
    detail = f"default value {default} must equal to defaultRequest value {request} in {resource}"
    errors.append(field.invalid(path["defaultRequest"].key(resource), request.text, detail))
    return errors


def _validate_ratio(resource: str, values: Mapping[str, Quantity], path: Path) -> list[FieldError]:
    ratio = values.get("maxLimitRequestRatio")
    if ratio is None:
        return []
    errors: list[FieldError] = []
    if ratio.value < 1:
        errors.append(field.invalid(path, ratio.text, f"ratio {ratio} is less than 1"))
    low, high = values.get("min"), values.get("max")
    if low is not None and high is not None and low.value > 0 and ratio.value > high.value / low.value:
        detail = f"ratio {ratio} is greater than max/min = {float(high.value / low.value):f}"
        errors.append(field.invalid(path, ratio.text, detail))
    return errors


KIND: Final = Kind(
    api_version="v1",
    kind="LimitRange",
    plural="limitranges",
    short=("limits",),
    default=default_limit_range,
    validate=validate_limit_range,
    prepare_create=prepare_create,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, CREATED_AT),
)
