"""From histograms to requests: targets, bounds, and what a policy makes of them. Pure.

Numbers are those of the recommender of kubernetes/autoscaler: the 90th percentile and a margin of 15% as the
target, bounds that come closer the longer a container has been watched, and floors for what is tiny.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from sampan.autoscaler.vertical.histogram import Histogram, Scale
from sampan.machinery.quantity import Quantity, quantity

MARGIN: Final = 1.15
TARGET: Final = 0.9
LOWER: Final = 0.5
UPPER: Final = 0.95
FLOOR_CPU_CORES: Final = 0.025
FLOOR_MEMORY_BYTES: Final = 250 * 1024 * 1024
# A pod of several containers shares the floor.
CPU: Final = Scale(first=0.01, most=1000.0, half_life_s=86400.0)
MEMORY: Final = Scale(first=1e7, most=1e12, half_life_s=86400.0)
# Memory is judged by its peak in each of these.
PEAK_WINDOW_S: Final = 86400.0
_DAY_S: Final = 86400.0
_SAMPLES_A_DAY: Final = 1440.0
# A container that was killed for its memory needs more than it had.
OOM_FACTOR: Final = 1.2
OOM_LEAST_BYTES: Final = 100 * 1024 * 1024


class Peak(msgspec.Struct, frozen=True):
    """The most that a pod has used in its present window, and when."""

    ends: datetime
    used_bytes: float
    at: datetime


class Watched(msgspec.Struct):
    """What is known of one container of a workload, of all its pods together."""

    cpu: Histogram = msgspec.field(default_factory=lambda: Histogram(CPU))
    memory: Histogram = msgspec.field(default_factory=lambda: Histogram(MEMORY))
    first: datetime | None = None
    last: datetime | None = None
    samples: int = 0
    peaks: dict[str, Peak] = {}
    # When each pod was looked at last: the same look is not counted twice.
    looked: dict[str, datetime] = {}

    def cpu_used(self, pod: str, cores: float, at: datetime) -> None:
        """Count a pod's sample; idle time weighs less than load, and never nothing."""
        if self.looked.get(pod) == at:
            return
        self.looked[pod] = at
        self.cpu.add(cores, max(cores, 0.1), at)
        self.first = self.first or at
        self.last = at
        self.samples += 1

    def memory_used(self, pod: str, used_bytes: float, at: datetime) -> None:
        """Count a pod's peak: a higher one takes the place of the one before it in the same window."""
        known = self.peaks.get(pod)
        if known is not None and at < known.ends:
            if used_bytes <= known.used_bytes:
                return
            self.memory.subtract(known.used_bytes, known.at)
            ends = known.ends
        else:
            ends = at + timedelta(seconds=PEAK_WINDOW_S)
        self.memory.add(used_bytes, 1.0, at)
        self.peaks[pod] = Peak(ends, used_bytes, at)

    def out_of_memory(self, pod: str, limit_bytes: float, at: datetime) -> None:
        """Count a container that was killed for its memory."""
        self.memory_used(pod, max(limit_bytes * OOM_FACTOR, limit_bytes + OOM_LEAST_BYTES), at)

    def forget_pods(self, present: Iterable[str]) -> None:
        """Drop the windows of pods that are gone; what they used stays counted."""
        for known in (self.peaks, self.looked):
            for pod in known.keys() - set(present):
                del known[pod]

    @property
    def confidence(self) -> float:
        """How many days it has been watched for: by the clock, and not more than the samples tell."""
        if self.first is None or self.last is None:
            return 0.0
        days = (self.last - self.first).total_seconds() / _DAY_S
        return min(days, self.samples / _SAMPLES_A_DAY)


class Policy(msgspec.Struct, frozen=True):
    """The limits that somebody set for a container; `off` where it is to be left alone."""

    off: bool = False
    least: Mapping[str, Quantity] = {}
    most: Mapping[str, Quantity] = {}
    controlled: tuple[str, ...] = ("cpu", "memory")


class Amounts(msgspec.Struct, frozen=True):
    """CPU in cores, memory in bytes."""

    cpu: float
    memory: float

    def quantities(self, controlled: Iterable[str]) -> dict[str, Quantity]:
        """As requests are written: thousandths of a core, whole bytes."""
        both = {
            "cpu": quantity(f"{max(round(self.cpu * 1000), 1)}m"),
            "memory": quantity(str(round(self.memory))),
        }
        return {name: both[name] for name in both if name in controlled}


class Recommendation(msgspec.Struct, frozen=True):
    """What a container should ask for. `uncapped` is the target without the policy."""

    target: dict[str, Quantity]
    lower: dict[str, Quantity]
    upper: dict[str, Quantity]
    uncapped: dict[str, Quantity]


def recommend(watched: Watched, containers: int, policy: Policy) -> Recommendation | None:
    """For one of a pod's `containers`; None where nothing is known yet, or it is to be left alone."""
    if policy.off or not watched.samples:
        return None
    days = max(watched.confidence, 1e-9)
    target = _amounts(watched, TARGET, 1.0, containers)
    lower = _amounts(watched, LOWER, (1 + 0.001 / days) ** -2, containers)
    upper = _amounts(watched, UPPER, 1 + 1 / days, containers)
    names = policy.controlled
    return Recommendation(
        target=_capped(target.quantities(names), policy),
        lower=_capped(lower.quantities(names), policy),
        upper=_capped(upper.quantities(names), policy),
        uncapped=target.quantities(names),
    )


def _amounts(watched: Watched, share: float, factor: float, containers: int) -> Amounts:
    cpu = watched.cpu.quantile(share) * MARGIN * factor
    memory = watched.memory.quantile(share) * MARGIN * factor
    return Amounts(
        max(cpu, FLOOR_CPU_CORES / containers),
        max(min(memory, MEMORY.most), FLOOR_MEMORY_BYTES / containers),
    )


def _capped(amounts: dict[str, Quantity], policy: Policy) -> dict[str, Quantity]:
    capped = {}
    for name, amount in amounts.items():
        least, most = policy.least.get(name), policy.most.get(name)
        if least is not None:
            amount = max(amount, least)
        if most is not None:
            amount = min(amount, most)
        capped[name] = amount
    return capped


def to_resize(
    requests: Mapping[str, Quantity], limits: Mapping[str, Quantity], advice: Recommendation
) -> dict[str, dict[str, Quantity]] | None:
    """New resources of a container whose requests lie outside the bounds; None where it may stay.

    Limits keep their proportion to the requests.
    """
    outside = [
        name
        for name in advice.target
        if name not in requests or not advice.lower[name] <= requests[name] <= advice.upper[name]
    ]
    if not outside:
        return None
    changed = {"requests": dict(requests) | advice.target, "limits": dict(limits)}
    for name, target in advice.target.items():
        limit, request = limits.get(name), requests.get(name)
        if limit is None:
            continue
        if request is None or not request.value:
            changed["limits"][name] = max(limit, target)
            continue
        scaled = target.value * limit.value / request.value
        text = f"{round(scaled * 1000)}m" if name == "cpu" else str(round(scaled))
        changed["limits"][name] = quantity(text)
    return changed
