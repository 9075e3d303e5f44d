"""Flags of kube-controller-manager that may be given to a cluster, as `name=value`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from sampan.controllers.catalog import Settings
from sampan.machinery import durations


def with_flags(settings: Settings, given: Iterable[str]) -> Settings:
    """The settings, changed by flags such as `endpointslice-updates-batch-period=500ms`.

    Raises ValueError with a sentence where there is no such flag, or not for such a value.
    """
    changed: dict[str, Any] = {}
    for each in given:
        name, _, value = each.removeprefix("--").partition("=")
        if name not in _FLAGS:
            raise ValueError(f"there is no flag {name!r}; there are {', '.join(sorted(_FLAGS))}")
        field, read = _FLAGS[name]
        try:
            changed[field] = read(value)
        except ValueError as error:
            raise ValueError(f"{name} cannot be {value!r}: {error}") from None
    return msgspec.structs.replace(settings, **changed)


def _seconds(text: str) -> float:
    try:
        length_s = durations.parse_s(text)
    except durations.DurationError:
        raise ValueError("write a duration, such as 500ms or 1m30s") from None
    if length_s < 0:
        raise ValueError("it may not be negative")
    return length_s


def _most(text: str) -> int:
    """A number of pods to keep; 0 or less keeps all, as in Kubernetes."""
    number = int(text) if text.lstrip("-").isdigit() else None
    if number is None:
        raise ValueError("write a whole number")
    return number if number > 0 else sys.maxsize


_FLAGS: Final[dict[str, tuple[str, Callable[[str], Any]]]] = {
    "endpoint-updates-batch-period": ("endpoints_batch_s", _seconds),
    "endpointslice-updates-batch-period": ("endpointslice_batch_s", _seconds),
    "mirroring-endpointslice-updates-batch-period": ("mirroring_batch_s", _seconds),
    "node-monitor-grace-period": ("node_monitor_grace_s", _seconds),
    "terminated-pod-gc-threshold": ("finished_pods_most", _most),
}
