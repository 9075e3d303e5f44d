"""The scale subresource of custom resources: simple JSON paths read and written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sampan.kinds.custom.definition import ScaleAt
from sampan.kinds.kind import Scale
from sampan.machinery import field
from sampan.machinery.field import FieldError, Path
from sampan.schema.custom import CustomObject

MAX_REPLICAS: Final = 2**31 - 1


def scale(at: ScaleAt) -> Scale:
    """How Scale maps onto an object with these paths."""
    spec, status = _steps(at.specReplicasPath), _steps(at.statusReplicasPath)
    selector = _steps(at.labelSelectorPath)

    def set_replicas(obj: CustomObject, replicas: int) -> None:
        inner: Any = obj.content
        for step in spec[:-1]:
            below = inner.get(step)
            if not isinstance(below, dict):
                below = inner[step] = {}
            inner = below
        inner[spec[-1]] = replicas

    return Scale(
        get_replicas=_number(spec),
        set_replicas=set_replicas,
        status_replicas=_number(status),
        selector=lambda obj: found if isinstance(found := _find(obj, selector), str) else "",
        path=spec,
    )


def scale_errors(obj: CustomObject, at: ScaleAt) -> list[FieldError]:
    """What a scale could not say of this object."""
    errors: list[FieldError] = []
    for text in (at.specReplicasPath, at.statusReplicasPath):
        value, path = _find(obj, _steps(text)), Path(text.removeprefix("."))
        if value is None:
            continue
        if not isinstance(value, int) or isinstance(value, bool):
            errors.append(field.invalid(path, value, "should be an integer"))
        elif value < 0:
            errors.append(field.invalid(path, value, "should be a non-negative integer"))
        elif value > MAX_REPLICAS:
            detail = f"should be less than or equal to {MAX_REPLICAS}"
            errors.append(field.invalid(path, value, detail))
    selector = _find(obj, _steps(at.labelSelectorPath)) if at.labelSelectorPath else None
    if selector is not None and not isinstance(selector, str):
        path = Path(at.labelSelectorPath.removeprefix("."))
        errors.append(field.invalid(path, selector, "should be a string"))
    return errors


def _steps(text: str) -> tuple[str, ...]:
    return tuple(step for step in text.split(".") if step)


def _find(obj: CustomObject, steps: tuple[str, ...]) -> Any:
    inner: Any = obj.content if steps else None
    for step in steps:
        inner = inner.get(step) if isinstance(inner, dict) else None
    return inner


def _number(steps: tuple[str, ...]) -> Callable[[Any], int]:
    def value(obj: CustomObject) -> int:
        found = _find(obj, steps)
        return found if isinstance(found, int) and not isinstance(found, bool) else 0

    return value
