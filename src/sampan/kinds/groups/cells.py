"""What the cells of `kubectl get` have in common, as pkg/printers/internalversion writes them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from sampan.kinds.core.cells import (
    CREATED_AT,
    NONE,
    UNSET,
    container_images,
    container_names,
)
from sampan.kinds.kind import AGE, NAME, Column
from sampan.machinery import selectors
from sampan.machinery.selectors import SelectorError

NAME_AND_AGE: Final = (NAME, AGE)
NAME_AND_CREATED_AT: Final = (NAME, CREATED_AT)
_SHOWN_MAX: Final = 3


def column(
    name: str,
    value: Callable[[Any], Any],
    *,
    type: str = "string",
    description: str = "",
    wide: bool = False,
    format: str = "",
) -> Column:
    """A column whose cells do not depend on the time; `wide` ones show with -o wide only."""
    return Column(
        name, lambda obj, _now: value(obj), type, description, priority=1 if wide else 0, format=format
    )


def selector_text(selector: Any) -> str:
    """A LabelSelector in kubectl's notation; empty where it is absent or selects everything."""
    try:
        return str(selectors.from_label_selector(selector))
    except SelectorError:
        return "<invalid>"


def label_selector(selector: Any) -> str:
    """metav1.FormatLabelSelector: as `selector_text`, with `<none>` and `<error>`."""
    text = selector_text(selector)
    return "<error>" if text == "<invalid>" else text or NONE


def shortened(parts: Sequence[str], limit: int = _SHOWN_MAX) -> str:
    """`a,b,c + 2 more...`; `<unset>` where there is nothing."""
    text = ",".join(parts[:limit])
    if len(parts) > limit:
        return f"{text} + {len(parts) - limit} more..."
    return text or UNSET


def printed(value: bool) -> str:
    """`True` or `False`, for string columns."""
    return "True" if value else "False"


def condition(conditions: Iterable[Any], type: str) -> Any | None:
    """The condition of this type, if there is one."""
    return next((c for c in conditions if c.type == type), None)


def is_true(conditions: Iterable[Any], type: str) -> bool:
    """Whether the condition of this type is there and True."""
    found = condition(conditions, type)
    return found is not None and found.status == "True"


def container_columns(pod_spec: Callable[[Any], Any]) -> tuple[Column, Column]:
    """The wide columns Containers and Images, over the pod spec that `pod_spec` finds."""
    return (
        column(
            "Containers",
            lambda obj: container_names(pod_spec(obj).containers),
            description="Names of each container in the template.",
            wide=True,
        ),
        column(
            "Images",
            lambda obj: container_images(pod_spec(obj).containers),
            description="Images referenced by each container in the template.",
            wide=True,
        ),
    )
