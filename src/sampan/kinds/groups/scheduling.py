"""The kinds of scheduling.k8s.io/v1: PriorityClass."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.groups.checks import METADATA
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, names
from sampan.machinery.field import FieldError, Path

HIGHEST_USER_PRIORITY: Final = 1_000_000_000
SYSTEM_PREFIX: Final = "system-"
# Names and values that belong to Kubernetes itself.
SYSTEM_PRIORITIES: Final = {
    "system-node-critical": 2 * HIGHEST_USER_PRIORITY + 1000,
    "system-cluster-critical": 2 * HIGHEST_USER_PRIORITY,
}
_PREEMPTION_POLICIES: Final = ("PreemptLowerPriority", "Never")


def default(obj: Any) -> None:
    """Pods of a class preempt those of lower ones, and are worth nothing, where nothing is said."""
    obj.value = obj.value or 0
    if obj.preemptionPolicy is None:
        obj.preemptionPolicy = "PreemptLowerPriority"


def validate(obj: Any) -> list[FieldError]:
    """Every error of a class: ValidatePriorityClass."""
    errors: list[FieldError] = []
    name = obj.metadata.name or ""
    if name.startswith(SYSTEM_PREFIX):
        # The two that Kubernetes makes itself are allowed exactly as it makes them.
        if SYSTEM_PRIORITIES.get(name) != obj.value or obj.globalDefault:
            detail = "priority class names with 'system-' prefix are reserved for system use only. "
            errors.append(field.forbidden(METADATA["name"], detail + _system_detail(obj)))
    elif obj.value > HIGHEST_USER_PRIORITY:
        detail = f"maximum allowed value of a user defined priority is {HIGHEST_USER_PRIORITY}"
        errors.append(field.forbidden(Path("value"), detail))
    return errors + checks.one_of(obj.preemptionPolicy, _PREEMPTION_POLICIES, Path("preemptionPolicy"))


def _system_detail(obj: Any) -> str:
    name = obj.metadata.name
    if name not in SYSTEM_PRIORITIES:
        return f"error: {name} is not a known system priority class"
    if obj.value != SYSTEM_PRIORITIES[name]:
        return f"error: value of {name} PriorityClass must be {SYSTEM_PRIORITIES[name]}"
    return f"error: globalDefault of {name} PriorityClass must be false"


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Pods copied both fields when they were made."""
    errors: list[FieldError] = []
    if new.value != old.value:
        errors.append(field.forbidden(Path("value"), "may not be changed in an update."))
    return errors + checks.immutable(new.preemptionPolicy, old.preemptionPolicy, Path("preemptionPolicy"))


def prepare_create(obj: Any) -> None:
    """Its generation is 1, and stays so whatever is changed."""
    obj.metadata.generation = 1


PRIORITY_CLASS: Final = Kind(
    api_version="scheduling.k8s.io/v1",
    kind="PriorityClass",
    plural="priorityclasses",
    told_alone="change",
    short=("pc",),
    namespaced=CLUSTER,
    prepare_create=prepare_create,
    default=default,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(
        NAME,
        column("Value", lambda pc: pc.value, type="integer"),
        column("Global-Default", lambda pc: bool(pc.globalDefault), type="boolean"),
        AGE,
        column("PreemptionPolicy", lambda pc: pc.preemptionPolicy or ""),
    ),
)

KINDS: Final[tuple[Kind, ...]] = (PRIORITY_CLASS,)
