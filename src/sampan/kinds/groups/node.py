"""The kinds of node.k8s.io/v1: RuntimeClass."""

from __future__ import annotations

from typing import Any, Final

from sampan.kinds.groups import checks
from sampan.kinds.groups.cells import column
from sampan.kinds.kind import AGE, CLUSTER, NAME, Kind
from sampan.machinery import field, meta, names
from sampan.machinery.field import FieldError, Path

# As messages show a toleration.
_TOLERATION: Final = ("Key", "Operator", "Value", "Effect", "TolerationSeconds")
_EFFECTS: Final = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def validate(obj: Any) -> list[FieldError]:
    """Every error of a RuntimeClass: ValidateRuntimeClass."""
    errors = checks.named(obj.handler, names.dns1123_label(obj.handler), Path("handler"))
    if obj.overhead is not None:
        for name, amount in obj.overhead.podFixed.items():
            path = Path("overhead.podFixed").key(name)
            errors += checks.named(name, names.qualified_name(name), path)
            if amount.value < 0:
                errors.append(field.invalid(path, amount, checks.NEGATIVE))
    if obj.scheduling is not None:
        errors += meta.validate_labels(obj.scheduling.nodeSelector, Path("scheduling.nodeSelector"))
        tolerations, path = obj.scheduling.tolerations, Path("scheduling.tolerations")
        for position, toleration in enumerate(tolerations):
            errors += _toleration_errors(toleration, path[position])
            if toleration in tolerations[:position]:
                shown = checks.printed(toleration, _TOLERATION)
                shown["TolerationSeconds"] = toleration.tolerationSeconds
                errors.append(field.duplicate(path[position], shown))
    return errors


def _toleration_errors(toleration: Any, path: Path) -> list[FieldError]:
    errors: list[FieldError] = []
    if toleration.key:
        errors += checks.named(toleration.key, names.qualified_name(toleration.key), path["key"])
    elif toleration.operator != "Exists":
        detail = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        errors.append(field.invalid(path["operator"], toleration.operator or "", detail))
    if toleration.tolerationSeconds is not None and toleration.effect != "NoExecute":
        detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        errors.append(field.invalid(path["effect"], toleration.effect or "", detail))
    if toleration.operator in (None, "", "Equal"):
        value = toleration.value or ""
        messages = names.label_value(value)
        if messages:
            errors.append(field.invalid(path["operator"], value, ";".join(messages)))
    elif toleration.operator == "Exists":
        if toleration.value:
            detail = "value must be empty when `operator` is 'Exists'"
            errors.append(field.invalid(path["operator"], toleration.value, detail))
    else:
        errors.append(field.not_supported(path["operator"], toleration.operator, ("Equal", "Exists")))
    return errors + checks.one_of(toleration.effect or None, _EFFECTS, path["effect"])


def validate_update(new: Any, old: Any) -> list[FieldError]:
    """Pods that run must keep the handler they were started with."""
    return checks.fixed(new.handler, old.handler, Path("handler"))


RUNTIME_CLASS: Final = Kind(
    api_version="node.k8s.io/v1",
    kind="RuntimeClass",
    plural="runtimeclasses",
    change_first=True,
    namespaced=CLUSTER,
    validate=validate,
    validate_update=validate_update,
    name_errors=names.dns1123_subdomain,
    columns=(NAME, column("Handler", lambda rc: rc.handler), AGE),
)

KINDS: Final[tuple[Kind, ...]] = (RUNTIME_CLASS,)
