"""A histogram whose old samples fade, as kubernetes/autoscaler keeps for each container. Pure.

Buckets grow by a twentieth each, so that a quantile is right to 5%. A sample loses half of its weight in each
half-life: what a container did yesterday counts half of what it does now.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

import msgspec

GROWTH: Final = 1.05
# Weights are kept relative to a reference time, which moves on before they become too large for a float.
_MOST_EXPONENT: Final = 100
_EPSILON: Final = 1e-4


class Scale(msgspec.Struct, frozen=True):
    """The buckets of one resource: the first ends at `first`, the last begins below `most`."""

    first: float
    most: float
    half_life_s: float

    @property
    def buckets(self) -> int:
        return 2 + math.ceil(math.log(self.most * (GROWTH - 1) / self.first + 1, GROWTH))

    def bucket(self, value: float) -> int:
        if value < self.first:
            return 0
        number = math.floor(math.log(value * (GROWTH - 1) / self.first + 1, GROWTH))
        return min(number, self.buckets - 1)

    def start(self, bucket: int) -> float:
        """The lower end of a bucket."""
        return self.first * (GROWTH**bucket - 1) / (GROWTH - 1)


class Histogram(msgspec.Struct):
    """Weights by bucket. Only buckets that hold something are kept."""

    scale: Scale
    reference_s: float = 0.0
    weights: dict[int, float] = {}
    total: float = 0.0

    def add(self, value: float, weight: float, at: datetime) -> None:
        """Count a sample. Raises ValueError for one that is not a finite amount."""
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{value} is not an amount that anything can use")
        at_s = at.timestamp()
        if not self.reference_s:
            self.reference_s = at_s
        exponent = (at_s - self.reference_s) / self.scale.half_life_s
        if exponent > _MOST_EXPONENT:
            self._move(at_s)
            exponent = 0.0
        self._put(self.scale.bucket(value), weight * 2.0**exponent)

    def subtract(self, value: float, at: datetime) -> None:
        """Take back a sample of weight 1 that was counted `at` that time."""
        exponent = (at.timestamp() - self.reference_s) / self.scale.half_life_s
        self._put(self.scale.bucket(value), -(2.0**exponent))

    def quantile(self, share: float) -> float:
        """What `share` of the weight lies below: the upper end of its bucket. 0 where there is nothing."""
        if self.total <= 0.0:
            return 0.0
        passed = 0.0
        bucket = 0
        for bucket in sorted(self.weights):
            passed += self.weights[bucket]
            if passed >= share * self.total:
                break
        last = self.scale.buckets - 1
        return self.scale.start(bucket if bucket == last else bucket + 1)

    def _put(self, bucket: int, amount: float) -> None:
        weight = self.weights.get(bucket, 0.0) + amount
        if weight > _EPSILON:
            self.weights[bucket] = weight
        else:
            self.weights.pop(bucket, None)
        self.total = sum(self.weights.values())

    def _move(self, at_s: float) -> None:
        factor = 2.0 ** ((self.reference_s - at_s) / self.scale.half_life_s)
        kept = {bucket: weight * factor for bucket, weight in self.weights.items()}
        self.weights = {bucket: weight for bucket, weight in kept.items() if weight > _EPSILON}
        self.total = sum(self.weights.values())
        self.reference_s = at_s
