"""The quality-of-service class of a pod: k8s.io/kubernetes/pkg/apis/core/helper/qos."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

from sampan.schema import api

GUARANTEED: Final = "Guaranteed"
BURSTABLE: Final = "Burstable"
BEST_EFFORT: Final = "BestEffort"

_COMPUTE: Final = ("cpu", "memory")


def qos_class(spec: api.PodSpec) -> str:
    """`Guaranteed` where everything has cpu and memory limits equal to its requests, `BestEffort` where
    nothing asks for either, `Burstable` between."""
    mine = spec.resources
    if mine is not None and (mine.requests or mine.limits):
        return _class([mine])
    return _class([container.resources for container in (*spec.containers, *spec.initContainers)])


def _class(all_requirements: Iterable[api.ResourceRequirements]) -> str:
    requests: dict[str, Decimal] = {}
    limits: dict[str, Decimal] = {}
    guaranteed = True
    for requirements in all_requirements:
        # The class of a new pod is decided before defaulting makes requests of limits.
        asked = {**requirements.limits, **requirements.requests}
        for totals, amounts in ((requests, asked), (limits, requirements.limits)):
            for name in _COMPUTE:
                amount = amounts.get(name)
                if amount is not None and amount.value > 0:
                    totals[name] = totals.get(name, Decimal(0)) + amount.value
        guaranteed = guaranteed and all(
            (limit := requirements.limits.get(name)) is not None and limit.value > 0 for name in _COMPUTE
        )
    if not requests and not limits:
        return BEST_EFFORT
    return GUARANTEED if guaranteed and requests == limits else BURSTABLE
