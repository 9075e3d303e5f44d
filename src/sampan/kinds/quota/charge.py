"""What a write does to a ResourceQuota: the new count of what is used, or why the write is too much."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sampan.kinds.kind import Kind
from sampan.kinds.quota import usage
from sampan.kinds.quota.devices import NOTHING, ZERO, Served, Usage, is_made_for, maker_of
from sampan.machinery.quantity import Quantity


class Write(NamedTuple):
    """An object before and after; None where it is not there."""

    kind: Kind
    before: Any | None
    after: Any | None


def change_of(write: Write, spec: Any, served: Served = NOTHING) -> Usage:
    """How much more (or, below zero, less) the write makes used of a quota with this spec; {} for no
    change."""
    names = usage.names_of(write.kind, spec.hard)
    if not names:
        return {}
    change: Usage = {}
    if write.after is not None:
        change = usage.plus(change, usage.used_by(write.kind, write.after, spec, served))
    if write.before is not None:
        change = usage.minus(change, usage.used_by(write.kind, write.before, spec, served))
    return {name: amount for name, amount in change.items() if amount.value}


def is_counted(quota: Any) -> bool:
    """Whether the status is about the present spec, so that changes can be added to it."""
    return bool(quota.status.hard == quota.spec.hard and quota.status.used.keys() >= quota.spec.hard.keys())


def refusal(quota: Any, used: Usage, change: Usage) -> str:
    """Why the change is too much for the quota; "" where it fits."""
    hard: Mapping[str, Quantity] = quota.spec.hard
    over = sorted(
        name
        for name, amount in change.items()
        if amount.value > 0 and used.get(name, ZERO).value + amount.value > hard[name].value
    )
    if not over:
        return ""
    return (
        f"exceeded quota: {quota.metadata.name}, requested: {_listed(change, over)}, "
        f"used: {_listed(used, over)}, limited: {_listed(hard, over)}"
    )


def _listed(amounts: Mapping[str, Quantity], names: list[str]) -> str:
    return ",".join(f"{name}={amounts.get(name, ZERO)}" for name in names)


def count(
    quota_spec: Any, objects: list[tuple[Kind, list[Any]]], classes: Mapping[str, str] | None = None
) -> Usage:
    """All that is used, counted anew over every object of the namespace. `classes`: as in `Served`."""
    total: Usage = dict.fromkeys(quota_spec.hard, ZERO)
    served = _served(objects, classes) if classes else NOTHING
    for kind, found in objects:
        if usage.names_of(kind, quota_spec.hard):
            for obj in found:
                total = usage.plus(total, usage.used_by(kind, obj, quota_spec, served))
    return total


def _served(objects: list[tuple[Kind, list[Any]]], classes: Mapping[str, str]) -> Served:
    """What classes serve, where `objects` are all that there are."""
    found = {kind.resource: (kind, every) for kind, every in objects}
    kind, pods = found.get("pods", (None, []))
    made = [claim for claim in found.get(usage.CLAIMS, (None, []))[1] if maker_of(claim) is not None]
    by_uid = {pod.metadata.uid: pod for pod in pods}

    def charged(claim: Any) -> Usage:
        maker = maker_of(claim)
        pod = by_uid.get(maker[1]) if maker is not None else None
        if kind is None or pod is None or not is_made_for(claim, pod, lambda: made):
            return {}
        return usage.usage_of(kind, pod)

    return Served(classes, charged)
